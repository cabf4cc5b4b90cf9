//! The `htcondor` plugin with programs that stand in for HTCondor's (`support/condor.py`): HTCondor's daemons cannot be had where
//! these tests run. With the package `htcondor` in `DTE_TEST_HTCONDOR_PYTHON`'s library, its own parser reads the descriptions
//! and its own ClassAds judge the constraints.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::units::Span;
use dte_compute::batch::BatchSite;
use dte_compute::htcondor::{self, FLAGS_ANNOTATION, HtcondorConfig};
use dte_compute::logs::LogQuery;
use dte_compute::pod::{ContainerPlan, Content, Limits, Mount, PodPlan, Volume, VolumeFile, VolumeSource};
use dte_compute::site::Cancellation;
use dte_compute::{Phase, PodReport, Site, SiteContext, SiteError};
use uuid::Uuid;

const PROGRAMS: [&str; 5] = ["condor_submit", "condor_q", "condor_rm", "condor_history", "condor_status"];

struct Engine {
    site: Arc<BatchSite>,
    tasks: Tasks,
}

/// HTCondor's programs, and the site that uses them.
fn pool(dir: &Path) -> Option<HtcondorConfig> {
    let python = std::env::var("DTE_TEST_HTCONDOR_PYTHON").unwrap_or_else(|_| "python3".into());
    let text = include_str!("support/condor.py").replacen("/usr/bin/env python3", &format!("/usr/bin/env {python}"), 1);
    if std::process::Command::new(&python).arg("-V").output().is_err() {
        println!("SKIPPED: there is no {python} to stand in for HTCondor");
        return None;
    }
    let programs = dir.join("programs");
    fs::create_dir_all(&programs).expect("a folder");
    for name in PROGRAMS {
        fs::write(programs.join(name), &text).expect("a program");
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    Some(HtcondorConfig {
        name: "pool".into(),
        folder: dir.join("shared"),
        programs: Some(programs),
        flags: vec!["requirements = HasDte".into()],
        allowed_flags: ["+TestHold", "concurrency_limits", "request_memory"].map(str::to_owned).to_vec(),
        poll: Span(Duration::from_secs(1)),
        file_lag: Span(Duration::from_secs(1)),
        held_for: Span(Duration::from_secs(2)),
        grace: Span(Duration::from_secs(2)),
        runner: Some(env!("CARGO_BIN_EXE_dte-pod-shim").into()),
        ..HtcondorConfig::default()
    })
}

fn pod(text: &str) -> PodPlan {
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

fn with_flags(text: &str, flags: &str) -> PodPlan {
    PodPlan { annotations: BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), flags.to_owned())]), ..pod(text) }
}

fn cancelled(reason: &str) -> Cancellation {
    Cancellation { reason: reason.into(), grace: None }
}

impl Engine {
    async fn start(config: &HtcondorConfig, data_dir: &Path) -> Engine {
        let tasks = Tasks::new();
        let context = SiteContext { data_dir: data_dir.to_path_buf(), sockets: Vec::new(), tasks: tasks.clone() };
        Engine { site: htcondor::open(config.clone(), &context).await.expect("the site"), tasks }
    }

    async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(5)).await);
    }

    async fn begin(&self, plan: &PodPlan) {
        self.site.prepare(plan.uid).await.expect("prepared");
        self.site.submit(plan).await.expect("submitted");
    }

    async fn until(&self, uid: Uuid, what: &str, is_so: impl Fn(&PodReport) -> bool) -> PodReport {
        let deadline = Instant::now() + Duration::from_secs(60);
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

    async fn log(&self, uid: Uuid) -> String {
        let chunk = self.site.log(uid, None, 0).await.expect("log");
        String::from_utf8(LogQuery::default().render(&chunk.lines)).expect("text")
    }
}

