//! The `slurm` plugin against the real Slurm.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_compute::pod::{ContainerPlan, Limits, PodPlan};
use dte_compute::site::Cancellation;
use dte_compute::slurm::{FLAGS_ANNOTATION, SlurmConfig, WallsSetting};
use dte_compute::{ContainerState, ExecInput, ExecOrder, ExecOutput, Phase, Site, SiteError};
use support::{Engine, Slurm, may_change_the_system, pod};
use uuid::Uuid;

/// Pods of the test in which the engine is killed.
const KILLED_PODS: usize = 120;
const KILLS: usize = 4;
const CHILD: &str = "DTE_TEST_SLURM_CHILD";

fn cancelled(reason: &str) -> Cancellation {
    Cancellation { reason: reason.into(), grace: None }
}

/// One Slurm for all, since starting one takes longer than most of what is tried on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pods_on_a_real_slurm() {
    if !may_change_the_system("pods_on_a_real_slurm") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let slurm = Slurm::start(&dir.path().join("slurm"), &[("DTE_SLURM_MIN_JOB_AGE", "300")]);
    let config = slurm.config(&dir.path().join("shared"));
    let engine = Engine::start(&config, &dir.path().join("data")).await;
    let capacity = engine.site.capacity().await.expect("capacity");
    assert_eq!((capacity.cpu_millis, capacity.memory_bytes), (32_000, 16_000 << 20));
    tokio::join!(
        async {
            life_cycle(&engine).await;
            hostile_annotations(&engine, &slurm).await;
            what_slurm_refuses(&engine).await;
        },
        inside(&engine, None),
        async {
            logs_that_follow(&engine).await;
            cancelled_while_running(&engine, &slurm).await;
        },
        async {
            cancelled_while_queued(&engine, &slurm).await;
            standing_still(&engine).await;
        },
        time_limit_of_slurm(&engine),
        killed_from_outside(&engine, &slurm),
    );
    behind_walls(&slurm, dir.path()).await;
    let queries = adopted_and_asked_once(engine, &config, &dir.path().join("data")).await;
    println!("squeue ran {queries} times");
    println!("pods_on_a_real_slurm: all scenarios held");
}

/// Two pods with user ids of their own: neither sees the other's folder, nor anything of the site.
async fn behind_walls(slurm: &Slurm, dir: &Path) {
    let config = SlurmConfig {
        name: "walled".into(),
        walls: WallsSetting::OtherUser,
        uid_first: 630_000,
        ..slurm.config(&dir.join("walled"))
    };
    let engine = Engine::start(&config, &dir.join("data")).await;
    assert!(engine.site.capabilities().sandbox.holds());
    let first = pod("id -u; touch $DTE_OUTPUTS/o; sleep 5");
    engine.begin(&first).await;
    engine.until(first.uid, "running", |report| report.phase == Phase::Running).await;
    let runs = dir.join("walled/runs");
    let second = pod(&format!(
        "id -u; ls {} | grep -c -v $(basename $DTE_RUN_DIR); cat {}/job.sh",
        runs.display(),
        runs.join(first.uid.to_string()).display()
    ));
    let report = engine.run(&second).await;
    assert_eq!(report.exit_code(), Some(1), "{report:?}");
    let (log, ..) = engine.log(second.uid, 0).await;
    assert!(log.starts_with("630001\n0\n") && log.contains("No such file"), "{log}");
    assert_eq!(engine.finish(first.uid).await.phase, Phase::Succeeded);
    assert_eq!(engine.log(first.uid, 0).await.0, "630000\n");
    inside(&engine, Some(630_000..630_010)).await;
    engine.stop().await;
}

/// What a program said, and how it ended.
async fn collect(engine: &Engine, order: &ExecOrder, input: &[ExecInput]) -> (String, String, ExecOutput) {
    let mut session = engine.site.exec(order).await.expect("a session");
    for one in input {
        session.input.send(one.clone()).await.expect("sent");
    }
    let (mut said, mut complained) = (String::new(), String::new());
    loop {
        let next = tokio::time::timeout(Duration::from_secs(120), session.output.recv()).await;
        match next.unwrap_or_else(|_| panic!("nothing after {said}{complained}")).expect("an end") {
            ExecOutput::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Stderr(bytes) => complained.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::StdoutEnd => {}
            end => return (said, complained, end),
        }
    }
}

