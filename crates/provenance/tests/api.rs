//! Provenance through its public routes, on every store at hand.

use std::time::Duration;

use dte_identity::testing::{TestEngine, TestSetup};
use dte_provenance::Service;
use dte_store::{Error, Event, Store};
use http::StatusCode;
use serde_json::{Value, json};

async fn engines() -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let setup = TestSetup { store: Some(store), ..TestSetup::default() };
        engines.push(TestEngine::start_with(setup, async |ctx| Ok(Service::open(ctx).await?.mounts())).await);
    }
    engines
}

fn file(name: &str, sum: usize) -> Value {
    json!({"did": format!("enso:{name}"), "bytes": 40 + sum, "adler32": format!("{sum:08x}")})
}

/// A run on observations 0..=n, and on the forecast before.
fn run(n: usize, user: &str, began: &str) -> Event {
    let mut inputs: Vec<Value> = (0..=n).map(|k| file(&format!("obs-{k}"), k)).collect();
    if n > 0 {
        inputs.push(file(&format!("forecast-{}", n - 1), 1_000 + n - 1));
    }
    let outputs = json!([{"did": format!("enso:forecast-{n}"), "dataset": "enso:FORECASTS", "rse": "LOCAL"}]);
    let data = json!({
        "uid": format!("run-{n}"), "name": format!("enso-{n}"), "user": user, "site": "local", "phase": "Succeeded",
        "exit_code": 0, "started": began, "finished": began, "inputs": inputs,
        "outputs": [file(&format!("forecast-{n}"), 1_000 + n)], "code": {"path": "model", "sha256": "5e5e"},
        "annotations": {"dte.io/twin": "enso", "dte.io/outputs": outputs.to_string()},
    });
    Event::new("org.dte.offload.pod.finished", "/interlink", "x", data)
}

async fn emit(store: &Store, events: Vec<Event>) {
    let done = store.write(move |tx| events.iter().try_for_each(|event| tx.emit(event.clone()))).await;
    done.map_err(|error: Error| error.to_string()).expect("emitted");
}

async fn get(engine: &TestEngine, user: &str, path: &str) -> (StatusCode, Value) {
    let token = if user == "admin" { engine.admin_token() } else { engine.token_for(user, &[]).await };
    let reply = engine
        .client
        .get(engine.url_of(&format!("/yprov/api/v0{path}")))
        .bearer(&token)
        .send()
        .await
        .expect("an answer");
    (reply.status, reply.json().await.expect("JSON"))
}

async fn put(engine: &TestEngine, user: &str, id: &str, document: &Value) -> (StatusCode, Value) {
    let token = engine.token_for(user, &[]).await;
    let url = engine.url_of(&format!("/yprov/api/v0/documents/{id}"));
    let reply = engine.client.put(url).bearer(&token).json(document).send().await.expect("an answer");
    (reply.status, reply.json().await.expect("JSON"))
}

