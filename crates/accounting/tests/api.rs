//! Accounting through its public routes, on every store at hand.

use std::time::Duration;

use dte_accounting::Service;
use dte_base::time::Timestamp;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_store::{Error, Event, Store};
use http::StatusCode;
use serde_json::{Value, json};

async fn engines() -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let setup = TestSetup { store: Some(store), ..TestSetup::config("[accounting]\ncurrency = \"CHF\"\n") };
        let open = async |ctx| Ok(Service::open(ctx).await?.mounts());
        engines.push(TestEngine::start_with(setup, open).await);
    }
    engines
}

async fn emit(store: &Store, events: Vec<Event>) {
    let done = store.write(move |tx| events.iter().try_for_each(|event| tx.emit(event.clone()))).await;
    done.map_err(|error: Error| error.to_string()).expect("emitted");
}

fn pod(uid: &str, user: &str, seconds: i64) -> Event {
    let started = Timestamp::from_seconds(1_000_000);
    let data = json!({"uid": uid, "name": uid, "user": user, "site": "local", "cpu_seconds": 0.5, "max_rss_bytes": 1024,
        "started": started.to_string(), "finished": Timestamp::from_seconds(1_000_000 + seconds).to_string(),
        "annotations": {"dte.io/twin": "enso"}, "outputs": [{"did": "enso:forecast"}]});
    Event::new("org.dte.offload.pod.finished", "/interlink", uid, data)
}

fn replica(name: &str, bytes: i64) -> Event {
    let data =
        json!({"scope": "enso", "name": name, "rse": "LOCAL", "bytes": bytes, "adler32": "1", "account": "alice"});
    Event::new("org.dte.lake.replica.available", "/rucio", name, data)
}

fn copy(file: i64, user: &str, bytes: i64) -> Event {
    let data = json!({"job_id": "j", "file_id": file, "user": user, "bytes": bytes, "source": "http://a/x",
        "destination": "http://b/dav/local/enso/0a/0b/x"});
    Event::new("org.dte.transfer.file.finished", "/fts", "j", data)
}

async fn get(engine: &TestEngine, user: Option<&str>, path: &str) -> (StatusCode, Value) {
    let token = match user {
        Some(user) => engine.token_for(user, &[]).await,
        None => engine.admin_token(),
    };
    let reply = engine.client.get(engine.url_of(path)).bearer(&token).send().await.expect("an answer");
    let status = reply.status;
    (status, reply.json().await.expect("JSON"))
}

