//! What a pod is besides its programs: volumes, restarts, sidecars, probes, hooks, messages; with real processes.

#[path = "support/bench.rs"]
mod bench;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use bench::{Bench, until};
use dte_base::id::new_id;
use dte_base::units::Span;
use dte_compute::host::HostConfig;
use dte_compute::pod::{PodPlan, Request};
use dte_compute::site::Cancellation;
use dte_compute::{ContainerState, ExecInput, ExecOrder, ExecOutput, Phase, PodReport, Site, SiteError};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};

/// Reads a pod with the objects that come with it.
fn read(spec: &Value, maps: &Value, secrets: &Value, projected: &Value) -> Result<PodPlan, String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": new_id().to_string(), "labels": {"b": "two\nlines", "a": "1"}},
        "spec": spec,
    }))
    .expect("a pod");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let object = |one: Value| serde_json::from_value::<ConfigMap>(one).expect("a config map");
    let maps: Vec<ConfigMap> = list(maps).into_iter().map(object).collect();
    let projected: Vec<ConfigMap> = list(projected).into_iter().map(object).collect();
    let secrets: Vec<Secret> =
        list(secrets).into_iter().map(|one| serde_json::from_value(one).expect("a secret")).collect();
    let request = Request { pod: &pod, config_maps: &maps, secrets: &secrets, projected: &projected };
    PodPlan::read(request).map_err(|error| error.to_string())
}

fn sh(name: &str, text: &str, more: Value) -> Value {
    let mut container = json!({"name": name, "image": "host", "command": ["/bin/sh", "-c", text]});
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

/// A pod of one container that mounts these volumes.
fn with_volumes(text: &str, volumes: Value, mounts: Value) -> Value {
    json!({"volumes": volumes, "containers": [sh("main", text, json!({"volumeMounts": mounts}))]})
}

async fn bench() -> Bench {
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let config = HostConfig {
        shim,
        slots: Some(64),
        grace: Span(Duration::from_millis(1_000)),
        restart_wait: Span(Duration::from_millis(300)),
        ..HostConfig::default()
    };
    Bench::with(config).await
}

fn state(report: &PodReport, name: &str) -> dte_compute::ContainerReport {
    let mut all = report.init_containers.iter().chain(&report.containers);
    all.find(|container| container.name == name).expect(name).clone()
}

fn message(report: &PodReport, name: &str) -> Option<String> {
    match state(report, name).state {
        ContainerState::Terminated { message, .. } => message,
        _ => None,
    }
}

#[tokio::test]
async fn volumes_are_mounted_with_their_modes_and_only_where_asked() {
    let bench = bench().await;
    assert!(bench.holds());
    let spec = json!({
        "volumes": [
            {"name": "conf", "configMap": {"name": "settings", "items": [{"key": "a", "path": "sub/a.txt", "mode": 0o600}, {"key": "bin", "path": "b"}]}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "gone", "configMap": {"name": "nowhere", "optional": true}},
            {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "settings"}}]}},
            {"name": "labels", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "shared", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
        "initContainers": [sh("first", "echo from init > /shared/it; ! test -e /made-for-dte-tests/conf; ls /made-for-dte-tests", json!({
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}))],
        "containers": [
            sh("main", "
                set -e
                cd /made-for-dte-tests/conf; cat sub/a.txt; wc -c < b; stat -c %a sub/a.txt b
                cat /etc/dte-tests-keys/key; stat -c %a /etc/dte-tests-keys/key
                (echo x > /etc/dte-tests-keys/key) 2>/dev/null && echo WRITTEN
                (echo x > /made-for-dte-tests/conf/new) 2>/dev/null && echo WRITTEN
                ls /gone | wc -l; cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo
                cat /labels/labels; echo; cat /shared/it; cat /one
                cat /shared/deep/inner/it; echo memory > /dev/shm/x; df /dev/shm | grep -c tmpfs
                head -c 3000000 /dev/zero 2>/dev/null > /dev/shm/big && echo TOO MUCH
                grep -q . /etc/passwd; ls $DTE_RUN_DIR/volumes 2>/dev/null && echo SEEN; ls -d /etc/hostname
                touch /shared/ready", json!({"volumeMounts": [
                {"name": "conf", "mountPath": "/made-for-dte-tests/conf"},
                {"name": "keys", "mountPath": "/etc/dte-tests-keys/"},
                {"name": "gone", "mountPath": "/gone"},
                {"name": "all", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
                {"name": "labels", "mountPath": "/labels"},
                {"name": "shared", "mountPath": "/shared"},
                {"name": "shared", "mountPath": "/shared/deep/inner"},
                {"name": "conf", "mountPath": "/one", "subPath": "sub/a.txt"},
                {"name": "memory", "mountPath": "/dev/shm"}]})),
            sh("other", "while ! test -e /data/shared/ready; do sleep 0.05; done; ls /data; ! test -e /etc/dte-tests-keys/key", json!({"volumeMounts": [
                {"name": "shared", "mountPath": "/data/shared"}]})),
        ],
    });
    let maps = json!([{"metadata": {"name": "settings"}, "data": {"a": "alpha"}, "binaryData": {"bin": "AAEC"}}]);
    let secrets = json!([{"metadata": {"name": "keys"}, "data": {"key": "aGlkZGVu"}}]);
    let projected = json!([{"metadata": {"name": "all"}, "data": {"token": "the-token"}}]);
    let plan = read(&spec, &maps, &secrets, &projected).expect("a plan");
    let report = bench.run(&plan).await;
    let log = bench.log(plan.uid).await;
    assert_eq!(report.phase, Phase::Succeeded, "{report:?}\n{log}");
    let expected = "alpha3\n600\n644\nhidden400\n0\nthe-token\na=\"1\"\nb=\"two\\nlines\"\nfrom init\nalphafrom init\n1\n/etc/hostname\n";
    let shown: Vec<&str> =
        log.lines().filter(|line| !line.contains("cannot create") && !line.contains("write error")).collect();
    assert_eq!(shown.join("\n") + "\n", expected);
    for place in ["/made-for-dte-tests", "/etc/dte-tests-keys", "/gone", "/shared", "/labels", "/one", "/data/shared"] {
        assert!(!std::path::Path::new(place).exists(), "{place} was made on the machine");
    }
    bench.site.remove(plan.uid).await.expect("removed");
}

