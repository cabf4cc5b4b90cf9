//! How containers start again, are probed, end, and are entered.

use std::fs;
use std::time::{Duration, Instant};

use dte_compute::Site;
use dte_compute::site::Cancellation;
use dte_compute::{ContainerState, ExecInput, ExecOrder, ExecOutput, Phase, SiteError};
use serde_json::{Value, json};

use crate::bench::{Bench, script, until};
use crate::{message, read, sh, state, with_volumes};

#[tokio::test]
async fn containers_start_again_as_their_policy_says() {
    let bench = crate::bench().await;
    let nothing = json!([]);
    let spec = json!({"restartPolicy": "OnFailure", "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [sh("init", "echo x >> /v/init; test $(wc -l < /v/init) = 2", json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))],
        "containers": [sh("main", "echo x >> /v/main; echo try $(wc -l < /v/main); test $(wc -l < /v/main) = 3",
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))]});
    let plan = read(&spec, &nothing, &nothing, &nothing).expect("a plan");
    bench.start(&plan).await;
    let mut seen_waiting = false;
    until("an end", async || {
        let report = bench.report(plan.uid).await;
        seen_waiting |= report.containers.iter().any(|c| {
            matches!(&c.state, ContainerState::Waiting { reason } if reason == "CrashLoopBackOff") && c.last.is_some()
        });
        report.phase.is_terminal()
    })
    .await;
    let report = bench.report(plan.uid).await;
    assert_eq!(report.phase, Phase::Succeeded, "{report:?}");
    assert_eq!((state(&report, "init").restarts, state(&report, "main").restarts), (1, 2));
    assert!(matches!(state(&report, "main").last, Some(ContainerState::Terminated { exit_code: 1, .. })));
    assert!(seen_waiting, "it never waited");
    assert_eq!(bench.log(plan.uid).await, "try 1\ntry 2\ntry 3\n");

    let spec = json!({"restartPolicy": "Always", "containers": [sh("main", "echo ran", json!({}))]});
    let plan = read(&spec, &nothing, &nothing, &nothing).expect("a plan");
    bench.start(&plan).await;
    until("a third run", async || bench.log(plan.uid).await.lines().count() >= 3).await;
    assert_eq!(bench.report(plan.uid).await.phase, Phase::Running);
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    bench.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = bench.finish(plan.uid).await;
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
}

