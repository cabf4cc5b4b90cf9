//! Pods as tasks of one batch array, on the real Slurm.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_compute::pod::PodPlan;
use dte_compute::site::Cancellation;
use dte_compute::slurm::{ArraysSetting, FLAGS_ANNOTATION, SlurmConfig};
use dte_compute::{ExecOrder, ExecOutput, Phase, Site, SiteError};
use support::{Engine, Slurm, may_change_the_system, pod};
use uuid::Uuid;

const CHILD: &str = "DTE_TEST_SLURM_ARRAYS_CHILD";
const PODS: usize = 30;

/// Hands all over at once, as the engine does with pods that are ready.
async fn begin_all(engine: &Engine, plans: &[PodPlan]) {
    let begin = |plan: &PodPlan| {
        let (site, plan) = (engine.site.clone(), plan.clone());
        tokio::spawn(async move {
            site.prepare(plan.uid).await.expect("prepared");
            let deadline = Instant::now() + Duration::from_secs(60);
            while let Err(error) = site.submit(&plan).await {
                assert!(!matches!(error, SiteError::Refused(_)) && Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    let all: Vec<_> = plans.iter().map(begin).collect();
    for one in all {
        one.await.expect("submitted");
    }
}

/// The jobs that Slurm knows, and how many tasks each has.
fn jobs(slurm: &Slurm) -> BTreeMap<String, usize> {
    let mut jobs: BTreeMap<String, usize> = BTreeMap::new();
    for line in slurm.command("squeue", &["-h", "-a", "-t", "all", "--array", "-o", "%i"]).lines() {
        *jobs.entry(line.split('_').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_pods_are_tasks_of_one_array() {
    if !may_change_the_system("equal_pods_are_tasks_of_one_array") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let slurm = Slurm::start(&dir.path().join("slurm"), &[("DTE_SLURM_CPUS", "64")]);
    let config = SlurmConfig { arrays: ArraysSetting::Jobs, ..slurm.config(&dir.path().join("shared")) };
    let engine = Engine::start(&config, &dir.path().join("data")).await;
    outcomes_of_tasks(&engine, &slurm, dir.path()).await;
    one_task_is_ended_or_stopped(&engine, &slurm).await;
    what_no_array_may_be(&engine).await;
    engine.stop().await;
    programs_in_tasks(&slurm, &config, dir.path()).await;
    within_the_sites_own_script(&slurm, dir.path()).await;
}

/// The site's `#SBATCH` lines count, and what its set-up names reaches pods, in jobs of their own and in arrays.
async fn within_the_sites_own_script(slurm: &Slurm, dir: &Path) {
    let template = dir.join("template.sh");
    let text = "#!/bin/sh\n#SBATCH --comment=of-the-site\n#SBATCH --time=7\nexport FLAVOUR='a \"b\"' SECRET=x\n\
        PATH=/opt/site/bin:$PATH\nexport DTE_POD_VARIABLES='FLAVOUR PATH'\n#DTE RUN\n";
    fs::write(&template, text).expect("a template");
    let config = SlurmConfig {
        name: "own".into(),
        arrays: ArraysSetting::Jobs,
        template: Some(template),
        ..slurm.config(&dir.join("own"))
    };
    let engine = Engine::start(&config, &dir.join("data")).await;
    let script = "echo $FLAVOUR; echo ${SECRET-none}; echo $PATH | cut -d: -f1";
    let mut plans = vec![pod(script), of_job("default/t", script), of_job("default/t", script)];
    for plan in &mut plans {
        plan.annotations = BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), "-t 5".to_owned())]);
    }
    begin_all(&engine, &plans).await;
    for plan in &plans {
        assert_eq!(engine.finish(plan.uid).await.phase, Phase::Succeeded);
        assert_eq!(engine.log(plan.uid, 0).await.0, "a \"b\"\nnone\n/opt/site/bin\n");
    }
    let jobs = slurm.command("squeue", &["-h", "-t", "all", "--array", "-o", "%k %l"]);
    assert_eq!(jobs.lines().filter(|line| *line == "of-the-site 5:00").count(), 3, "{jobs}");
    engine.stop().await;
}

fn of_job(job: &str, text: &str) -> PodPlan {
    PodPlan { indexed_job: Some(job.to_owned()), ..pod(text) }
}

async fn outcomes_of_tasks(engine: &Engine, slurm: &Slurm, dir: &Path) {
    let ran = dir.join("ran");
    let text = |n: usize| {
        format!("echo {n} >> {}; echo log {n}; echo out {n} > $DTE_OUTPUTS/o; exit {}", ran.display(), n % 5)
    };
    let mut plans: Vec<PodPlan> = (0..PODS).map(|n| of_job("default/one", &text(n))).collect();
    // Another job's, one that asks for something else, and one of no job, are not among them.
    plans.push(of_job("default/other", &text(PODS)));
    plans.push(of_job("default/one", &text(PODS + 1)));
    plans[PODS + 1].annotations = BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), "-t 5".to_owned())]);
    plans.push(pod(&text(PODS + 2)));
    begin_all(engine, &plans).await;
    for (n, plan) in plans.iter().enumerate() {
        let report = engine.finish(plan.uid).await;
        assert_eq!(report.exit_code(), i32::try_from(n % 5).ok(), "{report:?}");
        assert_eq!(engine.log(plan.uid, 0).await.0, format!("log {n}\n"));
        let outputs = engine.site.prepare(plan.uid).await.expect("prepared").outputs;
        assert_eq!(fs::read_to_string(outputs.join("o")).expect("output"), format!("out {n}\n"));
    }
    let seen = fs::read_to_string(&ran).expect("runs");
    let mut numbers: Vec<usize> = seen.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..plans.len()).collect::<Vec<_>>(), "each exactly once");
    // How many come within the half second is the machine's business.
    let jobs = jobs(slurm);
    assert_eq!(jobs.values().sum::<usize>(), plans.len(), "{jobs:?}");
    assert!(jobs.len() < plans.len(), "{jobs:?}");
    println!("{} pods were {} jobs", plans.len(), jobs.len());
}

