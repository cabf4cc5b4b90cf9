//! Somebody who wants to be told of alerts.

use axum::extract::State;
use dte_http::Json;
use dte_identity::{Mount, Require, Routes};
use http::StatusCode;
use serde_json::Value;

use super::Shared;

pub fn mount(shared: &Shared) -> Mount {
    let routes = Routes::new("hook").post("/", Require::Public("a test"), told);
    Mount { prefix: "/hook", routes: routes.with_state(shared.clone()) }
}

async fn told(State(shared): State<Shared>, Json(event): Json<Value>) -> StatusCode {
    let mut facts = shared.facts.lock().unwrap();
    facts.hooked.push(event);
    // The first time it was not heard.
    if facts.hooked.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}