#[tokio::test]
async fn sidecars_start_first_and_end_last() {
    let bench = crate::bench().await;
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [
            sh("side", "trap 'test -e /v/main && echo last >> /v/order; cat /v/order; exit 3' TERM; sleep 0.2; echo side >> /v/order; touch /v/up; while :; do sleep 0.02; done",
                json!({"restartPolicy": "Always", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                       "startupProbe": {"exec": {"command": ["test", "-e", "/v/up"]}, "periodSeconds": 1, "failureThreshold": 20}})),
            sh("init", "echo init >> /v/order", json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
        ],
        "containers": [sh("main", "echo main >> /v/order; touch /v/main", json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    let report = bench.run(&plan).await;
    assert_eq!((report.phase, report.exit_code()), (Phase::Succeeded, Some(0)), "{report:?}");
    let chunk = bench.site.log(plan.uid, Some("side"), 0).await.expect("log");
    let lines: Vec<String> =
        chunk.lines.iter().map(|line| String::from_utf8_lossy(&line.text).trim().to_owned()).collect();
    // The shell tells of the sleep that the signal ended too.
    let told: Vec<&str> = lines.iter().map(String::as_str).filter(|line| *line != "Terminated").collect();
    assert_eq!(told, ["side", "init", "main", "last"]);
    assert_eq!(state(&report, "side").state.exit_code(), Some(3));
}

#[tokio::test]
async fn probes_gate_restart_and_tell_readiness() {
    let bench = crate::bench().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut piece = [0; 1024];
            let length = stream.read(&mut piece).unwrap_or(0);
            let line = if piece[..length].starts_with(b"GET /good?x HTTP/1.0\r\n") { "204 fine" } else { "500 bad" };
            drop(stream.write_all(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes()));
        }
    });
    let each = |action: Value| {
        let mut probe = json!({"periodSeconds": 1, "failureThreshold": 1});
        for (key, value) in action.as_object().into_iter().flatten() {
            probe[key] = value.clone();
        }
        probe
    };
    let forever = "trap 'exit 0' TERM; while :; do sleep 0.02; done";
    let spec = json!({"restartPolicy": "Always", "containers": [
        sh("web", forever, json!({"readinessProbe": each(json!({"httpGet": {"path": "/good?x", "port": port}}))})),
        sh("bad", forever, json!({"readinessProbe": each(json!({"httpGet": {"path": "/bad", "port": port}}))})),
        sh("tcp", forever, json!({"ports": [{"name": "it", "containerPort": port}], "readinessProbe": each(json!({"tcpSocket": {"port": "it"}}))})),
        sh("dead", forever, json!({"livenessProbe": each(json!({"exec": {"command": ["false"]}}))})),
        sh("slow", forever, json!({"startupProbe": each(json!({"exec": {"command": ["sleep", "60"]}, "failureThreshold": 30}))})),
    ]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    bench.start(&plan).await;
    until("two restarts", async || {
        let report = bench.report(plan.uid).await;
        !report.containers.is_empty()
            && state(&report, "dead").restarts >= 2
            && state(&report, "web").ready
            && state(&report, "tcp").ready
    })
    .await;
    let report = bench.report(plan.uid).await;
    assert!(!state(&report, "bad").ready && state(&report, "bad").is_up && state(&report, "bad").restarts == 0);
    assert!(!state(&report, "slow").ready && !state(&report, "slow").is_up);
    let how = Cancellation { reason: "Cancelled".into(), grace: None };
    bench.site.cancel(plan.uid, &how).await.expect("cancelled");
    bench.finish(plan.uid).await;
}

#[tokio::test]
async fn hooks_and_last_words() {
    let bench = crate::bench().await;
    let forever = "trap 'echo asked; exit 0' TERM; while :; do sleep 0.02; done 2>/dev/null";
    let place = json!([{"name": "v", "mountPath": "/v"}]);
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 5, "containers": [
        sh("main", forever, json!({"volumeMounts": place, "lifecycle": {
            "postStart": {"exec": {"command": ["touch", "/v/started"]}},
            "preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 0.1; touch /v/stopping"]}}}})),
        sh("watch", "while ! test -e /v/started; do sleep 0.02; done; echo started; trap '' TERM; while ! test -e /v/stopping; do sleep 0.02; done; echo stopping; exit 0",
            json!({"volumeMounts": place})),
        sh("file", "echo the reason > /dev/termination-log; exit 4", json!({"terminationMessagePath": "/dev/termination-log"})),
        sh("log", "echo first; echo second; exit 5", json!({"terminationMessagePolicy": "FallbackToLogsOnError"})),
        sh("deep", "echo deep > /v/why/it; exit 6", json!({"volumeMounts": place, "terminationMessagePath": "/v/why/it"})),
    ]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    bench.start(&plan).await;
    let log = async |name: &str| {
        let chunk = bench.site.log(plan.uid, Some(name), 0).await.expect("log");
        chunk.lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect::<String>()
    };
    until("the first hook", async || log("watch").await.contains("started")).await;
    until("three ends", async || {
        let report = bench.report(plan.uid).await;
        ["file", "log", "deep"].iter().all(|name| state(&report, name).state.exit_code().is_some())
    })
    .await;
    let how = Cancellation { reason: "Cancelled".into(), grace: Some(Duration::from_secs(10)) };
    bench.site.cancel(plan.uid, &how).await.expect("cancelled");
    let report = bench.finish(plan.uid).await;
    assert_eq!((log("watch").await, log("main").await), ("started\nstopping\n".into(), "asked\n".into()), "{report:?}");
    assert_eq!(message(&report, "file").as_deref(), Some("the reason\n"), "{report:?}");
    assert_eq!(message(&report, "log").as_deref(), Some("first\nsecond\n"));
    assert_eq!(message(&report, "deep").as_deref(), Some("deep\n"), "{}", log("deep").await);
}