/// What the engine remembers of a pod.
fn record(data_dir: &Path, plan: &PodPlan) -> serde_json::Value {
    let path = data_dir.join("sites/batch").join(plan.uid.to_string()).join("job.json");
    serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON")
}

/// A folder with Slurm's commands, of which those named are shell text of ours.
fn programs_with(dir: &Path, named: &[(&str, &str)]) -> PathBuf {
    fs::create_dir_all(dir).expect("a folder");
    for name in ["squeue", "sbatch", "scancel", "scontrol", "sinfo", "srun"] {
        let usual = format!("exec /usr/bin/{name} \"$@\"");
        let text = named.iter().find(|(own, _)| *own == name).map_or(usual.as_str(), |(_, text)| text);
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }
    dir.to_path_buf()
}

/// A program that is run in a pod is a step of that pod's own task, wherever that is.
async fn programs_in_tasks(slurm: &Slurm, config: &SlurmConfig, dir: &Path) {
    let asked = dir.join("asked");
    let srun = format!("echo \"$@\" >> {}; exec /usr/bin/srun \"$@\"", asked.display());
    let programs = programs_with(&dir.join("programs"), &[("srun", &srun)]);
    let data = dir.join("data-programs");
    let config = SlurmConfig { programs: Some(programs), ..config.clone() };
    let engine = Engine::start(&config, &data).await;
    let plans: Vec<PodPlan> = (0..4)
        .map(|n| {
            let mut plan = of_job("default/inside", "while [ ! -e $DTE_INPUTS/end ]; do sleep 0.1; done");
            plan.containers[0].env.push(("N".into(), n.to_string()));
            plan
        })
        .collect();
    begin_all(&engine, &plans).await;
    let mut tasks = 0;
    for (n, plan) in plans.iter().enumerate() {
        engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
        let argv = ["/bin/sh", "-c", "echo $N"].map(str::to_owned).to_vec();
        let order = ExecOrder { uid: plan.uid, container: None, argv, stdin: false, tty: false };
        let mut session = engine.site.exec(&order).await.expect("a session");
        let mut said = String::new();
        while let Some(next) = session.output.recv().await {
            match next {
                ExecOutput::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
                ExecOutput::Exit { exit_code } => said.push_str(&format!("exit {exit_code}")),
                ExecOutput::Failed { message } => panic!("{message}"),
                _ => {}
            }
        }
        assert_eq!(said, format!("{n}\nexit 0"));
        let (known, calls) = (record(&data, plan), fs::read_to_string(&asked).expect("calls"));
        let last = calls.lines().last().expect("a call");
        let number = last.split(' ').find_map(|word| word.strip_prefix("--jobid=")).expect("a number");
        let Some(task) = known["shared"].as_array().and_then(|all| all.last()?["task"].as_u64()) else { continue };
        tasks += 1;
        let line = format!("{number} {}_{task}", known["job"]);
        let queue = slurm.command("squeue", &["-h", "--array", "-t", "running", "-o", "%A %i"]);
        assert!(queue.lines().any(|one| one == line), "{line:?} is not among {queue}");
    }
    assert!(tasks > 1, "there was no array");
    println!("{tasks} tasks of an array were entered, each by its own number");
    for plan in &plans {
        let inputs = engine.site.prepare(plan.uid).await.expect("prepared").inputs;
        fs::write(inputs.join("end"), "").expect("an end");
        assert_eq!(engine.finish(plan.uid).await.phase, Phase::Succeeded);
    }
    engine.stop().await;
}

