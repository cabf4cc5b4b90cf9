//! A Slurm site through SSH: a real OpenSSH server of the test's own on the loopback interface.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dte_base::units::Span;
use dte_compute::pod::PodPlan;
use dte_compute::site::Cancellation;
use dte_compute::slurm::SlurmConfig;
use dte_compute::ssh::SshConfig;
use dte_compute::{Phase, Site, SiteError};
use support::{Engine, Slurm, may_change_the_system, pod};

/// Debian's package.
const SERVER: &str = "/usr/sbin/sshd";

struct Server {
    dir: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Server {
    fn new(dir: &Path) -> Server {
        fs::create_dir_all(dir).expect("a folder");
        for key in ["host", "user", "other"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)).status();
            assert!(made.expect("ssh-keygen").success());
        }
        fs::copy(dir.join("user.pub"), dir.join("authorized")).expect("authorized");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut server = Server { dir: dir.to_path_buf(), port, process: None };
        server.start();
        server
    }

    fn start(&mut self) {
        fs::create_dir_all("/run/sshd").expect("the server's folder");
        let dir = self.dir.display();
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            self.port
        );
        fs::write(self.dir.join("config"), text).expect("config");
        let process = Command::new(SERVER)
            .args(["-D", "-e", "-f"])
            .arg(self.dir.join("config"))
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd");
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server and the sessions that it has.
    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = process.id().to_string();
        let sessions = Command::new("pgrep").args(["-P", &pid]).output().expect("pgrep").stdout;
        process.kill().expect("killed");
        process.wait().expect("waited");
        for session in String::from_utf8_lossy(&sessions).split_whitespace() {
            // It may have ended with the server.
            let _ = Command::new("kill").args(["-9", session]).stderr(Stdio::null()).status();
        }
    }

    fn config(&self, host_key: &str) -> SshConfig {
        let text = fs::read_to_string(self.dir.join(host_key)).expect("a public key");
        let host_key = text.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned();
        SshConfig {
            host: "127.0.0.1".into(),
            port: self.port,
            user: "root".into(),
            key: self.dir.join("user"),
            host_key,
            program: "ssh".into(),
            timeout: Span(Duration::from_secs(5)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slurm_through_ssh() {
    if !may_change_the_system("slurm_through_ssh") {
        return;
    }
    if !Path::new(SERVER).exists() {
        println!("SKIPPED slurm_through_ssh: there is no {SERVER} (Debian's package openssh-server)");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let slurm = Slurm::start(&dir.path().join("slurm"), &[]);
    let mut server = Server::new(&dir.path().join("ssh"));
    let data = dir.path().join("data");
    let config = SlurmConfig { ssh: Some(server.config("host.pub")), ..slurm.config(&dir.path().join("shared")) };
    let engine = Engine::start(&config, &data).await;

    data_there_and_back(&engine, &dir.path().join("shared")).await;
    many_and_cancelled(&engine).await;
    let engine = outage(engine, &config, &data, &mut server).await;
    engine.stop().await;

    let other = SlurmConfig { ssh: Some(server.config("other.pub")), name: "other".into(), ..config };
    let engine = Engine::start(&other, &data).await;
    let plan = pod("exit 0");
    engine.site.prepare(plan.uid).await.expect("prepared");
    assert!(matches!(engine.site.submit(&plan).await, Err(SiteError::Busy(_))), "another host's key was taken");
    assert!(slurm.command("squeue", &["-h", "-t", "all", "-n", &plan.uid.to_string()]).is_empty());
    engine.stop().await;
    println!("slurm_through_ssh: all scenarios held");
}

async fn data_there_and_back(engine: &Engine, shared: &Path) {
    let plan =
        pod("cat $DTE_INPUTS/sub/in; mkdir -p $DTE_OUTPUTS/d; head -c 9000000 /dev/zero > $DTE_OUTPUTS/d/big; exit 0");
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    assert!(!staging.inputs.starts_with(shared), "the engine must not need the site's folder");
    fs::create_dir(staging.inputs.join("sub")).expect("a folder");
    fs::write(staging.inputs.join("sub/in"), "input\n").expect("an input");
    engine.site.submit(&plan).await.expect("submitted");
    let report = engine.finish(plan.uid).await;
    assert_eq!(report.phase, Phase::Succeeded, "{report:?}");
    assert_eq!(engine.log(plan.uid, 0).await.0, "input\n");
    assert_eq!(fs::metadata(staging.outputs.join("d/big")).expect("an output").len(), 9_000_000);
    engine.site.remove(plan.uid).await.expect("removed");
    assert!(!shared.join("runs").join(plan.uid.to_string()).exists());
}

async fn many_and_cancelled(engine: &Engine) {
    assert_eq!(engine.run(&pod("exit 0")).await.phase, Phase::Succeeded);
    let plans: Vec<PodPlan> = (0..20).map(|n| pod(&format!("echo {n}; exit {n}"))).collect();
    for plan in &plans {
        engine.begin(plan).await;
    }
    for (n, plan) in plans.iter().enumerate() {
        assert_eq!(engine.finish(plan.uid).await.exit_code(), i32::try_from(n).ok());
    }
    let plan = pod("trap 'exit 7' TERM; while :; do sleep 0.1; done");
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    engine.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.reason.as_deref(), report.exit_code()), (Some("Cancelled"), Some(7)));
}

/// The login node goes away with a pod running, and the engine stops and starts meanwhile.
async fn outage(engine: Engine, config: &SlurmConfig, data: &Path, server: &mut Server) -> Engine {
    let plan = pod("sleep 6; echo through; exit 4");
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    server.stop();
    let report =
        engine.until(plan.uid, "unreachable", |r| r.message.as_deref().is_some_and(|m| m.contains("reached"))).await;
    assert!(!report.phase.is_terminal());
    let later = pod("exit 5");
    engine.site.prepare(later.uid).await.expect("prepared");
    assert!(matches!(engine.site.submit(&later).await, Err(SiteError::Busy(_))));
    engine.stop().await;
    let engine = Engine::start(config, data).await;
    assert!(!engine.report(plan.uid).await.phase.is_terminal(), "a site that is away has not lost its pods");
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.start();
    let report = engine.finish(plan.uid).await;
    assert_eq!(report.exit_code(), Some(4), "{report:?}");
    assert_eq!(engine.log(plan.uid, 0).await.0, "through\n");
    while let Err(error) = engine.site.submit(&later).await {
        assert!(matches!(error, SiteError::Busy(_)), "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(engine.finish(later.uid).await.exit_code(), Some(5));
    engine
}
