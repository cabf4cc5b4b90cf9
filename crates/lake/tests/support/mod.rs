//! A lake behind its public API, with a transfer service that does as the test says.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, Require, Routes};
use dte_protocol_fts::identifier::deterministic_job_id;
use dte_protocol_rucio::{Did, LakeClient};
use dte_store::testing::TemporaryStore;
use dte_store::{Event, Store};
use http::Method;
use serde_json::{Value, json};
use url::Url;

/// What the transfer service does with a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// The file arrives, and the event log says so.
    Finish,
    /// It fails, and the event log says so.
    Fail,
    /// It takes the job and is silent.
    Hold,
    /// The file arrives, but only who asks learns of it.
    Mute,
    /// One file in four fails at the first attempt.
    Moody,
    /// It is not there.
    Away,
}

#[derive(Clone)]
pub struct FakeFts {
    pub jobs: Arc<Mutex<BTreeMap<String, Value>>>,
    pub mood: Arc<Mutex<Mood>>,
    pub cancelled: Arc<Mutex<Vec<String>>>,
    store: Store,
}

const VO: &str = "test";

impl FakeFts {
    fn routes(&self) -> Routes {
        Routes::new("fts")
            .get("/whoami", Require::Scope("dte.transfer"), whoami)
            .post("/jobs", Require::Scope("dte.transfer"), submit)
            .get("/jobs/{id}/files", Require::Scope("dte.transfer"), files)
            .delete("/jobs/{id}", Require::Scope("dte.transfer"), cancel)
            .with_state(self.clone())
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().expect("lock") = mood;
    }

    pub fn count(&self) -> usize {
        self.jobs.lock().expect("lock").len()
    }

    /// Tells the end of a job that was held.
    pub async fn tell(&self, id: &str, finished: bool) {
        let job = self.jobs.lock().expect("lock").get(id).cloned().expect("a job");
        tell(&self.store, id, &job, finished).await;
    }
}

async fn tell(store: &Store, id: &str, job: &Value, finished: bool) {
    let file = &job["files"][0];
    let data = json!({
        "job_id": id, "file_id": 1, "source": file["sources"][0], "destination": file["destinations"][0],
        "bytes": file["filesize"], "checksum": file["checksum"], "user": {"name": "admin"},
        "error": if finished { Value::Null } else { json!("TRANSFER [5] the cable is cut") },
    });
    let kind = if finished { "org.dte.transfer.file.finished" } else { "org.dte.transfer.file.failed" };
    let event = Event::new(kind, "/fts", id, data);
    store.write(move |tx| tx.emit(event.clone())).await.expect("emit");
}

async fn whoami() -> Json<Value> {
    Json(json!({"user_dn": "u", "base_id": dte_protocol_fts::identifier::BASE_ID, "vos": [VO], "method": "oauth2"}))
}

async fn submit(State(fts): State<FakeFts>, Json(body): Json<Value>) -> Response {
    let mood = *fts.mood.lock().expect("lock");
    if mood == Mood::Away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let sid = body["params"]["sid"].as_str().expect("a deterministic job").to_owned();
    let id = deterministic_job_id(VO, &sid).to_string();
    if fts.jobs.lock().expect("lock").insert(id.clone(), body.clone()).is_some() {
        return (StatusCode::CONFLICT, Json(json!({"status": "409 Conflict", "message": "duplicate"}))).into_response();
    }
    let fails = match mood {
        Mood::Moody => sid.ends_with("-1") && id.as_bytes()[0].is_multiple_of(4),
        mood => mood == Mood::Fail,
    };
    if !matches!(mood, Mood::Hold | Mood::Mute) {
        tell(&fts.store, &id, &body, !fails).await;
    }
    Json(json!({"job_id": id})).into_response()
}

async fn cancel(State(fts): State<FakeFts>, Path(id): Path<String>) -> Json<Value> {
    fts.cancelled.lock().expect("lock").push(id.clone());
    Json(json!({"job_id": id, "job_state": "CANCELED"}))
}

async fn files(State(fts): State<FakeFts>, Path(id): Path<String>) -> Response {
    let Some(job) = fts.jobs.lock().expect("lock").get(&id).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let state = if *fts.mood.lock().expect("lock") == Mood::Mute { "FINISHED" } else { "ACTIVE" };
    let file = &job["files"][0];
    Json(json!([{"file_id": 1, "file_index": 0, "job_id": id, "file_state": state, "source_surl": file["sources"][0],
        "dest_surl": file["destinations"][0]}]))
    .into_response()
}

pub struct World {
    pub engine: TestEngine,
    pub fts: FakeFts,
    pub root: Secret,
    _store: Option<TemporaryStore>,
}

/// One world for each store that is at hand.
pub async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(&store, None).await;
        worlds.push(World { _store: Some(store), ..world });
    }
    worlds
}