/// Where arrays are refused, and each job once, pods go as jobs of their own, each once, and an array is not tried again with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pods_of_a_refused_array_go_by_themselves() {
    if !may_change_the_system("pods_of_a_refused_array_go_by_themselves") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let slurm = Slurm::start(&dir.path().join("slurm"), &[("DTE_SLURM_CPUS", "64")]);
    let complaints = [
        "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "Batch job submission failed: Invalid job array specification",
    ];
    for (n, complaint) in complaints.iter().enumerate() {
        let own = dir.path().join(n.to_string());
        let tries = own.join("tries");
        let refuse = format!("{{ echo \"sbatch: error: {complaint}\" >&2; exit 1; }}");
        let sbatch = format!(
            "for last; do :; done\nif [ \"$(grep -c -- --array= \"$last\")\" != 0 ]; then echo array >> {tries}; {refuse}; fi\n\
             case $last in *[02468]/job.sh) mkdir \"$(dirname \"$last\")/.once\" 2>/dev/null && \
             {{ echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1; }} ;; esac\nexec /usr/bin/sbatch \"$@\"",
            tries = tries.display(),
        );
        let programs = programs_with(&own.join("programs"), &[("sbatch", &sbatch)]);
        let config =
            SlurmConfig { arrays: ArraysSetting::Equal, programs: Some(programs), ..slurm.config(&own.join("shared")) };
        let engine = Engine::start(&config, &own.join("data")).await;
        let ran = own.join("ran");
        let plans: Vec<PodPlan> = (0..PODS).map(|n| pod(&format!("echo {n} >> {}", ran.display()))).collect();
        begin_all(&engine, &plans).await;
        for plan in &plans {
            assert_eq!(engine.finish(plan.uid).await.phase, Phase::Succeeded);
            assert_eq!(record(&own.join("data"), plan)["shared"], serde_json::json!([]));
        }
        let runs = fs::read_to_string(&ran).expect("runs");
        let distinct: BTreeSet<&str> = runs.lines().collect();
        assert_eq!((distinct.len(), runs.lines().count()), (PODS, PODS), "each exactly once");
        let called = slurm.command("squeue", &["-h", "-a", "-t", "all", "--array", "-o", "%j"]);
        for plan in &plans {
            assert_eq!(called.lines().filter(|name| *name == plan.uid.to_string()).count(), 1, "{called}");
        }
        let tries = fs::read_to_string(&tries).expect("tries").lines().count();
        assert!(tries > 0 && tries <= PODS / 2, "{tries} arrays were tried with {PODS} pods");
        println!("{tries} arrays were refused, {PODS} pods went by themselves");
        engine.stop().await;
    }
}

