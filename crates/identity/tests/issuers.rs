//! Issuers: the built-in one for its clients, and foreign ones that are trusted.

use std::time::Duration;

use dte_identity::testing::{TestEngine, TestSetup, forged_token};
use dte_identity::{Mount, NewBan, Principal, Require, Routes};
use serde_json::{Value, json};

async fn whoami(principal: Principal) -> String {
    format!("{}|{}|{}", principal.issuer, principal.subject, principal.name())
}

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo").get("/me", Require::Authenticated, whoami).get(
        "/compute",
        Require::Scope("compute.create"),
        whoami,
    );
    vec![Mount { prefix: "/demo", routes }]
}

async fn issuer_engine() -> TestEngine {
    TestEngine::start(async |_| Ok(mounts())).await
}

/// An engine that trusts `other`.
async fn trusting(other: &TestEngine, more: &str) -> TestEngine {
    let issuer = other.identity.issuer();
    let config = format!(
        "[[identity.trusted_issuers]]\nissuer = '{issuer}'\nvo = 'twins'\naudiences = ['https://us.example']\n{more}\n"
    );
    TestEngine::start_with(TestSetup::config(&config), async |_| Ok(mounts())).await
}

#[tokio::test]
async fn discovery_and_keys() {
    let engine = issuer_engine().await;
    let server = engine.listen();
    let base = engine.url.as_str().trim_end_matches('/').to_owned();
    for place in [
        "/oidc/.well-known/openid-configuration",
        "/oidc/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration/oidc",
        "/.well-known/oauth-authorization-server/oidc",
    ] {
        let reply =
            engine.client.get(format!("{base}{place}")).send().await.expect("an answer").ok().await.expect(place);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let metadata: Value = reply.json().await.expect("JSON");
        assert_eq!(metadata["issuer"], format!("{base}/oidc"));
        let keys: Value = engine
            .client
            .get(metadata["jwks_uri"].as_str().expect("a URI"))
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        assert_eq!(keys["keys"][0]["crv"], "P-256");
        assert!(keys["keys"][0].get("d").is_none());
    }
    assert!(server.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn client_credentials() {
    let engine = issuer_engine().await;
    let secret = engine
        .identity
        .add_client("robot", &["compute.create", "storage.read:/local"], &["https://fts.example"], "admin")
        .await
        .expect("made");
    let secret = secret.expose();
    let url = engine.url_of("/oidc/token");
    let post = async |form: &[(&str, &str)]| engine.client.post(&url).form(form).send().await.expect("an answer");
    let good = [("grant_type", "client_credentials"), ("client_id", "robot"), ("client_secret", secret)];
    let reply = post(&good).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let body: Value = reply.json().await.expect("JSON");
    assert_eq!((&body["token_type"], &body["scope"]), (&json!("Bearer"), &json!("compute.create storage.read:/local")));
    let token = body["access_token"].as_str().expect("a token").to_owned();
    let me = engine.client.get(engine.url_of("/demo/compute")).bearer(&token).send().await.expect("an answer");
    assert_eq!(me.text().await.expect("a text"), format!("{}|robot|robot", engine.identity.issuer()));

    let basic = |user: &str, secret: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}")))
    };
    let with_basic = async |header: String, scope: &str| {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        engine.client.post(&url).header("authorization", header).form(&form).send().await.expect("an answer")
    };
    let body: Value = with_basic(basic("robot", secret), "compute.create").await.json().await.expect("JSON");
    assert_eq!(body["scope"], "compute.create");

    let refused = async |reply: dte_http::Reply| {
        (reply.status.as_u16(), reply.json::<Value>().await.expect("JSON")["error"].clone())
    };
    assert_eq!(refused(with_basic(basic("robot", secret), "dte.admin").await).await, (400, json!("invalid_scope")));
    let wrong = with_basic(basic("robot", "wrong"), "").await;
    assert_eq!(wrong.header("www-authenticate"), Some("Basic realm=\"dte\""));
    assert_eq!(refused(wrong).await, (401, json!("invalid_client")));
    assert_eq!(refused(post(&[("grant_type", "client_credentials")]).await).await, (401, json!("invalid_client")));
    assert_eq!(
        refused(post(&[("grant_type", "password"), good[1], good[2]]).await).await,
        (400, json!("unsupported_grant_type"))
    );
    assert_eq!(
        refused(post(&[good[0], good[1], good[2], ("audience", "https://evil.example")]).await).await,
        (400, json!("invalid_target"))
    );
    let elsewhere = post(&[good[0], good[1], good[2], ("resource", "https://fts.example")]).await;
    let elsewhere: Value = elsewhere.json().await.expect("JSON");
    let outcome = engine
        .client
        .get(engine.url_of("/demo/me"))
        .bearer(elsewhere["access_token"].as_str().expect("a token"))
        .send()
        .await;
    assert_eq!(outcome.expect("an answer").status, 401, "a token for another audience is of no use here");

    // Who guesses is slowed down; the right secret stays right.
    for _ in 0..10 {
        with_basic(basic("robot", "wrong"), "").await;
    }
    let slowed = with_basic(basic("robot", "wrong"), "").await;
    assert!(slowed.header("retry-after").is_some());
    assert_eq!(slowed.status, 429);
    assert_eq!(post(&good).await.status, 200);
}

