//! The `arc` plugin against a real A-REX. The computing element is started by `conformance/arc/run.sh`, which names a folder with
//! what is needed to reach it in `DTE_TEST_ARC`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::units::Span;
use dte_compute::arc::{ArcConfig, ArcSite};
use dte_compute::logs::LogQuery;
use dte_compute::pod::{ContainerPlan, Limits, PodPlan};
use dte_compute::site::Cancellation;
use dte_compute::{Phase, PodReport, Site, SiteContext, SiteError};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);

struct Engine {
    site: Arc<ArcSite>,
    tasks: Tasks,
}

fn config(place: &Path) -> ArcConfig {
    let text = |name: &str| std::fs::read_to_string(place.join(name)).expect(name).trim().to_owned();
    ArcConfig {
        url: text("url"),
        ca: Some(place.join("ca.pem")),
        certificate: Some(place.join("user.pem")),
        key: Some(place.join("user.key")),
        poll: Span(Duration::from_secs(1)),
        runner: Some(env!("CARGO_BIN_EXE_dte-pod-shim").into()),
        ..ArcConfig::default()
    }
}

fn pod(script: &str) -> PodPlan {
    PodPlan {
        uid: new_id(),
        namespace: "default".into(),
        name: "p".into(),
        containers: vec![container("main", script)],
        ..PodPlan::default()
    }
}

fn container(name: &str, script: &str) -> ContainerPlan {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    ContainerPlan { name: name.into(), image: "host".into(), argv, ..ContainerPlan::default() }
}

impl Engine {
    async fn start(config: ArcConfig, data_dir: &Path) -> Engine {
        let tasks = Tasks::new();
        let context = SiteContext { data_dir: data_dir.to_path_buf(), sockets: Vec::new(), tasks: tasks.clone() };
        Engine { site: ArcSite::open(config, &context).await.expect("the site"), tasks }
    }

