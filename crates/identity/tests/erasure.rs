//! Erasing a person: nothing names them any more, what must stay stands under a pseudonym, and the trail stays whole.

mod people_support;
mod wire;

use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{ERASED, NewBan};
use dte_store::{Options, Store, params};
use people_support::{Browser, PASSWORD};
use serde_json::json;
use wire::{engines, send, start};

/// Every text in every table of identity.
async fn mentions(engine: &TestEngine, text: &'static str) -> Vec<String> {
    let tables = [
        ("identity_audit", "body"),
        ("identity_audit", "subject"),
        ("identity_users", "name"),
        ("identity_passwords", "name"),
        ("identity_sessions", "name"),
        ("identity_login_codes", "name"),
        ("identity_links", "shown"),
        ("identity_bans", "subject"),
        ("identity_bans", "created_by"),
        ("identity_grants", "name"),
        ("identity_consents", "name"),
        ("identity_programs", "registered_by"),
        ("identity_programs", "metadata"),
        ("policy_acceptances", "subject"),
        ("policy_acceptances", "actor"),
        ("policy_group_requests", "name"),
        ("policy_group_requests", "notes"),
        ("policy_groups", "managers"),
        ("policy_profiles", "email"),
        ("policy_onboarding", "applicant"),
        ("policy_onboarding_steps", "actor"),
        ("event_log", "data"),
        ("event_log", "subject"),
    ];
    let found = engine.store.read(move |tx| -> Result<Vec<String>, dte_store::Error> {
        let mut found = Vec::new();
        for (table, column) in tables {
            let sql = format!("SELECT {column} FROM {table} WHERE {column} LIKE ?1");
            let rows = tx.query(&sql, &params![format!("%{text}%")], |row| row.get::<String>(0))?;
            found.extend(rows.into_iter().map(|row| format!("{table}.{column}: {row}")));
        }
        Ok(found)
    });
    found.await.expect("read")
}

async fn must_be_whole(engine: &TestEngine) {
    let report = engine.identity.audit().verify().await.expect("read");
    assert!(report.broken_at.is_none(), "{report:?}");
}

/// A person with something everywhere.
async fn a_life(engine: &TestEngine) {
    let admin = engine.admin_token();
    let terms = json!({"url": "https://example.org/aup", "signatureValidityInDays": 0});
    assert_eq!(send(engine, &admin, "POST", "/oidc/iam/aup", Some(&terms)).await.0, 201);
    let alice = engine.token_for("alice", &[]).await;
    engine.token_for("bob", &[]).await;
    assert_eq!(send(engine, &alice, "POST", "/oidc/iam/aup/signature", None).await.0, 201);
    let group = json!({"path": "/ocean", "managers": ["alice", "bob"]});
    let (status, group) = send(engine, &admin, "POST", "/policy/v1/groups", Some(&group)).await;
    assert_eq!(status, 201, "{group}");
    let members = format!("/policy/v1/groups/{}/members", group["id"].as_str().expect("an id"));
    let step = json!({"members": [{"name": "alice"}, {"name": "bob"}]});
    assert_eq!(send(engine, &alice, "POST", &members, Some(&step)).await.0, 204);
    let profile = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "alice", "active": true,
        "name": {"givenName": "Alicia", "familyName": "Liddell"}, "emails": [{"value": "alicia@wonder.example"}],
    });
    let (status, answer) = send(engine, &admin, "PUT", "/oidc/scim/v2/Users/alice", Some(&profile)).await;
    assert_eq!(status, 200, "{answer}");
    engine.identity.set_password("alice", PASSWORD, None, "test").await.expect("set");
    // A refusal, which the trail holds with a path that names her.
    send(engine, &alice, "GET", "/policy/v1/trace?subject=alice", None).await;
    send(engine, &alice, "GET", "/policy/v1/erasures", None).await;
}

