//! Communities, groups and requests to be let in, through the wire.

mod wire;

use std::time::Instant;

use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use serde_json::{Value, json};
use wire::{engines, send, start};

async fn group(engine: &TestEngine, token: &Secret, path: &str) -> String {
    let (status, body) = send(engine, token, "POST", "/policy/v1/groups", Some(&json!({"path": path}))).await;
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().expect("an id").to_owned()
}

async fn paths_of(engine: &TestEngine, token: &Secret) -> Vec<String> {
    let (status, body) = send(engine, token, "GET", "/policy/v1/me/groups", None).await;
    assert_eq!(status, 200, "{body}");
    let one =
        |row: &Value| format!("{} {}", row["path"].as_str().expect("a path"), row["state"].as_str().expect("a state"));
    body["groups"].as_array().expect("a list").iter().map(one).collect()
}

#[tokio::test]
async fn a_tree_of_groups() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let alice = engine.token_for("alice", &[]).await;
        let bob = engine.token_for("bob", &[]).await;
        let vo = group(&engine, &admin, "/ocean").await;
        let members = format!("/policy/v1/groups/{vo}/members");
        // Only administrators make communities; a group needs the one above it.
        let add = async |token: &Secret, path: &str| {
            send(&engine, token, "POST", "/policy/v1/groups", Some(&json!({"path": path}))).await.0
        };
        assert_eq!(add(&alice, "/mine").await, 403);
        assert_eq!(add(&alice, "/ocean/mine").await, 403);
        assert_eq!(add(&admin, "/ocean").await, 409);
        assert_eq!(add(&admin, "/nothing/x").await, 404);
        assert_eq!(add(&admin, "/ocean/../x").await, 400);
        // A manager makes groups beneath, and lets people in.
        let managers = json!({"managers": ["alice"]});
        assert_eq!(send(&engine, &alice, "PATCH", &format!("/policy/v1/groups/{vo}"), Some(&managers)).await.0, 403);
        assert_eq!(send(&engine, &admin, "PATCH", &format!("/policy/v1/groups/{vo}"), Some(&managers)).await.0, 200);
        assert_eq!(add(&alice, "/ocean/enso").await, 201);
        let confined = engine.token_for("alice", &["compute.read"]).await;
        assert_eq!(add(&confined, "/ocean/other").await, 403);
        assert_eq!(send(&engine, &alice, "DELETE", &format!("/policy/v1/groups/{vo}"), None).await.0, 403);
        assert_eq!(send(&engine, &admin, "DELETE", &format!("/policy/v1/groups/{vo}"), None).await.0, 409);
        let wanted = json!({"members": [{"name": "bob"}, {"name": "bob", "role": "vm_operator"}]});
        assert_eq!(send(&engine, &bob, "POST", &members, Some(&wanted)).await.0, 403);
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&wanted)).await.0, 204);
        assert_eq!(paths_of(&engine, &bob).await, ["/ocean active", "/ocean active"]);
        let nobody = json!({"members": [{"name": "alice"}, {"name": "nobody"}]});
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&nobody)).await.0, 404);
        assert!(paths_of(&engine, &alice).await.is_empty(), "all or none");
        let past = json!({"members": [{"name": "bob", "expires": "2001-01-01T00:00:00Z"}]});
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&past)).await.0, 400);
        // What cannot happen says what can.
        let resume = json!({"event": "resume", "members": [{"name": "bob"}]});
        let (status, body) = send(&engine, &alice, "POST", &members, Some(&resume)).await;
        assert_eq!((status, &body["allowed"][0]), (409, &json!("admit")), "{body}");
        let suspend = json!({"event": "suspend", "members": [{"name": "bob"}, {"name": "bob", "role": "vm_operator"}]});
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&suspend)).await.0, 204);
        assert_eq!(paths_of(&engine, &bob).await, ["/ocean suspended", "/ocean suspended"]);
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&wanted)).await.0, 409, "not by admitting again");
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&resume)).await.0, 204);
        // One leaves; others cannot make one leave.
        let leave = format!("{members}/bob?role=vm_operator");
        let carol = engine.token_for("carol", &[]).await;
        assert_eq!(send(&engine, &carol, "DELETE", &leave, None).await.0, 403);
        assert_eq!(send(&engine, &bob, "DELETE", &leave, None).await.0, 204);
        assert_eq!(send(&engine, &bob, "DELETE", &leave, None).await.0, 404);
        let (_, list) = send(&engine, &alice, "GET", &members, None).await;
        assert_eq!(list["items"].as_array().expect("a list").len(), 1, "{list}");
        assert_eq!(send(&engine, &bob, "GET", &members, None).await.0, 403);
        let soon = dte_base::time::Timestamp::now() + std::time::Duration::from_millis(1_500);
        let renew = json!({"event": "renew", "members": [{"name": "bob", "expires": soon}]});
        assert_eq!(send(&engine, &alice, "POST", &members, Some(&renew)).await.0, 204);
        let begun = Instant::now();
        while paths_of(&engine, &bob).await != ["/ocean expired"] {
            assert!(begun.elapsed().as_secs() < 30, "it does not expire");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let (status, _) = send(&engine, &admin, "POST", &members, Some(&json!({"pad": "x".repeat(10 << 20)}))).await;
        assert_eq!(status, 413);
        let report = engine.identity.audit().verify().await.expect("read");
        assert_eq!(report.broken_at, None);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn requests_are_decided_by_managers() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let alice = engine.token_for("alice", &[]).await;
        let bob = engine.token_for("bob", &[]).await;
        let vo = group(&engine, &admin, "/ocean").await;
        let managers = json!({"managers": ["alice"]});
        send(&engine, &admin, "PATCH", &format!("/policy/v1/groups/{vo}"), Some(&managers)).await;
        let all = "/oidc/iam/group_requests";
        let ask = json!({"groupName": "ocean", "notes": "I work on it"});
        assert_eq!(send(&engine, &bob, "POST", all, Some(&json!({"groupName": "ocean", "notes": " "}))).await.0, 400);
        assert_eq!(send(&engine, &bob, "POST", all, Some(&json!({"groupName": "sea", "notes": "x"}))).await.0, 404);
        let (status, request) = send(&engine, &bob, "POST", all, Some(&ask)).await;
        assert_eq!((status, &request["status"], &request["groupName"]), (200, &json!("PENDING"), &json!("ocean")));
        let (status, twice) = send(&engine, &bob, "POST", all, Some(&ask)).await;
        assert_eq!(status, 400, "{twice}");
        assert!(twice["error"].is_string());
        assert_eq!(paths_of(&engine, &bob).await, ["/ocean requested"]);
        let one = format!("{all}/{}", request["uuid"].as_str().expect("an id"));
        let carol = engine.token_for("carol", &[]).await;
        for (method, path) in [("GET", one.clone()), ("DELETE", one.clone()), ("POST", format!("{one}/approve"))] {
            assert_eq!(send(&engine, &carol, method, &path, None).await.0, 404, "{method} {path}");
        }
        assert_eq!(send(&engine, &bob, "POST", &format!("{one}/approve"), None).await.0, 403);
        assert_eq!(send(&engine, &alice, "POST", &format!("{one}/reject"), None).await.0, 400);
        let (_, rejected) = send(&engine, &alice, "POST", &format!("{one}/reject?motivation=not%20yet"), None).await;
        assert_eq!((&rejected["status"], &rejected["motivation"]), (&json!("REJECTED"), &json!("not yet")));
        assert_eq!(send(&engine, &alice, "POST", &format!("{one}/approve"), None).await.0, 400);
        assert_eq!(send(&engine, &bob, "DELETE", &one, None).await.0, 400, "evidence");
        assert!(paths_of(&engine, &bob).await.is_empty());
        let (_, request) = send(&engine, &bob, "POST", all, Some(&ask)).await;
        let one = format!("{all}/{}", request["uuid"].as_str().expect("an id"));
        assert_eq!(send(&engine, &alice, "POST", &format!("{one}/approve"), None).await.0, 200);
        assert_eq!(paths_of(&engine, &bob).await, ["/ocean active"]);
        assert_eq!(send(&engine, &bob, "POST", all, Some(&ask)).await.0, 400, "a member already");
        for (token, count) in [(&bob, 2), (&admin, 2), (&carol, 0)] {
            let (_, list) = send(&engine, token, "GET", all, None).await;
            assert_eq!(list["totalResults"], count, "{list}");
        }
        // Taken back: the membership that was asked for is gone.
        let (_, request) = send(&engine, &carol, "POST", all, Some(&ask)).await;
        let one = format!("{all}/{}", request["uuid"].as_str().expect("an id"));
        assert_eq!(send(&engine, &carol, "DELETE", &one, None).await.0, 204);
        assert!(paths_of(&engine, &carol).await.is_empty());
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn ten_thousand_members() {
    let engine = start(TestSetup::default(), Vec::new).await;
    let admin = engine.admin_token();
    let vo = group(&engine, &admin, "/crowd").await;
    let names: Vec<String> = (0..10_000).map(|n| format!("user{n:05}")).collect();
    let rows: Vec<Vec<dte_store::Value>> =
        names.iter().map(|name| dte_store::values![name, false, true, dte_base::time::Timestamp::now()]).collect();
    engine
        .store
        .write(move |tx| tx.insert_many("identity_users", &["name", "admin", "active", "created"], &rows))
        .await
        .expect("written");
    engine.token_for("last", &[]).await;
    let members: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let path = format!("/policy/v1/groups/{vo}/members");
    for half in members.chunks(5_000) {
        assert_eq!(send(&engine, &admin, "POST", &path, Some(&json!({"members": half}))).await.0, 204);
    }
    // One more costs what one costs, not what all cost.
    let one_more = Instant::now();
    assert_eq!(send(&engine, &admin, "POST", &path, Some(&json!({"members": [{"name": "last"}]}))).await.0, 204);
    let one_more = one_more.elapsed();
    let mut seen = 0;
    let mut next = String::new();
    let walk = Instant::now();
    loop {
        let (_, page) = send(&engine, &admin, "GET", &format!("{path}?limit=1000&after={next}"), None).await;
        seen += page["items"].as_array().expect("a list").len();
        match page["next"].as_str() {
            Some(text) => next = text.replace(' ', "%20"),
            None => break,
        }
    }
    assert_eq!(seen, 10_001);
    eprintln!("one more: {one_more:?}; all pages: {:?}", walk.elapsed());
}

#[tokio::test]
async fn another_process_learns_of_it() {
    let Some(options) = dte_store::testing::postgres_options() else {
        eprintln!("SKIPPED: {} is not set", dte_store::testing::POSTGRES_VARIABLE);
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("shared.key");
    let config =
        format!("[http]\npublic_url = 'https://twin.example'\n[identity]\nsecret_key_file = '{}'\n", key.display());
    let engine = async || {
        let store = dte_store::Store::open(&options).await.expect("a store");
        start(TestSetup { config: config.clone(), shared_store: Some(store), ..TestSetup::default() }, Vec::new).await
    };
    let (one, two) = tokio::join!(engine(), engine());
    let admin = one.admin_token();
    let bob = one.token_for("bob", &[]).await;
    let vo = group(&one, &admin, "/ocean").await;
    let path = format!("/policy/v1/groups/{vo}/members");
    assert_eq!(send(&one, &admin, "POST", &path, Some(&json!({"members": [{"name": "bob"}]}))).await.0, 204);
    let begun = Instant::now();
    loop {
        let (status, body) = send(&two, &bob, "GET", "/policy/v1/me/groups", None).await;
        if status == 200 && body["groups"][0]["state"] == "active" {
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "{status} {body}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(one.stop().await && two.stop().await);
}
