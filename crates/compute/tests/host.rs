//! The `host` plugin, with real processes.

#[path = "support/bench.rs"]
mod bench;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dte_base::tasks::Tasks;
use dte_base::units::{Bytes, Span};
use dte_compute::host::{HostConfig, HostSite};
use dte_compute::site::Cancellation;
use dte_compute::{Phase, Sandbox, Site, SiteContext, SiteError};
use uuid::Uuid;

use bench::{Bench, container, script, until};

async fn bench() -> Bench {
    let config = HostConfig {
        shim: Some(env!("CARGO_BIN_EXE_dte-pod-shim").into()),
        grace: Span(Duration::from_millis(500)),
        log_limit: Bytes(64 << 10),
        slots: Some(64),
        ..HostConfig::default()
    };
    Bench::with(config).await
}

#[tokio::test]
async fn runs_and_reports() {
    let bench = bench().await;
    assert!(bench.holds(), "{:?}", bench.site.capabilities().sandbox);
    let mut ended = bench.site.ended();
    let mut plan =
        script("echo $GREETING; pwd; cat \"$DTE_INPUTS/in\"; echo out > $DTE_OUTPUTS/o; echo bad >&2; exit 3");
    plan.containers[0].env.push(("GREETING".into(), "in $(DTE_RUN_DIR)".into()));
    let staging = bench.site.prepare(plan.uid).await.expect("prepared");
    fs::write(staging.inputs.join("in"), "input\n").expect("input");
    bench.site.submit(&plan).await.expect("submitted");
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.phase, report.exit_code(), report.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
    assert_eq!(ended.recv().await.expect("an end"), plan.uid);
    assert_eq!(fs::read_to_string(staging.outputs.join("o")).expect("output"), "out\n");
    let log = bench.log(plan.uid).await;
    let run_dir = staging.inputs.parent().expect("parent").display().to_string();
    assert_eq!(log, format!("in {run_dir}\n{run_dir}/work\ninput\nbad\n"));
    assert!(report.usage.max_rss_bytes > 0 && report.started <= report.finished);
    bench.site.remove(plan.uid).await.expect("removed");
    assert!(bench.site.status(&[plan.uid]).await.expect("status").is_empty());
    assert!(!Path::new(&run_dir).exists());
}

#[tokio::test]
async fn environment_is_not_the_engines() {
    let bench = bench().await;
    let plan = script("env; id -u; tr '\\0' '\\n' < /proc/1/cmdline 2>&1 | head -1");
    assert_eq!(bench.run(&plan).await.phase, Phase::Succeeded);
    let log = bench.log(plan.uid).await;
    assert!(!log.contains("CARGO"), "{log}");
    let names: Vec<&str> = log.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name)).collect();
    for name in ["DTE_INPUTS", "DTE_OUTPUTS", "DTE_RUN_DIR", "HOME", "PATH"] {
        assert!(names.contains(&name), "{log}");
    }
}

