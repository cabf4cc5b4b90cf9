//! What gets through the gate, and what does not, through the routes of an engine.

use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use dte_base::secret::Secret;
use dte_http::Reply;
use dte_identity::model::reject::Reject;
use dte_identity::testing::{TestEngine, TestSetup, forged_token};
use dte_identity::{Denial, DenialKind, Mount, NewBan, Principal, Require, Routes, StorageOp};
use http::{Method, StatusCode};
use serde_json::{Value, json};

async fn whoami(principal: Principal) -> String {
    format!("{} admin={} acting={}", principal.name(), principal.is_admin(), principal.acting.as_deref().unwrap_or("-"))
}

async fn maybe(principal: Option<Principal>) -> String {
    principal.map_or_else(|| "nobody".to_owned(), |principal| principal.name().to_owned())
}

async fn storage(
    principal: Principal,
    axum::extract::Path(path): axum::extract::Path<String>,
) -> Result<&'static str, Denial> {
    principal.may_storage(StorageOp::Read, &format!("/{path}"))?;
    Ok("bytes")
}

/// The error body of some protocol.
fn own_words(denial: Denial) -> Response {
    (denial.status(), format!("ERR {} {:?}", denial.reason, denial.kind)).into_response()
}

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/public", Require::Public("it is a test"), maybe)
        .get("/me", Require::Authenticated, whoami)
        .get("/compute", Require::Scope("compute.create"), whoami)
        .get("/admin", Require::Admin, whoami)
        .get("/files/{*path}", Require::Storage("storage.read at the path"), storage)
        .get("/checks", Require::HandlerChecks("nothing more"), async || "ok")
        .get("/either", Require::OneOf(&["compute.read", "compute.create"], "nothing more"), async || "ok")
        .get("/neither", Require::OneOf(&["compute.read", "compute.cancel"], "nothing more"), async || "ok")
        .any("/any", Require::Authenticated, async |method: Method| method.to_string())
        .method(Method::from_bytes(b"PROPFIND").expect("a method"), "/dav", Require::Authenticated, async || "propfind")
        .get("/dav", Require::Admin, async || "get");
    let own = Routes::new("own")
        .get("/me", Require::Authenticated, whoami)
        .token_from(|parts| parts.headers.get("x-own-token").and_then(|value| value.to_str().ok()).map(str::to_owned))
        .on_denied(own_words);
    vec![Mount { prefix: "/demo", routes }, Mount { prefix: "/own", routes: own }]
}

async fn start() -> TestEngine {
    TestEngine::start(async |_| Ok(mounts())).await
}

async fn get(engine: &TestEngine, path: &str, token: Option<&Secret>) -> Reply {
    let request = engine.client.get(engine.url_of(path));
    let request = match token {
        Some(token) => request.bearer(token),
        None => request,
    };
    request.send().await.expect("an answer")
}

async fn status(engine: &TestEngine, path: &str, token: Option<&Secret>) -> u16 {
    get(engine, path, token).await.status.as_u16()
}

#[tokio::test]
async fn requirements() {
    let engine = start().await;
    let admin = engine.admin_token();
    let alice = engine.token_for("alice", &[]).await;
    let confined = engine.token_for("alice", &["compute.create", "storage.read:/local"]).await;
    for (path, nobody, of_alice, of_confined, of_admin) in [
        ("/demo/public", 200, 200, 200, 200),
        ("/demo/me", 401, 200, 403, 200),
        ("/demo/checks", 401, 200, 403, 200),
        ("/demo/either", 401, 200, 200, 200),
        ("/demo/neither", 401, 200, 403, 200),
        ("/demo/compute", 401, 200, 200, 200),
        ("/demo/admin", 401, 403, 403, 200),
        ("/demo/files/local/f", 401, 403, 200, 200),
        ("/demo/files/localx/f", 401, 403, 403, 200),
        ("/demo/files/home/alice/f", 401, 200, 403, 200),
        ("/demo/files/home/bob/f", 401, 403, 403, 200),
        ("/demo/nothing", 404, 404, 404, 404),
    ] {
        assert_eq!(status(&engine, path, None).await, nobody, "{path}");
        assert_eq!(status(&engine, path, Some(&alice)).await, of_alice, "{path} alice");
        assert_eq!(status(&engine, path, Some(&confined)).await, of_confined, "{path} confined");
        assert_eq!(status(&engine, path, Some(&admin)).await, of_admin, "{path} admin");
    }
    let reply = get(&engine, "/demo/me", Some(&admin)).await;
    assert_eq!(reply.text().await.expect("a text"), "admin admin=true acting=-");
    assert_eq!(get(&engine, "/demo/public", Some(&alice)).await.text().await.expect("a text"), "alice");
    assert_eq!(get(&engine, "/demo/public", Some(&Secret::new("x.y.z"))).await.text().await.expect("a text"), "nobody");
}