/// Programs in a pod whose job runs, behind its walls: as one of these users.
async fn inside(engine: &Engine, users: Option<std::ops::Range<u32>>) {
    let mut plan = pod("while :; do sleep 0.1; done");
    plan.containers[0].env.push(("A".into(), "of the pod".into()));
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    let order = |text: &str, stdin: bool, tty: bool| ExecOrder {
        uid: plan.uid,
        container: Some("main".into()),
        argv: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
        stdin,
        tty,
    };
    let input = [ExecInput::Stdin(b"typed\n".to_vec()), ExecInput::StdinEnd];
    let seen = collect(engine, &order("cat; echo $A; echo bad >&2; exit 7", true, false), &input).await;
    assert_eq!(seen, ("typed\nof the pod\n".into(), "bad\n".into(), ExecOutput::Exit { exit_code: 7 }));
    without_a_lines_end(engine, &order("test -t 1 && echo terminal; printf prompt; cat", true, false)).await;
    if let Some(users) = users {
        let (seen, _, _) =
            collect(engine, &order("id -u; cat $DTE_RUN_DIR/job.sh || echo unseen", false, false), &[]).await;
        let (user, rest) = seen.split_once('\n').expect("a line");
        assert!(users.contains(&user.parse().expect("a number")) && rest == "unseen\n", "{seen}");
    }
    // Whoever lets go ends the program, and the pod goes on.
    let mark = format!("77.{}", u32::from_str_radix(&plan.uid.simple().to_string()[24..], 16).expect("a number"));
    let wanted = format!("sleep\0{mark}\0").into_bytes();
    let runs = || {
        let named = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted);
        fs::read_dir("/proc").expect("proc").flatten().any(named)
    };
    let until = async |wanted: bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while runs() != wanted {
            assert!(Instant::now() < deadline, "never {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let session = engine.site.exec(&order(&format!("exec sleep {mark}"), false, false)).await.expect("a session");
    until(true).await;
    let given = given_to_runner(&mark);
    assert!(!given.is_empty() && !given.contains("CARGO_MANIFEST_DIR"), "the engine's environment went along: {given}");
    drop(session);
    until(false).await;
    assert_eq!(engine.report(plan.uid).await.phase, Phase::Running);

    let refused = async |order: &ExecOrder, word: &str| match engine.site.exec(order).await {
        Err(SiteError::Refused(why)) => assert!(why.contains(word), "{why}"),
        other => panic!("{word}: {other:?}"),
    };
    refused(&order("true", true, true), "no terminals").await;
    refused(&ExecOrder { container: Some("nobody".into()), ..order("true", false, false) }, "nobody").await;
    engine.site.cancel(plan.uid, &cancelled("Cancelled")).await.expect("cancelled");
    engine.finish(plan.uid).await;
    refused(&order("true", false, false), "does not run").await;
}

/// What is said is heard before the program waits for an answer, although no line ends there.
async fn without_a_lines_end(engine: &Engine, order: &ExecOrder) {
    let mut session = engine.site.exec(order).await.expect("a session");
    let mut said = Vec::new();
    while said != b"prompt" {
        let next = tokio::time::timeout(Duration::from_secs(60), session.output.recv()).await;
        match next.expect("it is withheld").expect("an end") {
            ExecOutput::Stdout(bytes) => said.extend(bytes),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&said)),
        }
    }
    session.input.send(ExecInput::StdinEnd).await.expect("sent");
    while let Some(next) = session.output.recv().await {
        if let ExecOutput::Exit { exit_code } = next {
            assert_eq!(exit_code, 0);
            return;
        }
    }
    panic!("it has no end");
}

/// The environment of the runner that brought the program of this mark in.
fn given_to_runner(mark: &str) -> String {
    let text = |entry: &fs::DirEntry, name: &str| {
        String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default()).into_owned()
    };
    let is_it = |entry: &fs::DirEntry| {
        let line = text(entry, "cmdline");
        line.contains("\0pod-enter\0") && line.contains(mark) && !line.contains("--jobid")
    };
    let mut all = fs::read_dir("/proc").expect("proc").flatten();
    all.find(is_it).map(|entry| text(&entry, "environ")).unwrap_or_default()
}

