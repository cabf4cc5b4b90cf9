//! What must not work at the issuer, one test for each pitfall of the list (`contracts`: "Security pitfalls").

mod issuer_support;

use std::time::Duration;

use dte_identity::NewBan;
use dte_identity::testing::TestEngine;
use issuer_support::*;
use serde_json::{Value, json};

async fn is_active(engine: &TestEngine, app: &App, token: &str) -> bool {
    let (status, answer) = call(engine, "/oidc/introspect", app, &[("token", token)]).await;
    assert_eq!(status, 200, "{answer}");
    answer["active"] == true
}

#[tokio::test]
async fn p07_an_id_token_is_no_access_token() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({})).await;
    let tokens = alice.tokens(&app, "openid wlcg offline_access").await;
    for name in ["id_token", "refresh_token"] {
        assert_eq!(get_with(&engine, "/demo/me", text(&tokens, name)).await, 401, "{name}");
        assert_eq!(get_with(&engine, "/oidc/userinfo", text(&tokens, name)).await, 401, "{name}");
    }
    assert!(!is_active(&engine, &app, text(&tokens, "id_token")).await);
}

#[tokio::test]
async fn p08_a_refresh_token_of_another_client() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let (app, thief) = (register(&engine, json!({})).await, register(&engine, json!({})).await);
    let tokens = alice.tokens(&app, "openid offline_access").await;
    let token_text = text(&tokens, "refresh_token");
    let (status, answer) = refresh(&engine, &thief, token_text, &[]).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
    // Nor may it end or look at the grant.
    assert_eq!(call(&engine, "/oidc/revoke", &thief, &[("token", token_text)]).await.0, 200);
    assert!(!is_active(&engine, &thief, token_text).await);
    assert_eq!(refresh(&engine, &app, token_text, &[]).await.0, 200);
    // Made up, or changed in any letter.
    for at in [0, 34, token_text.len() - 1] {
        let mut spoilt = token_text.as_bytes().to_vec();
        spoilt[at] = if spoilt[at] == b'1' { b'2' } else { b'1' };
        let spoilt = String::from_utf8(spoilt).expect("text");
        assert_eq!(text(&refresh(&engine, &app, &spoilt, &[]).await.1, "error"), "invalid_grant");
    }
}

#[tokio::test]
async fn an_old_refresh_token_ends_the_grant() {
    let engine = start_with("[identity.issuer]\nrefresh_grace = \"0s\"\n", None).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = public_app(&engine).await;
    let tokens = alice.tokens(&app, "openid wlcg offline_access").await;
    let (_, second) = refresh(&engine, &app, text(&tokens, "refresh_token"), &[]).await;
    assert_eq!(get_with(&engine, "/demo/me", text(&second, "access_token")).await, 200);
    let (status, answer) = refresh(&engine, &app, text(&tokens, "refresh_token"), &[]).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
    // The thief's and the owner's: all of it is over.
    assert_eq!(refresh(&engine, &app, text(&second, "refresh_token"), &[]).await.0, 400);
    assert_eq!(get_with(&engine, "/demo/me", text(&second, "access_token")).await, 401);
}

#[tokio::test]
async fn p09_a_code_twice() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({})).await;
    let code = alice.code(&app, "openid wlcg offline_access", &[]).await;
    let (status, tokens) = redeem(&engine, &app, &code, &[]).await;
    assert_eq!(status, 200);
    assert_eq!(get_with(&engine, "/demo/me", text(&tokens, "access_token")).await, 200);
    let (status, answer) = redeem(&engine, &app, &code, &[]).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
    assert_eq!(get_with(&engine, "/demo/me", text(&tokens, "access_token")).await, 401);
    assert!(!is_active(&engine, &app, text(&tokens, "access_token")).await);
    assert_eq!(refresh(&engine, &app, text(&tokens, "refresh_token"), &[]).await.0, 400);

    // At the same moment: one wins, and then nobody does.
    let code = alice.code(&app, "openid", &[]).await;
    let (one, two) = tokio::join!(redeem(&engine, &app, &code, &[]), redeem(&engine, &app, &code, &[]));
    assert_eq!([one.0, two.0].iter().filter(|status| **status == 200).count(), 1);

    // Bound to its client and its address; wrong tries use it up.
    let other = register(&engine, json!({})).await;
    let code = alice.code(&app, "openid", &[]).await;
    assert_eq!(redeem(&engine, &other, &code, &[]).await.0, 400);
    assert_eq!(redeem(&engine, &app, &code, &[("redirect_uri", "https://rp.example/other")]).await.0, 400);
    assert_eq!(redeem(&engine, &app, &code, &[]).await.0, 400);
}

