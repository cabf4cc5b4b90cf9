//! What the tests of communities and agreements have in common: engines, and requests with JSON.

use dte_base::secret::Secret;
use dte_identity::Mount;
use dte_identity::testing::{TestEngine, TestSetup};
use http::Method;
use serde_json::Value;

pub async fn start(setup: TestSetup, mounts: fn() -> Vec<Mount>) -> TestEngine {
    TestEngine::start_with(setup, async |_| Ok(mounts())).await
}

/// On SQLite and on PostgreSQL, where there is one.
pub async fn engines(mounts: fn() -> Vec<Mount>) -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        engines.push(start(TestSetup { store: Some(store), ..TestSetup::default() }, mounts).await);
    }
    engines
}

/// Sends, and gives the status and the body (null when it is no JSON).
pub async fn send(engine: &TestEngine, token: &Secret, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = engine.client.request(method, engine.url_of(path)).bearer(token);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let reply = request.send().await.expect("an answer");
    let status = reply.status.as_u16();
    let text = reply.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}