impl World {
    pub async fn on(store: &Store, data_dir: Option<&std::path::Path>) -> World {
        let fts = FakeFts {
            jobs: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Finish)),
            cancelled: Arc::default(),
            store: store.clone(),
        };
        let config = "[lake]\nretry_after = \"50ms\"\npoll_after = \"300ms\"\n".to_owned();
        let setup = TestSetup {
            config,
            shared_store: Some(store.clone()),
            data_dir: data_dir.map(Into::into),
            ..TestSetup::default()
        };
        let fake = fts.clone();
        let engine = TestEngine::start_with(setup, async move |ctx| {
            let lake = dte_lake::Service::open(ctx.for_service("lake")).await?;
            let mut mounts = lake.mounts();
            mounts.push(Mount { prefix: "/fts", routes: fake.routes() });
            Ok(mounts)
        })
        .await;
        let root = engine.admin_token();
        World { engine, fts, root, _store: None }
    }

    pub fn client(&self, token: &Secret) -> LakeClient {
        let url = Url::parse(&self.engine.url_of("/rucio")).expect("url");
        LakeClient::new(self.engine.client.clone(), url, token.clone())
    }

    pub fn lake(&self) -> LakeClient {
        self.client(&self.root)
    }

    /// A raw request: status, exception class, body.
    pub async fn call(&self, token: &Secret, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let url = self.engine.url_of(&format!("/rucio{path}"));
        let mut request = self.engine.client.request(method, url).header("x-rucio-auth-token", token.expose());
        if let Some(body) = body {
            request = request.bytes(body.to_string());
        }
        let reply = request.send().await.expect("an answer");
        let (status, headers) = (reply.status, reply.headers.clone());
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let text = reply.text().await.expect("a body");
        Answer { status: status.as_u16(), class: header("exceptionclass"), kind: header("content-type"), text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(&self.root, Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(&self.root, Method::POST, path, Some(&body)).await
    }

    /// Events of a type, in order.
    pub async fn events(&self, kind: &str) -> Vec<Event> {
        self.engine.store.events_after(0, 100_000, &[kind]).await.expect("events")
    }

    /// Waits until exactly so many events of a type can be read. (A committed event is readable a moment later.)
    pub async fn told(&self, kind: &str, number: usize) -> Vec<Event> {
        self.until(kind, || async { self.events(kind).await.len() >= number }).await;
        let events = self.events(kind).await;
        assert_eq!(events.len(), number, "{kind}");
        events
    }

    /// Waits until `met` holds.
    pub async fn until<F, Fut>(&self, what: &str, met: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = bool>,
    {
        let limit = Instant::now() + Duration::from_secs(60);
        while Instant::now() < limit {
            if met().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {what}");
    }

    /// A storage element with a protocol.
    pub async fn rse(&self, name: &str) {
        let lake = self.lake();
        lake.ensure_rse(name).await.expect("rse");
        let protocol = serde_json::from_value(json!({
            "scheme": "davs", "hostname": format!("{}.example.org", name.to_lowercase()), "port": 443, "prefix": "/data/",
            "impl": "rucio.rse.protocols.webdav.Default",
            "domains": {"wan": {"read": 1, "write": 1, "delete": 1, "third_party_copy_read": 1,
                "third_party_copy_write": 1}, "lan": {"read": 1, "write": 1, "delete": 1}},
        }))
        .expect("protocol");
        lake.ensure_protocol(name, &protocol).await.expect("protocol");
    }

    /// Registers `names` at `LOCAL` in the scope, which is made.
    pub async fn files(&self, scope: &str, names: &[&str]) -> Vec<Did> {
        let lake = self.lake();
        lake.ensure_scope("root", scope).await.expect("scope");
        let dids: Vec<Did> = names.iter().map(|name| Did::new(scope, *name)).collect();
        let replicas: Vec<_> =
            dids.iter().map(|did| dte_protocol_rucio::NewReplica::new(did, 10, "0a1b2c3d")).collect();
        lake.add_replicas("LOCAL", &replicas).await.expect("replicas");
        dids
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub class: String,
    pub kind: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        assert_eq!(self.kind, "application/x-json-stream", "{self:?}");
        self.text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

/// Asks for a rule on a DID; without a scope, on one of `enso`. `more`: what else stands in the request.
pub async fn rule(world: &World, token: &Secret, did: &str, expression: &str, more: Value) -> Answer {
    let (scope, name) = did.split_once(':').unwrap_or(("enso", did));
    let mut body = json!({"dids": [{"scope": scope, "name": name}], "account": null, "copies": 1,
        "rse_expression": expression});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    world.call(token, Method::POST, "/rules/", Some(&body)).await
}

/// The first identifier of an answer.
pub fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    let value: Value = serde_json::from_str(&answer.text).expect("ids");
    value.get(0).unwrap_or(&value).as_str().expect("an id").to_owned()
}

/// A rule's state, or that it is gone.
pub async fn state(world: &World, id: &str) -> String {
    let answer = world.get(&format!("/rules/{id}")).await;
    if answer.status == 404 { "gone".to_owned() } else { answer.json()["state"].as_str().expect("a state").to_owned() }
}