#[tokio::test]
async fn p10_nobody_is_sent_where_the_client_did_not_say() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({"redirect_uris": [CALLBACK, "https://rp.example/two?x=1"]})).await;
    for evil in [
        "https://evil.example/cb",
        "https://rp.example/cb/",
        "https://rp.example/cb?next=https://evil.example",
        "https://rp.example/cb#x",
        "https://rp.example.evil.example/cb",
        "http://rp.example/cb",
        "https://rp.example/cb%2f..",
        "//rp.example/cb",
        "javascript:alert(1)",
        "https://rp.example/cb\r\nLocation: https://evil.example",
        "https://rp.example/two",
    ] {
        for more in [
            vec![("redirect_uri", evil)],
            vec![("redirect_uri", evil), ("prompt", "none")],
            vec![("redirect_uri", evil), ("scope", "storage.read")],
        ] {
            let page = alice.authorize(&app, "openid", &more).await;
            assert_eq!((page.status, &page.location), (400, &None), "{evil}");
            assert!(!page.body.contains("evil.example"), "{evil}");
        }
    }
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example%2F", authorize_path(&app, "openid", &[]));
    assert_eq!(alice.get(&twice).await.location, None);
    let unknown = App { id: "nobody".to_owned(), secret: None, registration: Value::Null };
    assert_eq!(alice.authorize(&unknown, "openid", &[]).await.location, None);
    assert_eq!(alice.authorize(&app, "openid", &[("redirect_uri", "")]).await.location, None);
    // Wildcards and plain addresses are not even registered.
    for bad in [
        "https://*.example/cb",
        "https://rp.example/*",
        "http://rp.example/cb",
        "javascript:alert(1)",
        "https://user@rp.example/",
    ] {
        let (status, answer) = register_raw(&engine, json!({"redirect_uris": [bad]})).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid_redirect_uri"), "{bad}");
    }
    // What is wrong with the rest is told to the client at its own address, with who we are (pitfall 4).
    for (more, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (("request", "eyJ"), "request_not_supported"),
        (("request_uri", "https://evil.example/r"), "request_uri_not_supported"),
        (("scope", "storage.read"), "invalid_scope"),
        (("scope", "unheard-of"), "invalid_scope"),
        (("resource", "a\u{e4}"), "invalid_target"),
    ] {
        let page = alice.authorize(&app, "openid", &[more]).await;
        // Nobody has checked whose the address is: it is shown, and nobody is sent there.
        assert_eq!((page.status, &page.location), (400, &None));
        assert!(page.body.contains("href=\"https://rp.example/cb?"), "{}", page.body);
        let answer = page.answer();
        assert_eq!(
            (answer["error"].as_str(), answer["iss"].as_str(), answer["state"].as_str()),
            (error, engine.identity.issuer(), "the state")
        );
    }
}

#[tokio::test]
async fn p11_pkce_is_not_talked_away() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let (open, secret) = (public_app(&engine).await, register(&engine, json!({})).await);
    for more in [
        vec![("code_challenge", ""), ("code_challenge_method", "")],
        vec![("code_challenge_method", "plain")],
        vec![("code_challenge_method", "")],
        vec![("code_challenge", VERIFIER), ("code_challenge_method", "plain")],
        vec![("code_challenge", "short")],
    ] {
        assert_eq!(alice.authorize(&open, "openid", &more).await.answer()["error"], "invalid_request", "{more:?}");
    }
    for verifier in ["", "wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong", &challenge()] {
        for app in [&open, &secret] {
            let code = alice.code(app, "openid", &[]).await;
            let (status, answer) = redeem(&engine, app, &code, &[("code_verifier", verifier)]).await;
            assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"), "{verifier}");
        }
    }
    // A verifier for a code that was asked for without a challenge: somebody put in a code of their own.
    let none = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = alice.code(&secret, "openid", &none).await;
    assert_eq!(redeem(&engine, &secret, &code, &[]).await.0, 400);
    let code = alice.code(&secret, "openid", &none).await;
    assert_eq!(redeem(&engine, &secret, &code, &[("code_verifier", "")]).await.0, 200);
    // A public client cannot dress up as one with a secret, nor the other way round.
    let code = alice.code(&open, "openid", &[]).await;
    let dressed = App { id: open.id.clone(), secret: Some("x".to_owned()), registration: Value::Null };
    assert_eq!(redeem(&engine, &dressed, &code, &[]).await.0, 401);
    let bare = App { id: secret.id.clone(), secret: None, registration: Value::Null };
    assert_eq!(redeem(&engine, &bare, "x", &[]).await.0, 401);
}

