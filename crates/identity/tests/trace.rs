//! Who was behind something, and what people may know about themselves.

mod wire;

use serde_json::{Value, json};
use wire::{engines, send};

#[tokio::test]
async fn from_a_token_to_the_person_and_what_was_agreed() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let (_, group) = send(&engine, &admin, "POST", "/policy/v1/groups", Some(&json!({"path": "/ocean"}))).await;
        let terms = json!({"url": "https://example.org/aup", "signatureValidityInDays": 0});
        assert_eq!(send(&engine, &admin, "POST", "/oidc/iam/aup", Some(&terms)).await.0, 201);
        let alice = engine.token_for("alice", &[]).await;
        engine.token_for("bob", &[]).await;
        assert_eq!(send(&engine, &alice, "POST", "/oidc/iam/aup/signature", None).await.0, 201);
        let members = format!("/policy/v1/groups/{}/members", group["id"].as_str().expect("an id"));
        send(&engine, &admin, "POST", &members, Some(&json!({"members": [{"name": "alice"}]}))).await;
        let id = engine.identity.verify(alice.expose()).await.expect("good").token_id.clone().expect("an id");
        // The token's record is written in the background.
        let begun = std::time::Instant::now();
        let answer = loop {
            let (status, answer) = send(&engine, &admin, "GET", &format!("/policy/v1/trace?token={id}"), None).await;
            assert_eq!(status, 200, "{answer}");
            if answer["records"].as_array().is_some_and(|records| !records.is_empty()) {
                break answer;
            }
            assert!(begun.elapsed().as_secs() < 30, "{answer}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        let person = answer["identities"].as_array().expect("a list").iter().find(|one| one["name"] == "alice");
        let person = person.expect("alice");
        assert_eq!(
            (&person["groups"][0], &person["aup"][0]["version"]),
            (&json!("/ocean"), &json!("1.0.0")),
            "{person}"
        );
        let (_, answer) = send(&engine, &admin, "GET", "/policy/v1/trace?subject=alice", None).await;
        let actions: Vec<&str> =
            answer["records"].as_array().expect("a list").iter().filter_map(|one| one["action"].as_str()).collect();
        for action in ["user.add", "aup.accept", "member.active"] {
            assert!(actions.contains(&action), "{action} {actions:?}");
        }
        // Others only what they did themselves, and one question at a time.
        let confined = engine.token_for("alice", &["compute.read"]).await;
        let (_, own) = send(&engine, &alice, "GET", "/policy/v1/trace?subject=alice", None).await;
        let records = own["records"].as_array().expect("a list");
        assert!(records.iter().any(|one| one["action"] == "aup.accept"), "{own}");
        assert!(records.iter().all(|one| one["by"] == "alice" || one["subject"] == "alice"), "{own}");
        let bob = engine.token_for("bob", &[]).await;
        let (_, others) = send(&engine, &bob, "GET", "/policy/v1/trace?subject=alice", None).await;
        assert!(others["records"].as_array().expect("a list").iter().all(|one| one["by"] == "bob"), "{others}");
        assert_eq!(others["identities"].as_array().map(Vec::len), Some(0), "{others}");
        // Events say whose a pod or a transfer was.
        let emit = |tx: &mut dte_store::Tx<'_>| {
            let data = json!({"user": {"issuer": "i", "subject": "alice", "name": "alice"}});
            tx.emit(dte_store::Event::new("org.dte.transfer.file.finished", "/fts", "5d1f-job/1", data))
        };
        engine.store.write(emit).await.expect("emitted");
        let begun = std::time::Instant::now();
        let answer = loop {
            let (_, answer) = send(&engine, &admin, "GET", "/policy/v1/trace?transfer=5d1f-job", None).await;
            if answer["events"].as_array().is_some_and(|events| !events.is_empty()) {
                break answer;
            }
            assert!(begun.elapsed().as_secs() < 30, "{answer}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        // Whoever asked before is in the trail too.
        let identities = answer["identities"].as_array().expect("identities");
        assert!(identities.iter().any(|one| one["name"] == "alice"), "{answer}");
        assert_eq!(answer["events"][0]["user"], "alice");
        for (token, query, wanted) in [
            (&alice, "subject=alice", 200),
            (&confined, "subject=alice", 403),
            (&admin, "", 400),
            (&admin, "subject=al", 400),
            (&admin, "subject=a%25e", 200),
            (&admin, "subject=alice&token=x", 400),
            (&admin, "what=alice", 400),
        ] {
            assert_eq!(
                send(&engine, token, "GET", &format!("/policy/v1/trace?{query}"), None).await.0,
                wanted,
                "{query}"
            );
        }
        let (_, nothing) = send(&engine, &admin, "GET", "/policy/v1/trace?subject=a%25e", None).await;
        let mut found = nothing["records"].as_array().expect("a list").iter();
        // The question itself stands in the trail by now, perhaps.
        assert!(found.all(|one| one["action"] == "audit.trace"), "a pattern is only a text: {nothing}");
        // Each the own copy, and nothing of others.
        let (status, copy) = send(&engine, &alice, "GET", "/policy/v1/me/export", None).await;
        assert_eq!(
            (status, &copy["account"]["name"], &copy["memberships"][0]["group"]),
            (200, &json!("alice"), &json!("/ocean"))
        );
        assert_eq!(copy["acceptances"].as_array().expect("a list").len(), 1);
        let about_others = |one: &Value| one["object"] == "bob" || one["by"] == "bob";
        assert!(!copy["audit"].as_array().expect("a list").iter().any(about_others), "{copy}");
        let confined = engine.token_for("alice", &["compute.read"]).await;
        assert_eq!(send(&engine, &confined, "GET", "/policy/v1/me/export", None).await.0, 403);
        assert!(engine.stop().await);
    }
}
