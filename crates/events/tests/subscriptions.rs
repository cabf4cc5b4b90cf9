//! Subscriptions, streams and publishing through the public routes.

mod support;

use std::time::{Duration, Instant};

use dte_events::model::signature;
use dte_identity::NewBan;
use dte_identity::testing::TestEngine;
use dte_store::Event;
use futures_util::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};
use support::{Sink, call, emit, engines, event, get, post, until};

async fn subscribe(engine: &TestEngine, user: &str, more: Value) -> Value {
    let mut spec = json!({"protocol": "HTTP", "sink": engine.url_of("/sink/hook"), "config": {"retry": {"max": 3, "base_ms": 10, "cap_s": 1}}});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let (status, body) = post(engine, user, "/subscriptions", spec).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    body
}

async fn status(engine: &TestEngine, id: &Value) -> Value {
    get(engine, "admin", &format!("/subscriptions/{}/status", id.as_str().expect("an id"))).await.1
}

async fn came(sink: &Sink, count: usize) {
    until(&format!("{count} deliveries"), async || sink.count() >= count).await;
    assert_eq!(sink.count(), count);
}

#[tokio::test]
async fn webhooks_get_their_events_signed_and_in_order() {
    for (engine, sink) in engines().await {
        let secret = "a secret of the receiver";
        let wanted = json!({"types": ["org.dte.lake"], "filters": [{"prefix": {"subject": "enso:"}}],
            "sinkcredential": {"secret": secret}, "protocolsettings": {"headers": {"x-team": "sea"}}});
        let made = subscribe(&engine, "alice", wanted).await;
        assert!(made.get("sinkcredential").is_none(), "a secret that was given is not shown");
        let mut events = Vec::new();
        for n in 0..60 {
            events.push(event("org.dte.lake.rule.ok", &format!("enso:{n}"), "alice"));
            events.push(event("org.dte.lake.rule.ok", &format!("other:{n}"), "alice"));
            events.push(event("org.dte.lake.rule.ok", &format!("enso:{n}"), "bob"));
            events.push(event("org.dte.lakes", &format!("enso:{n}"), "alice"));
        }
        emit(&engine.store, events).await;
        came(&sink, 60).await;
        let subjects: Vec<String> =
            sink.bodies().iter().map(|body| body["subject"].as_str().expect("text").to_owned()).collect();
        assert_eq!(subjects, (0..60).map(|n| format!("enso:{n}")).collect::<Vec<_>>());
        let (headers, body) = sink.got.lock().expect("a lock")[0].clone();
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        assert_eq!(headers["x-team"], "sea");
        let header = |name: &str| headers[name].to_str().expect("text").to_owned();
        let timestamp = header("webhook-timestamp").parse().expect("seconds");
        let signed = signature::headers(secret, &header("webhook-id"), timestamp, &body);
        assert_eq!(signed[2].1, header("webhook-signature"));
        assert!(
            !String::from_utf8_lossy(&std::fs::read(engine.data_dir().join("dte.sqlite")).unwrap_or_default())
                .contains(secret)
        );

        until("noted", async || status(&engine, &made["id"]).await["delivered"] == 60).await;
        let now = status(&engine, &made["id"]).await;
        assert_eq!((&now["dead"], &now["retries"]), (&json!(0), &json!(0)));
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn failures_are_retried_then_buried_and_can_be_retried_by_hand() {
    for (engine, sink) in engines().await {
        let made = subscribe(&engine, "alice", json!({"protocolsettings": {"mode": "binary"}})).await;
        let path = format!("/subscriptions/{}", made["id"].as_str().expect("an id"));
        assert!(made["sinkcredential"]["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
        // Twice no, then yes: the event behind waits for it.
        sink.answer(&[500, 302]);
        emit(&engine.store, vec![event("org.dte.a", "1", "alice"), event("org.dte.a", "2", "alice")]).await;
        came(&sink, 4).await;
        let subject = |n: usize| sink.got.lock().expect("a lock")[n].0["ce-subject"].to_str().expect("text").to_owned();
        assert_eq!([subject(0), subject(1), subject(2), subject(3)], ["1", "1", "1", "2"]);
        assert_eq!(&sink.got.lock().expect("a lock")[0].1[..], br#"{"owner":"alice"}"#);

        // Asked for patience: no failure.
        sink.answer(&[429]);
        let begin = Instant::now();
        emit(&engine.store, vec![event("org.dte.a", "3", "alice")]).await;
        came(&sink, 6).await;
        assert!(begin.elapsed() >= Duration::from_millis(900));

        // Three times no: a dead letter, and those behind it go on.
        sink.answer(&[500, 500, 500]);
        emit(&engine.store, vec![event("org.dte.a", "4", "alice"), event("org.dte.a", "5", "alice")]).await;
        came(&sink, 10).await;
        until("one dead letter", async || status(&engine, &made["id"]).await["dead"] == 1).await;
        let (_, letters) = get(&engine, "alice", &format!("{path}/deadletters")).await;
        let letter = &letters["items"][0];
        assert_eq!((&letter["event"]["subject"], &letter["attempts"]), (&json!("4"), &json!(3)));
        let seq = letter["seq"].as_i64().expect("a number");
        assert_eq!(
            post(&engine, "bob", &format!("{path}/deadletters/{seq}/retry"), json!(null)).await.0,
            StatusCode::NOT_FOUND
        );
        let (code, _) = call(&engine, "alice", "POST", &format!("{path}/deadletters/{seq}/retry"), None).await;
        assert_eq!(code, StatusCode::ACCEPTED);
        came(&sink, 11).await;
        assert_eq!(subject(10), "4");
        until("no dead letter", async || status(&engine, &made["id"]).await["dead"] == 0).await;

        // The sink wants nothing more.
        sink.answer(&[410]);
        emit(&engine.store, vec![event("org.dte.a", "6", "alice")]).await;
        until("disabled", async || status(&engine, &made["id"]).await["state"] == "disabled").await;
        let (_, resumed) = call(&engine, "alice", "POST", &format!("{path}/resume"), None).await;
        assert_eq!(resumed["progress"]["state"], "active");
        came(&sink, 13).await;
        let (_, sought) = post(&engine, "alice", &format!("{path}/seek"), json!({"to": "earliest"})).await;
        assert_eq!(sought, json!({"position": 0}));
        came(&sink, 19).await;
        assert_eq!(call(&engine, "alice", "DELETE", &path, None).await.0, StatusCode::NO_CONTENT);
        assert_eq!(get(&engine, "alice", &path).await.0, StatusCode::NOT_FOUND);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn private_addresses_are_not_reached_and_bans_end_delivery() {
    let (engine, sink) = engines().await.remove(0);
    let away = subscribe(&engine, "alice", json!({"sink": "http://127.0.0.1:1/hook"})).await;
    let here = subscribe(&engine, "alice", json!({})).await;
    emit(&engine.store, vec![event("org.dte.a", "1", "alice")]).await;
    came(&sink, 1).await;
    until("a dead letter", async || status(&engine, &away["id"]).await["dead"] == 1).await;
    let (_, letters) =
        get(&engine, "alice", &format!("/subscriptions/{}/deadletters", away["id"].as_str().expect("an id"))).await;
    assert!(
        letters["items"][0]["error"].as_str().is_some_and(|text| text.contains("not a public address")),
        "{letters}"
    );

    let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    engine.identity.ban(ban, "admin").await.expect("banned");
    emit(&engine.store, vec![event("org.dte.a", "2", "alice")]).await;
    until("disabled", async || status(&engine, &here["id"]).await["state"] == "disabled").await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn subscribers_pull_and_acknowledge() {
    for (engine, _) in engines().await {
        let spec = json!({"protocol": "PULL", "types": ["org.dte.a"]});
        let (_, made) = post(&engine, "alice", "/subscriptions", spec).await;
        let path = format!("/subscriptions/{}", made["id"].as_str().expect("an id"));
        emit(&engine.store, (0..10).map(|n| event("org.dte.a", &n.to_string(), "alice")).collect()).await;
        emit(&engine.store, (0..10).map(|n| event("org.dte.b", &n.to_string(), "alice")).collect()).await;
        let pull = async |query: &str| get(&engine, "alice", &format!("{path}/events?{query}")).await.1;
        until("ten", async || pull("limit=100").await.as_array().map(Vec::len) == Some(10)).await;
        let four = pull("max=4").await;
        assert_eq!(four.as_array().map(Vec::len), Some(4));
        let offset: i64 = four[3]["sequence"].as_str().and_then(|text| text.parse().ok()).expect("a number");
        let (_, acknowledged) = post(&engine, "alice", &format!("{path}/ack"), json!({"offset": offset})).await;
        assert_eq!(acknowledged["position"], offset);
        assert_eq!(pull("limit=100").await[0]["subject"], "4");
        let ahead = post(&engine, "alice", &format!("{path}/ack"), json!({"offset": 1_000_000})).await.0;
        assert_eq!(ahead, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(get(&engine, "bob", &format!("{path}/events")).await.0, StatusCode::NOT_FOUND);
        assert_eq!(get(&engine, "bob", "/subscriptions").await.1, json!({"items": []}));

        let (store, waited) = (engine.store.clone(), pull("after=100000&wait=5"));
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            emit(&store, vec![event("org.dte.a", "late", "alice")]).await;
        };
        // Beyond the end: whatever comes is before it, so the wait runs out.
        let (none, ()) =
            tokio::join!(async { tokio::time::timeout(Duration::from_millis(400), waited).await.ok() }, later);
        assert!(none.is_none());
        let found = pull("limit=100&wait=5").await;
        assert_eq!(
            found.as_array().and_then(|list| list.last()).map(|last| last["subject"].clone()),
            Some(json!("late"))
        );
        assert!(engine.stop().await);
    }
}

/// Reads server-sent events: (id, data).
struct Stream {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(engine: &TestEngine, user: &str, path: &str, last: Option<i64>) -> Stream {
        let token = if user == "admin" { engine.admin_token() } else { engine.token_for(user, &[]).await };
        let mut request = http::Request::get(engine.url_of(&format!("/events/api/v1{path}")));
        request =
            request.header("authorization", format!("Bearer {}", token.expose())).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response =
            engine.client.send(request.body(axum::body::Body::empty()).expect("a request")).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { body: response.into_body().into_data_stream(), text: String::new() }
    }

    async fn next(&mut self) -> Option<(i64, Value)> {
        loop {
            if let Some((one, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    one.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
                };
                let found = field("id:").zip(field("data:"));
                self.text = rest.to_owned();
                if let Some((id, data)) = found {
                    return Some((id.parse().expect("a number"), serde_json::from_str(&data).expect("JSON")));
                }
                continue;
            }
            self.text.push_str(&String::from_utf8_lossy(&self.body.next().await?.ok()?));
        }
    }
}

#[tokio::test]
async fn streams_go_on_where_they_were() {
    for (engine, _) in engines().await {
        let mut live = Stream::open(&engine, "alice", "/stream?types=org.dte.a", None).await;
        let mut all = Stream::open(&engine, "admin", "/stream?after=0", None).await;
        let events = (0..20).flat_map(|n| {
            [
                event("org.dte.a", &n.to_string(), "alice"),
                event("org.dte.a", "x", "bob"),
                event("org.dte.b", "x", "alice"),
            ]
        });
        emit(&engine.store, events.collect()).await;
        let mut middle = 0;
        for n in 0..20 {
            let (id, data) = live.next().await.expect("an event");
            assert_eq!(data["subject"], n.to_string());
            if n == 9 {
                middle = id;
            }
        }
        let mut before = 0;
        for _ in 0..60 {
            let (id, _) = all.next().await.expect("an event");
            assert!(id > before);
            before = id;
        }
        drop(live);
        let mut again = Stream::open(&engine, "alice", "/stream?types=org.dte.a", Some(middle)).await;
        assert_eq!(again.next().await.expect("an event").1["subject"], "10");
        let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
        engine.identity.ban(ban, "admin").await.expect("banned");
        let rest = tokio::time::timeout(Duration::from_secs(2), async { while again.next().await.is_some() {} }).await;
        assert!(rest.is_ok(), "a ban ends the stream");
        assert!(engine.stop().await);
        let end = tokio::time::timeout(Duration::from_secs(2), async { while all.next().await.is_some() {} }).await;
        assert!(end.is_ok(), "the end of the engine ends the stream");
    }
}

#[tokio::test]
async fn from_commit_to_subscriber() {
    for (engine, _) in engines().await {
        let mut stream = Stream::open(&engine, "admin", "/stream", None).await;
        let mut times = Vec::new();
        for n in 0..200 {
            emit(&engine.store, vec![event("org.dte.a", &n.to_string(), "alice")]).await;
            let committed = Instant::now();
            stream.next().await.expect("an event");
            times.push(committed.elapsed());
        }
        times.sort();
        eprintln!("commit to subscriber: median {:?}, p99 {:?}", times[100], times[197]);
    }
}

async fn publish(engine: &TestEngine, user: &str, kind: &str, body: String) -> (StatusCode, Value) {
    let token = engine.token_for(user, &[]).await;
    let url = engine.url_of("/events/api/v1/events");
    let reply = engine
        .client
        .post(url)
        .bearer(&token)
        .header("content-type", kind)
        .bytes(body)
        .send()
        .await
        .expect("an answer");
    (reply.status, reply.json().await.expect("JSON"))
}

#[tokio::test]
async fn events_from_outside_are_taken_once() {
    const BATCH: &str = "application/cloudevents-batch+json";
    for (engine, _) in engines().await {
        let one = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/buoy", "type": "net.example.reading", "severity": "low", "data": {"t": 1}});
        let batch = json!([one("1"), one("2"), one("1")]).to_string();
        let (status, body) = publish(&engine, "alice", BATCH, batch.clone()).await;
        assert_eq!((status, &body["accepted"], &body["duplicates"]), (StatusCode::ACCEPTED, &json!(2), &json!(1)));
        assert_eq!(publish(&engine, "alice", BATCH, batch).await.0, StatusCode::OK, "all known");
        let (_, seen) = get(&engine, "alice", "/events?wait=2").await;
        assert_eq!(seen.as_array().map(Vec::len), Some(2));
        assert_eq!(
            (&seen[0]["id"], &seen[0]["severity"], &seen[0]["data"]),
            (&json!("1"), &json!("low"), &json!({"t": 1}))
        );
        assert_eq!(get(&engine, "bob", "/events").await.1, json!([]), "of another publisher");

        let mut forged = one("3");
        forged["type"] = json!("org.dte.offload.pod.finished");
        let (status, _) = publish(&engine, "alice", "application/cloudevents+json", forged.to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let mixed = json!([one("4"), {"specversion": "1.0"}]).to_string();
        let (status, body) = publish(&engine, "alice", BATCH, mixed).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(body["detail"].as_str().is_some_and(|text| text.starts_with("event 1:")), "{body}");
        assert_eq!(
            get(&engine, "admin", "/events").await.1.as_array().map(Vec::len),
            Some(2),
            "all of a batch or nothing"
        );
        assert_eq!(publish(&engine, "alice", "text/plain", String::new()).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let token = engine.token_for("alice", &["storage.read:/local"]).await;
        let url = engine.url_of("/events/api/v1/events");
        let reply = engine.client.post(url).bearer(&token).json(&json!({})).send().await.expect("an answer");
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn subscriptions_that_are_refused() {
    let (engine, _) = engines().await.remove(0);
    for bad in [
        json!({"protocol": "HTTP"}),
        json!({"protocol": "HTTP", "sink": "ftp://h/"}),
        json!({"protocol": "PULL", "filters": [{"exact": {}}]}),
        json!({"protocol": "PULL", "config": {"retry": {"max": 0}}}),
    ] {
        assert_eq!(
            post(&engine, "alice", "/subscriptions", bad.clone()).await.0,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{bad}"
        );
    }
    for bad in [
        json!({}),
        json!({"protocol": "SMTP"}),
        json!({"protocol": "PULL", "typo": 1}),
        json!({"protocol": "PULL", "filters": [{"sql": "1"}]}),
    ] {
        assert_eq!(post(&engine, "alice", "/subscriptions", bad.clone()).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    emit(&engine.store, vec![Event::new("org.dte.x", "/x", "", json!({}))]).await;
    assert_eq!(get(&engine, "alice", "/events").await.1, json!([]), "what names nobody is for administrators");
    for (what, token) in engine.hostile_tokens() {
        let reply =
            engine.client.get(engine.url_of("/events/api/v1/stream")).bearer(&token).send().await.expect("an answer");
        assert!(reply.status.is_client_error(), "{what}");
    }
}
