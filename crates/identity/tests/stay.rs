//! What is still going on for somebody who is banned meanwhile.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dte_base::secret::Secret;
use dte_identity::testing::TestEngine;
use dte_identity::{Absent, Mount, NewBan, Principal, Require, Routes};
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;

const PATIENCE: Duration = Duration::from_secs(30);

/// A body that sends a byte now and then, for ever.
fn endless() -> Body {
    let pieces = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
    });
    Body::from_stream(pieces.boxed())
}

async fn start() -> TestEngine {
    TestEngine::start(async |_| {
        let routes = Routes::new("demo")
            .sessions()
            .get("/slow", Require::Authenticated, async || std::future::pending::<&'static str>().await)
            .get("/file", Require::Authenticated, async || -> Response { endless().into_response() })
            .get("/events", Require::Authenticated, async || -> Response {
                ([(CONTENT_TYPE, "text/event-stream")], endless()).into_response()
            })
            .get("/me", Require::Authenticated, async |principal: Principal| principal.name().to_owned());
        Ok(vec![Mount { prefix: "/demo", routes }])
    })
    .await
}

/// How the three end: the status of the slow one, and whether the bodies came to a good end.
async fn three(engine: &TestEngine, token: &Secret) -> tokio::task::JoinHandle<(u16, bool, bool)> {
    let get = |path: &str| engine.client.get(engine.url_of(path)).bearer(token).send();
    let (file, events) = (get("/demo/file").await.expect("begins"), get("/demo/events").await.expect("begins"));
    let slow = get("/demo/slow");
    tokio::spawn(async move {
        let (slow, file, events) = tokio::join!(slow, file.text(), events.text());
        (slow.expect("an answer").status.as_u16(), file.is_ok(), events.is_ok())
    })
}

#[tokio::test]
async fn a_ban_cuts_what_goes_on_and_nobody_elses() {
    let engine = start().await;
    let alice = engine.token_for("alice", &[]).await;
    let (hers, bobs) = (three(&engine, &alice).await, three(&engine, &engine.token_for("bob", &[]).await).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    engine.identity.ban(ban, "test").await.expect("banned");
    let ended = tokio::time::timeout(PATIENCE, hers).await.expect("in time").expect("no panic");
    // A file that breaks off must not look whole; the end of a stream of events is none of their business.
    assert_eq!(ended, (401, false, true));
    assert!(!bobs.is_finished());
    bobs.abort();
}

#[tokio::test]
async fn a_closed_account_a_token_and_a_lost_right_are_as_good_as_a_ban() {
    let engine = start().await;
    let alice = engine.token_for("alice", &[]).await;
    let (first, second) = (three(&engine, &alice).await, three(&engine, &engine.token_for("alice", &[]).await).await);
    let principal = engine.identity.verify(alice.expose()).await.expect("a good token");
    let ban = NewBan { token_id: principal.token_id.clone(), reason: "test".to_owned(), ..NewBan::default() };
    engine.identity.ban(ban, "test").await.expect("banned");
    tokio::time::timeout(PATIENCE, first).await.expect("one token").expect("no panic");
    assert!(!second.is_finished(), "the other token is good");
    engine.identity.set_user("alice", false, false, "test").await.expect("set");
    tokio::time::timeout(PATIENCE, second).await.expect("the account").expect("no panic");

    engine.token_for("root2", &[]).await;
    engine.identity.set_user("root2", true, true, "test").await.expect("set");
    let admins = three(&engine, &engine.token_for("root2", &[]).await).await;
    engine.identity.set_user("root2", false, true, "test").await.expect("set");
    tokio::time::timeout(PATIENCE, admins).await.expect("the right").expect("no panic");
}

#[tokio::test]
async fn those_who_were_away_are_named_when_they_are_back() {
    let engine = start().await;
    engine.token_for("alice", &[]).await;
    let (alice, absent) = (engine.user_ref("alice"), Absent::new(&engine.identity));
    assert!(absent.is_here(&alice));
    engine.identity.set_user("alice", false, false, "test").await.expect("set");
    assert!(!absent.is_here(&alice) && !absent.is_here(&alice));
    let waiting = absent.clone();
    let back = tokio::spawn(async move { waiting.returned().await });
    engine.identity.add_user("carol", false, "test").await.expect("somebody else's change");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!back.is_finished());
    engine.identity.set_user("alice", false, true, "test").await.expect("set");
    let back = tokio::time::timeout(PATIENCE, back).await.expect("in time").expect("no panic");
    assert_eq!(back, std::slice::from_ref(&alice));
    assert!(absent.is_here(&alice));
}

#[tokio::test]
async fn signing_out_ends_what_the_session_has_open_and_nothing_else() {
    let engine = start().await;
    engine.token_for("alice", &[]).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let code = engine.identity.login_code("alice", "test").await.expect("a code");
        let secret = engine.identity.begin_session(code.expose()).await.expect("begun").expect("good");
        let cookie = format!("{}={}", engine.identity.session_cookie_name(), secret.expose());
        let reply = engine.client.get(engine.url_of("/demo/events")).header(http::header::COOKIE, cookie).send();
        let reply = reply.await.expect("begins");
        assert_eq!(reply.status, 200);
        sessions.push((secret, tokio::spawn(async move { reply.text().await.is_ok() })));
    }
    let (left, first) = sessions.remove(0);
    let (_, second) = sessions.remove(0);
    engine.identity.end_session(left.expose()).await.expect("ended");
    assert!(tokio::time::timeout(PATIENCE, first).await.expect("in time").expect("no panic"));
    assert!(!second.is_finished(), "the other session goes on");
    second.abort();
}

#[tokio::test]
async fn the_trail_says_who_comes_with_a_token_that_is_void() {
    let engine = start().await;
    let alice = engine.token_for("alice", &[]).await;
    let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    engine.identity.ban(ban, "test").await.expect("banned");
    let reply = engine.client.get(engine.url_of("/demo/me")).bearer(&alice).send().await.expect("an answer");
    assert_eq!(reply.status, 401);
    // A token that somebody made up names nobody.
    let (head, _) = alice.expose().rsplit_once('.').expect("a JWT");
    let forged = Secret::new(format!("{head}.AAAA"));
    let reply = engine.client.get(engine.url_of("/demo/file")).bearer(&forged).send().await.expect("an answer");
    assert_eq!(reply.status, 401);
    let begun = std::time::Instant::now();
    loop {
        let trace = engine.identity.audit().trace("alice", 0, 100).await.expect("read");
        let denials: Vec<_> = trace.iter().filter(|one| one.body["kind"] == "denial").collect();
        assert!(denials.iter().all(|one| one.body["object"] == "/me"), "{denials:?}");
        if denials.iter().any(|one| one.body["reason"] == "banned") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
