//! Storage: PUT and GET below `/dav`.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use dte_identity::{Mount, Principal, Require, Routes, StorageOp};
use http::StatusCode;

use super::Shared;

pub fn mount(shared: &Shared) -> Mount {
    let check = Require::Storage("those of the path");
    let routes = Routes::new("edge").put("/{*path}", check, put).get("/{*path}", check, get);
    Mount { prefix: "/dav", routes: routes.with_state(shared.clone()) }
}

async fn put(State(shared): State<Shared>, who: Principal, Path(path): Path<String>, body: Bytes) -> Response {
    if let Err(denial) = who.may_storage(StorageOp::Modify, &format!("/{path}")) {
        return denial.into_response();
    }
    let mut facts = shared.facts.lock().unwrap();
    if facts.full {
        return (StatusCode::INSUFFICIENT_STORAGE, "no room").into_response();
    }
    facts.files.insert(path, body.to_vec());
    StatusCode::CREATED.into_response()
}

async fn get(State(shared): State<Shared>, who: Principal, Path(path): Path<String>) -> Response {
    if let Err(denial) = who.may_storage(StorageOp::Read, &format!("/{path}")) {
        return denial.into_response();
    }
    match shared.facts.lock().unwrap().files.get(&path) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
