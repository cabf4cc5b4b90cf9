//! A Slurm of the tests' own, and pods for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::units::Span;
use dte_compute::batch::BatchSite;
use dte_compute::logs::LogQuery;
use dte_compute::pod::{ContainerPlan, PodPlan};
use dte_compute::slurm::{self, SlurmConfig};
use dte_compute::{PodReport, Site, SiteContext};
use uuid::Uuid;

/// Whether tests may install packages and start daemons as root; says so if not.
pub fn may_change_the_system(test: &str) -> bool {
    if std::env::var_os("DTE_TEST_SYSTEM").is_none_or(|value| value != "1") {
        println!("SKIPPED {test}: it starts daemons as root; set DTE_TEST_SYSTEM=1");
        return false;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED {test}: it starts daemons, which takes root");
        return false;
    }
    true
}

/// A private Slurm, stopped when dropped.
pub struct Slurm {
    pub dir: PathBuf,
}

impl Slurm {
    pub fn start(dir: &Path, settings: &[(&str, &str)]) -> Slurm {
        let status = script("start", dir).envs(settings.iter().copied()).status().expect("scripts/slurm.sh");
        assert!(status.success(), "Slurm did not start");
        Slurm { dir: dir.to_path_buf() }
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.join("slurm.conf")
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).env("SLURM_CONF", self.conf()).output().expect(program);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn config(&self, folder: &Path) -> SlurmConfig {
        SlurmConfig {
            name: "batch".into(),
            folder: folder.to_path_buf(),
            conf: Some(self.conf()),
            jobcomp: Some(self.dir.join("jobcomp.txt")),
            poll: Span(Duration::from_secs(1)),
            file_lag: Span(Duration::from_secs(1)),
            grace: Span(Duration::from_secs(2)),
            runner: Some(env!("CARGO_BIN_EXE_dte-pod-shim").into()),
            ..SlurmConfig::default()
        }
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let stopped = script("stop", &self.dir).status();
        assert!(stopped.is_ok_and(|status| status.success()) || std::thread::panicking(), "Slurm did not stop");
    }
}

fn script(verb: &str, dir: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/slurm.sh"));
    command.arg(verb).arg(dir).stdout(std::process::Stdio::null());
    command
}

/// An engine's side of the site.
pub struct Engine {
    pub site: Arc<BatchSite>,
    pub tasks: Tasks,
}

impl Engine {
    pub async fn start(config: &SlurmConfig, data_dir: &Path) -> Engine {
        let tasks = Tasks::new();
        let context = SiteContext { data_dir: data_dir.to_path_buf(), sockets: Vec::new(), tasks: tasks.clone() };
        let site = slurm::open(config.clone(), &context).await.expect("the site");
        Engine { site, tasks }
    }

    pub async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(5)).await);
    }

    pub async fn begin(&self, plan: &PodPlan) {
        self.site.prepare(plan.uid).await.expect("prepared");
        self.site.submit(plan).await.expect("submitted");
    }

    pub async fn report(&self, uid: Uuid) -> PodReport {
        self.site.status(&[uid]).await.expect("status").remove(0)
    }

    pub async fn until(&self, uid: Uuid, what: &str, is_so: impl Fn(&PodReport) -> bool) -> PodReport {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let report = self.report(uid).await;
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "not {what}: {report:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn finish(&self, uid: Uuid) -> PodReport {
        self.until(uid, "ended", |report| report.phase.is_terminal()).await
    }

    pub async fn run(&self, plan: &PodPlan) -> PodReport {
        self.begin(plan).await;
        self.finish(plan.uid).await
    }

    pub async fn log(&self, uid: Uuid, from: u64) -> (String, u64, bool) {
        let chunk = self.site.log(uid, None, from).await.expect("log");
        (String::from_utf8(LogQuery::default().render(&chunk.lines)).expect("text"), chunk.next, chunk.complete)
    }
}

pub fn pod(text: &str) -> PodPlan {
    PodPlan {
        uid: new_id(),
        namespace: "default".into(),
        name: "p".into(),
        containers: vec![ContainerPlan {
            name: "main".into(),
            image: "host".into(),
            argv: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
            ..ContainerPlan::default()
        }],
        ..PodPlan::default()
    }
}
