//! A data lake and a storage edge, as small as the tests need them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use dte_identity::{Mount, Principal, Require, Routes, StorageOp};
use http::{Method, StatusCode};
use serde_json::{Value, json};

#[derive(Default)]
pub struct World {
    /// The public URL, to be told once it is known.
    pub url: String,
    pub files: BTreeMap<String, Bytes>,
    /// DID → bytes, adler32.
    pub replicas: BTreeMap<String, (u64, String)>,
    pub datasets: BTreeMap<String, BTreeSet<String>>,
    pub reads: usize,
    pub writes: usize,
    /// Whether reading answers other bytes than were stored.
    pub is_rotten: bool,
    /// How many reads fail with 503 before one succeeds.
    pub outages: usize,
}

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<World>>);

pub fn adler32(bytes: &[u8]) -> String {
    format!("{:08x}", simd_adler32::adler32(&bytes))
}

fn path_of(did: &str) -> String {
    format!("local/{}", did.replace(':', "/"))
}

impl Fake {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("not poisoned")
    }

    /// A file in the lake; gives its entry in `dte.io/inputs`.
    pub fn add(&self, did: &str, content: &[u8], path: &str) -> Value {
        let mut world = self.world();
        world.files.insert(path_of(did), Bytes::copy_from_slice(content));
        world.replicas.insert(did.to_owned(), (content.len() as u64, adler32(content)));
        json!({"did": did, "path": path, "bytes": content.len(), "adler32": adler32(content)})
    }

    pub fn stored(&self, did: &str) -> Option<Bytes> {
        self.world().files.get(&path_of(did)).cloned()
    }

    pub fn mounts(&self) -> Vec<Mount> {
        let checks = Require::Storage("those of the path");
        let lake = Routes::new("lake")
            .post("/replicas/list", Require::Authenticated, list_replicas)
            .post("/replicas", Require::Authenticated, add_replicas)
            .get("/rses/{rse}/lfns2pfns", Require::Authenticated, lfns2pfns)
            .post("/dids", Require::Authenticated, add_dids)
            .post("/dids/attachments", Require::Authenticated, attach)
            .get("/dids/{scope}/{name}", Require::Authenticated, get_did)
            .with_state(self.clone());
        let edge =
            Routes::new("edge").get("/{*path}", checks, get).put("/{*path}", checks, put).with_state(self.clone());
        vec![Mount { prefix: "/rucio", routes: lake }, Mount { prefix: "/dav", routes: edge }]
    }
}

fn did_of(value: &Value) -> String {
    format!("{}:{}", value["scope"].as_str().unwrap_or_default(), value["name"].as_str().unwrap_or_default())
}

fn error(status: StatusCode, class: &str) -> Response {
    (status, Json(json!({"ExceptionClass": class, "ExceptionMessage": "as ordered"}))).into_response()
}

async fn list_replicas(State(fake): State<Fake>, Json(body): Json<Value>) -> String {
    let world = fake.world();
    let mut lines = String::new();
    for asked in body["dids"].as_array().expect("dids") {
        let did = did_of(asked);
        let Some((bytes, adler32)) = world.replicas.get(&did) else { continue };
        let pfn = format!("{}dav/{}", world.url, path_of(&did));
        let entry = json!({"scope": asked["scope"], "name": asked["name"], "bytes": bytes, "adler32": adler32, "md5": null,
            "rses": {"LOCAL": [pfn]}, "states": {"LOCAL": "AVAILABLE"}, "pfns": {pfn.as_str(): {"rse": "LOCAL"}}});
        lines.push_str(&format!("{entry}\n"));
    }
    lines
}

async fn add_replicas(State(fake): State<Fake>, Json(body): Json<Value>) -> Response {
    let mut world = fake.world();
    for file in body["files"].as_array().expect("files") {
        let entry = (file["bytes"].as_u64().expect("bytes"), file["adler32"].as_str().expect("adler32").to_owned());
        world.replicas.insert(did_of(file), entry);
    }
    StatusCode::CREATED.into_response()
}

async fn lfns2pfns(State(fake): State<Fake>, RawQuery(query): RawQuery) -> Json<Value> {
    let query = query.unwrap_or_default().replace("%3A", ":");
    let url = fake.world().url.clone();
    let pairs = query.split('&').filter_map(|pair| pair.strip_prefix("lfn="));
    Json(
        pairs
            .map(|did| (did.to_owned(), Value::from(format!("{url}dav/{}", path_of(did)))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    )
}

async fn add_dids(State(fake): State<Fake>, Json(body): Json<Value>) -> StatusCode {
    let mut world = fake.world();
    for did in body.as_array().expect("dids") {
        world.datasets.entry(did_of(did)).or_default();
    }
    StatusCode::CREATED
}

async fn attach(State(fake): State<Fake>, Json(body): Json<Value>) -> Response {
    let mut world = fake.world();
    for one in body["attachments"].as_array().expect("attachments") {
        let Some(dataset) = world.datasets.get_mut(&did_of(one)) else {
            return error(StatusCode::NOT_FOUND, "DataIdentifierNotFound");
        };
        dataset.extend(one["dids"].as_array().expect("dids").iter().map(did_of));
    }
    StatusCode::CREATED.into_response()
}

async fn get_did(State(fake): State<Fake>, Path((scope, name)): Path<(String, String)>) -> Response {
    match fake.world().replicas.get(&format!("{scope}:{name}")) {
        Some((bytes, adler32)) => {
            let info = json!({"scope": scope, "name": name, "type": "FILE", "account": "root", "bytes": bytes, "adler32": adler32});
            Json(info).into_response()
        }
        None => error(StatusCode::NOT_FOUND, "DataIdentifierNotFound"),
    }
}

async fn get(State(fake): State<Fake>, principal: Principal, method: Method, Path(path): Path<String>) -> Response {
    if let Err(denial) = principal.may_storage(StorageOp::Read, &format!("/{path}")) {
        return denial.into_response();
    }
    let mut world = fake.world();
    let Some(content) = world.files.get(&path).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    world.reads += usize::from(method == Method::GET);
    if world.outages > 0 {
        world.outages -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if world.is_rotten {
        return Bytes::from(vec![b'?'; content.len()]).into_response();
    }
    ([("digest", format!("adler32={}", adler32(&content)))], content).into_response()
}

async fn put(State(fake): State<Fake>, principal: Principal, Path(path): Path<String>, body: Bytes) -> Response {
    if let Err(denial) = principal.may_storage(StorageOp::Create, &format!("/{path}")) {
        return denial.into_response();
    }
    let mut world = fake.world();
    world.writes += 1;
    world.files.insert(path, body);
    StatusCode::CREATED.into_response()
}
