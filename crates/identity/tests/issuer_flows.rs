//! The issuer's flows as clients and browsers go through them, on every store.

mod issuer_support;

use dte_identity::testing::TestEngine;
use dte_store::testing::stores;
use issuer_support::*;
use serde_json::{Value, json};

const MANY: &str = "[identity.issuer]\nregistrations_per_minute = 1000\n";

async fn engines() -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in stores().await.expect("stores") {
        engines.push(start_with(MANY, Some(store)).await);
    }
    engines
}

#[tokio::test]
async fn the_metadata_is_true() {
    let engine = start().await;
    let mut documents = Vec::new();
    for path in [
        "/oidc/.well-known/openid-configuration",
        "/oidc/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration/oidc",
        "/.well-known/oauth-authorization-server/oidc",
    ] {
        let reply = engine.client.get(engine.url_of(path)).send().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (200, Some("*")), "{path}");
        documents.push(reply.json::<Value>().await.expect("JSON"));
    }
    assert!(documents.windows(2).all(|pair| pair[0] == pair[1]));
    let document = &documents[0];
    assert_eq!(text(document, "issuer"), engine.identity.issuer());
    // Every endpoint that is named is there: nothing is answered with 404.
    for (name, value) in document.as_object().expect("an object") {
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let reply = engine.client.get(value.as_str().expect("text")).send().await.expect("an answer");
            assert_ne!(reply.status, 404, "{name}");
        }
    }
    // Each grant that is named is known, and each that is not is refused as such.
    let app = register(&engine, json!({})).await;
    for grant in document["grant_types_supported"].as_array().expect("a list") {
        let (_, answer) = token(&engine, &app, &[("grant_type", grant.as_str().expect("text"))]).await;
        assert_ne!(text(&answer, "error"), "unsupported_grant_type", "{grant}");
    }
    let (_, answer) = token(&engine, &app, &[("grant_type", "password")]).await;
    assert_eq!(text(&answer, "error"), "unsupported_grant_type");
    // Scripts of other pages may ask for tokens, without cookies.
    let ask = engine.client.request(http::Method::OPTIONS, engine.url_of("/oidc/token"));
    let reply = ask.header("origin", "https://spa.example").send().await.expect("an answer");
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn registration_and_its_own_care() {
    for engine in engines().await {
        // As oidc-agent does: first as a web client, then, told exactly so, as a native one.
        let uris = json!([
            "http://localhost:4242",
            "http://localhost:43985",
            "http://localhost:8080",
            "edu.kit.data.oidc-agent:/redirect"
        ]);
        let (status, answer) = register_raw(&engine, json!({"application_type": "web", "redirect_uris": uris})).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid redirect_uri"));
        assert_eq!(text(&answer, "error_description"), "Custom redirect_uri not allowed for web client");
        let app = register(&engine, json!({"application_type": "native", "redirect_uris": uris})).await;
        let (secret, access) =
            (app.secret.clone().expect("a secret"), text(&app.registration, "registration_access_token"));
        assert_eq!(app.registration["client_secret_expires_at"], 0);

        let place = text(&app.registration, "registration_client_uri");
        let read = async |token: &str| {
            let request = engine.client.get(place).header("authorization", format!("Bearer {token}"));
            request.send().await.expect("an answer")
        };
        assert_eq!(read(access).await.status, 200);
        assert_eq!(read("wrong").await.status, 401);
        assert_eq!(read(&secret).await.status, 401);

        let change = async |body: Value| {
            let request = engine.client.put(place).header("authorization", format!("Bearer {access}")).json(&body);
            let reply = request.send().await.expect("an answer");
            (reply.status.as_u16(), reply.json::<Value>().await.expect("JSON"))
        };
        let (status, answer) = change(json!({"client_id": app.id, "client_name": "New", "redirect_uris": [CALLBACK], "scope": "openid dte.admin"})).await;
        assert_eq!((status, text(&answer, "client_name"), text(&answer, "scope")), (200, "New", "openid"));
        for bad in [
            json!({"client_id": "other", "redirect_uris": [CALLBACK]}),
            json!({"client_id": app.id, "client_secret": "mine", "redirect_uris": [CALLBACK]}),
            json!({"client_id": app.id, "redirect_uris": ["http://evil.example/"]}),
            json!({"client_id": app.id, "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}),
        ] {
            assert_eq!(change(bad.clone()).await.0, 400, "{bad}");
        }
        let gone = engine.client.delete(place).header("authorization", format!("Bearer {access}"));
        assert_eq!(gone.send().await.expect("an answer").status, 204);
        assert_eq!(read(access).await.status, 401);
        let (status, _) = token(&engine, &app, &[("grant_type", "refresh_token"), ("refresh_token", "x")]).await;
        assert_eq!(status, 401);
    }
}

#[tokio::test]
async fn code_flow_with_id_token_userinfo_and_logout() {
    for engine in engines().await {
        let app = register(&engine, json!({})).await;
        let anonymous = Browser::anonymous(&engine);
        let page = anonymous.authorize(&app, "openid", &[]).await;
        let next = page.answer().remove("next").expect("a way back");
        assert!(page.location.as_deref().expect("a redirect").starts_with("/oidc/login?next="), "{:?}", page.location);
        assert!(next.starts_with("/oidc/authorize?") && next.contains(&app.id));

        let alice = Browser::signed_in(&engine, "alice").await;
        let page =
            alice.authorize(&app, "openid profile offline_access compute.create unheard-of dte.admin", &[]).await;
        assert_eq!(page.status, 200);
        for seen in ["Test program", "rp.example", "start jobs", "keep access while you are away", "alice"] {
            assert!(page.body.contains(seen), "{seen} in {}", page.body);
        }
        assert!(!page.body.contains("dte.admin</code>"));
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["referrer-policy"], "same-origin");
        let page = alice.decide(&page, "allow").await;
        let answer = page.answer();
        assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("the state", engine.identity.issuer()));
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        let (status, tokens) = redeem(&engine, &app, &answer["code"], &[]).await;
        assert_eq!(status, 200, "{tokens}");
        assert_eq!(text(&tokens, "scope"), "openid profile offline_access compute.create");
        assert_eq!((text(&tokens, "token_type"), tokens["expires_in"].as_u64()), ("Bearer", Some(3_600)));

        let access = claims(text(&tokens, "access_token"));
        assert_eq!((text(&access, "sub"), text(&access, "client_id")), ("alice", app.id.as_str()));
        assert_eq!(text(&access, "aud"), engine.identity.audience());
        let id = claims(text(&tokens, "id_token"));
        assert_eq!((text(&id, "sub"), text(&id, "aud"), text(&id, "nonce")), ("alice", app.id.as_str(), "the nonce"));
        assert_eq!((text(&id, "iss"), text(&id, "preferred_username")), (engine.identity.issuer(), "alice"));
        assert!(id["at_hash"].is_string() && id["auth_time"].is_i64());

        assert_eq!(get_with(&engine, "/demo/work", text(&tokens, "access_token")).await, 200);
        assert_eq!(get_with(&engine, "/demo/admin", text(&tokens, "access_token")).await, 403);
        let ask = engine.client.get(engine.url_of("/oidc/userinfo"));
        let reply = ask
            .header("authorization", format!("Bearer {}", text(&tokens, "access_token")))
            .send()
            .await
            .expect("an answer");
        let info: Value = reply.json().await.expect("JSON");
        assert_eq!((text(&info, "sub"), text(&info, "name")), ("alice", "alice"));
        let ask = engine
            .client
            .post(engine.url_of("/oidc/userinfo"))
            .form(&[("access_token", text(&tokens, "access_token"))]);
        assert_eq!(ask.send().await.expect("an answer").status, 200);

        // Once is enough; more is asked again, and so is who wants it so.
        assert!(alice.authorize(&app, "openid profile", &[]).await.answer().contains_key("code"));
        assert!(alice.authorize(&app, "openid profile", &[("prompt", "none")]).await.answer().contains_key("code"));
        let more = alice.authorize(&app, "openid wlcg", &[("prompt", "none")]).await.answer();
        assert_eq!(more["error"], "consent_required");
        assert_eq!(alice.authorize(&app, "openid", &[("prompt", "consent")]).await.status, 200);
        // Times are whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let again = alice.authorize(&app, "openid", &[("prompt", "login")]).await;
        assert!(again.location.as_deref().expect("a redirect").starts_with("/oidc/login?next="));
        let next = again.answer().remove("next").expect("a way back");
        // Still the old session: asked again. A new one goes through.
        assert!(alice.get(&next).await.location.expect("a redirect").starts_with("/oidc/login"));
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let fresh = Browser::signed_in(&engine, "alice").await;
        assert!(fresh.get(&next).await.answer().contains_key("code"));
        assert_eq!(
            anonymous.authorize(&app, "openid", &[("prompt", "none")]).await.answer()["error"],
            "login_required"
        );
        let page = alice.authorize(&app, "openid wlcg", &[]).await;
        assert_eq!(alice.decide(&page, "deny").await.answer()["error"], "access_denied");

        // Signing out: with the ID token at once, without it only after a question.
        let out = alice.get("/oidc/logout").await;
        assert!(out.body.contains("Sign out") && out.headers.get("set-cookie").is_none());
        let hint = text(&tokens, "id_token");
        let wrong = alice
            .get(&format!(
                "/oidc/logout?id_token_hint={hint}&post_logout_redirect_uri=https%3A%2F%2Frp.example%2Fbye%2Fx"
            ))
            .await;
        assert_eq!((wrong.status, wrong.location), (400, None));
        let out = alice
            .get(&format!(
                "/oidc/logout?id_token_hint={hint}&post_logout_redirect_uri=https%3A%2F%2Frp.example%2Fbye&state=s"
            ))
            .await;
        // It registered itself: where to is shown, and nobody is sent there.
        assert_eq!((out.status, &out.location), (200, &None));
        assert!(out.body.contains("href=\"https://rp.example/bye?state=s\""), "{}", out.body);
        assert!(out.headers["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
        assert_eq!(alice.authorize(&app, "openid", &[("prompt", "none")]).await.answer()["error"], "login_required");
    }
}

#[tokio::test]
async fn refresh_rotates_and_narrows() {
    for engine in engines().await {
        let alice = Browser::signed_in(&engine, "alice").await;
        let services = json!({"client_name": "services", "grant_types": ["client_credentials"], "scope": "compute.read",
            "audiences": ["https://a.example", "https://b.example"]});
        register_trusted(&engine, services).await;
        let app = public_app(&engine).await;
        let without = alice.tokens(&app, "openid compute.create").await;
        assert!(without.get("refresh_token").is_none());
        let first = alice.tokens(&app, "openid compute.create offline_access").await;
        let one = text(&first, "refresh_token");
        let (status, second) = refresh(&engine, &app, one, &[]).await;
        assert_eq!(status, 200, "{second}");
        let two = text(&second, "refresh_token");
        assert_ne!(one, two);
        // Within the grace both holders of the first get the same second: a lost answer, or two programs with one token.
        let (status, again) = refresh(&engine, &app, one, &[]).await;
        assert_eq!((status, text(&again, "refresh_token")), (200, two));
        let (status, third) = refresh(
            &engine,
            &app,
            two,
            &[("scope", "openid"), ("audience", "https://a.example"), ("resource", "https://b.example")],
        )
        .await;
        assert_eq!((status, text(&third, "scope")), (200, "openid"));
        assert_eq!(claims(text(&third, "access_token"))["aud"], json!(["https://a.example", "https://b.example"]));
        // The grant itself is as wide as before.
        let three = text(&third, "refresh_token");
        let (status, fourth) = refresh(&engine, &app, three, &[]).await;
        assert_eq!((status, text(&fourth, "scope")), (200, "openid compute.create offline_access"));
        let (status, wide) = refresh(&engine, &app, text(&fourth, "refresh_token"), &[("scope", "openid wlcg")]).await;
        assert_eq!((status, text(&wide, "error")), (400, "invalid_scope"));

        // A client with a secret keeps its token, so that services that forget to store the next one live on.
        let service = register(&engine, json!({})).await;
        let tokens = alice.tokens(&service, "openid offline_access").await;
        let kept = text(&tokens, "refresh_token");
        let (status, answer) = refresh(&engine, &service, kept, &[]).await;
        assert_eq!((status, text(&answer, "refresh_token")), (200, kept));
    }
}

#[tokio::test]
async fn a_device_gets_in() {
    for engine in engines().await {
        let app = register(&engine, json!({})).await;
        let (status, begun) = call(&engine, "/oidc/devicecode", &app, &[("scope", "openid offline_access")]).await;
        assert_eq!((status, begun["expires_in"].as_u64(), begun["interval"].as_u64()), (200, Some(600), Some(5)));
        let device = text(&begun, "device_code");
        let poll = async || token(&engine, &app, &[("grant_type", DEVICE_GRANT), ("device_code", device)]).await;
        assert_eq!(text(&poll().await.1, "error"), "authorization_pending");
        assert_eq!(text(&poll().await.1, "error"), "slow_down");

        let complete = text(&begun, "verification_uri_complete");
        let page = Browser::anonymous(&engine).get(complete).await;
        assert!(page.location.expect("a redirect").starts_with("/oidc/login?next=%2Foidc%2Fdevice%3Fuser%5Fcode%3D"));
        let alice = Browser::signed_in(&engine, "alice").await;
        let page = alice.get(complete).await;
        let code = text(&begun, "user_code");
        assert!(
            page.body.contains(code) && page.body.contains("Test program") && page.body.contains("know who you are")
        );
        let lower = alice.get(&format!("/oidc/device?user_code={}", code.to_lowercase().replace('-', ""))).await;
        assert_eq!(lower.status, 200);
        let csrf = page.field("csrf");
        let done = alice.post("/oidc/device", &[("csrf", &csrf), ("user_code", code), ("decision", "allow")]).await;
        assert_eq!(done.status, 200, "{}", done.body);
        // Another code: the first was slowed down.
        let (_, other) = call(&engine, "/oidc/devicecode", &app, &[("scope", "openid offline_access")]).await;
        let csrf = alice.get(text(&other, "verification_uri_complete")).await.field("csrf");
        alice
            .post("/oidc/device", &[("csrf", &csrf), ("user_code", text(&other, "user_code")), ("decision", "allow")])
            .await;
        let fields = [("grant_type", DEVICE_GRANT), ("device_code", text(&other, "device_code"))];
        let (status, tokens) = token(&engine, &app, &fields).await;
        assert_eq!(status, 200, "{tokens}");
        assert!(tokens["id_token"].is_string() && tokens["refresh_token"].is_string());
        let (_, denied) = call(&engine, "/oidc/devicecode", &app, &[("scope", "openid")]).await;
        let csrf = alice.get(text(&denied, "verification_uri_complete")).await.field("csrf");
        alice
            .post("/oidc/device", &[("csrf", &csrf), ("user_code", text(&denied, "user_code")), ("decision", "deny")])
            .await;
        let (_, answer) =
            token(&engine, &app, &[("grant_type", DEVICE_GRANT), ("device_code", text(&denied, "device_code"))]).await;
        assert_eq!(text(&answer, "error"), "access_denied");
    }
}

#[tokio::test]
async fn tokens_are_exchanged_as_policies_permit() {
    for engine in engines().await {
        let alice = Browser::signed_in(&engine, "alice").await;
        let agent = register(&engine, json!({})).await;
        let fts = register_trusted(
            &engine,
            json!({"client_name": "fts", "grant_types": [EXCHANGE_GRANT, "client_credentials", "refresh_token"], "audiences": ["https://fts.example"],
                "scope": "openid offline_access storage.read:/ storage.modify:/"}),
        )
        .await;
        let subject = alice.tokens(&agent, "openid storage.read:/data").await;
        let subject = text(&subject, "access_token");
        let exchange = async |scope: &str, more: &[(&str, &str)]| {
            let mut fields = vec![
                ("grant_type", EXCHANGE_GRANT),
                ("subject_token", subject),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("scope", scope),
            ];
            fields.extend_from_slice(more);
            token(&engine, &fts, &fields).await
        };
        assert_eq!(text(&exchange("openid", &[]).await.1, "error"), "access_denied");
        let policies = engine.url_of("/oidc/iam/api/exchange/policies");
        let policy = json!({"rule": "PERMIT", "originClient": {"type": "ANY"}, "destinationClient": {"type": "BY_ID", "matchParam": fts.id},
            "scopePolicies": [{"rule": "PERMIT", "type": "ANY"}, {"rule": "PERMIT", "type": "EQ", "matchParam": "offline_access"}]});
        let add = engine.client.post(&policies).json(&policy);
        assert_eq!(add.send().await.expect("an answer").status, 401);
        let add =
            engine.client.post(&policies).bearer(&engine.admin_token()).json(&policy).send().await.expect("an answer");
        assert_eq!(add.status, 201);
        let id = add.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned();

        let (status, answer) =
            exchange("storage.read:/data/set offline_access", &[("audience", "https://fts.example")]).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(text(&answer, "issued_token_type"), "urn:ietf:params:oauth:token-type:access_token");
        let new = claims(text(&answer, "access_token"));
        assert_eq!(
            (text(&new, "sub"), text(&new, "aud"), text(&new, "client_id")),
            ("alice", "https://fts.example", fts.id.as_str())
        );
        assert_eq!(new["act"], json!({"sub": fts.id}));
        let (status, refreshed) = refresh(&engine, &fts, text(&answer, "refresh_token"), &[]).await;
        assert_eq!(status, 200, "{refreshed}");
        assert_eq!(claims(text(&refreshed, "access_token"))["act"], json!({"sub": fts.id}), "who acts stays");

        let gone = engine.client.delete(format!("{policies}/{id}")).bearer(&engine.admin_token());
        assert_eq!(gone.send().await.expect("an answer").status, 204);
        assert_eq!(text(&exchange("openid", &[]).await.1, "error"), "access_denied");
        // A client that has grants of its own is a subject, too.
        let (status, own) =
            token(&engine, &fts, &[("grant_type", "client_credentials"), ("audience", "https://fts.example")]).await;
        assert_eq!((status, claims(text(&own, "access_token"))["sub"].as_str()), (200, Some(fts.id.as_str())));
    }
}

#[tokio::test]
async fn clients_are_suspended_and_deleted() {
    let engine = start().await;
    engine.identity.serve_admin_socket(engine.data_dir(), &engine.tasks).expect("served");
    let admin = dte_identity::AdminClient::new(engine.data_dir());
    let alice = Browser::signed_in(&engine, "alice").await;
    let app = register(&engine, json!({})).await;
    engine.identity.add_client("robot", &["compute.read"], &[], "test").await.expect("made");
    let tokens = alice.tokens(&app, "openid wlcg offline_access").await;
    let (access, again) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    assert_eq!(get_with(&engine, "/demo/me", access).await, 200);
    let listed = admin.clients().await.expect("clients");
    assert_eq!(listed.iter().map(|client| client.client_id.as_str()).collect::<Vec<_>>(), ["robot", app.id.as_str()]);

    admin.set_client(&app.id, false).await.expect("suspended");
    assert_eq!(get_with(&engine, "/demo/me", access).await, 401);
    assert_eq!(refresh(&engine, &app, again, &[]).await.0, 401);
    assert_eq!(alice.authorize(&app, "openid", &[]).await.status, 400);
    admin.set_client(&app.id, true).await.expect("back");
    assert_eq!(get_with(&engine, "/demo/me", access).await, 200);
    let (status, tokens) = refresh(&engine, &app, again, &[]).await;
    assert_eq!(status, 200);

    // Everything of one client, and everything: what was issued before no longer counts.
    let access = text(&tokens, "access_token");
    engine.identity.revoke_issued(Some("robot"), "admin").await.expect("revoked");
    assert_eq!(get_with(&engine, "/demo/me", access).await, 200);
    engine.identity.revoke_issued(Some(&app.id), "admin").await.expect("revoked");
    assert_eq!(get_with(&engine, "/demo/me", access).await, 401);
    let (_, inactive) = call(&engine, "/oidc/introspect", &app, &[("token", access)]).await;
    assert_eq!(inactive, json!({"active": false}));
    assert_eq!(refresh(&engine, &app, again, &[]).await.0, 400);
    let before = engine.admin_token();
    assert_eq!(get_with(&engine, "/demo/admin", before.expose()).await, 200);
    engine.identity.revoke_issued(None, "admin").await.expect("revoked");
    assert_eq!(get_with(&engine, "/demo/admin", before.expose()).await, 401);

    admin.delete_client(&app.id).await.expect("deleted");
    admin.delete_client("robot").await.expect("deleted");
    assert!(admin.delete_client("robot").await.is_err());
    assert!(admin.clients().await.expect("clients").is_empty());
    assert_eq!(refresh(&engine, &app, again, &[]).await.0, 401);
    assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
}

#[tokio::test]
async fn a_client_signs_instead_of_showing_a_secret() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    use p256::ecdsa::signature::Signer;
    for engine in engines().await {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
        let point = key.verifying_key().to_encoded_point(false);
        let coordinate = |bytes: Option<&p256::FieldBytes>| B64.encode(bytes.expect("a coordinate"));
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "kid": "mine", "x": coordinate(point.x()), "y": coordinate(point.y())});
        let metadata = json!({"grant_types": ["client_credentials"], "scope": "compute.read", "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [jwk]}});
        let app = register_trusted(&engine, metadata).await;
        assert!(app.secret.is_none());
        let issuer = engine.identity.issuer().to_owned();
        let now = dte_base::time::Timestamp::now().as_seconds();
        let ask = async |changes: Value| {
            let mut claims = json!({"iss": app.id, "sub": app.id, "aud": issuer, "exp": now + 300, "jti": dte_base::id::new_id().to_string()});
            for (name, value) in changes.as_object().expect("an object") {
                claims[name] = value.clone();
            }
            let message =
                format!("{}.{}", B64.encode(r#"{"alg":"ES256","kid":"mine"}"#), B64.encode(claims.to_string()));
            let signature: p256::ecdsa::Signature = key.sign(message.as_bytes());
            let assertion = format!("{message}.{}", B64.encode(signature.to_bytes()));
            token(
                &engine,
                &app,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", &assertion),
                ],
            )
            .await
        };
        let (status, answer) = ask(json!({"jti": "once"})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(claims(text(&answer, "access_token"))["sub"], app.id.as_str());
        for bad in [
            json!({"jti": "once"}),
            json!({"aud": "https://elsewhere.example"}),
            json!({"exp": now - 1}),
            json!({"exp": now + 100_000}),
            json!({"exp": (now + 300).to_string()}),
            json!({"iss": "other"}),
            json!({"sub": "other", "iss": "other"}),
            json!({"jti": ""}),
            json!({"nbf": now + 300}),
        ] {
            let (status, answer) = ask(bad.clone()).await;
            assert_eq!((status, text(&answer, "error")), (401, "invalid_client"), "{bad}");
        }
        // Its name alone, or a secret, is nothing.
        assert_eq!(token(&engine, &app, &[("grant_type", "client_credentials")]).await.0, 401);
        assert_eq!(token(&engine, &app, &[("grant_type", "refresh_token"), ("refresh_token", "x")]).await.0, 401);
        for bad in [
            json!({}),
            json!({"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA", "d": "AA"}]}}),
        ] {
            let mut metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt"});
            metadata.as_object_mut().expect("an object").extend(bad.as_object().expect("an object").clone());
            assert_eq!(register_raw(&engine, metadata).await.0, 400);
        }
    }
}