async fn one_task_is_ended_or_stopped(engine: &Engine, slurm: &Slurm) {
    let running: Vec<PodPlan> = (0..3)
        .map(|_| {
            of_job("default/run", "trap 'exit 7' TERM; echo up; while [ ! -e $DTE_INPUTS/end ]; do sleep 0.1; done")
        })
        .collect();
    let mut queued: Vec<PodPlan> = (0..3).map(|_| of_job("default/wait", "exit 0")).collect();
    for plan in &mut queued {
        plan.annotations = BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), "--begin=now+86400".to_owned())]);
    }
    begin_all(engine, &[running.clone(), queued.clone()].concat()).await;
    for plan in &queued {
        engine.until(plan.uid, "explained", |r| r.message.as_deref().is_some_and(|m| m.contains("BeginTime"))).await;
    }
    for plan in &running {
        engine.until(plan.uid, "running", |report| report.phase == Phase::Running).await;
        while engine.log(plan.uid, 0).await.0.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    engine.site.suspend(running[2].uid).await.expect("suspended");
    engine.until(running[2].uid, "suspended", |report| report.reason.as_deref() == Some("Suspended")).await;
    engine.site.cancel(running[1].uid, &how).await.expect("cancelled");
    engine.site.cancel(queued[1].uid, &how).await.expect("cancelled");
    let report = engine.finish(running[1].uid).await;
    assert_eq!((report.reason.as_deref(), report.exit_code()), (Some("Cancelled"), Some(7)), "{report:?}");
    let report = engine.finish(queued[1].uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")), "{report:?}");
    assert_eq!(engine.report(running[0].uid).await.phase, Phase::Running);
    assert_eq!(engine.report(queued[0].uid).await.phase, Phase::Pending);
    let waiting = slurm.command("squeue", &["-h", "-t", "pending", "--array", "-o", "%i"]);
    assert_eq!(waiting.lines().count(), 2, "{waiting}");
    engine.site.resume(running[2].uid).await.expect("resumed");
    for plan in [&running[0], &running[2]] {
        let inputs = engine.site.prepare(plan.uid).await.expect("prepared").inputs;
        fs::write(inputs.join("end"), "").expect("an end");
        assert_eq!(engine.finish(plan.uid).await.phase, Phase::Succeeded);
    }
    engine.site.cancel(queued[0].uid, &how).await.expect("cancelled");
    engine.finish(queued[0].uid).await;
    engine.site.remove(queued[0].uid).await.expect("removed");
    // Somebody ends what is left of the array.
    let left = slurm.command("squeue", &["-h", "-t", "pending", "-o", "%F"]);
    slurm.command("scancel", &[left.trim()]);
    let report = engine.finish(queued[2].uid).await;
    assert_eq!((report.phase, report.exit_code() == Some(0)), (Phase::Failed, false), "{report:?}");
}

/// One alone is a job of its own, and what is refused is refused to each, with the reason.
async fn what_no_array_may_be(engine: &Engine) {
    assert_eq!(engine.run(&of_job("default/lone", "exit 0")).await.phase, Phase::Succeeded);
    let mut big: Vec<PodPlan> = (0..3).map(|_| of_job("default/big", "exit 0")).collect();
    for plan in &mut big {
        plan.containers[0].limits.memory_bytes = Some(1 << 44);
        engine.site.prepare(plan.uid).await.expect("prepared");
    }
    let all: Vec<_> = big
        .iter()
        .cloned()
        .map(|plan| {
            let site = engine.site.clone();
            tokio::spawn(async move { site.submit(&plan).await })
        })
        .collect();
    for one in all {
        match one.await.expect("an answer") {
            Err(SiteError::Refused(why)) => assert!(why.contains("sbatch"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A folder of Slurm's commands in which `sbatch` kills the engine that calls it: `after` the array was taken, or before, so that
/// it is taken `late`, when the next engine has found nothing.
fn deadly_programs(dir: &Path, when: &str) -> PathBuf {
    let programs = dir.join(format!("programs-{when}"));
    let text = match when {
        "after" => "/usr/bin/sbatch \"$@\"; kill -KILL $PPID",
        _ => "kill -KILL $PPID; sleep 4; exec /usr/bin/sbatch \"$@\"",
    };
    programs_with(&programs, &[("sbatch", text)])
}

/// Engines that die in the worst moments: each pod runs exactly once.
#[test]
fn killed_engines_run_no_task_twice() {
    if !may_change_the_system("killed_engines_run_no_task_twice") {
        return;
    }
    for when in ["after", "late"] {
        let dir = tempfile::tempdir().expect("a folder");
        let slurm = Slurm::start(&dir.path().join("slurm"), &[("DTE_SLURM_CPUS", "64")]);
        let uids: String = (0..PODS).map(|_| format!("{}\n", new_id())).collect();
        fs::write(dir.path().join("uids"), uids).expect("uids");
        let engine = |programs: &Path| {
            Command::new(std::env::current_exe().expect("this test"))
                .args(["the_engine_that_is_killed", "--exact", "--ignored", "--nocapture"])
                .env(CHILD, dir.path())
                .env("DTE_TEST_PROGRAMS", programs)
                .status()
                .expect("an engine")
        };
        assert_eq!(engine(&deadly_programs(dir.path(), when)).signal(), Some(9), "sbatch did not kill it");
        assert!(engine(Path::new("/usr/bin")).success(), "{when}");
        let jobs = jobs(&slurm);
        let runs = fs::read_to_string(dir.path().join("ran")).expect("runs");
        let distinct: BTreeSet<&str> = runs.lines().collect();
        assert_eq!((distinct.len(), runs.lines().count()), (PODS, PODS), "each exactly once, {when}: {jobs:?}");
        if when == "after" {
            // The array that the dead engine left is taken up.
            assert_eq!(jobs.values().sum::<usize>(), PODS, "{jobs:?}");
        }
        println!("killed {when}: {PODS} pods in {} jobs, each ran exactly once", jobs.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of killed_engines_run_no_task_twice"]
async fn the_engine_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    // The parent stops it.
    let slurm = std::mem::ManuallyDrop::new(Slurm { dir: dir.join("slurm") });
    let programs = std::env::var_os("DTE_TEST_PROGRAMS").map(PathBuf::from);
    let config = SlurmConfig { arrays: ArraysSetting::Equal, programs, ..slurm.config(&dir.join("shared")) };
    let engine = Engine::start(&config, &dir.join("data")).await;
    let text = fs::read_to_string(dir.join("uids")).expect("uids");
    let uids: Vec<Uuid> = text.lines().map(|line| line.parse().expect("a UID")).collect();
    let plan = |(n, uid): (usize, &Uuid)| PodPlan {
        uid: *uid,
        ..pod(&format!("echo {uid} >> {}/ran; sleep 6; exit {}", dir.display(), n % 5))
    };
    let plans: Vec<PodPlan> = uids.iter().enumerate().map(plan).collect();
    begin_all(&engine, &plans).await;
    for (n, plan) in plans.iter().enumerate() {
        let report = engine.finish(plan.uid).await;
        assert_eq!(report.exit_code(), i32::try_from(n % 5).ok(), "{report:?}");
    }
}