async fn recorded(engine: &TestEngine, count: usize) {
    for _ in 0..1500 {
        let (_, list) = get(engine, "admin", "/documents").await;
        if list["result"].as_array().map(Vec::len) == Some(count) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there are not {count} documents");
}

fn count(document: &Value, group: &str) -> usize {
    document[group].as_object().map_or(0, serde_json::Map::len)
}

#[tokio::test]
async fn the_lineage_of_a_forecast_leads_to_the_observations() {
    for engine in engines().await {
        let runs: Vec<Event> = (0..30).map(|n| run(n, "alice", "1980-01-01T00:00:00Z")).collect();
        let again = runs.iter().cloned().map(|event| event.with_id(dte_base::id::new_id())).collect();
        emit(&engine.store, runs).await;
        emit(&engine.store, again).await;
        emit(&engine.store, vec![Event::new("org.dte.offload.pod.finished", "/x", "", json!({"odd": 1}))]).await;
        recorded(&engine, 30).await;

        let (status, body) = get(&engine, "alice", "/documents/run-29").await;
        assert_eq!(status, StatusCode::OK);
        let document: Value = serde_json::from_str(body["result"].as_str().expect("a string")).expect("JSON within");
        // 30 observations, the forecast before, the program, the forecast.
        assert_eq!(count(&document, "entity"), 33);
        assert_eq!((count(&document, "used"), count(&document, "wasGeneratedBy")), (32, 1));
        assert_eq!(document["entity"]["did:enso:obs-3#00000003"]["dte:adler32"], "00000003");
        assert_eq!(document["entity"]["did:enso:forecast-29#00000405"]["dte:dataset"], "enso:FORECASTS");

        let (_, one) = get(&engine, "alice", "/lineage?did=enso:forecast-29&depth=1").await;
        assert_eq!((count(&one, "activity"), count(&one, "entity")), (1, 33));
        let (_, all) = get(&engine, "alice", "/lineage?did=enso:forecast-29").await;
        assert_eq!((count(&all, "activity"), count(&all, "entity")), (30, 30 + 30 + 1));
        let (_, down) = get(&engine, "alice", "/lineage?did=enso:obs-28&direction=downstream").await;
        assert_eq!(count(&down, "activity"), 2);
        assert_eq!(count(&down, "entity"), 1 + 2 + 1, "what lies on the way, and the program");
        let (_, dataset) = get(&engine, "alice", "/lineage?did=enso:FORECASTS&depth=1").await;
        assert_eq!(count(&dataset, "activity"), 30);
        let (_, both) = get(&engine, "alice", "/lineage?did=enso:forecast-10&direction=both&depth=1").await;
        assert_eq!(count(&both, "activity"), 2);

        let token = engine.admin_token();
        let url = engine.url_of("/yprov/api/v0/lineage?did=enso:forecast-0");
        let reply = engine
            .client
            .get(url)
            .bearer(&token)
            .header("accept", "text/provenance-notation")
            .send()
            .await
            .expect("an answer");
        let text = reply.text().await.expect("text");
        assert!(text.starts_with("document\n") && text.contains("wasGeneratedBy(did:enso\\:forecast-0#"), "{text}");
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn replays_at_other_times_have_the_same_lineage() {
    let mut documents = Vec::new();
    for began in ["1980-01-01T00:00:00Z", "2001-09-09T01:46:40Z"] {
        let engine = engines().await.remove(0);
        emit(&engine.store, (0..5).map(|n| run(n, "alice", began)).collect()).await;
        recorded(&engine, 5).await;
        let (_, mut lineage) = get(&engine, "alice", "/lineage?did=enso:forecast-4").await;
        for activity in lineage["activity"].as_object_mut().expect("activities").values_mut() {
            let activity = activity.as_object_mut().expect("an object");
            assert!(activity.remove("prov:startTime").is_some() && activity.remove("prov:endTime").is_some());
        }
        documents.push(lineage.to_string());
    }
    assert_eq!(documents[0], documents[1]);
}

#[tokio::test]
async fn documents_belong_to_somebody() {
    for engine in engines().await {
        emit(&engine.store, vec![run(0, "alice", "1980-01-01T00:00:00Z")]).await;
        recorded(&engine, 1).await;
        for path in ["/documents/run-0", "/lineage?did=enso:forecast-0", "/documents/none"] {
            let (status, body) = get(&engine, "bob", path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert!(body["error"].is_string());
        }
        assert_eq!(get(&engine, "bob", "/documents").await.1, json!({"result": []}));
        let document = json!({"prefix": {"ex": "http://e/"}, "entity": {"ex:a": {"ex:n": 1}},
            "wasDerivedFrom": {"_:d": {"prov:generatedEntity": "ex:a", "prov:usedEntity": "ex:b"}}});
        assert_eq!(
            put(&engine, "bob", "mine", &document).await,
            (StatusCode::CREATED, json!({"message": "Document uploaded"}))
        );
        let more = json!({"entity": {"ex:b": {}}, "prefix": {"ex": "http://e/"}});
        assert_eq!(put(&engine, "bob", "mine", &more).await.0, StatusCode::CREATED);
        assert_eq!(put(&engine, "alice", "mine", &more).await.0, StatusCode::FORBIDDEN);
        assert_eq!(put(&engine, "alice", "run-0", &more).await.0, StatusCode::FORBIDDEN, "the engine's own record");
        assert_eq!(put(&engine, "bob", "bad", &json!({"nodes": {}})).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(put(&engine, "bob", "b%20d", &more).await.0, StatusCode::BAD_REQUEST);
        let (_, body) = get(&engine, "bob", "/documents/mine?format=json").await;
        assert_eq!(body["entity"], json!({"ex:a": {"ex:n": 1}, "ex:b": {}}));
        let (_, part) = get(&engine, "bob", "/documents/mine/subgraph?id=ex:a&direction=U").await;
        let part: Value = serde_json::from_str(part["result"].as_str().expect("a string")).expect("JSON within");
        assert_eq!(count(&part, "entity"), 2);
        for (query, status) in [
            ("", StatusCode::NOT_FOUND),
            ("?id=ex:z", StatusCode::NOT_FOUND),
            ("?id=ex:a&direction=X", StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(get(&engine, "bob", &format!("/documents/mine/subgraph{query}")).await.0, status, "{query}");
        }
        let delete = async |user: &str| {
            let token = engine.token_for(user, &[]).await;
            let url = engine.url_of("/yprov/api/v0/documents/mine");
            engine.client.delete(url).bearer(&token).send().await.expect("an answer").status
        };
        assert_eq!(delete("alice").await, StatusCode::FORBIDDEN);
        assert_eq!(delete("bob").await, StatusCode::OK);
        assert_eq!(get(&engine, "bob", "/documents/mine").await.0, StatusCode::NOT_FOUND);
        let reply = engine.client.get(engine.url_of("/yprov/")).send().await.expect("an answer");
        assert_eq!(reply.text().await.expect("text"), "I'm active");
        let reply = engine.client.get(engine.url_of("/yprov/api/v0/documents")).send().await.expect("an answer");
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let body: Value = reply.json().await.expect("JSON, always");
        assert!(body["error"].is_string());
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn four_hundred_inputs_are_recorded_quickly() {
    let engine = engines().await.remove(0);
    let began = std::time::Instant::now();
    emit(&engine.store, (380..400).map(|n| run(n, "alice", "1980-01-01T00:00:00Z")).collect()).await;
    recorded(&engine, 20).await;
    eprintln!("20 runs of 400 inputs in {:?}", began.elapsed());
    let (_, document) = get(&engine, "alice", "/documents/run-399?format=json").await;
    assert_eq!(count(&document, "used"), 402);
}