async fn life_cycle(engine: &Engine) {
    let mut ended = engine.site.ended();
    let mut plan = pod("cat \"$DTE_INPUTS/in\"; echo $A; echo made > $DTE_OUTPUTS/o; exit 3");
    plan.containers[0].env.push(("A".into(), "it's \"$(B)\" $HOME `id`\nsecond".into()));
    plan.init_containers.push(ContainerPlan { name: "first".into(), ..pod("echo ready").containers.remove(0) });
    plan.containers[0].limits = Limits { cpu_millis: Some(1_500), memory_bytes: Some(64 << 20), ..Limits::default() };
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    fs::write(staging.inputs.join("in"), "input\n").expect("input");
    engine.site.submit(&plan).await.expect("submitted");
    engine.site.submit(&plan).await.expect("submitted again");
    let report = engine.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code(), report.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
    assert_eq!(report.init_containers[0].state.exit_code(), Some(0));
    loop {
        if ended.recv().await.expect("an end") == plan.uid {
            break;
        }
    }
    assert_eq!(fs::read_to_string(staging.outputs.join("o")).expect("output"), "made\n");
    let (log, _, complete) = engine.log(plan.uid, 0).await;
    assert!(complete && log.starts_with("input\n") && log.contains("`id`"), "{log}");
    engine.site.remove(plan.uid).await.expect("removed");
    assert!(engine.site.status(&[plan.uid]).await.expect("status").is_empty());
    assert!(!staging.outputs.exists());
    assert_eq!(engine.run(&pod("exit 0")).await.phase, Phase::Succeeded);
}

async fn hostile_annotations(engine: &Engine, slurm: &Slurm) {
    for flags in ["--time=1\n#SBATCH --comment=x", "--uid=0", "--wrap=id", "--time=$(id)", "--account=rich", "-o/etc/x"]
    {
        let mut plan = pod("exit 0");
        plan.annotations = BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), flags.to_owned())]);
        engine.site.prepare(plan.uid).await.expect("prepared");
        match engine.site.submit(&plan).await {
            Err(SiteError::Refused(why)) => assert!(why.contains(FLAGS_ANNOTATION), "{why}"),
            other => panic!("{flags:?}: {other:?}"),
        }
        assert_eq!(slurm.command("squeue", &["-h", "-t", "all", "-n", &plan.uid.to_string()]), "");
    }
    let mut plan = pod("exit 0");
    plan.annotations =
        BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), "-p short -t 1 --job-name=mine --mem=10".to_owned())]);
    plan.containers[0].limits.memory_bytes = Some(50 << 20);
    assert_eq!(engine.run(&plan).await.phase, Phase::Succeeded);
    let job = slurm.command("squeue", &["-h", "-t", "all", "-n", &plan.uid.to_string(), "-o", "%P %l %k %m"]);
    assert_eq!(job.trim(), "short 1:00 mine 50M");
}

async fn what_slurm_refuses(engine: &Engine) {
    let mut plan = pod("exit 0");
    plan.containers[0].limits.memory_bytes = Some(1 << 44);
    engine.site.prepare(plan.uid).await.expect("prepared");
    match engine.site.submit(&plan).await {
        Err(SiteError::Refused(why)) => assert!(why.contains("sbatch"), "{why}"),
        other => panic!("{other:?}"),
    }
    engine.site.remove(plan.uid).await.expect("nothing of it is left");
    let mut many = pod("exit 0");
    many.containers[0].extended = BTreeMap::from([("nvidia.com/gpu".to_owned(), 9)]);
    engine.site.prepare(many.uid).await.expect("prepared");
    assert!(matches!(engine.site.submit(&many).await, Err(SiteError::Refused(_))));
    let mut gpu = pod("echo GPU $CUDA_VISIBLE_DEVICES");
    gpu.containers[0].extended = BTreeMap::from([("nvidia.com/gpu".to_owned(), 1)]);
    assert_eq!(engine.run(&gpu).await.phase, Phase::Succeeded);
    let (log, ..) = engine.log(gpu.uid, 0).await;
    assert!(["GPU 0\n", "GPU 1\n"].contains(&log.as_str()), "{log}");
    let mut strange = pod("exit 0");
    strange.containers[0].extended = BTreeMap::from([("example.com/fpga".to_owned(), 1)]);
    engine.site.prepare(strange.uid).await.expect("prepared");
    match engine.site.submit(&strange).await {
        Err(SiteError::Refused(why)) => assert!(why.contains("example.com/fpga"), "{why}"),
        other => panic!("{other:?}"),
    }
}

