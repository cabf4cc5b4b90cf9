//! Bans of groups: everybody who is in the group, here or by the word of their issuer, and nobody else.

mod provider;
mod wire;

use dte_base::secret::Secret;
use dte_identity::testing::TestEngine;
use dte_identity::{NewBan, UserRef};
use provider::{Provider, engine, status};
use serde_json::{Value, json};
use wire::send;

fn of(group: &str) -> NewBan {
    NewBan { group: Some(group.to_owned()), reason: "a test".to_owned(), ..NewBan::default() }
}

async fn me(engine: &TestEngine, token: &Secret) -> u16 {
    status(engine, "/demo/me", token.expose()).await
}

#[tokio::test]
async fn whom_another_issuer_names_in_the_group() {
    let provider = Provider::start().await;
    let engine = engine(&provider.trusted("profile = 'wlcg'")).await;
    let token = |name: &str, groups: &[&str]| provider.token(json!({"sub": name, "wlcg.groups": groups}));
    let carol = token("carol", &["/twins", "/twins/ops"]);
    let erin = token("erin", &["/twins/ops/night"]);
    let dave = token("dave", &["/twins", "/twins/opsmen"]);
    let plain = provider.token(json!({"sub": "carol"}));
    let come = async |token: &str| status(&engine, "/demo/me", token).await;
    for one in [&carol, &erin, &dave, &plain] {
        assert_eq!(come(one).await, 200);
    }
    let owner =
        |name: &str| UserRef { issuer: provider.issuer.clone(), subject: name.to_owned(), name: name.to_owned() };
    assert!(engine.identity.is_welcome(&owner("carol")));
    for nobody in ["", "twins", "/twins/../ops", "urn:x:group:"] {
        assert!(engine.identity.ban(of(nobody), "admin").await.is_err(), "{nobody:?}");
    }
    // With more that is named, it hits who has all of it.
    let elsewhere = NewBan { issuer: Some("https://other.example".to_owned()), ..of("/twins/ops") };
    engine.identity.ban(elsewhere, "admin").await.expect("banned");
    assert_eq!(come(&carol).await, 200);
    let ban = engine.identity.ban(of("/twins/ops"), "admin").await.expect("banned");
    assert_eq!((come(&carol).await, come(&erin).await, come(&dave).await), (401, 401, 200));
    // Nor with a token that does not name the group, nor without any: what was said of them is remembered.
    assert_eq!(come(&plain).await, 401);
    assert_eq!(come(&provider.token(json!({"sub": "carol"}))).await, 401);
    assert!(!engine.identity.is_welcome(&owner("carol")) && engine.identity.is_welcome(&owner("dave")));
    assert_eq!(come(&token("frank", &["/twins/ops"])).await, 401, "whoever comes later");
    // Who left the group, by the word of the issuer, is out of the ban.
    assert_eq!(come(&token("erin", &["/twins/day"])).await, 200);
    engine.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
    assert_eq!((come(&carol).await, come(&plain).await), (200, 200));
    assert!(engine.identity.is_welcome(&owner("carol")));
    // Entitlements name groups, too, and a role may be meant.
    let chief = of("/twins/Role=chief");
    engine.identity.ban(chief, "admin").await.expect("banned");
    let entitled = |role: &str| {
        let urn = format!("urn:geant:site.example:group:twins{role}#aai.example");
        provider.token(json!({"sub": "gina", "eduperson_entitlement": [urn]}))
    };
    let engine_of = |profile: &str| format!("profile = '{profile}'");
    let aarc = provider::engine(&provider.trusted(&engine_of("aarc"))).await;
    aarc.identity.ban(of("/twins/Role=chief"), "admin").await.expect("banned");
    assert_eq!(status(&aarc, "/demo/me", &entitled("")).await, 200);
    assert_eq!(status(&aarc, "/demo/me", &entitled(":role=chief")).await, 401);
}

#[tokio::test]
async fn members_here() {
    for engine in wire::engines(provider::mounts).await {
        let admin = engine.admin_token();
        let (alice, bob) = (engine.token_for("alice", &[]).await, engine.token_for("bob", &[]).await);
        let mut members = String::new();
        for path in ["/ocean", "/ocean/enso"] {
            let (code, body) = send(&engine, &admin, "POST", "/policy/v1/groups", Some(&json!({"path": path}))).await;
            assert_eq!(code, 201, "{body}");
            members = format!("/policy/v1/groups/{}/members", body["id"].as_str().expect("an id"));
        }
        let join = async |name: &str| {
            let wanted = json!({"members": [{"name": name}]});
            send(&engine, &admin, "POST", &members, Some(&wanted)).await.0
        };
        assert_eq!(join("alice").await, 204);
        assert_eq!((me(&engine, &alice).await, me(&engine, &bob).await), (200, 200));
        let ban = engine.identity.ban(of("/ocean"), "admin").await.expect("banned");
        assert_eq!((me(&engine, &alice).await, me(&engine, &bob).await, me(&engine, &admin).await), (401, 200, 200));
        assert!(!engine.identity.is_welcome(&engine.user_ref("alice")));
        let hour = std::time::Duration::from_secs(3_600);
        assert!(engine.identity.issue_token("alice", &[], None, hour, "test").is_err());
        // It hits who joins, from then on.
        assert_eq!(join("bob").await, 204);
        assert_eq!(me(&engine, &bob).await, 401);
        // It is in the store: another process that starts knows it.
        let kept = engine.store.read(|tx| {
            tx.query("SELECT in_group FROM identity_bans WHERE lifted IS NULL", &[], |row| row.get::<Option<String>>(0))
        });
        assert_eq!(kept.await.expect("read"), [Some("/ocean".to_owned())]);
        let shown: Vec<Value> = engine.identity.bans(false).await.expect("read").iter().map(|ban| json!(ban)).collect();
        assert_eq!(shown[0]["group"], "/ocean");
        engine.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
        assert_eq!((me(&engine, &alice).await, me(&engine, &bob).await), (200, 200));
        assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
    }
}