#[tokio::test]
async fn challenges() {
    let engine = start().await;
    let alice = engine.token_for("alice", &["compute.read"]).await;
    let challenge = |reply: &Reply| reply.header("www-authenticate").unwrap_or_default().to_owned();
    let none = get(&engine, "/demo/me", None).await;
    assert_eq!(challenge(&none), "Bearer realm=\"dte\"");
    let bad = get(&engine, "/demo/me", Some(&Secret::new("a.b.c"))).await;
    assert_eq!(challenge(&bad), "Bearer realm=\"dte\", error=\"invalid_token\"");
    let little = get(&engine, "/demo/compute", Some(&alice)).await;
    assert_eq!(challenge(&little), "Bearer realm=\"dte\", error=\"insufficient_scope\", scope=\"compute.create\"");
    let body: Value = little.json().await.expect("a problem");
    assert_eq!((&body["status"], &body["reason"]), (&json!(403), &json!("insufficient")));
}

#[tokio::test]
async fn methods() {
    let engine = start().await;
    let admin = engine.admin_token();
    let alice = engine.token_for("alice", &[]).await;
    let send = async |method: &[u8], path: &str, token: &Secret| {
        let method = Method::from_bytes(method).expect("a method");
        engine.client.request(method, engine.url_of(path)).bearer(token).send().await.expect("an answer")
    };
    assert_eq!(send(b"PROPFIND", "/demo/dav", &alice).await.text().await.expect("a text"), "propfind");
    assert_eq!(send(b"GET", "/demo/dav", &alice).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send(b"HEAD", "/demo/dav", &admin).await.status, StatusCode::OK);
    assert_eq!(send(b"HEAD", "/demo/dav", &alice).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send(b"MKCOL", "/demo/any", &alice).await.text().await.expect("a text"), "MKCOL");
    let refused = send(b"DELETE", "/demo/dav", &admin).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.header("allow"), Some("PROPFIND, GET, HEAD"));
}

#[tokio::test]
async fn protocols_have_their_own_words_and_token_places() {
    let engine = start().await;
    let said = async |path: &str| get(&engine, path, None).await.text().await.expect("a text");
    assert_eq!(said("/own/me").await, format!("ERR no-token {:?}", DenialKind::NoToken));
    assert_eq!(said("/own/nothing").await, format!("ERR no-route {:?}", DenialKind::NoRoute));
    let posted = engine.client.post(engine.url_of("/own/me")).send().await.expect("an answer");
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.text().await.expect("a text"), format!("ERR no-method {:?}", DenialKind::NoMethod));
    let alice = engine.token_for("alice", &[]).await;
    let shown = engine
        .client
        .get(engine.url_of("/own/me"))
        .header("x-own-token", alice.expose())
        .send()
        .await
        .expect("an answer");
    assert_eq!(shown.status, StatusCode::OK);
}

