//! The audit chain: what was permitted is summed, and nothing can be taken out, changed, moved or cut off.

mod provider;

use std::time::{Duration, Instant};

use dte_identity::testing::{TestEngine, TestSetup};
use dte_store::{Store, params};
use provider::{engine, mounts, status};

async fn records(store: &Store) -> i64 {
    let count = |tx: &mut dte_store::Tx<'_>| {
        tx.query_one("SELECT COUNT(*) FROM identity_audit", &params![], |row| row.get::<i64>(0))
    };
    store.read(count).await.expect("read")
}

#[tokio::test]
async fn permits_cost_no_write_and_are_summed() {
    let us = engine("").await;
    let alice = us.token_for("alice", &[]).await;
    status(&us, "/demo/me", alice.expose()).await;
    // The token that was issued is noted in the background.
    let started = Instant::now();
    while us.identity.audit().trace("test", 0, 10).await.expect("read").len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = records(&us.store).await;
    for number in 0..100 {
        assert_eq!(status(&us, "/demo/me", alice.expose()).await, 200);
        assert_eq!(status(&us, &format!("/demo/files/home/alice/{number}"), alice.expose()).await, 200);
    }
    assert_eq!(records(&us.store).await, before, "nothing is written on the path of a permit");
    us.identity.audit().write_permits().await;
    let trace = us.identity.audit().trace("alice", 0, 1_000).await.expect("read");
    let sums: Vec<_> = trace.iter().filter(|record| record.body["kind"] == "permits").collect();
    let sum = |route: &str| {
        let of = sums.iter().filter(|record| record.body["route"] == route);
        of.filter_map(|record| record.body["count"].as_u64()).sum::<u64>()
    };
    assert_eq!((sum("/me"), sum("/files/{*path}")), (101, 100));
    assert!(sums.len() <= 6, "at most one for each route and prefix in each of at most two minutes: {}", sums.len());
    assert!(sums.iter().any(|record| record.body["object"] == "/files/home" && record.body["service"] == "demo"));
    let whole = us.identity.audit().verify().await.expect("read");
    assert!(whole.broken_at.is_none(), "{whole:?}");
    // What was not written yet is written when the engine stops.
    assert_eq!(status(&us, "/demo/me", alice.expose()).await, 200);
    assert!(us.stop().await);
    let trace = us.identity.audit().trace("alice", 0, 1_000).await.expect("read");
    let all: u64 = trace.iter().filter(|r| r.body["route"] == "/me").filter_map(|r| r.body["count"].as_u64()).sum();
    assert_eq!(all, 102);
}

/// An engine with some records that is stopped, so that nothing is written meanwhile.
async fn stopped(store: Option<dte_store::testing::TemporaryStore>) -> TestEngine {
    let setup = TestSetup { store, ..TestSetup::default() };
    let us = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
    for number in 0..8 {
        us.identity.add_user(&format!("user{number}"), false, "test").await.expect("made");
    }
    assert!(us.stop().await);
    let whole = us.identity.audit().verify().await.expect("read");
    assert!(whole.broken_at.is_none() && whole.records >= 9, "{whole:?}");
    us
}