#[tokio::test]
async fn a_banned_client_gets_nothing() {
    let engine = issuer_engine().await;
    let secret = engine.identity.add_client("robot", &["compute.create"], &[], "admin").await.expect("made");
    let token = engine.identity.client_token("robot", secret.expose(), None, None).expect("a token").token;
    engine
        .identity
        .ban(NewBan { client_id: Some("robot".to_owned()), reason: "test".to_owned(), ..NewBan::default() }, "admin")
        .await
        .expect("banned");
    assert!(engine.identity.verify(token.expose()).await.is_err());
    assert!(engine.identity.client_token("robot", secret.expose(), None, None).is_err());
}

#[tokio::test]
async fn foreign_issuers() {
    let other = issuer_engine().await;
    let server = other.listen();
    let us = trusting(&other, "[[identity.trusted_issuers.grants]]\ngroup = '/twins/ops'\nscopes = ['compute.create']")
        .await;
    let ask = async |changes: Value, path: &str| {
        let token = forged_token(&other.identity, &changes);
        us.client.get(us.url_of(path)).bearer(&token).send().await.expect("an answer")
    };
    let for_us = json!({"aud": "https://us.example", "sub": "carol", "scope": "openid"});
    let who = ask(for_us.clone(), "/demo/me").await.text().await.expect("a text");
    let guest = who.rsplit('|').next().expect("a name").to_owned();
    assert!(who.starts_with(&format!("{}|carol|guest-", other.identity.issuer())), "{who}");
    assert_eq!(ask(for_us.clone(), "/demo/compute").await.status, 403);
    assert_eq!(
        ask(json!({"aud": "https://us.example"}), "/demo/compute").await.status,
        403,
        "their admin is nobody here"
    );
    let member = json!({"aud": "https://us.example", "sub": "dave", "wlcg.groups": ["/twins/ops"]});
    assert_eq!(ask(member, "/demo/compute").await.status, 200);
    let scoped = json!({"aud": "https://us.example", "sub": "dave", "scope": "compute.create"});
    assert_eq!(ask(scoped, "/demo/compute").await.status, 200);
    assert_eq!(ask(json!({}), "/demo/me").await.status, 401, "the other engine's own audience is not ours");
    // A foreign issuer cannot make acting tokens for our accounts.
    let acting = json!({"aud": "https://us.example", "sub": "admin", "act": {"sub": "x"}, "dte.subject_issuer": us.identity.issuer()});
    let who = ask(acting, "/demo/me").await.text().await.expect("a text");
    assert!(who.starts_with(other.identity.issuer()), "{who}");
    // Work goes on for a guest, under the same name.
    let principal = us.identity.verify(forged_token(&other.identity, &for_us).expose()).await.expect("good");
    let acting = us.identity.acting_token(&principal.user_ref(), "workflow", &[], None).expect("a token");
    let acted = us.identity.verify(acting.expose()).await.expect("good");
    assert_eq!(
        (acted.name(), acted.issuer.as_str(), acted.acting.as_deref()),
        (guest.as_str(), other.identity.issuer(), Some("workflow"))
    );
    // Everybody of the organisation.
    us.identity
        .ban(NewBan { vo: Some("twins".to_owned()), reason: "test".to_owned(), ..NewBan::default() }, "admin")
        .await
        .expect("banned");
    assert_eq!(ask(for_us.clone(), "/demo/me").await.status, 401);
    assert!(us.identity.verify(acting.expose()).await.is_err());
    assert!(!us.identity.is_welcome(&principal.user_ref()));
    assert!(server.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn an_issuer_that_is_down_and_unknown_keys() {
    let other = issuer_engine().await;
    let us = trusting(&other, "").await;
    let token = forged_token(&other.identity, &json!({"aud": "https://us.example"}));
    // Nobody listens there: connections wait, so stop that quickly by making it refuse.
    let server = other.listen();
    assert!(us.identity.verify(token.expose()).await.is_ok());
    assert!(server.stop(Duration::from_secs(5)).await);
    // Its keys are remembered.
    let later = forged_token(&other.identity, &json!({"aud": "https://us.example", "sub": "erin"}));
    assert!(us.identity.verify(later.expose()).await.is_ok());
    // An unknown key leads to no second fetch so soon after the first, and to a refusal.
    let stranger = issuer_engine().await;
    let odd = forged_token(&stranger.identity, &json!({"aud": "https://us.example", "iss": other.identity.issuer()}));
    let refused = us.identity.verify(odd.expose()).await.expect_err("refused");
    assert_eq!(refused.id(), "key-unknown");
}

#[tokio::test]
async fn issuers_that_cannot_be_trusted() {
    for text in [
        "issuer = 'http://issuer.example'",
        "issuer = 'issuer.example'",
        "issuer = 'https://issuer.example'\njwks_uri = 'http://keys.example'",
        "issuer = 'https://issuer.example'\nbase_path = 'a'",
        "issuer = 'https://issuer.example'\n[[identity.trusted_issuers.grants]]\nscopes = ['storage.read']",
        "issuer = 'https://issuer.example'\nunknown = 1",
    ] {
        let setup = TestSetup::config(&format!("[[identity.trusted_issuers]]\n{text}\n"));
        assert!(TestEngine::try_start(setup, async |_| Ok(mounts())).await.is_err(), "{text}");
    }
}