#[tokio::test]
async fn no_hostile_token_gets_in() {
    let engine = start().await;
    let good = forged_token(&engine.identity, &json!({}));
    assert_eq!(status(&engine, "/demo/admin", Some(&good)).await, 200, "the template itself is good");
    for (name, token) in engine.hostile_tokens() {
        let reply = get(&engine, "/demo/me", Some(&token)).await;
        // A token longer than any header may be is refused at the door.
        let expected = if name == "too long" { 431 } else { 401 };
        assert_eq!(reply.status.as_u16(), expected, "{name}");
        assert!(engine.identity.verify(token.expose()).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn every_row_has_its_reason() {
    let engine = start().await;
    let verify = async |changes: Value| {
        engine.identity.verify(forged_token(&engine.identity, &changes).expose()).await.map(|_| ())
    };
    assert_eq!(verify(json!({"iss": "https://evil.example"})).await, Err(Reject::Issuer));
    assert_eq!(verify(json!({"iss": null})).await, Err(Reject::Missing("iss")));
    assert_eq!(verify(json!({"exp": 1})).await, Err(Reject::Expired));
    assert_eq!(verify(json!({"aud": "x"})).await, Err(Reject::Audience));
    assert_eq!(verify(json!({"sub": "nobody"})).await, Err(Reject::Account));
    assert_eq!(verify(json!({})).await, Ok(()));
}

#[tokio::test]
async fn a_ban_acts_at_once_and_a_lifted_one_no_more() {
    let engine = start().await;
    let alice = engine.token_for("alice", &[]).await;
    let user = engine.user_ref("alice");
    let acting = engine.identity.acting_token(&user, "workflow", &[], None).expect("a token");
    assert_eq!(status(&engine, "/demo/me", Some(&alice)).await, 200);
    assert_eq!(status(&engine, "/demo/me", Some(&acting)).await, 200);
    let mut changes = engine.identity.watch_changes();
    changes.mark_unchanged();
    let ban = engine
        .identity
        .ban(NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() }, "admin")
        .await
        .expect("banned");
    assert!(changes.has_changed().expect("open"));
    assert_eq!(status(&engine, "/demo/me", Some(&alice)).await, 401);
    assert_eq!(status(&engine, "/demo/me", Some(&acting)).await, 401);
    assert!(!engine.identity.is_welcome(&user));
    assert!(engine.identity.acting_token(&user, "workflow", &[], None).is_err());
    assert!(engine.identity.issue_token("alice", &[], None, Duration::from_secs(60), "test").is_err());
    assert_eq!(status(&engine, "/demo/me", Some(&engine.admin_token())).await, 200);
    engine.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
    assert_eq!(status(&engine, "/demo/me", Some(&alice)).await, 200);
    assert!(engine.identity.lift_ban(&ban.id, "admin").await.is_err());
    assert!(engine.identity.ban(NewBan { reason: "all".to_owned(), ..NewBan::default() }, "admin").await.is_err());
    // A token alone.
    let id = engine.identity.verify(alice.expose()).await.expect("good").token_id.clone();
    engine
        .identity
        .ban(NewBan { token_id: id, reason: "leaked".to_owned(), ..NewBan::default() }, "admin")
        .await
        .expect("banned");
    assert_eq!(status(&engine, "/demo/me", Some(&alice)).await, 401);
    assert_eq!(status(&engine, "/demo/me", Some(&engine.token_for("alice", &[]).await)).await, 200);
}

#[tokio::test]
async fn accounts_that_change() {
    let engine = start().await;
    let alice = engine.token_for("alice", &[]).await;
    assert_eq!(status(&engine, "/demo/admin", Some(&alice)).await, 403);
    engine.identity.set_user("alice", true, true, "admin").await.expect("set");
    assert_eq!(status(&engine, "/demo/admin", Some(&alice)).await, 200);
    engine.identity.set_user("alice", true, false, "admin").await.expect("set");
    assert_eq!(status(&engine, "/demo/me", Some(&alice)).await, 401);
    for bad in ["Alice", "..", "guest-1", ""] {
        assert!(engine.identity.add_user(bad, false, "admin").await.is_err(), "{bad}");
    }
    // A client cannot take the name of an account, nor the other way round.
    assert!(engine.identity.add_client("admin", &[], &[], "admin").await.is_err());
    engine.identity.add_client("robot", &[], &[], "admin").await.expect("made");
    assert!(engine.identity.add_user("robot", true, "admin").await.is_err());
}

#[tokio::test]
async fn acting_for_somebody() {
    let engine = start().await;
    engine.token_for("alice", &[]).await;
    let alice = engine.user_ref("alice");
    let token = engine.identity.acting_token(&alice, "workflow", &["storage.read:/local"], None).expect("a token");
    let again = engine.identity.acting_token(&alice, "workflow", &["storage.read:/local"], None).expect("a token");
    assert_eq!(token.expose(), again.expose(), "remembered");
    let principal = engine.identity.verify(token.expose()).await.expect("good");
    assert_eq!((principal.name(), principal.acting.as_deref()), ("alice", Some("workflow")));
    assert_eq!(principal.user_ref(), alice);
    assert_eq!(status(&engine, "/demo/files/local/f", Some(&token)).await, 200);
    assert_eq!(status(&engine, "/demo/compute", Some(&token)).await, 403);
    // Power that the user does not have cannot be had by acting.
    let more = engine.identity.acting_token(&alice, "workflow", &["dte.admin"], None).expect("a token");
    let principal = engine.identity.verify(more.expose()).await.expect("good");
    assert!(!principal.is_admin() && principal.may("compute.create").is_err());
    let admin =
        engine.identity.acting_token(&engine.user_ref("admin"), "workflow", &["dte.admin"], None).expect("a token");
    assert!(engine.identity.verify(admin.expose()).await.expect("good").is_admin());
    assert!(engine.identity.acting_token(&engine.user_ref("nobody"), "workflow", &[], None).is_err());
}

#[tokio::test]
async fn the_route_table_is_complete() {
    let engine = start().await;
    let table = engine.identity.routes();
    let row = |method: &str, path: &str| {
        let found = table.iter().find(|row| row.method == method && row.path == path);
        found.map(|row| (row.service.as_str(), row.requirement.as_str()))
    };
    assert_eq!(row("GET", "/demo/compute"), Some(("demo", "scope compute.create")));
    assert_eq!(row("*", "/demo/any"), Some(("demo", "authenticated")));
    assert_eq!(row("PROPFIND", "/demo/dav"), Some(("demo", "authenticated")));
    assert_eq!(row("POST", "/oidc/token").map(|row| row.0), Some("identity"));
    assert_eq!(row("GET", "/metrics").map(|row| row.0), Some("engine"));
    assert!(table.iter().all(|row| !row.requirement.is_empty()));
}

#[tokio::test]
async fn refusals_and_changes_are_audited_in_a_chain() {
    let engine = start().await;
    let alice = engine.token_for("alice", &[]).await;
    assert_eq!(status(&engine, "/demo/admin", Some(&alice)).await, 403);
    assert_eq!(status(&engine, "/demo/files/home/bob/x", Some(&alice)).await, 403);
    let deadline = Instant::now() + Duration::from_secs(5);
    let denials = loop {
        let trace = engine.identity.audit().trace("alice", 0, 100).await.expect("read");
        let denials: Vec<_> = trace.into_iter().filter(|record| record.body["kind"] == "denial").collect();
        if denials.len() >= 2 || Instant::now() > deadline {
            break denials;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(denials.len(), 2, "{denials:?}");
    assert_eq!(denials[0].body["reason"], "insufficient");
    assert_eq!(
        (&denials[1].body["reason"], &denials[1].body["object"]),
        (&json!("handler"), &json!("/files/home/bob/x"))
    );
    let report = engine.identity.audit().verify().await.expect("read");
    assert!(report.broken_at.is_none() && report.records >= 4, "{report:?}");
    // Altered, and removed.
    let store = engine.store.clone();
    let alter = |sql: &'static str| {
        let store = store.clone();
        async move { store.write(move |tx| tx.execute(sql, &dte_store::params![])).await.expect("altered") }
    };
    alter("UPDATE identity_audit SET body = '{}' WHERE seq = 2").await;
    assert_eq!(engine.identity.audit().verify().await.expect("read").broken_at, Some(2));
    alter("DELETE FROM identity_audit WHERE seq = 1").await;
    assert_eq!(engine.identity.audit().verify().await.expect("read").broken_at, Some(1));
}

#[tokio::test]
async fn a_repeated_token_costs_little() {
    let engine = start().await;
    let token = engine.admin_token();
    engine.identity.verify(token.expose()).await.expect("good");
    let started = Instant::now();
    const TIMES: u32 = 2_000;
    for _ in 0..TIMES {
        engine.identity.verify(token.expose()).await.expect("good");
    }
    let each = started.elapsed() / TIMES;
    eprintln!("a repeated token: {each:?}");
    // Verifying a signature without optimisation takes milliseconds; this shows that none is verified.
    assert!(each < Duration::from_micros(500), "{each:?}");
}

#[tokio::test]
async fn the_store_remembers() {
    let store = dte_store::testing::temporary().await.expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    // The public URL stays, as it would in a real engine.
    let setup = || TestSetup {
        config: "[http]\npublic_url = 'http://127.0.0.1:1/'\n".to_owned(),
        shared_store: Some(dte_store::Store::clone(&store)),
        data_dir: Some(folder.path().to_owned()),
        ..TestSetup::default()
    };
    let first = TestEngine::start_with(setup(), async |_| Ok(mounts())).await;
    let alice = first.token_for("alice", &[]).await;
    assert!(first.stop().await);
    drop(first);
    let second = TestEngine::start_with(setup(), async |_| Ok(mounts())).await;
    assert_eq!(status(&second, "/demo/me", Some(&alice)).await, 200);
    assert_eq!(second.identity.users().len(), 2);
    // With another secret key nothing opens.
    let elsewhere = TestSetup { data_dir: None, ..setup() };
    let outcome = TestEngine::try_start(elsewhere, async |_| Ok(mounts())).await;
    let error = outcome.err().expect("refused").to_string();
    assert!(error.contains("secret key"), "{error}");
}