#[tokio::test]
async fn every_way_of_tampering_is_noticed() {
    for store in dte_store::testing::stores().await.expect("stores") {
        let us = stopped(Some(store)).await;
        let last = records(&us.store).await;
        // Each in turn, and undone after: what was there is put back.
        let tamper: &[(&str, i64)] = &[
            ("UPDATE identity_audit SET body = REPLACE(body, 'user3', 'user4') WHERE body LIKE '%user3%'", 5),
            ("UPDATE identity_audit SET at = at + 1 WHERE seq = 2", 2),
            ("UPDATE identity_audit SET seq = 100 WHERE seq = 3", 3),
            ("DELETE FROM identity_audit WHERE seq = 1", 1),
            ("DELETE FROM identity_audit WHERE seq = 4", 4),
            ("DELETE FROM identity_audit", 1),
            ("UPDATE identity_meta SET number = number - 1 WHERE name = 'audit end'", -1),
            ("DELETE FROM identity_meta WHERE name = 'audit end'", -1),
        ];
        for (sql, place) in tamper {
            keep(&us.store).await;
            let sql = (*sql).to_owned();
            let text = sql.clone();
            let changed = us.store.write(move |tx| tx.execute(&text, &params![])).await.expect("altered");
            assert!(changed > 0, "{sql}");
            let report = us.identity.audit().verify().await.expect("read");
            assert!(report.why.is_some(), "{sql}: {report:?}");
            if *place > 0 {
                assert_eq!(report.broken_at, Some(*place), "{sql}: {report:?}");
            }
            put_back(&us.store).await;
            assert_eq!(us.identity.audit().verify().await.expect("read").broken_at, None, "put back after {sql}");
        }
        // The end cut off: with the seal, and with the older seal put back by somebody who kept it.
        keep(&us.store).await;
        cut(&us.store, last).await;
        let report = us.identity.audit().verify().await.expect("read");
        assert_eq!(report.broken_at, Some(last), "{report:?}");
        put_back(&us.store).await;
        // Two records exchanged.
        exchange(&us.store).await;
        assert_eq!(us.identity.audit().verify().await.expect("read").broken_at, Some(2));
    }
}

async fn run(store: &Store, statements: &'static [&'static str]) {
    let all = move |tx: &mut dte_store::Tx<'_>| -> Result<(), dte_store::Error> {
        for sql in statements {
            tx.execute(sql, &params![])?;
        }
        Ok(())
    };
    store.write(all).await.expect("done");
}

async fn keep(store: &Store) {
    run(
        store,
        &[
            "CREATE TABLE kept_audit AS SELECT * FROM identity_audit",
            "CREATE TABLE kept_meta AS SELECT * FROM identity_meta",
        ],
    )
    .await;
}

async fn put_back(store: &Store) {
    run(
        store,
        &[
            "DELETE FROM identity_audit",
            "DELETE FROM identity_meta",
            "INSERT INTO identity_audit SELECT * FROM kept_audit",
            "INSERT INTO identity_meta SELECT * FROM kept_meta",
            "DROP TABLE kept_audit",
            "DROP TABLE kept_meta",
        ],
    )
    .await;
}

async fn cut(store: &Store, last: i64) {
    let sql = "DELETE FROM identity_audit WHERE seq = ?1";
    store.write(move |tx| tx.execute(sql, &params![last])).await.expect("cut");
}

async fn exchange(store: &Store) {
    run(
        store,
        &[
            "UPDATE identity_audit SET seq = 1000 WHERE seq = 2",
            "UPDATE identity_audit SET seq = 2 WHERE seq = 3",
            "UPDATE identity_audit SET seq = 3 WHERE seq = 1000",
        ],
    )
    .await;
}

#[tokio::test]
async fn an_older_end_that_was_kept_and_put_back_is_noticed() {
    let store = dte_store::testing::temporary().await.expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        let setup = TestSetup {
            config: "[http]\npublic_url = 'http://127.0.0.1:1/'\n".to_owned(),
            shared_store: Some(Store::clone(&store)),
            data_dir: Some(folder.path().to_owned()),
            ..TestSetup::default()
        };
        TestEngine::start_with(setup, async |_| Ok(mounts())).await
    };
    let first = start().await;
    first.identity.add_user("alice", false, "test").await.expect("made");
    assert!(first.stop().await);
    keep(&store).await;
    let second = start().await;
    second.identity.add_user("bob", false, "test").await.expect("made");
    assert!(second.stop().await);
    assert_eq!(second.identity.audit().verify().await.expect("read").broken_at, None);
    // The whole database as it was before, seal and all: only the data directory knows better.
    let there = records(&store).await;
    put_back(&store).await;
    let report = second.identity.audit().verify().await.expect("read");
    assert_eq!(report.broken_at, Some(there), "{report:?}");
    assert!(report.why.is_some_and(|why| why.contains("cut off")));
    // It stays noticed when the engine goes on.
    let third = start().await;
    third.identity.add_user("carol", false, "test").await.expect("made");
    third.identity.add_user("dave", false, "test").await.expect("made");
    assert!(third.stop().await);
    let report = third.identity.audit().verify().await.expect("read");
    assert!(report.broken_at.is_some(), "{report:?}");
}
