//! Somebody is banned while all that they may do is under way: a pod that runs, a large copy, an open stream, and a program that
//! asks for one token after the other. All of it stops, in this process and in another one on the same database.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use dte_http::{Client, HttpConfig};
use harness::{Api, Engine, dte};
use serde_json::{Value, json};

/// Nothing here takes so long but on a machine that does ten other things. What is promised (1 s, and 5 s between processes) is
/// printed, not asserted.
const PATIENCE: Duration = Duration::from_secs(60);
const SCOPES: &str = "compute.create compute.read dte.transfer dte.lake.read events.read storage.read:/home/robot \
                      storage.create:/home/robot storage.modify:/home/robot";
const POD: &str = "0b7c1d2e-0000-4000-8000-00000000000a";

fn client() -> Client {
    Client::new(&HttpConfig::default(), "http://nobody.invalid".parse().expect("a URL"))
}

/// A web server whose one file is a gibibyte and comes in small pieces for as long as somebody listens.
fn slow_source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || trickle(stream));
        }
    });
    address
}

fn trickle(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n";
    if stream.write_all(head.as_bytes()).is_err() || request.starts_with(b"HEAD") {
        return;
    }
    let piece = [7; 16 << 10];
    while stream.write_all(&piece).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The engine, a client `robot`, and its token.
struct Scene {
    engine: Engine,
    secret: String,
    token: String,
    source: SocketAddr,
}

fn command(data_dir: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Output {
    let output =
        dte().args(arguments).arg("--data-dir").arg(data_dir).envs(env.iter().copied()).output().expect("runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Waits until something is so, and gives how long that took.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

impl Scene {
    async fn new(folder: &Path, env: &[(&str, &str)]) -> Scene {
        let data_dir = folder.join("d");
        std::fs::create_dir_all(&data_dir).expect("folder");
        std::fs::write(data_dir.join("dte.toml"), "[http.outbound]\nallow = [\"127.0.0.1\"]\n").expect("writes");
        let engine = Engine::start(&data_dir, &["up"], env);
        let made = command(&data_dir, env, &["client", "add", "robot", "--scope", SCOPES, "--json"]);
        let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        let secret = made["client_secret"].as_str().expect("a secret").to_owned();
        let mut scene = Scene { engine, secret, token: String::new(), source: slow_source() };
        scene.token = scene.grant().await.expect("a token");
        scene
    }

    /// The client-credentials grant.
    async fn grant(&self) -> Option<String> {
        let form = [("grant_type", "client_credentials"), ("client_id", "robot"), ("client_secret", &self.secret)];
        let reply = client().post(format!("{}/oidc/token", self.engine.url)).form(&form).send().await.expect("answers");
        let good = reply.status.is_success();
        let body: Value = serde_json::from_str(&reply.text().await.expect("text")).expect("JSON");
        good.then(|| body["access_token"].as_str().expect("a token").to_owned())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = client().post(format!("{}{path}", self.engine.url)).bearer(self.token.as_str()).json(body);
        let reply = request.send().await.expect("answers");
        let status = reply.status.as_u16();
        let text = reply.text().await.expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn start_pod(&self) {
        let script = "while :; do echo beat; sleep 0.05; done";
        let pod = json!({
            "metadata": { "name": "p", "namespace": "default", "uid": POD },
            "spec": { "restartPolicy": "Never",
                      "containers": [{ "name": "main", "image": "host", "command": ["/bin/sh", "-c", script] }] },
        });
        let (status, answer) = self.post("/interlink/create", &json!({ "pod": pod })).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn start_copy(&self) -> String {
        let file = json!({
            "sources": [format!("http://{}/big", self.source)],
            "destinations": [format!("{}/dav/home/robot/big", self.engine.url)],
        });
        let (status, answer) = self.post("/fts/jobs", &json!({ "files": [file], "params": { "retry": 3 } })).await;
        assert_eq!(status, 200, "{answer}");
        answer["job_id"].as_str().expect("an identifier").to_owned()
    }

    async fn beats(&self, api: &Api) -> usize {
        let asked =
            json!({ "Namespace": "default", "PodUID": POD, "PodName": "p", "ContainerName": "main", "Opts": {} });
        api.post_text("/interlink/getLogs", &asked).await.lines().count()
    }
}

async fn pod_reason(api: &Api) -> Value {
    let pods = api.get("/interlink/pods").await;
    pods["items"].as_array().expect("items").iter().find(|pod| pod["uid"] == POD).expect("the pod")["reason"].clone()
}

/// Files that are not empty, whole or not: what is on its way lies under a name of its own.
fn files_below(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ if entry.metadata().is_ok_and(|about| about.len() > 0) => found.push(entry.path().display().to_string()),
            _ => {}
        }
    }
    found
}

/// Begins everything, bans through the engine in `door`, looks at each effect, lifts the ban and looks again.
async fn all_stops_and_goes_on(scene: &Scene, door: &Path, env: &[(&str, &str)], promised: &str) {
    let api = scene.engine.api();
    scene.start_pod().await;
    let job = scene.start_copy().await;
    until("the pod beats", async || scene.beats(&api).await > 3).await;
    let area = scene.engine.data_dir.join("storage");
    until("bytes arrive", async || !files_below(&area).is_empty()).await;
    let stream = format!("{}/events/api/v1/stream", scene.engine.url);
    let reply = client().get(stream).bearer(scene.token.as_str()).send().await.expect("answers");
    assert_eq!(reply.status.as_u16(), 200);
    let stream = tokio::spawn(async move {
        drop(reply.text().await);
        Instant::now()
    });

    command(door, env, &["ban", "add", "--subject", "robot", "--reason", "an exercise"]);
    let banned = Instant::now();
    let grants = until("tokens", async || scene.grant().await.is_none());
    let copy = until("the copy", async || {
        let job = api.get(&format!("/fts/jobs/{job}/files")).await;
        job[0]["file_state"] == "FAILED" && job[0]["reason"].as_str().is_some_and(|reason| reason.contains("suspended"))
    });
    let pod = until("the pod", async || pod_reason(&api).await == "Suspended");
    let (grants, copy, pod) = tokio::join!(grants, copy, pod);
    let ended = tokio::time::timeout(PATIENCE, stream).await.expect("the stream ends").expect("no panic");
    let stream = ended.duration_since(banned);
    println!("after the ban ({promised} promised): tokens {grants:?}, copy {copy:?}, pod {pod:?}, stream {stream:?}");

    // No half file, and nothing new.
    until("no part", async || !files_below(&area).iter().any(|path| path.contains("robot") && path.contains("big")))
        .await;
    let status = client().get(format!("{}/dav/home/robot/big", scene.engine.url)).bearer(api.token()).send().await;
    assert_eq!(status.expect("answers").status.as_u16(), 404);
    for (path, body) in
        [("/interlink/create", json!({})), ("/fts/jobs", json!({})), ("/rucio/replicas/list", json!({}))]
    {
        assert_eq!(scene.post(path, &body).await.0, 401, "{path}");
    }
    let before = scene.beats(&api).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(scene.beats(&api).await, before, "the pod stands still");

    command(door, env, &["ban", "lift", "--subject", "robot"]);
    let grants = until("tokens", async || scene.grant().await.is_some()).await;
    let pod = until("beats", async || scene.beats(&api).await > before + 3).await;
    assert_eq!(pod_reason(&api).await, Value::Null);
    println!("after the lift: tokens {grants:?}, pod {pod:?}");
    let text = String::from_utf8(command(door, env, &["audit", "trace", "--subject", "robot"]).stdout).expect("text");
    assert!(text.contains("token.issue"), "what the client did stands in the trail: {text}");
    // It would run for ever.
    let pod = json!({ "metadata": { "name": "p", "namespace": "default", "uid": POD }, "spec": { "containers": [] } });
    api.post_text("/interlink/delete", &pod).await;
    until("the pod is gone", async || {
        let pods = api.get("/interlink/pods").await;
        pods["items"].as_array().expect("items").iter().all(|pod| pod["uid"] != POD)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_stops_everything_in_one_process() {
    let folder = tempfile::tempdir().expect("folder");
    let scene = Scene::new(folder.path(), &[]).await;
    let door = scene.engine.data_dir.clone();
    all_stops_and_goes_on(&scene, &door, &[], "1 s").await;
    scene.engine.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_in_one_process_stops_everything_in_another() {
    let Ok(url) = std::env::var("DTE_TEST_POSTGRES") else {
        eprintln!("SKIPPED: DTE_TEST_POSTGRES is not set");
        return;
    };
    let folder = tempfile::tempdir().expect("folder");
    let schema = format!("ban_{}", dte_base::id::new_id().simple());
    let key = folder.path().join("d/secret.key").display().to_string();
    let env = [
        ("DTE_STORE", url.as_str()),
        ("DTE_STORE__SCHEMA", schema.as_str()),
        ("DTE_IDENTITY__SECRET_KEY_FILE", key.as_str()),
    ];
    let scene = Scene::new(folder.path(), &env).await;
    let other = Engine::start(&folder.path().join("other"), &["serve", "accounting"], &env);
    all_stops_and_goes_on(&scene, &other.data_dir, &env, "5 s").await;
    other.stop();
    scene.engine.stop();
}