#[tokio::test]
async fn p12_device_codes_are_not_guessed_and_not_given_away_unseen() {
    let engine = start().await;
    let app = register(&engine, json!({})).await;
    let (_, begun) = call(&engine, "/oidc/devicecode", &app, &[("scope", "openid wlcg")]).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    // Opening the link is not agreeing; the page says who asks and warns.
    let page = alice.get(text(&begun, "verification_uri_complete")).await;
    assert!(
        page.body.contains("do everything that you may do") && page.body.contains("only if you began this yourself")
    );
    let fields = [("grant_type", DEVICE_GRANT), ("device_code", text(&begun, "device_code"))];
    assert_eq!(text(&token(&engine, &app, &fields).await.1, "error"), "authorization_pending");
    // A device code is its client's only.
    let thief = register(&engine, json!({})).await;
    assert_eq!(
        text(&token(&engine, &thief, &[fields[0], ("device_code", "made up")]).await.1, "error"),
        "invalid_grant"
    );
    for _ in 0..10 {
        assert_eq!(alice.get("/oidc/device?user_code=BBBB-BBBB").await.status, 400);
    }
    assert_eq!(alice.get("/oidc/device?user_code=BBBB-BBBB").await.status, 429);
    assert_eq!(alice.get(text(&begun, "verification_uri_complete")).await.status, 429, "not even a right one");
}

#[tokio::test]
async fn p13_exchange_does_not_widen_and_does_not_go_round() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let agent = register(&engine, json!({})).await;
    let metadata = json!({"grant_types": [EXCHANGE_GRANT, "refresh_token"], "scope": "openid offline_access storage.read:/ compute.create dte.admin"});
    let (one, two) = (register_trusted(&engine, metadata.clone()).await, register_trusted(&engine, metadata).await);
    let policy = json!({"rule": "PERMIT", "originClient": {"type": "ANY"}, "destinationClient": {"type": "ANY"}});
    let add = engine
        .client
        .post(engine.url_of("/oidc/iam/api/exchange/policies"))
        .bearer(&engine.admin_token())
        .json(&policy);
    assert_eq!(add.send().await.expect("an answer").status, 201);
    let exchange = async |app: &App, subject: &str, more: &[(&str, &str)]| {
        let mut fields = vec![
            ("grant_type", EXCHANGE_GRANT),
            ("subject_token", subject),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        fields.extend_from_slice(more);
        token(&engine, app, &fields).await
    };
    let tokens = alice.tokens(&agent, "openid storage.read:/foo offline_access").await;
    let subject = text(&tokens, "access_token");
    for wide in
        ["storage.read:/", "storage.read:/foobar", "storage.read:/foo/../bar", "compute.create", "dte.admin", "wlcg"]
    {
        let (status, answer) = exchange(&one, subject, &[("scope", wide)]).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid_scope"), "{wide}");
    }
    let (status, answer) = exchange(&one, subject, &[("audience", "https://elsewhere.example")]).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_target"));
    let (status, first) = exchange(&one, subject, &[("scope", "storage.read:/foo/a")]).await;
    assert_eq!(status, 200, "{first}");
    let first = text(&first, "access_token");
    assert_eq!(exchange(&one, first, &[]).await.0, 400, "its own token");
    let (status, second) = exchange(&two, first, &[]).await;
    assert_eq!(status, 200, "{second}");
    let second = text(&second, "access_token");
    assert_eq!(claims(second)["act"], json!({"sub": two.id, "act": {"sub": one.id}}));
    assert_eq!(exchange(&one, second, &[]).await.0, 400, "round and round");
    // Other kinds of tokens, clients that may not, and clients without a secret.
    assert_eq!(exchange(&one, text(&tokens, "id_token"), &[]).await.0, 400);
    assert_eq!(exchange(&one, text(&tokens, "refresh_token"), &[]).await.0, 400);
    assert_eq!(text(&exchange(&agent, subject, &[]).await.1, "error"), "unauthorized_client");
    let (_, answer) =
        register_raw(&engine, json!({"grant_types": [EXCHANGE_GRANT], "redirect_uris": [CALLBACK]})).await;
    assert_eq!(text(&answer, "error"), "invalid_client_metadata");
    // What was taken back cannot be exchanged.
    assert_eq!(call(&engine, "/oidc/revoke", &agent, &[("token", subject)]).await.0, 200);
    assert_eq!(text(&exchange(&one, subject, &[]).await.1, "error"), "invalid_grant");
}