#[tokio::test]
async fn a_staged_program_runs_and_the_inputs_stay_as_they_are() {
    use std::os::unix::fs::PermissionsExt;
    let bench = bench().await;
    let mut plan = script("");
    plan.containers[0].argv = vec!["model".into(), "7".into()];
    let staging = bench.site.prepare(plan.uid).await.expect("prepared");
    let program = staging.inputs.join("model");
    fs::write(&program, "#!/bin/sh\necho model $1\necho x >> \"$0\" || exit 9\n").expect("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o555)).expect("mode");
    bench.site.submit(&plan).await.expect("submitted");
    assert_eq!(bench.finish(plan.uid).await.exit_code(), Some(if bench.holds() { 9 } else { 0 }));
    assert!(bench.log(plan.uid).await.starts_with("model 7\n"));
}

#[tokio::test]
async fn several_containers_and_init_containers_in_order() {
    let bench = bench().await;
    let mut plan = script("cat $DTE_RUN_DIR/work/order; sleep 0.1");
    plan.init_containers = vec![
        container("first", &["/bin/sh", "-c", "sleep 0.1; echo 1 >> order"]),
        container("second", &["/bin/sh", "-c", "echo 2 >> order"]),
    ];
    plan.containers.push(container("other", &["/bin/sh", "-c", "exit 5"]));
    let report = bench.run(&plan).await;
    assert_eq!(report.exit_code(), Some(5));
    assert_eq!(report.containers[0].state.exit_code(), Some(0));
    assert_eq!(bench.log(plan.uid).await, "1\n2\n");

    let mut plan = script("echo ran");
    plan.init_containers = vec![container("bad", &["/bin/false"])];
    let report = bench.run(&plan).await;
    assert_eq!((report.phase, report.exit_code()), (Phase::Failed, Some(1)));
    assert_eq!(bench.log(plan.uid).await, "");
}

#[tokio::test]
async fn missing_programs_and_signals() {
    let bench = bench().await;
    let mut plan = script("");
    plan.containers[0].argv = vec!["/no/such/program".into()];
    assert_eq!(bench.run(&plan).await.exit_code(), Some(127));
    assert!(bench.log(plan.uid).await.contains("/no/such/program"));
    let plan = script("kill -9 $$$$");
    let report = bench.run(&plan).await;
    assert_eq!(report.exit_code(), Some(137), "{}", bench.log(plan.uid).await);
    assert!(report.message.expect("message").contains("signal 9"));
}

#[tokio::test]
async fn deadlines_and_cancelling() {
    let bench = bench().await;
    let mut plan = script("trap 'echo asked; exit 0' TERM; while :; do sleep 0.02; done");
    plan.deadline_seconds = Some(1);
    plan.grace_seconds = Some(10);
    bench.start(&plan).await;
    // Does not listen, and has hidden a child in the background.
    let deaf = script("trap '' TERM; (trap '' TERM; sleep 60) & while :; do sleep 0.02; done");
    bench.start(&deaf).await;
    while bench.report(deaf.uid).await.phase != Phase::Running {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let how = Cancellation { reason: "Cancelled".into(), grace: Some(Duration::from_millis(50)) };
    let begun = Instant::now();
    bench.site.cancel(deaf.uid, &how).await.expect("cancelled");
    let report = bench.finish(deaf.uid).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("DeadlineExceeded")));
    assert!(bench.log(plan.uid).await.ends_with("asked\n"));
    bench.site.cancel(plan.uid, &how).await.expect("cancelling what has ended does nothing");

    let early = script("echo ran");
    bench.site.prepare(early.uid).await.expect("prepared");
    bench.site.cancel(early.uid, &how).await.expect("cancelled before it started");
    bench.site.submit(&early).await.expect("submitted");
    assert_eq!(bench.finish(early.uid).await.reason.as_deref(), Some("Cancelled"));
    assert_eq!(bench.log(early.uid).await, "");
}

#[tokio::test]
async fn logs_are_bounded_and_do_not_block() {
    let bench = bench().await;
    let plan = script("echo first; head -c 300000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo last");
    let begun = Instant::now();
    assert_eq!(bench.run(&plan).await.phase, Phase::Succeeded);
    println!("300 MB of log took {:?}", begun.elapsed());
    let log = bench.log(plan.uid).await;
    let ends = (&log[..200.min(log.len())], &log[log.len().saturating_sub(200)..]);
    assert!(log.starts_with("first\n") && log.ends_with("last\n"), "{ends:?}");
    assert!(log.contains("bytes of log were left out here"));
    assert!(log.len() < 70 << 10, "{}", log.len());
}

#[tokio::test]
async fn memory_and_processes_are_limited() {
    let bench = bench().await;
    let mut plan = script("x=a; while :; do x=$x$x; done");
    plan.containers[0].limits.memory_bytes = Some(32 << 20);
    let report = bench.run(&plan).await;
    assert_eq!(report.phase, Phase::Failed);
    assert!(report.usage.max_rss_bytes < 64 << 20, "{:?}", report.usage);
    let mut plan = script("head -c 2000000 /dev/zero > big; echo $?; wc -c < big");
    plan.containers[0].limits.storage_bytes = Some(1_000_000);
    bench.run(&plan).await;
    assert!(bench.log(plan.uid).await.contains("1000000"));
}