/// Every file beneath `folder` in which one of the words stands.
fn files_with(folder: &std::path::Path, words: &[&str]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, words));
        } else if let Ok(bytes) = fs::read(&path)
            && words.iter().any(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn an_ended_pod_leaves_its_log_and_no_secrets() {
    let bench = bench().await;
    let secrets = json!([{"metadata": {"name": "keys"}, "data": {"key": "aGlkZGVu"}}]);
    let volumes = json!([{"name": "keys", "secret": {"secretName": "keys"}}, {"name": "own", "emptyDir": {}}]);
    let mounts = json!([{"name": "keys", "mountPath": "/made-for-dte-tests"}, {"name": "own", "mountPath": "/own"}]);
    let words = ["hidden", "aGlkZGVu", "open sesame"];
    for (script, phase) in [
        ("cp /made-for-dte-tests/key /own/copy; echo seen ${#WORD}", Phase::Succeeded),
        ("echo seen ${#WORD}; cat /made-for-dte-tests/key > /own/copy; kill -9 $$$$", Phase::Failed),
    ] {
        let mut spec = with_volumes(script, volumes.clone(), mounts.clone());
        spec["containers"][0]["env"] = json!([{"name": "WORD", "value": "open sesame"}]);
        let plan = read(&spec, &json!([]), &secrets, &json!([])).expect("a plan");
        let report = bench.run(&plan).await;
        assert_eq!((report.phase, bench.log(plan.uid).await.as_str()), (phase, "seen 11\n"), "{report:?}");
        let run = bench.dir.path().join(format!("data/runs/{}", plan.uid));
        assert_eq!(files_with(&run, &words), Vec::<std::path::PathBuf>::new());
        assert!(run.join("exit.json").exists() && run.join("outputs").is_dir());
        bench.site.remove(plan.uid).await.expect("removed");
    }
}

#[test]
fn hostile_volumes_are_refused_naming_the_field() {
    let maps = json!([{"metadata": {"name": "m"}, "data": {"k": "v", "../up": "x"}},
                      {"metadata": {"name": "big"}, "data": {"k": "x".repeat(10 << 20)}}]);
    let mount = |path: &str| json!([{"name": "v", "mountPath": path}]);
    let map = |name: &str| json!([{"name": "v", "configMap": {"name": name}}]);
    let item = |path: &str| json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": path}]}}]);
    let dir = || json!([{"name": "v", "emptyDir": {}}]);
    let cases = [
        (map("m"), mount("/x"), "\"../up\" is not the name of a file"),
        (map("big"), mount("/x"), "spec.volumes[0].configMap: 10485761 bytes are more than the 1048576"),
        (map("none"), mount("/x"), "spec.volumes[0].configMap.name: the ConfigMap \"none\" did not come"),
        (item("../../etc/x"), mount("/x"), "items[0]"),
        (item("/etc/x"), mount("/x"), "items[0]"),
        (
            json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "no", "path": "a"}]}}]),
            mount("/x"),
            "items[0].key",
        ),
        (
            json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "a", "mode": 4095}]}}]),
            mount("/x"),
            "file mode",
        ),
        (json!([{"name": "../v", "emptyDir": {}}]), mount("/x"), "spec.volumes[0].name"),
        (json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]), mount("/x"), "two volumes"),
        (json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]), mount("/x"), "nfs volumes cannot be mounted"),
        (json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]), mount("/x"), "hostPath.path"),
        (json!([{"name": "v", "hostPath": {"path": "/a", "type": "BlockDevice"}}]), mount("/x"), "hostPath.type"),
        (dir(), mount("/a/../../b"), "volumeMounts[0].mountPath"),
        (dir(), mount("/"), "volumeMounts[0].mountPath"),
        (dir(), mount("/proc/1"), "volumeMounts[0].mountPath"),
        (dir(), mount("/a\nb"), "volumeMounts[0].mountPath"),
        (
            dir(),
            json!([{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x/"}]),
            "volumeMounts[1].mountPath",
        ),
        (dir(), json!([{"name": "v", "mountPath": "/x", "subPath": "../up"}]), "volumeMounts[0].subPath"),
        (dir(), json!([{"name": "v", "mountPath": "/x", "subPath": "/etc"}]), "volumeMounts[0].subPath"),
        (dir(), json!([{"name": "w", "mountPath": "/x"}]), "volumeMounts[0].name"),
    ];
    for (volumes, mounts, word) in cases {
        let spec = with_volumes("true", volumes.clone(), mounts.clone());
        let error = read(&spec, &maps, &json!([]), &json!([])).expect_err(word);
        assert!(error.contains(word), "{volumes} {mounts}: {error}");
    }
}

#[tokio::test]
async fn places_of_the_machine_are_mounted_only_by_permission_and_links_lead_nowhere() {
    let place = tempfile::tempdir().expect("a folder");
    let open = place.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::write(open.join("file"), "of the machine\n").expect("a file");
    symlink("/etc", open.join("link")).expect("a link");
    symlink("/etc", place.path().join("out")).expect("a link");
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let bench = Bench::with(HostConfig { shim, host_paths: vec![open.clone()], ..HostConfig::default() }).await;
    let nothing = json!([]);
    let plan = |path: &std::path::Path, kind: &str, sub: &str| {
        let volumes = json!([{"name": "v", "hostPath": {"path": path, "type": kind}}]);
        let mounts = json!([{"name": "v", "mountPath": "/machine", "subPath": sub, "readOnly": true}]);
        read(
            &with_volumes("cat /machine/file /machine/passwd; touch /machine/new || echo closed", volumes, mounts),
            &nothing,
            &nothing,
            &nothing,
        )
        .expect("a plan")
    };
    let good = plan(&open, "Directory", "");
    bench.run(&good).await;
    let log = bench.log(good.uid).await;
    assert!(log.contains("of the machine") && log.contains("closed") && !log.contains("root:"), "{log}");
    for (path, kind) in [
        ("/etc".into(), ""),
        (open.join("link"), ""),
        (open.join("../out"), ""),
        (open.join("file"), "Directory"),
        (open.join("no"), "File"),
    ] {
        let volumes = json!([{"name": "v", "hostPath": {"path": path, "type": kind}}]);
        let spec = with_volumes("true", volumes, json!([{"name": "v", "mountPath": "/machine"}]));
        let Ok(plan) = read(&spec, &nothing, &nothing, &nothing) else { continue };
        bench.site.prepare(plan.uid).await.expect("prepared");
        let outcome = bench.site.submit(&plan).await;
        assert!(
            matches!(&outcome, Err(SiteError::Refused(why)) if why.contains("volume v: hostPath")),
            "{path:?} {outcome:?}"
        );
    }
    // A link beneath an allowed folder.
    let report = bench.run(&plan(&open, "", "link")).await;
    assert_eq!(report.phase, Phase::Failed);
    let bad = plan(&open, "", "link");
    bench.run(&bad).await;
    let log = bench.log(bad.uid).await;
    assert!(log.contains("leads through a link") && !log.contains("root:"), "{log}");
}

#[tokio::test]
async fn containers_start_again_as_their_policy_says() {
    let bench = bench().await;
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
    let bench = bench().await;
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
    let bench = bench().await;
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
    let bench = bench().await;
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
            ExecOutput::Failed { message } => complained.push_str(&message),
        }
    }
    (said, complained, exit)
}