#[tokio::test]
async fn p14_introspection_tells_nothing_of_others() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let (app, other, open) =
        (register(&engine, json!({})).await, register(&engine, json!({})).await, public_app(&engine).await);
    let service = register_trusted(
        &engine,
        json!({"grant_types": ["client_credentials"], "audiences": ["https://s.example"], "scope": "compute.read"}),
    )
    .await;
    let code = alice.code(&app, "openid offline_access", &[("resource", "https://s.example")]).await;
    let (_, tokens) = redeem(&engine, &app, &code, &[]).await;
    let access = text(&tokens, "access_token");
    assert!(is_active(&engine, &app, access).await && is_active(&engine, &service, access).await);
    for foreign in [access, text(&tokens, "refresh_token"), "nonsense", engine.admin_token().expose()] {
        let (status, answer) = call(&engine, "/oidc/introspect", &other, &[("token", foreign)]).await;
        assert_eq!((status, answer), (200, json!({"active": false})));
    }
    assert_eq!(call(&engine, "/oidc/introspect", &open, &[("token", access)]).await.0, 401);
    let nobody = App { id: "nobody".to_owned(), secret: None, registration: Value::Null };
    assert_eq!(call(&engine, "/oidc/introspect", &nobody, &[("token", access)]).await.0, 401);
    // Revoking: an access token alone, at once; others' never.
    call(&engine, "/oidc/revoke", &other, &[("token", access)]).await;
    assert!(is_active(&engine, &app, access).await);
    call(&engine, "/oidc/revoke", &app, &[("token", access)]).await;
    assert!(!is_active(&engine, &app, access).await);
    assert!(is_active(&engine, &app, text(&tokens, "refresh_token")).await);
    call(&engine, "/oidc/revoke", &app, &[("token", text(&tokens, "refresh_token"))]).await;
    assert!(!is_active(&engine, &app, text(&tokens, "refresh_token")).await);
}

#[tokio::test]
async fn p15_secrets_are_compared_whole_and_tried_seldom() {
    let engine = start().await;
    let app = register(&engine, json!({})).await;
    let secret = app.secret.clone().expect("a secret");
    for wrong in ["", "x", &secret[1..], &format!("{secret}x"), &secret.to_uppercase()] {
        let guess = App { id: app.id.clone(), secret: Some(wrong.to_owned()), registration: Value::Null };
        let (status, answer) = refresh(&engine, &guess, "x", &[]).await;
        assert_eq!((status, text(&answer, "error")), (401, "invalid_client"));
    }
    let guess = App { id: app.id.clone(), secret: Some("x".to_owned()), registration: Value::Null };
    for _ in 0..5 {
        refresh(&engine, &guess, "x", &[]).await;
    }
    assert_eq!(refresh(&engine, &guess, "x", &[]).await.0, 429);
    // Whoever has the secret is not shut out by those who guess.
    assert_eq!(refresh(&engine, &app, "x", &[]).await.0, 400);
}