async fn logs_that_follow(engine: &Engine) {
    let plan = pod("for n in 1 2 3; do echo line $n; sleep 1; done; printf end");
    engine.begin(&plan).await;
    let (mut seen, mut from, mut pieces) = (String::new(), 0, 0);
    loop {
        let (text, next, complete) = engine.log(plan.uid, from).await;
        pieces += usize::from(!text.is_empty());
        seen.push_str(&text);
        from = next;
        if complete {
            break;
        }
        engine.report(plan.uid).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(seen, "line 1\nline 2\nline 3\nend");
    assert!(pieces > 1, "the log came in one piece");
}

async fn cancelled_while_running(engine: &Engine, slurm: &Slurm) {
    let polite = pod("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done");
    let stubborn = pod("trap '' TERM; echo up; while :; do sleep 0.1; done");
    for (plan, code) in [(&polite, 7), (&stubborn, 137)] {
        engine.begin(plan).await;
        engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
        while engine.log(plan.uid, 0).await.0.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        engine.site.cancel(plan.uid, &cancelled("Cancelled")).await.expect("cancelled");
        let report = engine.finish(plan.uid).await;
        assert_eq!((report.reason.as_deref(), report.exit_code()), (Some("Cancelled"), Some(code)));
    }
    let said = engine.log(polite.uid, 0).await.0;
    assert!(said.starts_with("up\n") && said.ends_with("bye\n"), "{said}");
    engine.site.cancel(polite.uid, &cancelled("Again")).await.expect("left alone");
    assert_eq!(engine.report(polite.uid).await.reason.as_deref(), Some("Cancelled"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(slurm.command("squeue", &["-h", "-t", "running", "-n", &stubborn.uid.to_string()]), "");
}

async fn cancelled_while_queued(engine: &Engine, slurm: &Slurm) {
    let mut plan = pod("echo ran > /dev/null; touch $DTE_OUTPUTS/ran");
    // Tomorrow.
    plan.annotations = BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), "--begin=now+86400".to_owned())]);
    engine.begin(&plan).await;
    let waiting =
        engine.until(plan.uid, "explained", |r| r.message.as_deref().is_some_and(|m| m.contains("BeginTime"))).await;
    assert_eq!((waiting.phase, waiting.reason.as_deref()), (Phase::Pending, Some("SlurmPending")));
    let staging = engine.site.prepare(plan.uid).await.expect("prepared");
    assert!(matches!(engine.site.remove(plan.uid).await, Err(SiteError::Refused(_))));
    engine.site.cancel(plan.uid, &cancelled("Cancelled")).await.expect("cancelled");
    let report = engine.report(plan.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
    assert_ne!(report.exit_code(), Some(0));
    assert_eq!(slurm.command("squeue", &["-h", "-t", "pending", "-n", &plan.uid.to_string()]), "");
    assert!(!staging.outputs.join("ran").exists());
    engine.site.submit(&plan).await.expect("it is not run after all");
    assert_eq!(engine.report(plan.uid).await.phase, Phase::Failed);
}

async fn standing_still(engine: &Engine) {
    let plan = pod("n=0; while [ $n -lt 20 ]; do n=$((n+1)); echo $n; sleep 0.1; done");
    engine.begin(&plan).await;
    engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    engine.site.suspend(plan.uid).await.expect("suspended");
    engine.until(plan.uid, "suspended", |report| report.reason.as_deref() == Some("Suspended")).await;
    let before = engine.log(plan.uid, 0).await.0;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(engine.log(plan.uid, 0).await.0.lines().count() <= before.lines().count() + 1);
    engine.site.resume(plan.uid).await.expect("resumed");
    assert_eq!(engine.finish(plan.uid).await.phase, Phase::Succeeded);
}

/// The partition's limit of a minute, which the pod knows nothing of.
async fn time_limit_of_slurm(engine: &Engine) {
    let mut by_slurm = pod("while :; do sleep 0.2; done");
    by_slurm.annotations = BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), "-p short".to_owned())]);
    let mut by_itself = pod("while :; do sleep 0.2; done");
    by_itself.deadline_seconds = Some(2);
    engine.begin(&by_slurm).await;
    let report = engine.run(&by_itself).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("DeadlineExceeded")));
    let report = engine.finish(by_slurm.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("DeadlineExceeded")), "{report:?}");
    assert!(report.message.as_deref().is_some_and(|text| text.contains("SlurmJobTimeout")), "{report:?}");
    assert_ne!(report.exit_code(), Some(0));
}

async fn killed_from_outside(engine: &Engine, slurm: &Slurm) {
    let told = pod("while :; do sleep 0.2; done");
    let shot = pod("while :; do sleep 0.2; done");
    for plan in [&told, &shot] {
        engine.begin(plan).await;
        engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
    }
    slurm.command("scancel", &["-n", &told.uid.to_string()]);
    slurm.command("scancel", &["--signal=KILL", "--full", "-n", &shot.uid.to_string()]);
    let report = engine.finish(told.uid).await;
    // Slurm asks all processes of the job at once: whether the runner or its container hears first is chance.
    assert!(matches!(report.reason.as_deref(), Some("Cancelled" | "Killed")), "{report:?}");
    assert_eq!(report.phase, Phase::Failed);
    assert_ne!(report.exit_code(), Some(0));
    let report = engine.finish(shot.uid).await;
    assert_eq!(report.phase, Phase::Failed);
    assert_ne!(report.exit_code(), Some(0), "{report:?}");
}