#[tokio::test]
async fn programs_run_in_a_running_container() {
    let bench = bench().await;
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

#[tokio::test]
async fn a_container_that_takes_too_much_memory_is_told_apart() {
    let bench = bench().await;
    let limit = json!({"resources": {"limits": {"memory": "48Mi"}}});
    let spec = json!({"containers": [
        sh("greedy", "python3 -c 'x = bytearray(200 << 20); print(len(x))'; exit $?", limit.clone()),
        sh("modest", "sleep 0.3; echo fine", limit),
        sh("killed", "kill -9 $$$$", json!({"resources": {"limits": {"memory": "48Mi"}}})),
    ]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    let report = bench.run(&plan).await;
    let reason = |name: &str| match state(&report, name).state {
        ContainerState::Terminated { reason, exit_code, .. } => (reason, exit_code),
        other => panic!("{other:?}"),
    };
    println!("limited to 48 MiB: {:?}, {:?}", reason("greedy"), reason("killed"));
    assert_ne!(reason("greedy").1, 0, "{report:?}");
    assert_eq!(reason("killed"), ("Error".into(), 137));
    let groups = std::path::Path::new("/sys/fs/cgroup/memory");
    if nix::unistd::geteuid().is_root() && groups.is_dir() {
        assert_eq!(reason("greedy").0, "OOMKilled", "{report:?}");
        assert_eq!(reason("modest"), ("Completed".into(), 0));
        let own = fs::read_to_string("/proc/self/cgroup").expect("groups");
        let own = own.lines().find_map(|line| line.split_once(":memory:")).map_or("/", |(_, path)| path);
        let left = fs::read_dir(groups.join(own.trim_start_matches('/'))).expect("our group").flatten();
        let uid = plan.uid.to_string();
        assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains(&uid)), "a group is left");
    }
}

/// How many short pods a second: printed, not asserted.
#[tokio::test]
async fn many_short_pods() {
    let bench = bench().await;
    let count = 300;
    for (what, with_message) in [("plain", false), ("with a termination message", true)] {
        let begun = Instant::now();
        let pods = (0..count).map(|_| {
            let site = bench.site.clone();
            let mut plan = bench::script("true");
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

/// The same as an ordinary user, if the tests run as root.
#[test]
fn as_an_ordinary_user_too() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: the other tests run as an ordinary user already");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let outcome = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--nocapture", "--skip", "as_an_ordinary_user_too"])
        .env("HOME", std::env::temp_dir())
        .output();
    match outcome {
        Err(error) => println!("SKIPPED: no setpriv: {error}"),
        Ok(output) => {
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{text}");
            println!("{text}");
        }
    }
}