fn asked(config: &HtcondorConfig) -> String {
    let programs: PathBuf = config.programs.clone().unwrap_or_default();
    fs::read_to_string(programs.join("pool/asked")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_a_pool() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(config) = pool(dir.path()) else { return };
    let engine = Engine::start(&config, &dir.path().join("data")).await;
    let capacity = engine.site.capacity().await.expect("capacity");
    assert_eq!((capacity.cpu_millis, capacity.memory_bytes), (4_000, 1_000 << 20));
    assert!(!engine.site.capabilities().suspend);
    tokio::join!(
        life_cycle(&engine),
        ended_before_its_time(&engine),
        held_and_forgotten(&engine, &config),
        hostile(&engine, &config),
    );
    adopted_and_asked_once(engine, &config, &dir.path().join("data")).await;
}

async fn life_cycle(engine: &Engine) {
    let mut ended = engine.site.ended();
    let mut plan = pod("cat \"$DTE_INPUTS/in\"; echo \"$A\"; echo made > $DTE_OUTPUTS/o; exit 3");
    plan.containers[0].env.push(("A".into(), "it's \"$(B)\" $HOME `id`\nsecond".into()));
    plan.containers[0].limits = Limits { cpu_millis: Some(1_500), memory_bytes: Some(64 << 20), ..Limits::default() };
    plan.deadline_seconds = Some(100);
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    fs::write(staging.inputs.join("in"), "input\n").expect("input");
    engine.site.submit(&plan).await.expect("submitted");
    engine.site.submit(&plan).await.expect("submitted again");
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code(), report.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
    while ended.recv().await.expect("an end") != plan.uid {}
    assert_eq!(engine.log(plan.uid).await, "input\nit's \"$(B)\" $HOME `id`\nsecond\n");
    assert_eq!(fs::read_to_string(staging.outputs.join("o")).expect("output"), "made\n");
    engine.site.remove(plan.uid).await.expect("removed");
    assert!(engine.site.status(&[plan.uid]).await.expect("status").is_empty());
    // The runner is shot, and leaves no outcome.
    let shot = pod("kill -9 $PPID; kill -9 $(ps -o ppid= $PPID); sleep 20");
    engine.begin(&shot).await;
    let report = engine.finish(shot.uid).await;
    assert_eq!(report.phase, Phase::Failed);
    assert_ne!(report.exit_code(), Some(0), "{report:?}");
}

async fn ended_before_its_time(engine: &Engine) {
    let running = pod("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done");
    engine.begin(&running).await;
    engine.until(running.uid, "running", |report| report.phase == Phase::Running).await;
    while engine.log(running.uid).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(engine.site.suspend(running.uid).await, Err(SiteError::Refused(_))));
    engine.site.cancel(running.uid, &cancelled("Cancelled")).await.expect("cancelled");
    let report = engine.finish(running.uid).await;
    assert_eq!((report.reason.as_deref(), report.exit_code()), (Some("Cancelled"), Some(7)));
    let waiting = with_flags("touch $DTE_OUTPUTS/ran", "concurrency_limits=nobody");
    engine.begin(&waiting).await;
    let report = engine.until(waiting.uid, "explained", |report| report.reason.is_some()).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Pending, Some("HTCondorPending")));
    engine.site.cancel(waiting.uid, &cancelled("Cancelled")).await.expect("cancelled");
    assert_eq!(engine.finish(waiting.uid).await.reason.as_deref(), Some("Cancelled"));
    engine.site.submit(&waiting).await.expect("it is not run after all");
}

async fn held_and_forgotten(engine: &Engine, config: &HtcondorConfig) {
    let held = with_flags("exit 0", "+TestHold=6");
    let by_hand = with_flags("exit 0", "+TestHold=1");
    let greedy = with_flags("exit 0", "+TestHold=34");
    for plan in [&held, &by_hand, &greedy] {
        engine.begin(plan).await;
    }
    let report = engine.finish(held.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("JobHeld")));
    assert!(report.message.as_deref().is_some_and(|text| text.contains("cannot enter the folder")), "{report:?}");
    assert_ne!(report.exit_code(), Some(0));
    assert_eq!(engine.finish(greedy.uid).await.reason.as_deref(), Some("OOMKilled"));
    let report = engine.site.status(&[by_hand.uid]).await.expect("status").remove(0);
    assert_eq!(report.phase, Phase::Pending, "somebody holds it on purpose");
    // Somebody removes a job that never ran, behind our back.
    let program = config.programs.clone().unwrap_or_default().join("condor_rm");
    let constraint = format!("DtePod == \"{}\"", by_hand.uid);
    let status = std::process::Command::new(program).args(["-constraint", &constraint]).output().expect("condor_rm");
    assert!(status.status.success());
    let report = engine.finish(by_hand.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
    assert!(report.message.as_deref().is_some_and(|text| text.contains("via condor_rm")), "{report:?}");
}

async fn hostile(engine: &Engine, config: &HtcondorConfig) {
    for flags in
        ["request_memory=1\nexecutable=/bin/id", "executable=/bin/id", "request_memory=$(id)", "+DtePod=x", "queue=9"]
    {
        let plan = with_flags("exit 0", flags);
        engine.site.prepare(plan.uid).await.expect("prepared");
        match engine.site.submit(&plan).await {
            Err(SiteError::Refused(why)) => assert!(why.contains(FLAGS_ANNOTATION), "{why}"),
            other => panic!("{flags:?}: {other:?}"),
        }
        assert!(!asked(config).contains(&plan.uid.to_string()), "HTCondor was not asked");
    }
    let much = with_flags("exit 0", "request_memory=200000");
    engine.site.prepare(much.uid).await.expect("prepared");
    assert!(matches!(engine.site.submit(&much).await, Err(SiteError::Refused(why)) if why.contains("condor_submit")));
    let mut image = pod("exit 0");
    image.containers[0].image = "$(id)".into();
    engine.site.prepare(image.uid).await.expect("prepared");
    assert!(matches!(engine.site.submit(&image).await, Err(SiteError::Refused(_))));
}

