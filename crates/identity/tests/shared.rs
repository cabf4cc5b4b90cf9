//! Several processes on one PostgreSQL: one identity.

use std::time::{Duration, Instant};

use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, NewBan, Require, Routes};
use dte_store::Store;
use dte_store::testing::{POSTGRES_VARIABLE, postgres_options};

fn mounts() -> Vec<Mount> {
    vec![Mount { prefix: "/demo", routes: Routes::new("demo").get("/me", Require::Authenticated, async || "ok") }]
}

#[tokio::test]
async fn keys_accounts_and_bans_are_shared() {
    let Some(options) = postgres_options() else {
        eprintln!("SKIPPED: {POSTGRES_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("shared.key");
    let config =
        format!("[http]\npublic_url = 'https://twin.example'\n[identity]\nsecret_key_file = '{}'\n", key.display());
    let engine = async || {
        let store = Store::open(&options).await.expect("a store");
        let setup = TestSetup { config: config.clone(), shared_store: Some(store), ..TestSetup::default() };
        TestEngine::start_with(setup, async |_| Ok(mounts())).await
    };
    // At once, as two processes would start.
    let (one, two) = tokio::join!(engine(), engine());
    let alice = one.token_for("alice", &[]).await;
    let status = async |engine: &TestEngine| {
        engine.client.get(engine.url_of("/demo/me")).bearer(&alice).send().await.expect("an answer").status.as_u16()
    };
    let becomes = async |engine: &TestEngine, wanted: u16| {
        let started = Instant::now();
        while status(engine).await != wanted {
            assert!(started.elapsed() < Duration::from_secs(5), "not within five seconds");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(status(&one).await, 200);
    becomes(&two, 200).await;
    let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    let ban = two.identity.ban(ban, "admin").await.expect("banned");
    assert_eq!(status(&two).await, 401);
    becomes(&one, 401).await;
    one.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
    becomes(&two, 200).await;
    // Both wrote into one chain.
    assert!(one.stop().await && two.stop().await);
    let report = one.identity.audit().verify().await.expect("read");
    assert!(report.broken_at.is_none() && report.records >= 5, "{report:?}");
}
