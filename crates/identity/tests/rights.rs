//! What a program may do in a person's name: what was said yes to, for as long as it holds, and nothing else.

mod issuer_support;

use dte_base::time::Timestamp;
use dte_identity::NewNotBefore;
use issuer_support::{
    App, Browser, DEVICE_GRANT, call, get_with, public_app, redeem, refresh, register, register_trusted, start, text,
    token,
};
use serde_json::json;

const PLACES: [&str; 5] = ["/demo/me", "/demo/work", "/demo/checked", "/demo/home", "/demo/admin"];

#[tokio::test]
async fn knowing_who_somebody_is_gives_no_rights() {
    let engine = start().await;
    let app = public_app(&engine).await;
    for (user, scope) in [("alice", "openid"), ("alice", "openid profile email"), ("admin", "openid")] {
        let browser = Browser::signed_in(&engine, user).await;
        let tokens = browser.tokens(&app, scope).await;
        for place in PLACES {
            assert_eq!(get_with(&engine, place, text(&tokens, "access_token")).await, 403, "{scope} at {place}");
        }
        assert_eq!(get_with(&engine, "/oidc/userinfo", text(&tokens, "access_token")).await, 200);
    }
}

#[tokio::test]
async fn fewer_scopes_are_never_more_rights() {
    let engine = start().await;
    let app = public_app(&engine).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let tokens = alice.tokens(&app, "openid offline_access storage.read:/home/alice/public").await;
    let access = text(&tokens, "access_token");
    assert_eq!(get_with(&engine, "/demo/home", access).await, 403);
    let (status, fewer) = refresh(&engine, &app, text(&tokens, "refresh_token"), &[("scope", "openid")]).await;
    assert_eq!(status, 200);
    for place in PLACES {
        assert_eq!(get_with(&engine, place, text(&fewer, "access_token")).await, 403, "{place}");
    }
}

#[tokio::test]
async fn a_program_administers_only_when_told_so() {
    let engine = start().await;
    let app = public_app(&engine).await;
    let admin = Browser::signed_in(&engine, "admin").await;
    let tokens = admin.tokens(&app, "openid wlcg").await;
    let access = text(&tokens, "access_token");
    assert_eq!(get_with(&engine, "/demo/me", access).await, 200);
    assert_eq!(get_with(&engine, "/demo/admin", access).await, 403, "all rights of the person are not the office");
}

/// Begins with a device and says yes to it.
async fn approved_device(app: &App, browser: &Browser<'_>, scope: &str) -> String {
    let (_, begun) = call(browser.engine, "/oidc/devicecode", app, &[("scope", scope)]).await;
    let code = text(&begun, "user_code");
    let page = browser.get(&format!("/oidc/device?user_code={code}")).await;
    let csrf = page.field("csrf");
    browser.post("/oidc/device", &[("csrf", &csrf), ("user_code", code), ("decision", "allow")]).await;
    text(&begun, "device_code").to_owned()
}