#[tokio::test]
async fn nothing_names_an_erased_person_and_the_trail_stays_whole() {
    for engine in engines(people_support::mounts).await {
        a_life(&engine).await;
        let (admin, alice) = (engine.admin_token(), engine.token_for("alice", &[]).await);
        let mut browser = Browser::new(&engine);
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
        must_be_whole(&engine).await;
        // Not by others, and not by mistake.
        let bob = engine.token_for("bob", &[]).await;
        let wanted = json!({"name": "alice", "confirm": "alice"});
        assert_eq!(send(&engine, &bob, "POST", "/policy/v1/erasures", Some(&wanted)).await.0, 403);
        let confined = engine.token_for("alice", &["compute.read"]).await;
        assert_eq!(send(&engine, &confined, "POST", "/policy/v1/erasures", Some(&wanted)).await.0, 403);
        let half = json!({"name": "alice", "confirm": "yes"});
        assert_eq!(send(&engine, &alice, "POST", "/policy/v1/erasures", Some(&half)).await.0, 400);
        let (status, erasure) = send(&engine, &admin, "POST", "/policy/v1/erasures", Some(&wanted)).await;
        assert_eq!(status, 200, "{erasure}");
        let pseudonym = erasure["pseudonym"].as_str().expect("a pseudonym").to_owned();
        let counted: Vec<&str> = erasure["remains"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|one| one["records"].as_u64().is_some_and(|count| count > 0))
            .filter_map(|one| one["what"].as_str())
            .collect();
        assert!(counted.iter().any(|what| what.starts_with("audit records")), "{erasure}");
        assert!(counted.iter().any(|what| what.starts_with("acceptances")), "{erasure}");
        // What she held is worth nothing.
        assert_eq!(send(&engine, &alice, "GET", "/policy/v1/me/export", None).await.0, 401);
        assert_ne!(browser.get("/demo/me").await.status, 200);
        // That was a refusal, which is written in the background; then it is found.
        let begun = std::time::Instant::now();
        while mentions(&engine, "alice").await.is_empty() && begun.elapsed().as_secs() < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        engine.identity.look_for_late_records_now().await.expect("looked");
        for text in ["alice", "Alicia", "Liddell", "wonder.example"] {
            let found = mentions(&engine, text).await;
            assert!(found.is_empty(), "{text}: {found:#?}");
        }
        must_be_whole(&engine).await;
        // The pseudonym is traced like a name, and the name is not given again.
        let (_, trace) = send(&engine, &admin, "GET", &format!("/policy/v1/trace?subject={pseudonym}"), None).await;
        let actions: Vec<&str> =
            trace["records"].as_array().expect("a list").iter().filter_map(|one| one["action"].as_str()).collect();
        for action in ["user.add", "aup.accept", "member.active", "user.erase"] {
            assert!(actions.contains(&action), "{action} {actions:?}");
        }
        assert!(engine.identity.add_user("alice", false, "test").await.is_err());
        let (_, known) = send(&engine, &admin, "GET", "/policy/v1/erasures", None).await;
        assert_eq!(known["erasures"][0]["name"], "alice", "{known}");
        let told = engine.store.read(|tx| {
            tx.query("SELECT subject FROM event_log WHERE type = ?1", &params![ERASED], |row| row.get::<String>(0))
        });
        assert_eq!(told.await.expect("read"), [pseudonym]);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn an_erased_record_cannot_be_altered_unnoticed() {
    let engine = start(TestSetup::default(), Vec::new).await;
    a_life(&engine).await;
    engine.identity.erase("alice", "test").await.expect("erased");
    must_be_whole(&engine).await;
    for sql in [
        "UPDATE identity_audit SET body = REPLACE(body, 'erased-', 'bob-') WHERE erased IS NOT NULL",
        "UPDATE identity_audit SET at = at + 1 WHERE erased IS NOT NULL",
        "UPDATE identity_audit SET erased = NULL WHERE erased IS NOT NULL",
        "UPDATE identity_audit SET link = erased WHERE erased IS NOT NULL",
        "DELETE FROM identity_audit WHERE erased IS NOT NULL",
        "UPDATE identity_audit SET subject = 'bob' WHERE erased IS NOT NULL AND subject <> 'bob'",
        "UPDATE identity_audit SET subject = 'bob' WHERE erased IS NULL AND subject <> 'bob'",
        "UPDATE identity_audit SET subject = NULL WHERE seq = 1",
    ] {
        let keep = ["DROP TABLE IF EXISTS kept", "CREATE TABLE kept AS SELECT * FROM identity_audit", sql];
        let alter = engine.store.write(move |tx| -> Result<(), dte_store::Error> {
            keep.iter().try_for_each(|one| tx.execute(one, &params![]).map(drop))
        });
        alter.await.expect("altered");
        assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_some(), "{sql}");
        let back = engine.store.write(move |tx| -> Result<(), dte_store::Error> {
            tx.execute("DELETE FROM identity_audit", &params![])?;
            tx.execute("INSERT INTO identity_audit SELECT * FROM kept", &params![]).map(drop)
        });
        back.await.expect("put back");
    }
    must_be_whole(&engine).await;
}

#[tokio::test]
async fn who_cannot_be_erased_and_what_a_ban_becomes() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let erase = async |name: &str| {
            send(&engine, &admin, "POST", "/policy/v1/erasures", Some(&json!({"name": name, "confirm": name}))).await
        };
        let (status, answer) = erase("admin").await;
        assert_eq!(status, 409, "{answer}");
        assert_eq!(erase("nobody").await.0, 404);
        // The last who can administer, when the first account rests.
        engine.identity.add_user("carol", true, "test").await.expect("made");
        let carol = engine.identity.issue_token("carol", &[], None, std::time::Duration::from_secs(60), "test");
        let carol = carol.expect("a token");
        engine.identity.set_user("admin", true, false, "test").await.expect("set");
        let wanted = json!({"name": "carol", "confirm": "carol"});
        let (status, answer) = send(&engine, &carol, "POST", "/policy/v1/erasures", Some(&wanted)).await;
        assert_eq!(status, 409, "{answer}");
        assert!(answer["detail"].as_str().is_some_and(|text| text.contains("last administrator")), "{answer}");
        engine.identity.set_user("admin", true, true, "test").await.expect("set");
        // A banned person's ban stays on record, without the name.
        engine.token_for("dave", &[]).await;
        let ban = NewBan {
            issuer: Some(engine.identity.issuer().to_owned()),
            subject: Some("dave".to_owned()),
            reason: "misuse".to_owned(),
            ..NewBan::default()
        };
        engine.identity.ban(ban, "test").await.expect("banned");
        let (status, answer) = erase("dave").await;
        assert_eq!(status, 200, "{answer}");
        let bans = engine.identity.bans(false).await.expect("bans");
        assert_eq!(bans[0].who.subject.as_deref(), answer["pseudonym"].as_str());
        must_be_whole(&engine).await;
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn a_person_erases_the_own_account_on_its_page() {
    let engine = start(TestSetup::default(), people_support::mounts).await;
    engine.token_for("alice", &[]).await;
    engine.identity.set_password("alice", PASSWORD, None, "test").await.expect("set");
    let mut browser = Browser::new(&engine);
    assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
    let wrong: [&[(&str, &str)]; 2] =
        [&[("confirm", "yes"), ("current", PASSWORD)], &[("confirm", "alice"), ("current", "not my password")]];
    for form in wrong {
        let page = browser.submit("/oidc/account", "/oidc/account/erase", form).await;
        assert_eq!(page.status, 422, "{}", page.text);
        assert!(!page.alert().is_empty());
    }
    let form = [("confirm", "alice"), ("current", PASSWORD)];
    let page = browser.submit("/oidc/account", "/oidc/account/erase", &form).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("erased-") && page.text.contains("What is kept, and why"), "{}", page.text);
    assert_ne!(browser.get("/demo/me").await.status, 200);
    let page = browser.sign_in("alice", PASSWORD).await;
    assert_ne!(page.status, 303, "the account is gone");
}