async fn collect(bench: &Bench, order: &ExecOrder, input: &[ExecInput]) -> (String, String, Option<i32>) {
    let mut session = bench.site.exec(order).await.expect("a session");
    for one in input {
        session.input.send(one.clone()).await.expect("sent");
    }
    let (mut said, mut complained, mut exit) = (String::new(), String::new(), None);
    while let Some(output) = session.output.recv().await {
        match output {
            ExecOutput::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Stderr(bytes) => complained.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Exit { exit_code } => exit = Some(exit_code),
            ExecOutput::StdoutEnd => {}
            ExecOutput::Failed { message } => complained.push_str(&message),
        }
    }
    (said, complained, exit)
}

#[tokio::test]
async fn programs_run_in_a_running_container() {
    let bench = crate::bench().await;
    let spec = with_volumes(
        "echo ready; while ! test -e /v/end; do sleep 0.02; done",
        json!([{"name": "v", "emptyDir": {}}]),
        json!([{"name": "v", "mountPath": "/v"}]),
    );
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    bench.start(&plan).await;
    until("a start", async || bench.log(plan.uid).await == "ready\n").await;
    let order = |text: &str, stdin: bool, tty: bool| ExecOrder {
        uid: plan.uid,
        container: None,
        argv: vec!["/bin/sh".into(), "-c".into(), text.into()],
        stdin,
        tty,
    };
    let seen = collect(
        &bench,
        &order("echo out; echo bad >&2; cat; ls -d /v; echo $DTE_RUN_DIR > /dev/stdout; exit 7", true, false),
        &[ExecInput::Stdin(b"in\n".to_vec()), ExecInput::StdinEnd],
    )
    .await;
    let run = bench.dir.path().join(format!("data/runs/{}", plan.uid)).canonicalize().expect("run");
    assert_eq!(seen, (format!("out\nin\n/v\n{}\n", run.display()), "bad\n".into(), Some(7)));
    let privileges = collect(
        &bench,
        &order("grep -E 'CapEff|NoNewPrivs' /proc/self/status; cat $DTE_RUN_DIR/spec.json", false, false),
        &[],
    )
    .await;
    assert!(
        privileges.0.contains("CapEff:\t0000000000000000") && privileges.0.contains("NoNewPrivs:\t1"),
        "{privileges:?}"
    );
    assert_eq!(privileges.2, Some(1), "{privileges:?}");

    let terminal = collect(
        &bench,
        &order("stty size; read line; echo got $line; tty >/dev/null && exit 3", true, true),
        &[ExecInput::Resize { columns: 101, rows: 33 }, ExecInput::Stdin(b"word\n".to_vec())],
    )
    .await;
    assert!(terminal.0.contains("got word") && terminal.2 == Some(3), "{terminal:?}");

    // Whoever lets go ends the program, and the pod goes on.
    let session = bench.site.exec(&order("echo $$ > /v/pid; exec sleep 77.5", false, false)).await.expect("a session");
    let volume = run.join("volumes/v");
    until("its start", async || volume.join("pid").exists()).await;
    drop(session);
    let runs = || {
        fs::read_dir("/proc")
            .expect("proc")
            .flatten()
            .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0077.5\0")))
    };
    until("its end", async || !runs()).await;
    assert_eq!(bench.report(plan.uid).await.phase, Phase::Running);

    let nobody = ExecOrder { container: Some("nobody".into()), ..order("true", false, false) };
    assert!(matches!(bench.site.exec(&nobody).await, Err(SiteError::Refused(_))));
    // Another engine can do it too.
    let bench = bench.reopen().await;
    assert_eq!(collect(&bench, &order("touch /v/end; echo done", false, false), &[]).await.0, "done\n");
    assert_eq!(bench.finish(plan.uid).await.phase, Phase::Succeeded);
    assert!(matches!(bench.site.exec(&order("true", false, false)).await, Err(SiteError::Refused(_))));
}