#[tokio::test]
async fn p16_codes_and_tokens_do_not_leak() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({})).await;
    let page = alice.authorize(&app, "openid wlcg offline_access", &[]).await;
    let page = alice.decide(&page, "allow").await;
    // Nobody keeps the address with the code in it, and the next site does not see it.
    assert_eq!(
        (page.headers["cache-control"].as_bytes(), page.headers["referrer-policy"].as_bytes()),
        (&b"no-store"[..], &b"no-referrer"[..])
    );
    let code = page.answer()["code"].clone();
    let (_, tokens) = redeem(&engine, &app, &code, &[]).await;
    // A token in an address is not a token.
    let path = format!("/oidc/userinfo?access_token={}", text(&tokens, "access_token"));
    assert_eq!(Browser::anonymous(&engine).get(&path).await.status, 401);
    // Neither the store nor the audit holds anything that opens a door.
    let secrets = [
        &code,
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
        app.secret.as_deref().expect("a secret"),
        text(&app.registration, "registration_access_token"),
    ]
    .map(str::to_owned);
    let columns = [
        ("identity_programs", "metadata"),
        ("identity_codes", "granted"),
        ("identity_grants", "id"),
        ("identity_grants", "granted"),
        ("identity_audit", "body"),
    ];
    for (table, column) in columns {
        let sql = format!("SELECT {column} FROM {table}");
        let rows = engine.store.read(move |tx| tx.query(&sql, &[], |row| row.get::<String>(0)));
        let rows: Vec<String> = rows.await.map_err(|error: dte_store::Error| error).expect("read");
        assert!(!rows.is_empty(), "{table}");
        for secret in &secrets {
            assert!(!rows.iter().any(|row| row.contains(secret.as_str())), "{table} {column}");
        }
    }
}

#[tokio::test]
async fn p17_a_suspended_persons_refresh_dies() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({})).await;
    let ask = async |text: &str| refresh(&engine, &app, text, &[]).await;
    // A ban, and lifting it does not bring the grant back.
    let tokens = alice.tokens(&app, "openid wlcg offline_access").await;
    let kept = text(&tokens, "refresh_token").to_owned();
    let code = alice.code(&app, "openid", &[]).await;
    let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    let ban = engine.identity.ban(ban, "test").await.expect("banned");
    let (status, answer) = ask(&kept).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
    assert_eq!(get_with(&engine, "/demo/me", text(&tokens, "access_token")).await, 401);
    assert_eq!(get_with(&engine, "/oidc/userinfo", text(&tokens, "access_token")).await, 401);
    assert_eq!(redeem(&engine, &app, &code, &[]).await.0, 400);
    engine.identity.lift_ban(&ban.id, "test").await.expect("lifted");
    assert_eq!(ask(&kept).await.0, 400);
    // An account that is switched off.
    let alice = Browser::signed_in(&engine, "alice").await;
    let tokens = alice.tokens(&app, "openid offline_access").await;
    engine.identity.set_user("alice", false, false, "test").await.expect("off");
    assert_eq!(ask(text(&tokens, "refresh_token")).await.0, 400);
    engine.identity.set_user("alice", false, true, "test").await.expect("on");
    // A ban of the client.
    let alice = Browser::signed_in(&engine, "alice").await;
    let tokens = alice.tokens(&app, "openid offline_access").await;
    let ban = NewBan { client_id: Some(app.id.clone()), reason: "test".to_owned(), ..NewBan::default() };
    engine.identity.ban(ban, "test").await.expect("banned");
    assert_eq!(ask(text(&tokens, "refresh_token")).await.0, 401);
}

