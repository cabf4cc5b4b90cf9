//! Signing keys turn over while requests run, and none is lost.

mod issuer_support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dte_identity::AdminClient;
use issuer_support::*;
use serde_json::{Value, json};

async fn published(engine: &dte_identity::testing::TestEngine) -> HashSet<String> {
    let reply = engine.client.get(engine.url_of("/oidc/jwk")).send().await.expect("an answer");
    let document: Value = reply.json().await.expect("JSON");
    let keys = document["keys"].as_array().expect("a list");
    keys.iter().map(|key| text(key, "kid").to_owned()).collect()
}

fn kid(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().expect("a token");
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64");
    text(&serde_json::from_slice::<Value>(&header).expect("JSON"), "kid").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_turn_over_under_load() {
    let engine = Arc::new(start_with("[identity.issuer]\nkey_life = \"2s\"\nkey_publish = \"1s\"\n", None).await);
    let secret = engine.identity.add_client("worker", &["compute.create"], &[], "test").await.expect("made");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for _ in 0..4 {
        let (engine, stop, served, secret) =
            (Arc::clone(&engine), Arc::clone(&stop), Arc::clone(&served), secret.clone());
        workers.push(tokio::spawn(async move {
            let app =
                App { id: "worker".to_owned(), secret: Some(secret.expose().to_owned()), registration: Value::Null };
            let mut old: Vec<String> = Vec::new();
            let mut keys = HashSet::new();
            while !stop.load(Ordering::Relaxed) {
                let (status, answer) = token(&engine, &app, &[("grant_type", "client_credentials")]).await;
                assert_eq!(status, 200, "{answer}");
                let fresh = text(&answer, "access_token").to_owned();
                // A key signs only after it is published.
                assert!(published(&engine).await.contains(&kid(&fresh)));
                assert_eq!(get_with(&engine, "/demo/work", &fresh).await, 200);
                if keys.insert(kid(&fresh)) {
                    old.push(fresh);
                }
                for token in &old {
                    assert_eq!(get_with(&engine, "/demo/work", token).await, 200, "a token of an earlier key");
                }
                served.fetch_add(1, Ordering::Relaxed);
                // Nothing of this ever waits, and the clock wants its turn.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            keys
        }));
    }
    let begun = Instant::now();
    // Three keys have signed, or the machine is too slow to tell.
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let times = engine.identity.signing_keys().await.expect("keys");
        let turns = times.iter().filter(|key| key.state != "next").count();
        if turns >= 3 || begun.elapsed() > Duration::from_secs(30) {
            assert!(turns >= 3, "{times:?}");
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = HashSet::new();
    for worker in workers {
        seen.extend(worker.await.expect("no request was lost"));
    }
    assert!(seen.len() >= 2 && served.load(Ordering::Relaxed) > 10, "{}", seen.len());
}

#[tokio::test]
async fn a_key_is_announced_and_one_is_dropped() {
    let engine = start().await;
    engine.identity.serve_admin_socket(engine.data_dir(), &engine.tasks).expect("served");
    let admin = AdminClient::new(engine.data_dir());
    let first = admin.keys().await.expect("keys");
    assert_eq!((first.len(), first[0].state.as_str()), (1, "current"));
    let next = admin.rotate_keys().await.expect("rotated");
    assert_eq!(next.state, "next");
    assert!(next.signs_from.since(next.created) >= Duration::from_secs(2 * 86_400 - 1));
    assert_eq!(admin.rotate_keys().await.expect("rotated").kid, next.kid, "one waits already");
    assert_eq!(published(&engine).await, HashSet::from([first[0].kid.clone(), next.kid.clone()]));

    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({})).await;
    let tokens = alice.tokens(&app, "openid wlcg").await;
    let access = text(&tokens, "access_token");
    assert_eq!(kid(access), first[0].kid);
    assert_eq!(get_with(&engine, "/demo/me", access).await, 200);
    // Emergency: what it signed is worth nothing, and the next one signs at once.
    admin.drop_key(&first[0].kid).await.expect("dropped");
    assert_eq!(get_with(&engine, "/demo/me", access).await, 401);
    assert_eq!(published(&engine).await, HashSet::from([next.kid.clone()]));
    let tokens = alice.tokens(&app, "openid wlcg").await;
    assert_eq!(kid(text(&tokens, "access_token")), next.kid);
    // The only one: another is made.
    admin.drop_key(&next.kid).await.expect("dropped");
    assert!(admin.drop_key(&next.kid).await.is_err());
    let tokens = alice.tokens(&app, "openid wlcg").await;
    assert_eq!(get_with(&engine, "/demo/me", text(&tokens, "access_token")).await, 200);
    assert_ne!(kid(text(&tokens, "access_token")), next.kid);
}
