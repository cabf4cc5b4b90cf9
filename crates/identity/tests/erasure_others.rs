//! Erasing a person leaves alone what is about others: whatever the person called themselves, and whoever has the same name
//! at another issuer.

mod wire;

use std::time::Duration;

use dte_base::secret::Secret;
use dte_identity::NewBan;
use dte_identity::testing::{TestEngine, TestSetup};
use serde_json::{Value, json};
use wire::{engines, send, start};

async fn must_be_whole(engine: &TestEngine) {
    let report = engine.identity.audit().verify().await.expect("read");
    assert!(report.broken_at.is_none(), "{report:?}");
}

/// A complete application of a provider.
fn application() -> Value {
    let baseline: serde_json::Map<String, Value> = (1..=12)
        .map(|number: u8| (number.to_string(), json!({"answer": true, "evidence": "https://example.org"})))
        .collect();
    json!({"name": "Site", "document": {
        "legal_entity": "Site", "country": "IT",
        "contacts": {"admin": "a@x.org", "security": "security@site.org", "privacy": "p@x.org"},
        "services": [{"name": "edge", "type": "webdav", "endpoint": "https://edge.site.org"}],
        "aup_version": "1.0.0", "privacy_notice": "https://x.org/p", "access_policy": "all", "sla": "best effort",
        "baseline": baseline,
    }})
}

/// Somebody gives themselves a name and an address, and goes.
async fn goes_as(engine: &TestEngine, account: &str, display: &str, email: &str) {
    let token = engine.token_for(account, &[]).await;
    let operations = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
        {"op": "replace", "path": "displayName", "value": display},
        {"op": "replace", "path": "emails", "value": [{"value": email}]},
    ]});
    let (status, answer) = send(engine, &token, "PATCH", "/oidc/scim/v2/Me", Some(&operations)).await;
    assert_eq!(status, 200, "{answer}");
    let wanted = json!({"name": account, "confirm": account});
    let (status, answer) = send(engine, &engine.admin_token(), "POST", "/policy/v1/erasures", Some(&wanted)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn nobody_erases_others_by_what_they_call_themselves() {
    const PROVIDERS: &str = "/policy/v1/providers";
    for engine in engines(Vec::new).await {
        let (admin, site) = (engine.admin_token(), engine.token_for("site", &[]).await);
        let (status, made) = send(&engine, &site, "POST", PROVIDERS, Some(&application())).await;
        assert_eq!(status, 201, "{made}");
        let one = format!("{PROVIDERS}/{}", made["id"].as_str().expect("an id"));
        let step = async |token: &Secret, action: &str, version: i64, role: Option<&str>| {
            let mut wish = json!({"version": version, "reason": "because"});
            if let Some(role) = role {
                wish["as"] = role.into();
            }
            send(&engine, token, "POST", &format!("{one}:{action}"), Some(&wish)).await
        };
        for (token, action, version, role) in
            [(&site, "submitted", 1, None), (&admin, "validating", 2, None), (&admin, "approve", 3, Some("operations"))]
        {
            let (status, answer) = step(token, action, version, role).await;
            assert_eq!(status, 200, "{action} {answer}");
        }
        let (_, before) = send(&engine, &admin, "GET", &one, None).await;
        goes_as(&engine, "mal1", "https://edge.site.org", "security@site.org").await;
        goes_as(&engine, "mal2", "admin", "z@z").await;
        let (_, after) = send(&engine, &admin, "GET", &one, None).await;
        assert_eq!(before, after);
        assert_eq!(after["approvals"][0]["by"], "admin", "{after}");
        // So the same person is still the same.
        let version = after["version"].as_i64().expect("a version");
        let (_, answer) = step(&admin, "approve", version, Some("security")).await;
        assert_ne!(answer["state"], "approved", "{answer}");
        // Nor is anything of the administrator's changed in the trail.
        let (_, trace) = send(&engine, &admin, "GET", "/policy/v1/trace?subject=admin", None).await;
        let by_admin = |one: &Value, action: &str| one["by"] == "admin" && one["action"] == action;
        for action in ["provider.validating", "user.erase"] {
            let found = trace["records"].as_array().expect("a list").iter().any(|one| by_admin(one, action));
            assert!(found, "{action} {trace}");
        }
        must_be_whole(&engine).await;
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn a_namesake_at_another_issuer_is_somebody_else() {
    let other = start(TestSetup::default(), Vec::new).await;
    let server = other.listen();
    let config = format!(
        "[[identity.trusted_issuers]]\nissuer = '{}'\nvo = 'twins'\naudiences = ['https://us.example']\n",
        other.identity.issuer()
    );
    let us = start(TestSetup::config(&config), Vec::new).await;
    other.token_for("dora", &[]).await;
    let foreign = other.identity.issue_token("dora", &[], Some("https://us.example"), Duration::from_secs(600), "test");
    let foreign = foreign.expect("a token");
    let (admin, local) = (us.admin_token(), us.token_for("dora", &[]).await);
    assert_eq!(send(&us, &foreign, "GET", "/policy/v1/erasures?after=x", None).await.0, 403);
    // Until the refusal is written.
    let denials = async || {
        let (status, trace) = send(&us, &admin, "GET", "/policy/v1/trace?subject=dora", None).await;
        assert_eq!(status, 200, "{trace}");
        let records = trace["records"].as_array().expect("a list").clone();
        records.into_iter().filter(|one| one["kind"] == "denial").collect::<Vec<Value>>()
    };
    let begun = std::time::Instant::now();
    while denials().await.is_empty() && begun.elapsed().as_secs() < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = denials().await;
    assert_eq!((before.len(), &before[0]["issuer"]), (1, &json!(other.identity.issuer())), "{before:?}");
    // The local one sees nothing of it.
    let (status, own) = send(&us, &local, "GET", "/policy/v1/trace?subject=dora", None).await;
    assert_eq!(status, 200, "{own}");
    assert!(own["records"].as_array().expect("a list").iter().all(|one| one["kind"] != "denial"), "{own}");
    let (_, copy) = send(&us, &local, "GET", "/policy/v1/me/export", None).await;
    assert!(copy["audit"].as_array().expect("a list").iter().all(|one| one["kind"] != "denial"), "{copy}");
    // A ban that names no issuer is about both, and one of the foreign one is hers.
    for issuer in [None, Some(other.identity.issuer().to_owned())] {
        let ban = NewBan { issuer, subject: Some("dora".to_owned()), reason: "misuse".to_owned(), ..NewBan::default() };
        us.identity.ban(ban, "test").await.expect("banned");
    }
    let bans = us.identity.bans(false).await.expect("bans");
    let wanted = json!({"name": "dora", "confirm": "dora"});
    assert_eq!(send(&us, &admin, "POST", "/policy/v1/erasures", Some(&wanted)).await.0, 200);
    assert_eq!(us.identity.bans(false).await.expect("bans"), bans);
    assert_eq!(send(&us, &foreign, "GET", "/policy/v1/me/export", None).await.0, 401);
    let after = denials().await;
    assert!(before.iter().all(|one| after.contains(one)), "{before:?} {after:?}");
    must_be_whole(&us).await;
    assert!(server.stop(Duration::from_secs(5)).await);
}