/// How many short pods a second: printed, not asserted.
#[tokio::test]
async fn many_short_pods() {
    let bench = crate::bench().await;
    let count = 300;
    for (what, with_message) in [("plain", false), ("with a termination message", true)] {
        let begun = Instant::now();
        let pods = (0..count).map(|_| {
            let site = bench.site.clone();
            let mut plan = script("true");
            if with_message {
                plan.containers[0].termination.path = Some("/dev/termination-log".into());
            }
            async move {
                site.prepare(plan.uid).await.expect("prepared");
                let mut ended = site.ended();
                while let Err(SiteError::Busy(_)) = site.submit(&plan).await {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                loop {
                    let report = site.status(&[plan.uid]).await.expect("status").remove(0);
                    if report.phase.is_terminal() {
                        return report.phase;
                    }
                    drop(tokio::time::timeout(Duration::from_millis(200), ended.recv()).await);
                }
            }
        });
        for pod in pods.map(tokio::spawn).collect::<Vec<_>>() {
            assert_eq!(pod.await.expect("task"), Phase::Succeeded);
        }
        println!("{what}: {:.0} pods a second", f64::from(count) / begun.elapsed().as_secs_f64());
    }
}

/// A gRPC health service that serves from the second question on; says how often it was asked for which service.
async fn health_service() -> (u16, std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked: std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>> = std::sync::Arc::default();
    let noted = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let noted = noted.clone();
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut question = Vec::new();
                        while let Some(Ok(piece)) = body.data().await {
                            question.extend_from_slice(&piece);
                        }
                        let count = {
                            let mut all = noted.lock().expect("not poisoned");
                            all.push(question);
                            all.len()
                        };
                        let status = if count > 1 { 1 } else { 2 };
                        let head = http::Response::builder().header("content-type", "application/grpc").body(());
                        let mut answer = respond.send_response(head.expect("a head"), false).expect("sent");
                        answer.send_data(vec![0, 0, 0, 0, 2, 8, status].into(), false).expect("sent");
                        let mut end = http::HeaderMap::new();
                        end.insert("grpc-status", "0".parse().expect("a value"));
                        answer.send_trailers(end).expect("sent");
                    });
                }
            });
        }
    });
    (port, asked)
}

#[tokio::test]
async fn probes_by_grpc() {
    let bench = crate::bench().await;
    let (port, asked) = health_service().await;
    let nothing = json!([]);
    let probe = json!({"readinessProbe": {"grpc": {"port": port, "service": "model"}, "periodSeconds": 1}});
    let spec = json!({"containers": [sh("main", "while ! test -e $DTE_OUTPUTS/end; do sleep 0.05; done", probe)]});
    let plan = read(&spec, &nothing, &nothing, &nothing).expect("a plan");
    bench.start(&plan).await;
    until("the first question", async || !asked.lock().expect("not poisoned").is_empty()).await;
    assert!(!state(&bench.report(plan.uid).await, "main").ready, "it does not serve yet");
    until("it is ready", async || state(&bench.report(plan.uid).await, "main").ready).await;
    assert_eq!(asked.lock().expect("not poisoned")[0], b"\0\0\0\0\x07\x0a\x05model");
    fs::write(bench.dir.path().join(format!("data/runs/{}/outputs/end", plan.uid)), "").expect("the sign to end");
    assert_eq!(bench.finish(plan.uid).await.phase, Phase::Succeeded);
    for (probe, words) in [
        (json!({"grpc": {"port": 0}}), "readinessProbe.grpc.port 0"),
        (json!({"grpc": {"port": 1}, "tcpSocket": {"port": 1}}), "must have one of"),
    ] {
        let spec = json!({"containers": [sh("main", "true", json!({"readinessProbe": probe}))]});
        let refused = read(&spec, &nothing, &nothing, &nothing).expect_err("refused");
        assert!(refused.contains(words), "{refused}");
    }
}
