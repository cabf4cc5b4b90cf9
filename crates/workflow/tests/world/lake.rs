//! A data lake with one storage element, on which everything is in place at once.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use dte_http::Json;
use dte_identity::{Mount, Require, Routes};
use dte_protocol_rucio::{Class, Exception, path};
use dte_store::Event;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Facts, Shared};

const ANYBODY: Require = Require::Scope("dte.lake");

pub fn mount(shared: &Shared) -> Mount {
    let routes = Routes::new("lake")
        .get("/accounts/whoami", ANYBODY, async || Json(json!({ "account": "root" })))
        .post("/accounts/{account}/scopes/{scope}", ANYBODY, scope)
        .get("/rses/LOCAL/lfns2pfns", ANYBODY, pfns)
        .post("/dids", ANYBODY, add)
        .post("/dids/attachments", ANYBODY, attach)
        .put("/dids/{scope}/{name}/status", ANYBODY, close)
        .post("/dids/{scope}/{name}/meta", ANYBODY, meta)
        .get("/dids/{scope}/{name}", ANYBODY, did)
        .get("/dids/{scope}/{name}/rules", ANYBODY, rules)
        .post("/replicas", ANYBODY, replicas)
        .post("/replicas/list", ANYBODY, list)
        .post("/rules/", ANYBODY, rule);
    Mount { prefix: "/rucio", routes: routes.with_state(shared.clone()) }
}

fn refuse(class: Class, text: &str) -> Response {
    let exception = Exception::new(class, text);
    let body = json!({ "ExceptionClass": exception.class, "ExceptionMessage": exception.message });
    let headers = [("ExceptionClass", exception.class.to_string()), ("ExceptionMessage", text.to_owned())];
    (exception.status, headers, Json(body)).into_response()
}

async fn scope(State(shared): State<Shared>, Path((_, scope)): Path<(String, String)>) -> Response {
    if shared.facts.lock().unwrap().scopes.insert(scope) {
        return StatusCode::CREATED.into_response();
    }
    refuse(Class::Duplicate, "the scope exists")
}

async fn pfns(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Json<Value> {
    let mut map = serde_json::Map::new();
    let query = query.unwrap_or_default().replace("%3A", ":").replace("%2F", "/");
    for did in query.split('&').filter_map(|pair| pair.strip_prefix("lfn=")) {
        map.insert(did.to_owned(), pfn(&shared, did).into());
    }
    Json(Value::Object(map))
}

pub fn pfn(shared: &Shared, did: &str) -> String {
    let (scope, name) = did.split_once(':').unwrap();
    format!("{}/{}", shared.dav, path::hash_path(scope, name))
}

fn key(value: &Value) -> String {
    format!("{}:{}", value["scope"].as_str().unwrap(), value["name"].as_str().unwrap())
}

async fn add(State(shared): State<Shared>, Json(dids): Json<Vec<Value>>) -> Response {
    let mut facts = shared.facts.lock().unwrap();
    if dids.iter().any(|one| facts.dids.contains_key(&key(one))) {
        return refuse(Class::DataIdentifierAlreadyExists, "there is one");
    }
    for one in &dids {
        let kind = if one["type"] == "CONTAINER" { "CONTAINER" } else { "DATASET" };
        facts.dids.insert(key(one), kind);
        facts.open.insert(key(one));
        for child in one["dids"].as_array().into_iter().flatten() {
            facts.contents.entry(key(one)).or_default().insert(key(child));
        }
    }
    StatusCode::CREATED.into_response()
}

async fn attach(State(shared): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut facts = shared.facts.lock().unwrap();
    for one in body["attachments"].as_array().unwrap() {
        for child in one["dids"].as_array().unwrap() {
            facts.contents.entry(key(one)).or_default().insert(key(child));
        }
    }
    StatusCode::CREATED.into_response()
}

async fn close(State(shared): State<Shared>, Path((scope, name)): Path<(String, String)>) -> Response {
    let did = format!("{scope}:{name}");
    if !shared.facts.lock().unwrap().open.remove(&did) {
        return refuse(Class::UnsupportedOperation, "it is closed");
    }
    let data = json!({ "scope": scope, "name": name, "files": 1, "bytes": 1 });
    let event = Event::new("org.dte.lake.dataset.ready", "/rucio", did, data);
    let told: Result<(), dte_store::Error> = shared.store.write(move |tx| tx.emit(event.clone())).await;
    told.unwrap();
    StatusCode::OK.into_response()
}

async fn meta(
    State(shared): State<Shared>,
    Path((scope, name)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> StatusCode {
    shared.facts.lock().unwrap().metadata.insert(format!("{scope}:{name}"), body["meta"].clone());
    StatusCode::CREATED
}

async fn did(State(shared): State<Shared>, Path((scope, name)): Path<(String, String)>) -> Response {
    let facts = shared.facts.lock().unwrap();
    let did = format!("{scope}:{name}");
    match facts.dids.get(&did) {
        Some(kind) => {
            let open = facts.open.contains(&did);
            Json(json!({ "scope": scope, "name": name, "type": kind, "account": "root", "open": open })).into_response()
        }
        None => refuse(Class::DataIdentifierNotFound, "there is none"),
    }
}

async fn rules(State(shared): State<Shared>, Path((scope, name)): Path<(String, String)>) -> String {
    let facts = shared.facts.lock().unwrap();
    let of = |rule: &&Value| rule["scope"] == scope.as_str() && rule["name"] == name.as_str();
    facts.rules.iter().filter(of).map(|rule| format!("{rule}\n")).collect()
}

async fn rule(State(shared): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut facts = shared.facts.lock().unwrap();
    let did = &body["dids"][0];
    let same = facts.rules.iter().any(|rule| rule["scope"] == did["scope"] && rule["name"] == did["name"]);
    if same {
        return refuse(Class::DuplicateRule, "there is one");
    }
    let id = format!("rule{}", facts.rules.len());
    facts.rules.push(json!({
        "id": id, "account": "root", "scope": did["scope"], "name": did["name"], "did_type": "CONTAINER", "state": "OK",
        "error": null, "rse_expression": body["rse_expression"], "copies": body["copies"], "locks_ok_cnt": 1,
        "locks_replicating_cnt": 0, "locks_stuck_cnt": 0,
    }));
    (StatusCode::CREATED, Json(json!([id]))).into_response()
}

async fn replicas(State(shared): State<Shared>, Json(body): Json<Value>) -> StatusCode {
    let mut facts = shared.facts.lock().unwrap();
    for file in body["files"].as_array().unwrap() {
        register(&mut facts, &key(file), file["bytes"].as_u64().unwrap(), file["adler32"].as_str().unwrap());
    }
    StatusCode::CREATED
}

pub fn register(facts: &mut Facts, did: &str, bytes: u64, adler32: &str) {
    facts.dids.insert(did.to_owned(), "FILE");
    facts.replicas.insert(did.to_owned(), (bytes, adler32.to_owned()));
}

async fn list(State(shared): State<Shared>, Json(body): Json<Value>) -> String {
    let facts = shared.facts.lock().unwrap();
    let mut lines = String::new();
    for one in body["dids"].as_array().unwrap() {
        let Some((bytes, adler32)) = facts.replicas.get(&key(one)) else { continue };
        let pfn = pfn(&shared, &key(one));
        let line = json!({
            "scope": one["scope"], "name": one["name"], "bytes": bytes, "adler32": adler32, "md5": null,
            "rses": { "LOCAL": [pfn] }, "states": { "LOCAL": "AVAILABLE" }, "pfns": { pfn: {} },
        });
        lines.push_str(&format!("{line}\n"));
    }
    lines
}