/// The records once there are `count` of them.
async fn records(engine: &TestEngine, count: usize) -> Vec<Value> {
    for _ in 0..1500 {
        let (_, body) = get(engine, None, "/accounting/records?limit=1000").await;
        let found = body["records"].as_array().expect("a list").clone();
        if found.len() >= count {
            assert_eq!(found.len(), count);
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there are not {count} records");
}

#[tokio::test]
async fn every_use_is_one_record_and_sums_agree() {
    for engine in engines().await {
        let mut events: Vec<Event> = (0..20).map(|n| pod(&format!("p{n}"), "alice", 36)).collect();
        events.extend((0..3).map(|n| replica(&format!("f{n}"), 1_000_000_000)));
        events.extend([copy(1, "alice", 500_000_000), copy(2, "bob", 7)]);
        // Told twice, as at-least-once delivery may: charged once.
        let again: Vec<Event> = events.iter().cloned().map(|event| event.with_id(dte_base::id::new_id())).collect();
        emit(&engine.store, events).await;
        emit(&engine.store, again).await;
        // An event that cannot be understood does not stop those behind it.
        emit(
            &engine.store,
            vec![Event::new("org.dte.offload.pod.finished", "/x", "", json!({"odd": true})), pod("last", "alice", 1)],
        )
        .await;
        let all = records(&engine, 26).await;
        assert!(all.iter().all(|record| record["twin"] == "enso"), "{all:#?}");

        let (_, by_twin) = get(&engine, None, "/accounting/summary?group=twin").await;
        assert_eq!(by_twin["currency"], "CHF");
        let row = &by_twin["rows"][0];
        assert_eq!((&row["key"], &row["compute"]["records"]), (&json!("enso"), &json!(21)));
        assert_eq!(row["compute"]["cpu_seconds"], 10.5);
        assert_eq!(row["compute"]["wall_seconds"], 721.0);
        // 721 s × 0.05 an hour.
        assert_eq!(row["compute"]["cost_micro"], 10_014);
        assert_eq!(row["transfer"]["cost_micro"], 5_000);
        assert_eq!(row["storage"]["bytes"], 3_000_000_000_i64);
        let compute: i64 = all.iter().filter(|r| r["kind"] == "compute").filter_map(|r| r["cost_micro"].as_i64()).sum();
        assert!((compute - 10_014).abs() <= 21, "records and sums differ by rounding only: {compute}");

        let (_, by_day) = get(&engine, None, "/accounting/summary?group=day&since=1970-01-12&until=1970-01-12").await;
        assert_eq!(by_day["rows"].as_array().map(Vec::len), Some(1));
        assert_eq!(by_day["rows"][0]["storage"]["records"], 0);
        let (_, of_none) = get(&engine, None, "/accounting/summary?group=twin&twin=other").await;
        assert_eq!(of_none["rows"], json!([]));
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn pages_and_filters() {
    for engine in engines().await {
        emit(&engine.store, (0..25).map(|n| pod(&format!("p{n}"), "alice", n)).collect()).await;
        emit(&engine.store, vec![copy(1, "bob", 1)]).await;
        records(&engine, 26).await;
        let mut seen = Vec::new();
        let mut path = "/accounting/records?limit=10".to_owned();
        loop {
            let (_, body) = get(&engine, None, &path).await;
            seen.extend(body["records"].as_array().expect("a list").iter().map(|r| r["id"].to_string()));
            match body["next"].as_str() {
                Some(next) => path = format!("/accounting/records?limit=10&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 26);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 26);
        let count = async |query: &str| {
            let (_, body) = get(&engine, None, &format!("/accounting/records?{query}")).await;
            body["records"].as_array().map(Vec::len)
        };
        assert_eq!(count("kind=transfer").await, Some(1));
        assert_eq!(count("user=alice").await, Some(25));
        assert_eq!(count("twin=enso&kind=compute").await, Some(25));
        assert_eq!(count("since=2020-01-01").await, Some(1));
        for bad in ["kind=food", "since=yesterday", "after=x", "limit=0"] {
            let (status, _) = get(&engine, None, &format!("/accounting/records?{bad}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        }
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn absurd_sizes_spoil_nothing_but_their_own_sum() {
    for engine in engines().await {
        emit(&engine.store, (0..5).map(|n| replica(&format!("f{n}"), i64::MAX)).collect()).await;
        emit(&engine.store, vec![copy(1, "bob", i64::MAX), copy(2, "bob", i64::MAX), pod("p", "carol", 1)]).await;
        records(&engine, 8).await;
        for group in ["user", "twin", "day"] {
            let (status, body) = get(&engine, None, &format!("/accounting/summary?group={group}")).await;
            assert_eq!(status, StatusCode::OK, "{body}");
        }
        let (_, body) = get(&engine, Some("carol"), "/accounting/summary?group=user").await;
        assert_eq!(body["cost_micro"], 14);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn people_see_their_own_usage() {
    let engine = engines().await.remove(0);
    emit(&engine.store, vec![pod("a", "alice", 1), pod("b", "bob", 1)]).await;
    records(&engine, 2).await;
    for path in ["/accounting/records", "/accounting/records?user=alice"] {
        let (_, body) = get(&engine, Some("alice"), path).await;
        assert_eq!(body["records"].as_array().map(Vec::len), Some(1));
        assert_eq!(body["records"][0]["user"], "alice");
    }
    let (status, _) = get(&engine, Some("alice"), "/accounting/records?user=bob").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = get(&engine, Some("alice"), "/accounting/summary?group=user&user=bob").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, body) = get(&engine, Some("alice"), "/accounting/summary?group=user").await;
    assert_eq!(body["rows"].as_array().map(Vec::len), Some(1));
    let confined = engine.token_for("alice", &["storage.read:/local"]).await;
    let reply =
        engine.client.get(engine.url_of("/accounting/records")).bearer(&confined).send().await.expect("an answer");
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    for (what, token) in engine.hostile_tokens() {
        let reply =
            engine.client.get(engine.url_of("/accounting/records")).bearer(&token).send().await.expect("an answer");
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];
        assert!(refused.contains(&reply.status), "{what}: {}", reply.status);
    }
}

#[tokio::test]
async fn who_is_erased_keeps_totals_under_a_pseudonym() {
    for engine in engines().await {
        engine.token_for("alice", &[]).await;
        emit(&engine.store, (0..1_100).map(|n| pod(&format!("p{n}"), "alice", 36)).collect()).await;
        emit(&engine.store, vec![pod("other", "bob", 36), copy(1, "alice", 5)]).await;
        for _ in 0..1500 {
            let (_, body) = get(&engine, None, "/accounting/summary?group=user").await;
            let counted = |kind: &str| {
                let rows = body["rows"].as_array().cloned().unwrap_or_default();
                rows.iter().filter_map(|row| row[kind]["records"].as_i64()).sum::<i64>()
            };
            if (counted("compute"), counted("transfer")) == (1_101, 1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sum_of = async |user: &str| {
            let (_, body) = get(&engine, None, &format!("/accounting/summary?group=user&user={user}")).await;
            body["rows"][0]["compute"]["records"].as_i64().unwrap_or_default()
        };
        assert_eq!(sum_of("alice").await, 1_100);
        let pseudonym = engine.identity.erase("alice", "admin").await.expect("erased").pseudonym;
        // A pod that ran on, told after the erasure.
        emit(&engine.store, vec![pod("late", "alice", 36)]).await;
        let mut sums = (0, 0);
        for _ in 0..1500 {
            sums = (sum_of(&pseudonym).await, sum_of("alice").await);
            if sums == (1_101, 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(sums, (1_101, 0));
        assert_eq!(sum_of("bob").await, 1);
        let (_, body) = get(&engine, None, "/accounting/records?limit=1000&user=alice").await;
        assert_eq!(body["records"], json!([]));
        let (_, body) = get(&engine, None, &format!("/accounting/records?limit=1&user={pseudonym}")).await;
        assert_eq!(body["records"][0]["user"], pseudonym.as_str());
        assert!(engine.stop().await);
    }
}