    async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(30)).await);
    }

    async fn begin(&self, plan: &PodPlan) {
        self.site.prepare(plan.uid).await.expect("prepared");
        self.site.submit(plan).await.expect("submitted");
    }

    async fn until(&self, uid: Uuid, what: &str, is_so: impl Fn(&PodReport) -> bool) -> PodReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.site.status(&[uid]).await.expect("status").remove(0);
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "not {what}: {report:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn finish(&self, uid: Uuid) -> PodReport {
        self.until(uid, "ended", |report| report.phase.is_terminal()).await
    }

    async fn log(&self, uid: Uuid, container: Option<&str>, from: u64) -> (String, u64, bool) {
        let chunk = self.site.log(uid, container, from).await.expect("a log");
        (String::from_utf8(LogQuery::default().render(&chunk.lines)).expect("text"), chunk.next, chunk.complete)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_a_real_computing_element() {
    let Some(place) = std::env::var_os("DTE_TEST_ARC").map(PathBuf::from) else {
        println!("SKIPPED pods_on_a_real_computing_element: it needs A-REX; run conformance/arc/run.sh");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(config(&place), &dir.path().join("data")).await;
    // Runs on while another engine takes over.
    let long = pod("echo before; sleep 12; echo after; echo kept > \"$DTE_OUTPUTS/late\"");
    tokio::join!(
        life_cycle(&engine),
        logs_that_follow(&engine),
        ended_before_its_time(&engine),
        what_is_refused(&engine, &place, dir.path()),
        engine.begin(&long),
    );
    engine.stop().await;
    let engine = Engine::start(config(&place), &dir.path().join("data")).await;
    let report = engine.finish(long.uid).await;
    assert_eq!((report.phase, report.exit_code()), (Phase::Succeeded, Some(0)), "{report:?}");
    assert_eq!(engine.log(long.uid, None, 0).await.0, "before\nafter\n");
    let outputs = engine.site.prepare(long.uid).await.expect("its folders").outputs;
    assert_eq!(std::fs::read_to_string(outputs.join("late")).expect("an output"), "kept\n");
    engine.site.remove(long.uid).await.expect("removed");
    engine.stop().await;
    println!("pods_on_a_real_computing_element: all scenarios held");
}

async fn life_cycle(engine: &Engine) {
    let mut ended = engine.site.ended();
    let hostile = "it's \"$(B)\" $HOME `id` <&>\nsecond";
    let mut plan = pod(
        "echo \"$A\"; cat \"$DTE_INPUTS/a dir/<in>&\"; mkdir -p \"$DTE_OUTPUTS/x y\"; printf made > \"$DTE_OUTPUTS/x y/o&\"; exit 3",
    );
    plan.init_containers = vec![container("first", "echo ready")];
    plan.containers[0].env = vec![("A".into(), hostile.into())];
    plan.containers[0].limits = Limits { cpu_millis: Some(500), memory_bytes: Some(64 << 20), ..Limits::default() };
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    std::fs::create_dir_all(staging.inputs.join("a dir")).expect("a folder");
    std::fs::write(staging.inputs.join("a dir/<in>&"), "staged\n").expect("an input");
    engine.site.submit(&plan).await.expect("submitted");
    engine.site.submit(&plan).await.expect("submitted again");
    assert!(matches!(engine.site.remove(plan.uid).await, Err(SiteError::Refused(_))));
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code(), report.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
    assert_eq!(report.init_containers[0].state.exit_code(), Some(0));
    while ended.recv().await.expect("an end") != plan.uid {}
    let (log, _, complete) = engine.log(plan.uid, None, 0).await;
    assert_eq!((&log[..], complete), (&format!("{hostile}\nstaged\n")[..], true));
    assert_eq!(engine.log(plan.uid, Some("first"), 0).await.0, "ready\n");
    assert_eq!(std::fs::read_to_string(staging.outputs.join("x y/o&")).expect("an output"), "made");
    engine.site.remove(plan.uid).await.expect("removed");
    engine.site.remove(plan.uid).await.expect("removed again");
    assert!(engine.site.status(&[plan.uid]).await.expect("status").is_empty());
}

async fn logs_that_follow(engine: &Engine) {
    let plan = pod("for n in $(seq 1 16); do echo line $n; sleep 0.5; done; printf end");
    engine.begin(&plan).await;
    let (mut seen, mut from, mut pieces) = (String::new(), 0, 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (text, next, complete) = engine.log(plan.uid, None, from).await;
        pieces += usize::from(!text.is_empty());
        seen.push_str(&text);
        from = next;
        if complete {
            break;
        }
        assert!(Instant::now() < deadline, "the log does not end: {seen:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let wanted: String = (1..=16).map(|n| format!("line {n}\n")).collect();
    assert_eq!(seen.trim_end(), format!("{wanted}end"));
    println!("a followed log came in {pieces} pieces");
    engine.site.remove(plan.uid).await.expect("removed");
}

async fn ended_before_its_time(engine: &Engine) {
    let plan = pod("echo up; while :; do sleep 0.1; done");
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    engine.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")), "{report:?}");
    assert_ne!(report.exit_code(), Some(0));
    engine.site.cancel(plan.uid, &how).await.expect("left alone");
    engine.site.remove(plan.uid).await.expect("removed");
}

async fn what_is_refused(engine: &Engine, place: &Path, dir: &Path) {
    let mut with_gpu = pod("true");
    with_gpu.containers[0].extended.insert("nvidia.com/gpu".into(), 1);
    let refused = |outcome: Result<(), SiteError>| match outcome {
        Err(SiteError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    engine.site.prepare(with_gpu.uid).await.expect("prepared");
    assert!(refused(engine.site.submit(&with_gpu).await).contains("GPU"));
    let elsewhere = ArcConfig { queue: Some("no-such-queue".into()), ..config(place) };
    let other = Engine::start(elsewhere, &dir.join("other")).await;
    let plan = pod("true");
    other.site.prepare(plan.uid).await.expect("prepared");
    let why = refused(other.site.submit(&plan).await);
    assert!(why.contains("no-such-queue") || why.contains("queue"), "{why}");
    other.site.remove(plan.uid).await.expect("removed");
    other.stop().await;
}