#[tokio::test]
async fn what_was_agreed_to_before_a_revocation_is_void() {
    let engine = start().await;
    let app = public_app(&engine).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let code = alice.code(&app, "openid wlcg offline_access", &[]).await;
    let device = approved_device(&app, &alice, "openid wlcg offline_access").await;
    let rule = NewNotBefore {
        issuer: engine.identity.issuer().to_owned(),
        client_id: None,
        subject: Some("alice".to_owned()),
        before: Timestamp::from_seconds(Timestamp::now().as_seconds() + 1),
        reason: "stolen".to_owned(),
    };
    engine.identity.revoke_before(rule, "test").await.expect("revoked");
    let (status, answer) = issuer_support::redeem(&engine, &app, &code, &[]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
    let fields = [("grant_type", DEVICE_GRANT), ("device_code", device.as_str())];
    let (status, answer) = token(&engine, &app, &fields).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
}

#[tokio::test]
async fn programs_go_with_the_person() {
    let engine = start().await;
    let app = public_app(&engine).await;
    // A ban that is lifted, an account that is closed and opened, a password that somebody else set: none brings them back.
    for what in ["ban", "close", "password"] {
        let alice = Browser::signed_in(&engine, "alice").await;
        let tokens = alice.tokens(&app, "openid wlcg offline_access").await;
        let (access, again) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        assert_eq!(get_with(&engine, "/demo/me", access).await, 200);
        match what {
            "ban" => {
                let ban = dte_identity::NewBan { subject: Some("alice".to_owned()), ..dte_identity::NewBan::default() };
                let ban = engine.identity.ban(ban, "admin").await.expect("banned");
                engine.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
            }
            "close" => {
                engine.identity.set_user("alice", false, false, "admin").await.expect("closed");
                engine.identity.set_user("alice", false, true, "admin").await.expect("open again");
            }
            _ => engine.identity.set_password("alice", "a new one, long", None, "admin").await.expect("set"),
        }
        assert_eq!(get_with(&engine, "/demo/me", access).await, 401, "{what}");
        let (status, answer) = refresh(&engine, &app, again, &[]).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{what}: {answer}");
    }
}

#[tokio::test]
async fn the_right_secret_is_right_whatever_others_tried() {
    let engine = start().await;
    let metadata = json!({"client_name": "Service", "grant_types": ["client_credentials"], "scope": "compute.read"});
    let registered = register_trusted(&engine, metadata).await;
    let secret = engine.identity.add_client("made", &["compute.read"], &[], "test").await.expect("made");
    let made = App { id: "made".to_owned(), secret: Some(secret.expose().to_owned()), registration: json!({}) };
    let grant = [("grant_type", "client_credentials")];
    for app in [registered, made] {
        let guess = App { id: app.id.clone(), secret: Some("wrong".to_owned()), registration: json!({}) };
        let mut refusals = Vec::new();
        for _ in 0..15 {
            refusals.push(token(&engine, &guess, &grant).await.0);
        }
        assert!(refusals.iter().all(|status| [401, 429].contains(status)) && refusals.contains(&429), "{refusals:?}");
        let (status, answer) = token(&engine, &app, &grant).await;
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
async fn another_address_asks_again() {
    let engine = start().await;
    let app = register(&engine, json!({})).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    alice.tokens(&app, "openid").await;
    // Once agreed, not asked again; the mark of having signed in just now cannot be made by others.
    assert!(alice.authorize(&app, "openid", &[]).await.answer().contains_key("code"));
    let page = alice.authorize(&app, "openid", &[("prompt", "login"), ("signed_in_since", "0")]).await;
    assert!(page.location.expect("a redirect").contains("/oidc/login?"), "to sign in");
    let mut changed = app.registration.clone();
    changed["redirect_uris"] = json!(["https://elsewhere.example/cb"]);
    let place = app.registration["registration_client_uri"].as_str().expect("a place");
    let access = app.registration["registration_access_token"].as_str().expect("a token");
    let request = engine.client.put(place).header("authorization", format!("Bearer {access}")).json(&changed);
    assert_eq!(request.send().await.expect("an answer").status, 200);
    let page = alice.authorize(&app, "openid", &[("redirect_uri", "https://elsewhere.example/cb")]).await;
    assert_eq!((page.status, page.location), (200, None), "the person is asked about the other place");
}

#[tokio::test]
async fn what_is_sent_for_a_revoked_token_ends() {
    let engine = start().await;
    let app = public_app(&engine).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let tokens = alice.tokens(&app, "openid wlcg").await;
    let access = text(&tokens, "access_token");
    let request = engine.client.get(engine.url_of("/demo/endless")).header("authorization", format!("Bearer {access}"));
    let body = request.send().await.expect("begins").text();
    let (_, ended) = tokio::join!(
        async { call(&engine, "/oidc/revoke", &app, &[("token", access)]).await },
        tokio::time::timeout(std::time::Duration::from_secs(30), body)
    );
    assert!(ended.expect("in time").is_err(), "it breaks off, so it does not look whole");
}

/// A program may change what it is registered for while the person looks at the page.
#[tokio::test]
async fn what_is_agreed_to_is_what_the_page_showed() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({"token_endpoint_auth_method": "none", "scope": "openid"})).await;
    let page = alice.authorize(&app, "openid wlcg offline_access", &[]).await;
    assert!(!page.body.contains("<code>wlcg</code>"), "only what it is registered for is shown");

    let mut wider = app.registration.clone();
    wider["scope"] = "openid wlcg offline_access".into();
    let access = format!("Bearer {}", text(&app.registration, "registration_access_token"));
    let place = text(&app.registration, "registration_client_uri");
    let reply = engine.client.put(place).header("authorization", access).json(&wider).send().await.expect("an answer");
    assert_eq!(reply.status, 200);

    let again = alice.decide(&page, "allow").await;
    assert_eq!((again.status, again.location.as_deref()), (200, None), "the person is asked anew");
    assert!(again.body.contains("<code>wlcg</code>"));
    assert!(alice.decide(&again, "allow").await.answer().contains_key("code"));
}

#[tokio::test]
async fn a_refresh_does_not_reach_services_that_nobody_agreed_to() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = public_app(&engine).await;
    let mut tokens = alice.tokens(&app, "openid offline_access compute.read").await;
    let known = "https://known.example";
    register_trusted(
        &engine,
        json!({"client_name": "known", "grant_types": ["client_credentials"], "audiences": [known], "scope": "compute.read"}),
    )
    .await;
    // What a program says of itself counts for nothing.
    register(&engine, json!({"audiences": ["https://unknown.example"]})).await;
    for unknown in ["https://unknown.example", "urn:elsewhere"] {
        let (status, answer) = refresh(&engine, &app, text(&tokens, "refresh_token"), &[("audience", unknown)]).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid_target"), "{unknown}");
    }
    let own = engine.identity.audience().to_owned();
    for good in [known, own.as_str()] {
        let (status, answer) = refresh(&engine, &app, text(&tokens, "refresh_token"), &[("audience", good)]).await;
        assert_eq!(status, 200, "{answer}");
        tokens = answer;
    }
    // Or the page names the service, and the person agrees.
    let code = alice.code(&app, "openid offline_access compute.read", &[("audience", "https://unknown.example")]).await;
    let (status, tokens) = redeem(&engine, &app, &code, &[]).await;
    assert_eq!(status, 200);
    let named = [("audience", "https://unknown.example")];
    assert_eq!(refresh(&engine, &app, text(&tokens, "refresh_token"), &named).await.0, 200);
}