/// Another engine goes on with what the first began. Answers how often Slurm was asked meanwhile.
async fn adopted_and_asked_once(engine: Engine, config: &SlurmConfig, data_dir: &Path) -> usize {
    let plans: Vec<PodPlan> = (0..20).map(|n| pod(&format!("sleep 4; echo {n}; exit {n}"))).collect();
    for plan in &plans {
        engine.begin(plan).await;
    }
    engine.stop().await;
    // Counts the questions.
    let programs = data_dir.join("programs");
    let count = data_dir.join("asked");
    fs::create_dir_all(&programs).expect("a folder");
    for name in ["squeue", "sbatch", "scancel", "scontrol", "sinfo"] {
        let counting = if name == "squeue" { format!("echo x >> {}\n", count.display()) } else { String::new() };
        fs::write(programs.join(name), format!("#!/bin/sh\n{counting}exec /usr/bin/{name} \"$@\"\n"))
            .expect("a program");
        let status = Command::new("chmod").arg("755").arg(programs.join(name)).status().expect("chmod");
        assert!(status.success());
    }
    let config = SlurmConfig { programs: Some(programs), ..config.clone() };
    let begun = Instant::now();
    let engine = Engine::start(&config, data_dir).await;
    for (n, plan) in plans.iter().enumerate() {
        let report = engine.finish(plan.uid).await;
        assert_eq!(report.exit_code(), i32::try_from(n).ok(), "{report:?}");
        assert_eq!(engine.log(plan.uid, 0).await.0, format!("{n}\n"));
    }
    let asked = fs::read_to_string(&count).unwrap_or_default().lines().count();
    let intervals = begun.elapsed().as_secs() as usize + 2;
    assert!(asked <= intervals, "squeue ran {asked} times in {intervals} intervals");
    engine.stop().await;
    asked
}

/// The engine is killed at arbitrary moments while it hands pods over and watches them: each runs exactly once.
#[test]
fn killed_engines_run_nothing_twice() {
    if !may_change_the_system("killed_engines_run_nothing_twice") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let slurm = Slurm::start(&dir.path().join("slurm"), &[("DTE_SLURM_CPUS", "64")]);
    let uids: String = (0..KILLED_PODS).map(|_| format!("{}\n", new_id())).collect();
    fs::write(dir.path().join("uids"), uids).expect("uids");
    for kill in 0..=KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["the_engine_that_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .spawn()
            .expect("an engine");
        if kill < KILLS {
            std::thread::sleep(Duration::from_millis(700 + 611 * kill as u64));
            child.kill().expect("killed");
            assert_eq!(child.wait().expect("waited").signal(), Some(9), "it was done before it was killed");
        } else {
            assert!(child.wait().expect("waited").success());
        }
    }
    let runs = fs::read_to_string(dir.path().join("ran")).expect("runs");
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for uid in runs.lines() {
        *count.entry(uid).or_default() += 1;
    }
    assert_eq!((count.len(), runs.lines().count()), (KILLED_PODS, KILLED_PODS), "each exactly once");
    println!("{KILLED_PODS} pods, {KILLS} kills: each ran exactly once");
    drop(slurm);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of killed_engines_run_nothing_twice"]
async fn the_engine_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(std::path::PathBuf::from) else { return };
    // The parent stops it.
    let slurm = std::mem::ManuallyDrop::new(Slurm { dir: dir.join("slurm") });
    let engine = Engine::start(&slurm.config(&dir.join("shared")), &dir.join("data")).await;
    let text = fs::read_to_string(dir.join("uids")).expect("uids");
    let uids: Vec<Uuid> = text.lines().map(|line| line.parse().expect("a UID")).collect();
    let plan = |n: usize, uid: Uuid| {
        let code = n % 5;
        PodPlan { uid, ..pod(&format!("echo {uid} >> {}/ran; sleep 1; exit {code}", dir.display())) }
    };
    for (n, uid) in uids.iter().enumerate() {
        let plan = plan(n, *uid);
        engine.site.prepare(*uid).await.expect("prepared");
        while let Err(error) = engine.site.submit(&plan).await {
            assert!(!matches!(error, SiteError::Refused(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for (n, uid) in uids.iter().enumerate() {
        let report = engine.finish(*uid).await;
        assert_eq!(report.exit_code(), i32::try_from(n % 5).ok(), "{report:?}");
        assert!(matches!(report.containers[0].state, ContainerState::Terminated { .. }));
    }
}