/// A container program of the nodes, run for real. `conformance/runtimes/run.sh` says which: `DTE_TEST_RUNTIME` is its setting
/// as JSON, `DTE_TEST_IMAGE` an image with a shell that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_on_a_pool() {
    let (Ok(runtime), Ok(image)) = (std::env::var("DTE_TEST_RUNTIME"), std::env::var("DTE_TEST_IMAGE")) else {
        println!("SKIPPED images_on_a_pool: it needs a container program; run conformance/runtimes/run.sh");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let Some(config) = pool(dir.path()) else { return };
    let config =
        HtcondorConfig { container: Some(serde_json::from_str(&runtime).expect("a container program")), ..config };
    let engine = Engine::start(&config, &dir.path().join("data")).await;
    assert!(engine.site.capabilities().runs_image(&image));
    let hostile = "it's \"$(B)\" $HOME `id` $(id) ; --privileged";
    let mut plan = pod(
        "echo \"$A\"; cat \"$DTE_INPUTS/in\" /etc/files/k; echo $1; echo made > $DTE_OUTPUTS/o; touch /scratch/x; [ -e /scratch/x ] && echo x; exit 5",
    );
    let container = &mut plan.containers[0];
    container.image = image.clone();
    container.argv.extend(["zero", "a $$(id) b"].map(str::to_owned));
    container.env.push(("A".into(), hostile.into()));
    let mount =
        |volume: &str, path: &str| Mount { volume: volume.into(), path: path.into(), sub_path: None, read_only: false };
    container.mounts = vec![mount("f", "/etc/files"), mount("e", "/scratch")];
    let file = VolumeFile { path: "k".into(), mode: 0o444, content: Content(b"a file\n".to_vec()) };
    plan.volumes = vec![
        Volume { name: "f".into(), source: VolumeSource::Files { files: vec![file] } },
        Volume { name: "e".into(), source: VolumeSource::EmptyDir { in_memory: false, size_limit: None } },
    ];
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    fs::write(staging.inputs.join("in"), "input\n").expect("input");
    engine.site.submit(&plan).await.expect("submitted");
    let report = engine.finish(plan.uid).await;
    assert_eq!(engine.log(plan.uid).await, format!("{hostile}\ninput\na file\na $(id) b\nx\n"), "{report:?}");
    assert_eq!((report.phase, report.exit_code()), (Phase::Failed, Some(5)));
    assert_eq!(fs::read_to_string(staging.outputs.join("o")).expect("output"), "made\n");
    // The machine's own programs beside it, and an end before its time.
    let mut long = pod("trap '' TERM; echo up; while :; do touch $DTE_OUTPUTS/alive; sleep 1; done");
    long.containers[0].image = image;
    engine.begin(&long).await;
    engine.until(long.uid, "running", |report| report.phase == Phase::Running).await;
    while engine.log(long.uid).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    engine.site.cancel(long.uid, &cancelled("Cancelled")).await.expect("cancelled");
    assert_eq!(engine.finish(long.uid).await.reason.as_deref(), Some("Cancelled"));
    let alive = engine.site.prepare(long.uid).await.expect("its folder").outputs.join("alive");
    fs::remove_file(&alive).expect("it lived");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!alive.exists(), "it lives on");
    let host = pod("exit 0");
    engine.begin(&host).await;
    assert_eq!(engine.finish(host.uid).await.phase, Phase::Succeeded);
    println!("images_on_a_pool: all scenarios held");
    engine.stop().await;
}

/// Another engine goes on with what the first began, and asks once in an interval for all.
async fn adopted_and_asked_once(engine: Engine, config: &HtcondorConfig, data_dir: &Path) {
    let plans: Vec<PodPlan> = (0..8).map(|n| pod(&format!("sleep 3; echo {n}; exit {n}"))).collect();
    for plan in &plans {
        engine.begin(plan).await;
    }
    engine.stop().await;
    let before = asked(config).lines().count();
    let begun = Instant::now();
    let engine = Engine::start(config, data_dir).await;
    for (n, plan) in plans.iter().enumerate() {
        let report = engine.finish(plan.uid).await;
        assert_eq!(report.exit_code(), i32::try_from(n).ok(), "{report:?}");
        assert_eq!(engine.log(plan.uid).await, format!("{n}\n"));
    }
    let (times, intervals) = (asked(config).lines().count() - before, begun.elapsed().as_secs() as usize + 2);
    assert!(times <= intervals, "HTCondor was asked {times} times in {intervals} intervals");
    engine.stop().await;
}
