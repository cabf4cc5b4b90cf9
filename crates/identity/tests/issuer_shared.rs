//! Several processes on one PostgreSQL: what one grants the other honours, and what one takes back dies at the other.

mod issuer_support;

use std::time::{Duration, Instant};

use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, Require, Routes};
use dte_store::Store;
use dte_store::testing::{POSTGRES_VARIABLE, postgres_options};
use issuer_support::*;
use serde_json::json;

fn mounts() -> Vec<Mount> {
    vec![Mount { prefix: "/demo", routes: Routes::new("demo").get("/me", Require::Authenticated, async || "ok") }]
}

#[tokio::test]
async fn two_processes_are_one_issuer() {
    let Some(options) = postgres_options() else {
        eprintln!("SKIPPED: {POSTGRES_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("shared.key");
    let config = format!(
        "[http]\npublic_url = 'https://twin.example'\n[identity]\nsecret_key_file = '{}'\n[identity.issuer]\nregistrations_per_minute = 1000\n",
        key.display()
    );
    let engine = async || {
        let store = Store::open(&options).await.expect("a store");
        let setup = TestSetup { config: config.clone(), shared_store: Some(store), ..TestSetup::default() };
        TestEngine::start_with(setup, async |_| Ok(mounts())).await
    };
    let (one, two) = tokio::join!(engine(), engine());
    one.identity.add_user("alice", false, "test").await.expect("made");
    let becomes = async |engine: &TestEngine, token: &str, wanted: u16| {
        let started = Instant::now();
        while get_with(engine, "/demo/me", token).await != wanted {
            assert!(started.elapsed() < Duration::from_secs(5), "not within five seconds");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Registered and agreed at one, redeemed at the other.
    let app = public_app(&one).await;
    let alice = Browser::signed_in(&one, "alice").await;
    let code = alice.code(&app, "openid wlcg offline_access", &[]).await;
    becomes(
        &two,
        one.identity.issue_token("alice", &[], None, Duration::from_secs(60), "test").expect("a token").expose(),
        200,
    )
    .await;
    let (status, first) = redeem(&two, &app, &code, &[]).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(get_with(&one, "/demo/me", text(&first, "access_token")).await, 200);
    // Both at once with one refresh token: one rotates, the other gets the same.
    let token_text = text(&first, "refresh_token");
    let (a, b) = tokio::join!(refresh(&one, &app, token_text, &[]), refresh(&two, &app, token_text, &[]));
    assert_eq!((a.0, b.0), (200, 200), "{} {}", a.1, b.1);
    assert_eq!(text(&a.1, "refresh_token"), text(&b.1, "refresh_token"));
    // A code that both get: at most one of them.
    let code = alice.code(&app, "openid wlcg", &[]).await;
    let (a_code, b_code) = tokio::join!(redeem(&one, &app, &code, &[]), redeem(&two, &app, &code, &[]));
    assert_eq!([a_code.0, b_code.0].iter().filter(|status| **status == 200).count(), 1);
    // Taken back at one, dead at both.
    let access = text(&a.1, "access_token");
    becomes(&two, access, 200).await;
    assert_eq!(call(&one, "/oidc/revoke", &app, &[("token", text(&a.1, "refresh_token"))]).await.0, 200);
    assert_eq!(get_with(&one, "/demo/me", access).await, 401);
    assert_eq!(refresh(&two, &app, text(&b.1, "refresh_token"), &[]).await.0, 400);
    becomes(&two, access, 401).await;
    // A client that is suspended, a key that is dropped.
    let other = register(&one, json!({})).await;
    let tokens = alice.tokens(&other, "openid wlcg").await;
    let access = text(&tokens, "access_token");
    becomes(&two, access, 200).await;
    one.identity.set_client(&other.id, false, "test").await.expect("suspended");
    becomes(&two, access, 401).await;
    one.identity.set_client(&other.id, true, "test").await.expect("back");
    becomes(&two, access, 200).await;
    let kid = one.identity.signing_keys().await.expect("keys")[0].kid.clone();
    one.identity.drop_key(&kid, "test").await.expect("dropped");
    assert_eq!(get_with(&one, "/demo/me", access).await, 401);
    becomes(&two, access, 401).await;
    let report = one.identity.audit().verify().await.expect("read");
    assert!(report.broken_at.is_none(), "{report:?}");
}