#[tokio::test]
async fn a_pod_is_adopted_by_the_next_engine() {
    let bench = bench().await;
    let long = script("sleep 0.4; echo survived; exit 4");
    let short = script("exit 6");
    let idle = script("echo once");
    bench.start(&long).await;
    bench.start(&short).await;
    bench.site.prepare(idle.uid).await.expect("prepared");
    let bench = bench.reopen().await;
    let mut ended = bench.site.ended();
    bench.site.submit(&long).await.expect("submitting again does nothing");
    assert_eq!(bench.finish(long.uid).await.exit_code(), Some(4));
    assert_eq!(bench.log(long.uid).await, "survived\n");
    assert_eq!(bench.finish(short.uid).await.exit_code(), Some(6));
    while ended.recv().await.expect("ends") != long.uid {}
    assert_eq!(bench.report(idle.uid).await.phase, Phase::Pending);
    assert_eq!(bench.run(&idle).await.phase, Phase::Succeeded);
    let bench = bench.reopen().await;
    assert_eq!(bench.report(idle.uid).await.phase, Phase::Succeeded);
    bench.site.submit(&idle).await.expect("submitting again does nothing");
    assert_eq!(bench.log(idle.uid).await, "once\n");
}

#[tokio::test]
async fn many_submits_run_it_once() {
    let bench = bench().await;
    let plan = script("echo run; sleep 0.05");
    bench.site.prepare(plan.uid).await.expect("prepared");
    let submits = (0..20).map(|_| {
        let (site, plan) = (bench.site.clone(), plan.clone());
        tokio::spawn(async move { site.submit(&plan).await.expect("submitted") })
    });
    for submit in submits.collect::<Vec<_>>() {
        submit.await.expect("task");
    }
    bench.finish(plan.uid).await;
    assert_eq!(bench.log(plan.uid).await, "run\n");
}

#[tokio::test]
async fn a_killed_shim_takes_its_pod_along_and_is_noticed() {
    let bench = bench().await;
    let plan = script("sleep 30; echo never");
    bench.start(&plan).await;
    while bench.report(plan.uid).await.phase != Phase::Running {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let started = bench.dir.path().join(format!("data/runs/{}/started", plan.uid));
    let started: serde_json::Value = serde_json::from_slice(&fs::read(started).expect("marker")).expect("json");
    let shim = started["shim"]["pid"].as_i64().expect("pid") as i32;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).expect("killed");
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Lost")));
    bench.site.submit(&plan).await.expect("submitting again does nothing");
    assert_eq!(bench.report(plan.uid).await.reason.as_deref(), Some("Lost"));
}

#[tokio::test]
async fn slots_and_images() {
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let bench = Bench::with(HostConfig { shim, slots: Some(1), ..HostConfig::default() }).await;
    let first = script("sleep 0.2");
    bench.start(&first).await;
    let second = script("true");
    bench.site.prepare(second.uid).await.expect("prepared");
    assert!(matches!(bench.site.submit(&second).await, Err(SiteError::Busy(_))));
    bench.finish(first.uid).await;
    assert_eq!(bench.run(&second).await.phase, Phase::Succeeded);
    let mut third = script("true");
    third.containers[0].image = "docker.io/library/alpine".into();
    bench.site.prepare(third.uid).await.expect("prepared");
    assert!(matches!(bench.site.submit(&third).await, Err(SiteError::Refused(_))));
}

#[tokio::test]
async fn starting_is_cheap() {
    let bench = bench().await;
    let mut times: BTreeMap<Duration, ()> = BTreeMap::new();
    for _ in 0..20 {
        let plan = script("true");
        let begun = Instant::now();
        bench.site.prepare(plan.uid).await.expect("prepared");
        let mut ended = bench.site.ended();
        bench.site.submit(&plan).await.expect("submitted");
        ended.recv().await.expect("an end");
        times.insert(begun.elapsed(), ());
    }
    println!("one pod from start to end: {:?}", times.keys().nth(10));
}

#[tokio::test]
async fn the_data_directory_may_lie_in_a_hidden_or_closed_place() {
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    // Where this is a home directory, others have no way through it.
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from).filter(|home| home.is_dir());
    let place = home.unwrap_or_else(std::env::temp_dir);
    let Ok(dir) = tempfile::tempdir_in(&place) else {
        println!("SKIPPED: {} cannot be written", place.display());
        return;
    };
    let config = HostConfig { shim, hide: vec![dir.path().to_path_buf()], ..HostConfig::default() };
    let tasks = Tasks::new();
    let context = SiteContext { data_dir: dir.path().join("deep/data"), sockets: Vec::new(), tasks: tasks.clone() };
    let site = HostSite::open(config.clone(), &context).await.expect("the site");
    let bench = Bench { dir, config, tasks, site };
    assert!(bench.holds(), "{}", bench.site.capabilities().sandbox);
    fs::write(bench.dir.path().join("secret"), "SECRET").expect("secret");
    let mut plan = script("cat $DTE_RUN_DIR/../../../../secret; echo out > $DTE_OUTPUTS/o && cat $DTE_OUTPUTS/o");
    plan.containers[0].env = vec![];
    assert_eq!(bench.run(&plan).await.phase, Phase::Succeeded, "{}", bench.log(plan.uid).await);
    let log = bench.log(plan.uid).await;
    assert!(log.ends_with("out\n") && !log.contains("SECRET"), "{log}");
}

