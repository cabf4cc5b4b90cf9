//! The `slurm` plugin through the real `slurmrestd`, without any of Slurm's commands.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use dte_compute::pod::{Limits, PodPlan};
use dte_compute::site::Cancellation;
use dte_compute::slurm::{FLAGS_ANNOTATION, RestConfig, SlurmConfig};
use dte_compute::{Phase, Site, SiteError};
use support::{Engine, Slurm, may_change_the_system, pod};

fn with_flags(text: &str, flags: &str) -> PodPlan {
    PodPlan { annotations: BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), flags.to_owned())]), ..pod(text) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pods_through_slurms_http_daemon() {
    if !may_change_the_system("pods_through_slurms_http_daemon") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    // The daemon has an account of its own.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("a folder");
    let slurm = Slurm::start(&dir.path().join("slurm"), &[("DTE_SLURM_REST", "1")]);
    let rest = RestConfig {
        url: format!("unix://{}", slurm.dir.join("rest/socket").display()),
        version: "v0.0.38".into(),
        user: "root".into(),
        token_file: Some(slurm.dir.join("token")),
        ca: None,
    };
    let config = SlurmConfig {
        rest: Some(rest.clone()),
        programs: Some("/nowhere".into()),
        conf: None,
        ..slurm.config(&dir.path().join("shared"))
    };
    let engine = Engine::start(&config, &dir.path().join("data")).await;
    let capacity = engine.site.capacity().await.expect("capacity");
    assert_eq!((capacity.cpu_millis, capacity.memory_bytes), (32_000, 16_000 << 20));
    tokio::join!(
        life_cycle(&engine, &slurm),
        what_is_refused(&engine),
        cancelled(&engine, &slurm),
        ended_from_outside(&engine, &slurm),
    );
    let engine = adopted(engine, &config, &dir.path().join("data")).await;
    engine.stop().await;
    without_a_good_token(&slurm, &config, rest, dir.path()).await;
}

async fn life_cycle(engine: &Engine, slurm: &Slurm) {
    let mut plan =
        with_flags("cat \"$DTE_INPUTS/in\"; echo made > $DTE_OUTPUTS/o; exit 3", "-p short -t 1 --job-name=mine");
    plan.containers[0].limits = Limits { cpu_millis: Some(1_500), memory_bytes: Some(64 << 20), ..Limits::default() };
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    fs::write(staging.inputs.join("in"), "input\n").expect("input");
    engine.site.submit(&plan).await.expect("submitted");
    engine.site.submit(&plan).await.expect("submitted again");
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code()), (Phase::Failed, Some(3)), "{report:?}");
    assert_eq!(fs::read_to_string(staging.outputs.join("o")).expect("output"), "made\n");
    assert_eq!(engine.log(plan.uid, 0).await.0, "input\n");
    let job = slurm.command("squeue", &["-h", "-t", "all", "-n", &plan.uid.to_string(), "-o", "%P %l %k %m %c"]);
    assert_eq!(job, "short 1:00 mine 64M 2\n");
    let mut gpu = pod("echo GPU $CUDA_VISIBLE_DEVICES");
    gpu.containers[0].extended = BTreeMap::from([("nvidia.com/gpu".to_owned(), 1)]);
    assert_eq!(engine.run(&gpu).await.phase, Phase::Succeeded);
    let log = engine.log(gpu.uid, 0).await.0;
    assert!(["GPU 0\n", "GPU 1\n"].contains(&log.as_str()), "{log}");
    match engine.site.suspend(gpu.uid).await {
        Err(SiteError::Refused(why)) => assert!(why.contains("cannot suspend"), "{why}"),
        other => panic!("{other:?}"),
    }
}

async fn what_is_refused(engine: &Engine) {
    let mut big = pod("exit 0");
    big.containers[0].limits.memory_bytes = Some(1 << 44);
    for (plan, word) in [(big, "slurmrestd"), (with_flags("exit 0", "--hint=nomultithread"), "--hint")] {
        engine.site.prepare(plan.uid).await.expect("prepared");
        match engine.site.submit(&plan).await {
            Err(SiteError::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

async fn cancelled(engine: &Engine, slurm: &Slurm) {
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    let queued = with_flags("touch $DTE_OUTPUTS/ran", "--begin=now+86400");
    engine.begin(&queued).await;
    let waiting =
        engine.until(queued.uid, "explained", |r| r.message.as_deref().is_some_and(|m| m.contains("BeginTime"))).await;
    assert_eq!((waiting.phase, waiting.reason.as_deref()), (Phase::Pending, Some("SlurmPending")));
    engine.site.cancel(queued.uid, &how).await.expect("cancelled");
    let report = engine.finish(queued.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
    assert_eq!(slurm.command("squeue", &["-h", "-t", "pending", "-n", &queued.uid.to_string()]), "");
    let plan = pod("echo up; while :; do sleep 0.1; done");
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    engine.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = engine.finish(plan.uid).await;
    // All processes hear of it at once: how its own end, nobody knows.
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")), "{report:?}");
    assert_ne!(report.exit_code(), Some(0), "{report:?}");
}

async fn ended_from_outside(engine: &Engine, slurm: &Slurm) {
    let plan = pod("while :; do sleep 0.2; done");
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    slurm.command("scancel", &["-n", &plan.uid.to_string()]);
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code() == Some(0)), (Phase::Failed, false), "{report:?}");
}

/// Another engine goes on with what the first began.
async fn adopted(engine: Engine, config: &SlurmConfig, data_dir: &std::path::Path) -> Engine {
    let plans: Vec<PodPlan> = (0..8).map(|n| pod(&format!("sleep 3; echo {n}; exit {n}"))).collect();
    for plan in &plans {
        engine.begin(plan).await;
    }
    engine.stop().await;
    let engine = Engine::start(config, data_dir).await;
    for (n, plan) in plans.iter().enumerate() {
        assert_eq!(engine.finish(plan.uid).await.exit_code(), i32::try_from(n).ok());
        assert_eq!(engine.log(plan.uid, 0).await.0, format!("{n}\n"));
    }
    engine
}

/// What is wrong with it is told, and no token is.
async fn without_a_good_token(slurm: &Slurm, config: &SlurmConfig, rest: RestConfig, dir: &std::path::Path) {
    let token = fs::read_to_string(slurm.dir.join("token")).expect("a token");
    let spoilt = dir.join("spoilt");
    fs::write(&spoilt, token.trim().chars().rev().collect::<String>()).expect("a token");
    let config = SlurmConfig { rest: Some(RestConfig { token_file: Some(spoilt.clone()), ..rest }), ..config.clone() };
    let engine = Engine::start(&config, &dir.join("other")).await;
    let plan = pod("exit 0");
    engine.site.prepare(plan.uid).await.expect("prepared");
    let error = engine.site.submit(&plan).await.expect_err("no right").to_string();
    let told = fs::read_to_string(&spoilt).expect("a token");
    assert!(!error.contains(&told) && error.contains("slurmrestd"), "{error}");
    assert_eq!(slurm.command("squeue", &["-h", "-t", "all", "-n", &plan.uid.to_string()]), "");
    engine.stop().await;
}