#[tokio::test]
async fn p19_nothing_that_a_stranger_names_is_fetched() {
    let engine = start_with("[identity.issuer]\nregistrations_per_minute = 4\n", None).await;
    let trap = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    trap.set_nonblocking(true).expect("set");
    let place = format!("http://{}/x", trap.local_addr().expect("an address"));
    let metadata = json!({
        "redirect_uris": [CALLBACK, place], "logo_uri": place, "jwks_uri": place, "sector_identifier_uri": place, "client_uri": place,
        "policy_uri": place, "tos_uri": place, "initiate_login_uri": place, "request_uris": [place], "backchannel_logout_uri": place,
    });
    let (status, answer) = register_raw(&engine, metadata).await;
    assert_eq!(status, 201, "{answer}");
    for name in ["logo_uri", "jwks_uri", "sector_identifier_uri", "request_uris"] {
        assert!(answer.get(name).is_none(), "{name}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(trap.accept().expect_err("nobody came").kind(), std::io::ErrorKind::WouldBlock);
    // Nor do strangers fill the store.
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(register_raw(&engine, json!({"redirect_uris": [CALLBACK]})).await.0);
    }
    assert_eq!(statuses, [201, 201, 201, 429]);
    let closed = start_with("[identity.issuer]\nregistration = false\n", None).await;
    assert_eq!(register_raw(&closed, json!({"redirect_uris": [CALLBACK]})).await.0, 403);
    register_trusted(&closed, json!({"redirect_uris": [CALLBACK]})).await;
}

#[tokio::test]
async fn p20_requests_that_are_too_much() {
    let engine = start().await;
    let app = register(&engine, json!({})).await;
    let long = "x".repeat(20_000);
    let nested = "[".repeat(15_000);
    for token_text in [long.as_str(), nested.as_str(), "a.b.c", "..", "\u{0}"] {
        assert!(!is_active(&engine, &app, token_text).await);
        assert_eq!(refresh(&engine, &app, token_text, &[]).await.0, 400);
        assert_eq!(redeem(&engine, &app, token_text, &[]).await.0, 400);
    }
    let post = engine.client.post(engine.url_of("/oidc/register")).header("content-type", "application/json");
    let reply = post.bytes(nested.clone().into_bytes()).send().await.expect("an answer");
    assert_eq!(reply.status, 400);
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("p{n}"), "1".to_owned())).collect();
    let reply = engine.client.post(engine.url_of("/oidc/token")).form(&many).send().await.expect("an answer");
    assert_eq!(reply.status, 400);
    let huge = engine.client.post(engine.url_of("/oidc/token")).form(&[("x", "y".repeat(1 << 20))]);
    assert_eq!(huge.send().await.expect("an answer").status, 413);
    // Each parameter once.
    let twice = [("grant_type", "client_credentials"), ("grant_type", "refresh_token")];
    let (status, answer) = token(&engine, &app, &twice).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_request"));
}

#[tokio::test]
async fn p24_other_pages_cannot_agree() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    engine.identity.add_user("mallory", false, "test").await.expect("made");
    let mallory = Browser::signed_in(&engine, "mallory").await;
    let app = register(&engine, json!({})).await;
    let page = alice.authorize(&app, "openid", &[]).await;
    assert!(page.headers["content-security-policy"].to_str().expect("text").contains("frame-ancestors 'none'"));
    let request = page.field("request");
    let stolen = mallory.authorize(&app, "openid", &[]).await.field("csrf");
    for csrf in ["", "x", stolen.as_str()] {
        let fields = [("csrf", csrf), ("request", request.as_str()), ("decision", "allow")];
        let page = alice.post("/oidc/consent", &fields).await;
        assert_eq!((page.status, page.location), (403, None), "{csrf}");
    }
    // The form's request is checked as if it came anew.
    let csrf = page.field("csrf");
    let evil = request.replace("rp.example", "evil.example");
    let page = alice.post("/oidc/consent", &[("csrf", &csrf), ("request", &evil), ("decision", "allow")]).await;
    assert_eq!((page.status, page.location), (400, None));

    let (_, begun) = call(&engine, "/oidc/devicecode", &app, &[("scope", "openid")]).await;
    let code = text(&begun, "user_code");
    for csrf in ["x", stolen.as_str()] {
        let page = alice.post("/oidc/device", &[("csrf", csrf), ("user_code", code), ("decision", "allow")]).await;
        assert_eq!(page.status, 403);
    }
    let page = Browser::anonymous(&engine)
        .post("/oidc/device", &[("csrf", &stolen), ("user_code", code), ("decision", "allow")])
        .await;
    assert_eq!(page.status, 403);
    let fields = [("grant_type", DEVICE_GRANT), ("device_code", text(&begun, "device_code"))];
    assert_eq!(text(&token(&engine, &app, &fields).await.1, "error"), "authorization_pending");
    // Signing out from elsewhere asks first.
    let page = alice.post("/oidc/logout", &[("csrf", "x")]).await;
    assert_eq!(page.status, 403);
    assert!(alice.post("/oidc/logout", &[]).await.body.contains("You are signed in as"));
    assert_eq!(alice.get("/oidc/device").await.status, 200);
}

