//! The `container` plugin against the real podman, with an image made from the machine's own busybox.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::units::Span;
use dte_compute::container::{ContainerConfig, ContainerSite, Pull};
use dte_compute::logs::LogQuery;
use dte_compute::pod::{
    ContainerPlan, Content, Limits, Mount, PodPlan, RestartPolicy, Volume, VolumeFile, VolumeSource,
};
use dte_compute::site::Cancellation;
use dte_compute::{ExecInput, ExecOrder, ExecOutput, Phase, PodReport, Site, SiteContext, SiteError};
use uuid::Uuid;

const IMAGE: &str = "localhost/dte-busybox:1";
/// Debian's package `busybox-static` or `busybox`.
const BUSYBOX: &str = "/bin/busybox";

struct Bench {
    dir: tempfile::TempDir,
    config: ContainerConfig,
    site: Arc<ContainerSite>,
    tasks: Tasks,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// What podman needs where limits cannot be raised and the kernel has old control groups.
fn settings(dir: &Path) -> ContainerConfig {
    let at = dir.display();
    let args = format!(
        "--root {at}/storage --runroot {at}/runroot --storage-driver vfs --cgroup-manager cgroupfs --events-backend file --runtime runc"
    );
    ContainerConfig {
        name: "boxes".into(),
        args: words(&args),
        extra_args: words("--ulimit nofile=1000:1000 --ulimit nproc=1000:1000"),
        network: Some("none".into()),
        images: vec!["localhost/".into()],
        pull: Pull::Never,
        slots: Some(16),
        poll: Span(Duration::from_millis(200)),
        grace: Span(Duration::from_secs(2)),
        restart_wait: Span(Duration::from_millis(300)),
        ..ContainerConfig::default()
    }
}

fn podman(config: &ContainerConfig, arguments: &[&str]) -> std::process::Output {
    Command::new("podman").args(&config.args).args(arguments).output().expect("podman")
}

/// A root file system of one program.
fn import(config: &ContainerConfig, dir: &Path) {
    let root = dir.join("rootfs");
    for folder in ["bin", "tmp", "dte", "etc", "proc", "dev", "sys"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox");
    for name in ["sh", "sleep", "cat", "echo", "ls", "touch", "env", "true", "false", "nc", "mkdir", "dd", "stat"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    let archive: PathBuf = dir.join("rootfs.tar");
    assert!(
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".").status().expect("tar").success()
    );
    let imported = podman(config, &["import", archive.to_str().expect("text"), IMAGE]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

impl Bench {
    async fn new() -> Option<Bench> {
        let runs =
            |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
        if std::env::var_os("DTE_TEST_SYSTEM").is_none_or(|value| value != "1") {
            println!("SKIPPED: it makes containers; set DTE_TEST_SYSTEM=1");
            return None;
        }
        if !runs("podman") || !runs("runc") || !Path::new(BUSYBOX).exists() {
            println!("SKIPPED: it needs podman, runc and {BUSYBOX} (Debian's packages podman, runc, busybox-static)");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let config = settings(dir.path());
        import(&config, dir.path());
        let (site, tasks) = Self::open(&config, dir.path()).await;
        Some(Bench { dir, config, site, tasks })
    }

    async fn open(config: &ContainerConfig, dir: &Path) -> (Arc<ContainerSite>, Tasks) {
        let tasks = Tasks::new();
        let context = SiteContext { data_dir: dir.join("data"), sockets: Vec::new(), tasks: tasks.clone() };
        (ContainerSite::open(config.clone(), &context).await.expect("the site"), tasks)
    }

    /// The engine goes, and another comes.
    async fn reopen(&mut self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(5)).await);
        (self.site, self.tasks) = Self::open(&self.config, self.dir.path()).await;
    }

    async fn begin(&self, plan: &PodPlan) {
        self.site.prepare(plan.uid).await.expect("prepared");
        self.site.submit(plan).await.expect("submitted");
    }

    async fn until(&self, uid: Uuid, what: &str, is_so: impl Fn(&PodReport) -> bool) -> PodReport {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let report = self.site.status(&[uid]).await.expect("status").remove(0);
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "not {what}: {report:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn finish(&self, uid: Uuid) -> PodReport {
        self.until(uid, "ended", |report| report.phase.is_terminal()).await
    }

    async fn run(&self, plan: &PodPlan) -> PodReport {
        self.begin(plan).await;
        self.finish(plan.uid).await
    }

    async fn log(&self, uid: Uuid, container: &str) -> String {
        let chunk = self.site.log(uid, Some(container), 0).await.expect("log");
        String::from_utf8(LogQuery::default().render(&chunk.lines)).expect("text")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        podman(&self.config, &["rm", "--all", "--force", "--time", "0"]);
        podman(&self.config, &["system", "reset", "--force"]);
    }
}

fn container(name: &str, text: &str) -> ContainerPlan {
    let argv = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
    ContainerPlan { name: name.into(), image: IMAGE.into(), argv, ..ContainerPlan::default() }
}

fn pod(text: &str) -> PodPlan {
    let containers = vec![container("main", text)];
    PodPlan { uid: new_id(), namespace: "default".into(), name: "p".into(), containers, ..PodPlan::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_a_real_podman() {
    let Some(mut bench) = Bench::new().await else { return };
    life_cycle(&bench).await;
    inside(&bench).await;
    init_and_neighbours(&bench).await;
    volumes(&bench).await;
    hostile(&bench).await;
    restarts(&bench).await;
    cancelled_and_late(&bench).await;
    adopted(&mut bench).await;
    println!("pods_on_a_real_podman: all scenarios held");
}

async fn life_cycle(bench: &Bench) {
    let mut ended = bench.site.ended();
    let mut plan = pod("cat $DTE_INPUTS/in; echo \"$A\"; echo made > $DTE_OUTPUTS/o; echo bad >&2; exit 3");
    plan.containers[0].env.push(("A".into(), "it's $(B) `id`\nsecond".into()));
    let staging = bench.site.prepare(plan.uid).await.expect("prepared");
    fs::write(staging.inputs.join("in"), "input\n").expect("input");
    bench.begin(&plan).await;
    bench.begin(&plan).await;
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code(), report.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
    assert_eq!(ended.recv().await.expect("an end"), plan.uid);
    let log = bench.log(plan.uid, "main").await;
    assert!(log.starts_with("input\nit's $(B) `id`\nsecond\n") && log.contains("bad\n"), "{log}");
    assert_eq!(fs::read_to_string(staging.outputs.join("o")).expect("output"), "made\n");
    bench.site.remove(plan.uid).await.expect("removed");
    assert!(bench.site.status(&[plan.uid]).await.expect("status").is_empty());
    let left = podman(&bench.config, &["ps", "--all", "--quiet", "--filter", &format!("label=dte.pod={}", plan.uid)]);
    assert!(left.stdout.is_empty());
    assert_eq!(bench.run(&pod("exit 0")).await.phase, Phase::Succeeded);
    let mut missing = pod("exit 0");
    missing.containers[0].image = "localhost/nothing:1".into();
    let report = bench.run(&missing).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("StartError")));
    assert!(report.message.as_deref().is_some_and(|text| text.contains("localhost/nothing")), "{report:?}");
    let mut big = pod("dd if=/dev/zero of=/dev/null bs=400M count=1");
    big.containers[0].limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    let report = bench.run(&big).await;
    assert_eq!((report.exit_code(), report.reason.as_deref()), (Some(137), Some("OOMKilled")), "{report:?}");
}

/// What a program said, and how it ended.
async fn collect(bench: &Bench, order: &ExecOrder, input: &[ExecInput]) -> (String, String, ExecOutput) {
    let mut session = bench.site.exec(order).await.expect("a session");
    for one in input {
        session.input.send(one.clone()).await.expect("sent");
    }
    let (mut said, mut complained) = (String::new(), String::new());
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), session.output.recv()).await;
        match next.unwrap_or_else(|_| panic!("nothing after {said}{complained}")).expect("an end") {
            ExecOutput::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Stderr(bytes) => complained.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::StdoutEnd => {}
            end => return (said, complained, end),
        }
    }
}

