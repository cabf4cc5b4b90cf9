//! Folder watches, as declared.

use axum::extract::{Path, State};
use dte_http::Json;
use dte_identity::{Mount, Require, Routes};
use http::StatusCode;
use serde_json::Value;

use super::Shared;

pub fn mount(shared: &Shared) -> Mount {
    let routes = Routes::new("events")
        .post("/api/v1/watches", Require::Admin, post)
        .put("/api/v1/watches/{name}", Require::Admin, put)
        .delete("/api/v1/watches/{name}", Require::Admin, delete);
    Mount { prefix: "/events", routes: routes.with_state(shared.clone()) }
}

async fn post(State(shared): State<Shared>, Json(watch): Json<Value>) -> StatusCode {
    let name = watch["name"].as_str().unwrap().to_owned();
    let watches = &mut shared.facts.lock().unwrap().watches;
    match watches.get(&name) {
        None => {
            watches.insert(name, watch);
            StatusCode::CREATED
        }
        Some(known) if *known == watch => StatusCode::OK,
        Some(_) => StatusCode::CONFLICT,
    }
}

async fn put(State(shared): State<Shared>, Path(name): Path<String>, Json(watch): Json<Value>) -> StatusCode {
    shared.facts.lock().unwrap().watches.insert(name, watch);
    StatusCode::OK
}

async fn delete(State(shared): State<Shared>, Path(name): Path<String>) -> StatusCode {
    match shared.facts.lock().unwrap().watches.remove(&name) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}