#[tokio::test]
async fn who_you_are_is_not_what_you_may() {
    // A program that only learns who somebody is cannot act for them, not even for an administrator.
    let engine = start().await;
    let admin = Browser::signed_in(&engine, "admin").await;
    let app = register(&engine, json!({})).await;
    let tokens = admin.tokens(&app, "openid profile").await;
    assert_eq!(get_with(&engine, "/demo/admin", text(&tokens, "access_token")).await, 403);
    assert_eq!(get_with(&engine, "/demo/work", text(&tokens, "access_token")).await, 403);
    let tokens = admin.tokens(&app, "openid wlcg").await;
    assert_eq!(get_with(&engine, "/demo/work", text(&tokens, "access_token")).await, 200);
    assert_eq!(get_with(&engine, "/demo/admin", text(&tokens, "access_token")).await, 403);
    // The administrator's own scope is not for programs that registered themselves, and not for others.
    assert!(!text(&tokens, "scope").contains("dte.admin"));
    let trusted =
        register_trusted(&engine, json!({"redirect_uris": [CALLBACK], "scope": "openid dte.admin compute.read"})).await;
    let alice = Browser::signed_in(&engine, "alice").await;
    assert_eq!(text(&alice.tokens(&trusted, "openid dte.admin").await, "scope"), "openid");
    let tokens = admin.tokens(&trusted, "openid dte.admin").await;
    assert_eq!(get_with(&engine, "/demo/admin", text(&tokens, "access_token")).await, 200);
}

#[tokio::test]
async fn a_program_that_nobody_checked_cannot_pass_for_another() {
    let engine = start().await;
    let alice = Browser::signed_in(&engine, "alice").await;
    for name in ["Grafana\u{202e}", "Graf\u{200b}ana", "Grafana\u{2066}"] {
        let metadata = json!({"client_name": name, "redirect_uris": ["https://rp.example/cb"]});
        let (status, answer) = register_raw(&engine, metadata).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid_client_metadata"), "{name:?}");
    }
    // Where its tokens are good is shown, and asked again for another place.
    let app = register(&engine, json!({})).await;
    let page = alice.authorize(&app, "openid", &[]).await;
    assert!(!page.body.contains("nowhere else"), "{}", page.body);
    assert!(alice.decide(&page, "allow").await.answer().contains_key("code"));
    assert!(alice.authorize(&app, "openid", &[]).await.answer().contains_key("code"));
    let elsewhere = [("resource", "https://other.example/api")];
    let page = alice.authorize(&app, "openid", &elsewhere).await;
    assert!(page.status == 200 && page.body.contains("https://other.example/api"), "{}", page.body);
    assert!(alice.decide(&page, "allow").await.answer().contains_key("code"));
    assert_eq!(alice.authorize(&app, "openid", &elsewhere).await.status, 200, "each time");
    // An administrator's program is answered at its address.
    let trusted =
        register_trusted(&engine, json!({"client_name": "Checked", "redirect_uris": ["https://rp.example/cb"]}));
    let page = alice.authorize(&trusted.await, "unheard-of", &[]).await;
    assert!(page.location.as_deref().expect("a redirect").starts_with("https://rp.example/cb?"));
}

#[tokio::test]
async fn bad_registrations_do_not_keep_out_good_ones() {
    let engine = start_with("[identity.issuer]\nregistrations_per_minute = 3\n", None).await;
    let bad = json!({"client_name": "x", "redirect_uris": ["javascript:alert(1)"]});
    for number in 0..6 {
        let (status, _) = register_raw(&engine, bad.clone()).await;
        assert_eq!(status, if number < 3 { 400 } else { 429 }, "{number}");
    }
    let good = json!({"client_name": "x", "redirect_uris": ["https://rp.example/cb"]});
    for number in 0..4 {
        let (status, _) = register_raw(&engine, good.clone()).await;
        assert_eq!(status, if number < 3 { 201 } else { 429 }, "{number}");
    }
}
