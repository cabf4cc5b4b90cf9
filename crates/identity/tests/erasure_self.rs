//! Who erases whom: people themselves and in person, and never so that nobody is left who can administer.

mod issuer_support;

use std::time::Duration;

use dte_base::secret::Secret;
use dte_identity::NewBan;
use dte_identity::testing::TestEngine;
use dte_store::params;
use http::Method;
use issuer_support::{Browser, DEVICE_GRANT, call, public_app, refresh, start, text, token};
use serde_json::{Value, json};

async fn send(engine: &TestEngine, token: &Secret, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = engine.client.request(method, engine.url_of(path)).bearer(token);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let reply = request.send().await.expect("an answer");
    let status = reply.status.as_u16();
    (status, serde_json::from_str(&reply.text().await.expect("a text")).unwrap_or(Value::Null))
}

async fn erase(engine: &TestEngine, token: &Secret, name: &str) -> (u16, Value) {
    let wanted = json!({"name": name, "confirm": name});
    send(engine, token, "POST", "/policy/v1/erasures", Some(&wanted)).await
}

/// What a program gets that a person lets act for them at a device.
async fn granted(engine: &TestEngine, user: &str, scope: &str) -> (issuer_support::App, Value) {
    let browser = Browser::signed_in(engine, user).await;
    let app = public_app(engine).await;
    let (_, begun) = call(engine, "/oidc/devicecode", &app, &[("scope", scope)]).await;
    let csrf = browser.get(text(&begun, "verification_uri_complete")).await.field("csrf");
    let allow = [("csrf", csrf.as_str()), ("user_code", text(&begun, "user_code")), ("decision", "allow")];
    assert_eq!(browser.post("/oidc/device", &allow).await.status, 200);
    let poll = [("grant_type", DEVICE_GRANT), ("device_code", text(&begun, "device_code"))];
    let (status, given) = token(engine, &app, &poll).await;
    assert_eq!(status, 200, "{given}");
    (app, given)
}

#[tokio::test]
async fn people_erase_themselves_in_person_and_hear_what_became_of_it() {
    let engine = start().await;
    engine.token_for("carl", &[]).await;
    let (_, given) = granted(&engine, "carl", "wlcg").await;
    let program = Secret::new(text(&given, "access_token").to_owned());
    assert_eq!(send(&engine, &program, "GET", "/policy/v1/me/export", None).await.0, 200);
    let (status, answer) = erase(&engine, &program, "carl").await;
    assert_eq!(status, 403, "{answer}");
    let acting = engine.identity.acting_token(&engine.user_ref("carl"), "workflow", &[], None).expect("a token");
    assert_eq!(erase(&engine, &acting, "carl").await.0, 403);
    let operations = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "displayName", "value": "Somebody"}]});
    assert_eq!(send(&engine, &acting, "PATCH", "/oidc/scim/v2/Me", Some(&operations)).await.0, 403);
    // An administrator's program does not erase the administrator either.
    engine.identity.add_user("chief", true, "test").await.expect("made");
    let (_, given) = granted(&engine, "chief", "wlcg dte.admin").await;
    let program = Secret::new(text(&given, "access_token").to_owned());
    assert_eq!(erase(&engine, &program, "chief").await.0, 403);
    assert!(engine.identity.users().iter().any(|user| user.name == "carl"));
    // In person, and with the answer though nobody is there any more to get it.
    let carl = engine.token_for("carl", &[]).await;
    let (status, answer) = erase(&engine, &carl, "carl").await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["pseudonym"].as_str().is_some_and(|name| name.starts_with("erased-")), "{answer}");
    let counted = |one: &Value| one["records"].as_u64().is_some_and(|count| count > 0);
    assert!(answer["remains"].as_array().is_some_and(|list| list.iter().any(counted)), "{answer}");
    assert_eq!(erase(&engine, &carl, "carl").await.0, 401);
}

#[tokio::test]
async fn a_token_of_another_issuer_does_not_erase_the_account_it_is_linked_to() {
    let other = start().await;
    let server = other.listen();
    let config = format!(
        "[[identity.trusted_issuers]]\nissuer = '{}'\naudiences = ['https://us.example']\n",
        other.identity.issuer()
    );
    let us = issuer_support::start_with(&config, None).await;
    us.token_for("dora", &[]).await;
    other.token_for("d7", &[]).await;
    link(&us, other.identity.issuer(), "d7", "dora").await;
    let foreign = other.identity.issue_token("d7", &[], Some("https://us.example"), Duration::from_secs(600), "test");
    let foreign = foreign.expect("a token");
    let (status, copy) = send(&us, &foreign, "GET", "/policy/v1/me/export", None).await;
    assert_eq!((status, &copy["account"]["name"]), (200, &json!("dora")), "{copy}");
    let (status, answer) = erase(&us, &foreign, "dora").await;
    assert_eq!(status, 403, "{answer}");
    assert!(server.stop(Duration::from_secs(5)).await);
}