async fn inside(bench: &Bench) {
    let mut plan = pod("while :; do sleep 0.1; done");
    plan.containers[0].env.push(("A".into(), "of the container".into()));
    bench.begin(&plan).await;
    bench.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    let order = |text: &str, stdin: bool, tty: bool| ExecOrder {
        uid: plan.uid,
        container: None,
        argv: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
        stdin,
        tty,
    };
    let input = [ExecInput::Stdin(b"typed\n".to_vec()), ExecInput::StdinEnd];
    let seen = collect(bench, &order("cat; echo $A; echo bad >&2; exit 7", true, false), &input).await;
    let exit = |exit_code| ExecOutput::Exit { exit_code };
    assert_eq!(seen, ("typed\nof the container\n".into(), "bad\n".into(), exit(7)));
    assert_eq!(collect(bench, &order("cat; echo alone", false, false), &[]).await.0, "alone\n");
    let sized = "until [ \"$(/bin/busybox stty size)\" = '33 101' ]; do sleep 0.1; done; echo sized; read line; echo got $line; exit 3";
    let input = [ExecInput::Resize { columns: 101, rows: 33 }, ExecInput::Stdin(b"word\r".to_vec())];
    let (seen, _, end) = collect(bench, &order(sized, true, true), &input).await;
    assert!(seen.contains("sized\r\n") && seen.contains("got word\r\n") && end == exit(3), "{seen} {end:?}");
    let hostile = ExecOrder { argv: vec!["--privileged".into()], ..order("", false, false) };
    assert!(matches!(collect(bench, &hostile, &[]).await.2, ExecOutput::Exit { exit_code: 1.. }));

    // Whoever lets go ends the program, and the pod goes on.
    let runs = || {
        let named =
            |path: PathBuf| fs::read(path.join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0077.25\0"));
        fs::read_dir("/proc").expect("proc").flatten().any(|entry| named(entry.path()))
    };
    let until = async |wanted: bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while runs() != wanted {
            assert!(Instant::now() < deadline, "never {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let session = bench.site.exec(&order("exec sleep 77.25", false, false)).await.expect("a session");
    until(true).await;
    drop(session);
    until(false).await;

    let nobody = ExecOrder { container: Some("nobody".into()), ..order("true", false, false) };
    assert!(matches!(bench.site.exec(&nobody).await, Err(SiteError::Refused(_))));
    let how = Cancellation { reason: "Cancelled".into(), grace: Some(Duration::ZERO) };
    bench.site.cancel(plan.uid, &how).await.expect("cancelled");
    bench.finish(plan.uid).await;
    assert!(matches!(bench.site.exec(&order("true", false, false)).await, Err(SiteError::Refused(_))));
}

async fn init_and_neighbours(bench: &Bench) {
    let mut plan = pod("sleep 1; echo hello | nc -l -p 7000 -w 5; exit 0");
    plan.init_containers =
        vec![container("one", "echo 1 > $DTE_OUTPUTS/one"), container("two", "cat $DTE_OUTPUTS/one")];
    plan.containers.push(container(
        "beside",
        "n=0; while [ $n -lt 40 ]; do nc -w 2 127.0.0.1 7000 && exit 0; n=$((n+1)); sleep 0.2; done; exit 9",
    ));
    let report = bench.run(&plan).await;
    assert_eq!(report.phase, Phase::Succeeded, "{report:?}");
    assert_eq!(bench.log(plan.uid, "two").await, "1\n");
    assert!(bench.log(plan.uid, "beside").await.ends_with("hello\n"));
    let mut failing = pod("echo never");
    failing.init_containers = vec![container("bad", "exit 5")];
    let report = bench.run(&failing).await;
    assert_eq!((report.phase, report.exit_code()), (Phase::Failed, Some(5)));
    assert_eq!(bench.log(failing.uid, "main").await, "");
}

async fn volumes(bench: &Bench) {
    let mut plan = pod(
        "cat /etc/config/sub/key; stat -c %a /etc/config/sub/key; touch /etc/config/x && exit 1; cat /only; cat /shared/from-first",
    );
    plan.volumes = vec![
        Volume {
            name: "config".into(),
            source: VolumeSource::Files {
                files: vec![VolumeFile { path: "sub/key".into(), mode: 0o440, content: Content(b"value\n".to_vec()) }],
            },
        },
        Volume { name: "shared".into(), source: VolumeSource::EmptyDir { in_memory: false, size_limit: None } },
    ];
    let mount = |volume: &str, path: &str, sub: Option<&str>, read_only| Mount {
        volume: volume.into(),
        path: path.into(),
        sub_path: sub.map(str::to_owned),
        read_only,
    };
    plan.containers[0].mounts = vec![
        mount("config", "/etc/config", None, true),
        mount("config", "/only", Some("sub/key"), true),
        mount("shared", "/shared", None, true),
    ];
    plan.init_containers = vec![ContainerPlan {
        mounts: vec![mount("shared", "/s", None, false)],
        ..container(
            "first",
            "echo from first > /s/from-first; ln -s /etc /s/link 2>/dev/null || /bin/busybox ln -s /etc /s/link",
        )
    }];
    let report = bench.run(&plan).await;
    assert_eq!(report.phase, Phase::Succeeded, "{report:?} {}", bench.log(plan.uid, "main").await);
    assert!(bench.log(plan.uid, "main").await.contains("value\n440\n"));
    // A link that a container put there does not lead out of the volume.
    let mut tricky = plan.clone();
    tricky.uid = new_id();
    tricky.containers[0].mounts = vec![mount("shared", "/x", Some("link/passwd"), false)];
    let report = bench.run(&tricky).await;
    assert_eq!(report.reason.as_deref(), Some("StartError"), "{report:?}");
    assert!(report.message.as_deref().is_some_and(|text| text.contains("subPath")), "{report:?}");
}

async fn hostile(bench: &Bench) {
    let refuse = async |plan: PodPlan, word: &str| {
        bench.site.prepare(plan.uid).await.expect("prepared");
        match bench.site.submit(&plan).await {
            Err(SiteError::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{word}: {other:?}"),
        }
    };
    for image in ["--privileged", "localhost/x $(id)", "-v/:/host"] {
        let mut plan = pod("exit 0");
        plan.containers[0].image = image.into();
        refuse(plan, "not the name of an image").await;
    }
    let mut plan = pod("exit 0");
    plan.containers[0].image = "docker.io/library/busybox".into();
    refuse(plan, "localhost/").await;
    let mut plan = pod("exit 0");
    let source = VolumeSource::HostPath { path: "/etc".into(), expects: dte_compute::pod::HostPathKind::Any };
    plan.volumes = vec![Volume { name: "etc".into(), source }];
    refuse(plan, "hostPath /etc").await;
    let mut plan = pod("exit 0");
    plan.containers[0].extended = BTreeMap::from([("nvidia.com/gpu".to_owned(), 1)]);
    refuse(plan, "nvidia.com/gpu").await;
}

async fn restarts(bench: &Bench) {
    let mut plan = pod("echo x >> $DTE_OUTPUTS/tries; [ $(cat $DTE_OUTPUTS/tries | /bin/busybox wc -l) -ge 3 ]");
    plan.restart = RestartPolicy::OnFailure;
    let report = bench.run(&plan).await;
    assert_eq!((report.phase, report.containers[0].restarts), (Phase::Succeeded, 2), "{report:?}");
}

async fn cancelled_and_late(bench: &Bench) {
    let running = |report: &PodReport| report.phase == Phase::Running;
    let plan = pod("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done");
    bench.begin(&plan).await;
    bench.until(plan.uid, "running", running).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    bench.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.reason.as_deref(), report.exit_code()), (Some("Cancelled"), Some(7)), "{report:?}");
    let mut late = pod("trap '' TERM; while :; do sleep 0.1; done");
    late.deadline_seconds = Some(1);
    let report = bench.run(&late).await;
    assert_eq!((report.reason.as_deref(), report.exit_code()), (Some("DeadlineExceeded"), Some(137)), "{report:?}");
}

async fn adopted(bench: &mut Bench) {
    let plan = pod("echo begun >> $DTE_OUTPUTS/runs; sleep 3; echo through; exit 4");
    bench.begin(&plan).await;
    bench.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    bench.reopen().await;
    let report = bench.finish(plan.uid).await;
    assert_eq!(report.exit_code(), Some(4));
    assert_eq!(bench.log(plan.uid, "main").await, "through\n");
    let outputs = bench.site.prepare(plan.uid).await.expect("known").outputs;
    assert_eq!(fs::read_to_string(outputs.join("runs")).expect("runs"), "begun\n");
    bench.reopen().await;
    assert_eq!(bench.finish(plan.uid).await.exit_code(), Some(4));
}
