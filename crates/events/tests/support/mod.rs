//! An engine with the events service, and what tests ask of it.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;
use dte_events::Service;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, Require, Routes};
use dte_store::{Error, Event, Store};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// What a webhook got, and how it answers.
#[derive(Clone, Default)]
pub struct Sink {
    pub got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// Answers of the next calls; 204 when there is none.
    pub answers: Arc<Mutex<Vec<u16>>>,
}

impl Sink {
    fn mount(&self) -> Mount {
        let routes =
            Routes::new("sink").post("/hook", Require::Public("a webhook of a test"), hook).with_state(self.clone());
        Mount { prefix: "/sink", routes }
    }

    pub fn answer(&self, answers: &[u16]) {
        *self.answers.lock().expect("a lock") = answers.to_vec();
    }

    pub fn count(&self) -> usize {
        self.got.lock().expect("a lock").len()
    }

    /// The bodies as JSON.
    pub fn bodies(&self) -> Vec<Value> {
        let got = self.got.lock().expect("a lock");
        got.iter().map(|(_, body)| serde_json::from_slice(body).expect("JSON")).collect()
    }
}

async fn hook(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap) {
    sink.got.lock().expect("a lock").push((headers, body));
    let mut answers = sink.answers.lock().expect("a lock");
    let status = if answers.is_empty() { 204 } else { answers.remove(0) };
    let mut headers = HeaderMap::new();
    if status == 429 {
        headers.insert("retry-after", "1".parse().expect("a header"));
    }
    (StatusCode::from_u16(status).expect("a status"), headers)
}

pub async fn start(setup: TestSetup, sink: &Sink) -> TestEngine {
    let sink = sink.mount();
    TestEngine::start_with(setup, async |ctx| {
        let mut mounts = Service::open(ctx).await?.mounts();
        mounts.push(sink);
        Ok(mounts)
    })
    .await
}

/// One engine on each store at hand.
pub async fn engines() -> Vec<(TestEngine, Sink)> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let sink = Sink::default();
        engines.push((start(TestSetup { store: Some(store), ..TestSetup::default() }, &sink).await, sink));
    }
    engines
}

pub async fn emit(store: &Store, events: Vec<Event>) {
    let done = store.write(move |tx| events.iter().try_for_each(|event| tx.emit(event.clone()))).await;
    done.map_err(|error: Error| error.to_string()).expect("emitted");
}

pub fn event(kind: &str, subject: &str, owner: &str) -> Event {
    Event::new(kind, "/test", subject, json!({"owner": owner}))
}

/// Calls the API as `user`.
pub async fn call(
    engine: &TestEngine,
    user: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let token = if user == "admin" { engine.admin_token() } else { engine.token_for(user, &[]).await };
    let url = engine.url_of(&format!("/events/api/v1{path}"));
    let mut request = engine.client.request(method.parse().expect("a method"), url).bearer(&token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let reply = request.send().await.expect("an answer");
    let status = reply.status;
    let text = reply.text().await.expect("text");
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

pub async fn get(engine: &TestEngine, user: &str, path: &str) -> (StatusCode, Value) {
    call(engine, user, "GET", path, None).await
}

pub async fn post(engine: &TestEngine, user: &str, path: &str, body: Value) -> (StatusCode, Value) {
    call(engine, user, "POST", path, Some(body)).await
}

/// Waits until `done` says so.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(begin.elapsed() < Duration::from_secs(30), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