/// Links an identity, and lets the engine read it.
async fn link(engine: &TestEngine, issuer: &str, subject: &str, name: &str) {
    let (issuer, subject, name) = (issuer.to_owned(), subject.to_owned(), name.to_owned());
    let insert = engine.store.write(move |tx| -> Result<(), dte_store::Error> {
        let sql =
            "INSERT INTO identity_links (issuer, subject, name, provider, shown, made) VALUES (?1, ?2, ?3, 'p', ?2, 0)";
        tx.execute(sql, &params![&issuer, &subject, &name]).map(drop)
    });
    insert.await.expect("linked");
    engine.identity.add_user(&format!("after-{}", dte_base::id::new_id().simple()), false, "test").await.expect("made");
}

#[tokio::test]
async fn a_ban_of_a_linked_identity_ends_what_programs_hold() {
    let engine = start().await;
    engine.token_for("carl", &[]).await;
    let (app, given) = granted(&engine, "carl", "openid wlcg offline_access").await;
    link(&engine, "https://idp.example", "c7", "carl").await;
    let ban = NewBan {
        issuer: Some("https://idp.example".to_owned()),
        subject: Some("c7".to_owned()),
        reason: "misuse".to_owned(),
        ..NewBan::default()
    };
    let ban = engine.identity.ban(ban, "test").await.expect("banned");
    engine.identity.lift_ban(&ban.id, "test").await.expect("lifted");
    let (status, answer) = refresh(&engine, &app, text(&given, "refresh_token"), &[]).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"), "{answer}");
    assert_eq!(issuer_support::get_with(&engine, "/demo/me", text(&given, "access_token")).await, 401);
}

#[tokio::test]
async fn names_of_the_engine_are_given_to_nobody() {
    let engine = start().await;
    let admin = engine.admin_token();
    let (_, erased) = {
        engine.token_for("carl", &[]).await;
        erase(&engine, &admin, "carl").await
    };
    let pseudonym = erased["pseudonym"].as_str().expect("a pseudonym").to_owned();
    assert!(engine.identity.add_user(&pseudonym, false, "test").await.is_err());
    assert!(engine.identity.add_client(&pseudonym, &[], &[], "test").await.is_err());
    let wanted = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": pseudonym});
    assert_eq!(send(&engine, &admin, "POST", "/oidc/scim/v2/Users", Some(&wanted)).await.0, 400);
}

#[tokio::test]
async fn somebody_is_left_who_can_administer() {
    let engine = start().await;
    engine.identity.add_user("chief", true, "test").await.expect("made");
    let chief = engine.identity.issue_token("chief", &[], None, Duration::from_secs(600), "test").expect("a token");
    let ban_of = |name: &str| NewBan { subject: Some(name.to_owned()), reason: "r".to_owned(), ..NewBan::default() };
    // The first one is banned, which is no administrator to go by.
    let banned = engine.identity.ban(ban_of("admin"), "test").await.expect("banned");
    assert_eq!(erase(&engine, &chief, "chief").await.0, 409);
    for (admin, active) in [(true, false), (false, true)] {
        let refused = engine.identity.set_user("chief", admin, active, "test").await;
        assert!(refused.is_err_and(|why| why.to_string().contains("last administrator")));
    }
    assert!(engine.identity.ban(ban_of("chief"), "test").await.is_err());
    let everybody =
        NewBan { issuer: Some(engine.identity.issuer().to_owned()), reason: "r".to_owned(), ..NewBan::default() };
    assert!(engine.identity.ban(everybody, "test").await.is_err());
    let robot = engine.identity.add_client("robot", &["scim:write"], &[], "test").await.expect("made");
    let robot = engine.identity.client_token("robot", robot.expose(), None, None).expect("a token").token;
    let users = "/oidc/scim/v2/Users/chief";
    let operations = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": false}]});
    assert_eq!(send(&engine, &robot, "PATCH", users, Some(&operations)).await.0, 409);
    assert_eq!(send(&engine, &robot, "DELETE", users, None).await.0, 409);
    // Nothing of it was done.
    assert_eq!(engine.identity.bans(false).await.expect("bans").len(), 1);
    assert_eq!(send(&engine, &chief, "GET", "/policy/v1/erasures", None).await.0, 200);
    engine.identity.lift_ban(&banned.id, "test").await.expect("lifted");
    assert_eq!(send(&engine, &robot, "DELETE", users, None).await.0, 204);
    // Who was deleted does not come back.
    let back = engine.identity.set_user("chief", true, true, "test").await;
    assert!(back.is_err_and(|why| why.to_string().contains("no active account")));
    assert!(engine.identity.users().iter().all(|user| user.name != "chief" || !user.active));
}