/// Whether any file of a folder holds these bytes.
fn is_on_disk(folder: &std::path::Path, wanted: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    files.filter(|path| path.is_file()).any(|path| {
        let content = std::fs::read(&path).expect("read");
        content.windows(wanted.len()).any(|part| part == wanted)
    })
}

/// With the salt of a record, what it said could be tried out.
#[tokio::test]
async fn no_salt_and_no_record_stays_in_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&Options::sqlite(&folder.path().join("dte.sqlite"))).await.expect("opened");
    let setup = TestSetup { shared_store: Some(store.clone()), ..TestSetup::default() };
    let engine = start(setup, Vec::new).await;
    let who = "zz-very-rare-name";
    let own = engine.token_for(who, &[]).await;
    for _ in 0..20 {
        send(&engine, &own, "GET", "/policy/v1/erasures", None).await;
        send(&engine, &own, "GET", &format!("/policy/v1/trace?subject={who}"), None).await;
    }
    let salts = || {
        let sql = "SELECT salt FROM identity_audit WHERE subject = ?1 AND salt IS NOT NULL";
        store.read(move |tx| tx.query(sql, &params![who], |row| row.get::<Vec<u8>>(0)))
    };
    // Refusals are written in the background.
    let begun = std::time::Instant::now();
    while salts().await.expect("read").len() < 40 && begun.elapsed().as_secs() < 10 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let before = salts().await.expect("read");
    assert!(before.len() >= 40, "{}", before.len());
    assert!(before.iter().all(|salt| is_on_disk(folder.path(), salt)));
    assert!(is_on_disk(folder.path(), format!("\"subject\":\"{who}\"").as_bytes()));
    let wanted = json!({"name": who, "confirm": who});
    let (status, answer) = send(&engine, &own, "POST", "/policy/v1/erasures", Some(&wanted)).await;
    assert_eq!(status, 200, "{answer}");
    let left = before.iter().filter(|salt| is_on_disk(folder.path(), salt)).count();
    assert_eq!(left, 0, "of {}", before.len());
    for said in [format!("\"by\":\"{who}\""), format!("\"subject\":\"{who}\"")] {
        assert!(!is_on_disk(folder.path(), said.as_bytes()), "{said}");
    }
    assert!(engine.stop().await);
}