/// What a hostile pod tries. Each line that it manages is printed.
const ATTACK: &str = r#"
cd /
cat "$D/secret" "$D/dte.db" 2>/dev/null && echo GOT data
ls "$D" | grep -v '^runs$' && echo GOT listing
ls "$D/runs" | grep -v "^$(basename "$DTE_RUN_DIR")\$" && echo GOT runs
cat "$D/runs/$OTHER/inputs/private" 2>/dev/null && echo GOT other
echo x > "$D/runs/$OTHER/outputs/planted" 2>/dev/null && echo GOT planted
echo x > "$D/planted" 2>/dev/null && echo GOT written
cat "$DTE_RUN_DIR/spec.json" 2>/dev/null && echo GOT spec
rm -f "$DTE_RUN_DIR/exit.json" 2>/dev/null; ls "$DTE_RUN_DIR" | grep -E 'json|started|logs' && echo GOT folder
test -e "$D/admin.sock" && echo GOT socket
python3 -c 'import socket,os; s=socket.socket(socket.AF_UNIX); s.connect(os.environ["D"]+"/admin.sock"); print("GOT connection")' 2>/dev/null
for p in /proc/[0-9]*; do
  cat "$p/root$D/secret" 2>/dev/null && echo GOT "$p/root"
  cat "$p/cwd/secret" 2>/dev/null && echo GOT "$p/cwd"
  for f in "$p"/fd/*; do test "$(readlink "$f" | grep -c "^$D")" = 0 || echo GOT "$f"; done 2>/dev/null
done
test -e /proc/$ENGINE/cmdline && grep -q tests/host /proc/$ENGINE/cmdline && echo GOT engine
kill -0 $ENGINE 2>/dev/null && test $ENGINE -gt 50 && echo GOT signal
umount "$D" 2>/dev/null && echo GOT umount
umount -l "$D" 2>/dev/null && echo GOT umount-l
unshare -Urm sh -c 'umount -l "$D"; cat "$D/secret"' 2>/dev/null && echo GOT nested
mount -t tmpfs x /mnt 2>/dev/null && echo GOT mount
grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status || echo GOT capabilities
grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status || echo GOT privileges
echo done
"#;

#[tokio::test]
async fn pods_cannot_look_over_the_walls() {
    let bench = bench().await;
    let data = fs::canonicalize(bench.dir.path().join("data")).expect("data");
    println!("user {}: {:?}", nix::unistd::geteuid(), bench.site.capabilities().sandbox);
    assert!(!matches!(bench.site.capabilities().sandbox, Sandbox::None { .. }));
    // As careless as can be: the walls alone must hold.
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("mode");
    open(bench.dir.path());
    open(&data);
    fs::write(data.join("secret"), "SECRET").expect("secret");
    fs::write(data.join("dte.db"), "SECRET").expect("store");
    open(&data.join("secret"));
    let socket = std::os::unix::net::UnixListener::bind(data.join("admin.sock")).expect("socket");
    open(&data.join("admin.sock"));
    let other = script("sleep 5");
    let staging = bench.site.prepare(other.uid).await.expect("prepared");
    fs::write(staging.inputs.join("private"), "SECRET").expect("private");
    bench.site.submit(&other).await.expect("submitted");
    open(&staging.outputs);
    open(staging.outputs.parent().expect("run"));
    open(&data.join("runs"));

    let mut plan = script(ATTACK);
    plan.containers[0].env = vec![
        ("D".into(), data.to_string_lossy().into_owned()),
        ("OTHER".into(), other.uid.to_string()),
        ("ENGINE".into(), std::process::id().to_string()),
    ];
    let report = bench.run(&plan).await;
    let log = bench.log(plan.uid).await;
    assert!(log.ends_with("done\n"), "{report:?} {log}");
    assert!(!log.contains("GOT") && !log.contains("SECRET"), "{log}");
    drop(socket);
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    bench.site.cancel(other.uid, &how).await.expect("cancelled");
    bench.finish(other.uid).await;
}

/// The same as an ordinary user, if the tests run as root.
#[test]
fn walls_hold_without_root_too() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: the other tests run as an ordinary user already");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let outcome = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args([
            "--exact",
            "--nocapture",
            "pods_cannot_look_over_the_walls",
            "runs_and_reports",
            "deadlines_and_cancelling",
        ])
        .args(["a_staged_program_runs_and_the_inputs_stay_as_they_are", "a_pod_is_adopted_by_the_next_engine"])
        .arg("the_data_directory_may_lie_in_a_hidden_or_closed_place")
        .env("HOME", std::env::temp_dir())
        .output();
    match outcome {
        Err(error) => println!("SKIPPED: no setpriv: {error}"),
        Ok(output) => {
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{text}");
            assert!(text.contains("6 passed"), "{text}");
            println!("{text}");
        }
    }
}

#[tokio::test]
async fn without_walls_pods_still_run_and_end() {
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let bench = Bench::with(HostConfig { shim, sandbox: false, ..HostConfig::default() }).await;
    assert!(!bench.holds());
    let plan = script("(setsid sleep 77.25 &) ; echo ran");
    assert_eq!(bench.run(&plan).await.phase, Phase::Succeeded);
    assert_eq!(bench.log(plan.uid).await, "ran\n");
    let left = fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0077.25")));
    assert_eq!(left.count(), 0, "an orphan outlived its pod");
}

/// How many beats the pod's log has by now.
async fn beats(bench: &Bench, uid: Uuid) -> usize {
    bench.log(uid).await.lines().filter(|line| *line == "beat").count()
}

#[tokio::test]
async fn a_suspended_pod_stands_still_with_all_its_children_and_goes_on() {
    let bench = bench().await;
    assert!(bench.site.capabilities().suspend);
    // Two processes that beat, one of them in a session of its own; the time limit would end it soon.
    let mut plan = script(
        "setsid sh -c 'while :; do echo beat; sleep 0.02; done' & \
         while ! [ -e $DTE_RUN_DIR/work/enough ]; do echo beat; sleep 0.02; done; kill %1; echo done",
    );
    plan.deadline_seconds = Some(20);
    bench.start(&plan).await;
    until("a beat", async || beats(&bench, plan.uid).await > 4).await;

    bench.site.suspend(plan.uid).await.expect("suspended");
    bench.site.suspend(plan.uid).await.expect("suspended again");
    until("the reason", async || bench.report(plan.uid).await.reason.as_deref() == Some("Suspended")).await;
    // What was on its way is written; then nothing comes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = beats(&bench, plan.uid).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(beats(&bench, plan.uid).await, before);
    assert_eq!(bench.report(plan.uid).await.phase, Phase::Running);
    assert_eq!(bench.site.capacity().await.expect("capacity").pods_running, 0, "its place is free");

    // Another engine finds it suspended, and lets it go on.
    let bench = bench.reopen().await;
    assert_eq!(bench.site.capacity().await.expect("capacity").pods_running, 0);
    assert_eq!(beats(&bench, plan.uid).await, before);
    bench.site.resume(plan.uid).await.expect("resumed");
    until("another beat", async || beats(&bench, plan.uid).await > before + 4).await;
    assert_eq!(bench.report(plan.uid).await.reason, None);

    // Ended while it stands still: it hears that it shall end.
    bench.site.suspend(plan.uid).await.expect("suspended");
    let how = Cancellation { reason: "Cancelled".into(), grace: Some(Duration::from_secs(20)) };
    bench.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
    bench.site.resume(plan.uid).await.expect("nothing to do any more");
}

#[tokio::test]
async fn the_time_limit_stands_still_with_the_pod() {
    let bench = bench().await;
    let mut plan = script("while :; do sleep 0.05; done");
    plan.deadline_seconds = Some(1);
    bench.start(&plan).await;
    bench.site.suspend(plan.uid).await.expect("suspended");
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    assert!(!bench.report(plan.uid).await.phase.is_terminal());
    bench.site.resume(plan.uid).await.expect("resumed");
    assert_eq!(bench.finish(plan.uid).await.reason.as_deref(), Some("DeadlineExceeded"));
}
