//! Issuers that are asked about tokens: introspection, userinfo; revocation times; the issuer that is away.

mod provider;

use std::sync::atomic::Ordering;
use std::time::Duration;

use dte_base::time::Timestamp;
use dte_identity::NewNotBefore;
use dte_identity::testing::{TestEngine, TestSetup};
use provider::{AUDIENCE, Provider, engine, mounts, status};
use serde_json::{Value, json};

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";

fn secret() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "secret\n").expect("written");
    let more = format!(
        "profile = 'generic'\nintrospection = {{ client_id = 'us', client_secret_file = '{}' }}",
        path.display()
    );
    (folder, more)
}

fn answer(provider: &Provider, token: &str, changes: Value) {
    let mut claims = provider.claims();
    let all = claims.as_object_mut().expect("an object");
    all.insert("active".to_owned(), json!(true));
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    provider.said.answers.lock().expect("not poisoned").insert(token.to_owned(), claims);
}

#[tokio::test]
async fn opaque_tokens_are_shown_to_their_issuer() {
    let provider = Provider::start().await;
    let (_folder, more) = secret();
    let us = engine(&provider.trusted(&more)).await;
    answer(&provider, OPAQUE, json!({"scope": "compute.create"}));
    for _ in 0..5 {
        assert_eq!(status(&us, "/demo/compute", OPAQUE).await, 200);
    }
    assert_eq!(provider.said.introspection.load(Ordering::SeqCst), 1, "the answer is remembered");
    let who = us.identity.verify(OPAQUE).await.expect("good");
    assert_eq!((who.issuer.as_str(), who.subject.as_str()), (provider.issuer.as_str(), "carol"));
    // What is not in force is remembered too.
    for _ in 0..5 {
        assert_eq!(us.identity.verify("unknown-token").await.expect_err("refused").id(), "token-inactive");
    }
    assert_eq!(provider.said.introspection.load(Ordering::SeqCst), 2);
    // The answer is checked like a token's own claims.
    let now = Timestamp::now().as_seconds();
    for (number, (changes, reason)) in [
        (json!({"active": "true"}), "token-inactive"),
        (json!({"active": false}), "token-inactive"),
        (json!({"active": null}), "token-inactive"),
        (json!({"aud": "https://other.example"}), "audience-wrong"),
        (json!({"aud": null}), "claim-missing"),
        (json!({"exp": now - 1}), "expired"),
        (json!({"exp": null}), "claim-missing"),
        (json!({"exp": "1"}), "claim-type"),
        (json!({"sub": null}), "claim-missing"),
        (json!({"iss": "https://other.example"}), "issuer-not-trusted"),
        (json!({"scope": "storage.read"}), "scope-unacceptable"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("{OPAQUE}-{number}");
        answer(&provider, &token, changes.clone());
        assert_eq!(us.identity.verify(&token).await.expect_err("refused").id(), reason, "{changes}");
    }
    provider
        .said
        .answers
        .lock()
        .expect("not poisoned")
        .insert("twice-active".to_owned(), json!(r#"{"active":false,"active":true}"#));
    assert_eq!(us.identity.verify("twice-active").await.expect_err("refused").id(), "token-malformed");
    // What cannot be a token is not sent anywhere.
    let before = provider.said.introspection.load(Ordering::SeqCst);
    for odd in ["short", "with space in it", "line\nbreak-here", "ümlaut-token"] {
        assert_eq!(us.identity.verify(odd).await.expect_err("refused").id(), "token-opaque", "{odd}");
    }
    assert_eq!(provider.said.introspection.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn without_introspection_or_with_two_issuers_opaque_tokens_are_refused() {
    let provider = Provider::start().await;
    let us = engine(&provider.trusted("")).await;
    answer(&provider, OPAQUE, json!({}));
    assert_eq!(us.identity.verify(OPAQUE).await.expect_err("refused").id(), "token-opaque");
    assert_eq!(provider.said.introspection.load(Ordering::SeqCst), 0);
    let (_folder, more) = secret();
    let other = Provider::start().await;
    let setup = TestSetup::config(&format!("{}{}", provider.trusted(&more), other.trusted(&more)));
    let error = TestEngine::try_start(setup, async |_| Ok(mounts())).await.err().expect("refused").to_string();
    assert!(error.contains("introspection"), "{error}");
    let gone = more.replace("/secret'", "/no-such-file'");
    let setup = TestSetup::config(&provider.trusted(&gone));
    assert!(TestEngine::try_start(setup, async |_| Ok(mounts())).await.is_err(), "a secret that cannot be read");
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_a_refusal() {
    let provider = Provider::start().await;
    let (_folder, more) = secret();
    let closed = more.replace("client_id = 'us'", "client_id = 'us', endpoint = 'http://127.0.0.1:1/introspect'");
    let us = engine(&provider.trusted(&closed)).await;
    assert_eq!(us.identity.verify(OPAQUE).await.expect_err("refused").id(), "introspection-unavailable");
    let wrong = more.replace("client_id = 'us'", "client_id = 'somebody'");
    let us = engine(&provider.trusted(&wrong)).await;
    answer(&provider, OPAQUE, json!({}));
    assert_eq!(us.identity.verify(OPAQUE).await.expect_err("refused").id(), "introspection-unavailable");
}

const GRANT: &str =
    "[[identity.trusted_issuers.grants]]\ngroup = 'urn:mace:egi.eu:group:twins:ops'\nscopes = ['compute.create']";

#[tokio::test]
async fn entitlements_that_only_userinfo_tells() {
    let provider = Provider::start().await;
    let us = engine(&provider.trusted(&format!("profile = 'aarc'\nuserinfo = true\n{GRANT}"))).await;
    let tell = |answer: Option<Value>| *provider.said.userinfo_answer.lock().expect("not poisoned") = answer;
    let ops = "urn:mace:egi.eu:group:twins:ops:role=member#aai.egi.eu";
    tell(Some(json!({"sub": "carol", "eduperson_entitlement": [ops, "rubbish"]})));
    let token = provider.token(json!({}));
    for _ in 0..5 {
        assert_eq!(status(&us, "/demo/compute", &token).await, 200);
    }
    assert_eq!(provider.said.userinfo.load(Ordering::SeqCst), 1, "the answer is remembered");
    // The issuer says that the token is not good; that the answer is about somebody else; nothing at all.
    for (answer, reason) in [
        (Some(Value::Null), "token-inactive"),
        (Some(json!({"sub": "mallory", "eduperson_entitlement": [ops]})), "subject-unacceptable"),
        (Some(json!({"eduperson_entitlement": [ops]})), "subject-unacceptable"),
        (None, "userinfo-unavailable"),
    ] {
        tell(answer);
        let token = provider.token(json!({}));
        assert_eq!(us.identity.verify(&token).await.expect_err("refused").id(), reason);
    }
    // While it is silent, what it said last is used for a little longer.
    assert_eq!(status(&us, "/demo/compute", &token).await, 200);
}

#[tokio::test]
async fn groups_from_the_claims_that_the_operator_names() {
    let provider = Provider::start().await;
    let more = "profile = 'generic'\ngroup_claims = [{ claim = 'realm_access.roles', below = '/twins/roles' }]\n\
                [[identity.trusted_issuers.grants]]\ngroup = '/twins/roles/ops'\nscopes = ['compute.create']";
    let us = engine(&provider.trusted(more)).await;
    let token =
        |roles: Value| provider.token(json!({"realm_access": {"roles": roles}, "groups": ["/twins/roles/ops"]}));
    assert_eq!(status(&us, "/demo/compute", &token(json!(["ops"]))).await, 200);
    for roles in [json!(["opsy"]), json!([]), json!(["x/ops"]), json!(["../ops"])] {
        assert_eq!(status(&us, "/demo/compute", &token(roles.clone())).await, 403, "{roles}");
    }
    assert_eq!(status(&us, "/demo/me", &token(json!("ops"))).await, 200);
    assert_eq!(status(&us, "/demo/me", &token(json!(7))).await, 401);
}

#[tokio::test]
async fn tokens_from_before_a_revocation_time() {
    let provider = Provider::start().await;
    let us = engine(&provider.trusted("profile = 'generic'")).await;
    let now = Timestamp::now();
    let old = provider.token(json!({"iat": now.as_seconds() - 100, "client_id": "app"}));
    let new = provider.token(json!({"iat": now.as_seconds() + 30, "client_id": "app"}));
    let other = provider.token(json!({"iat": now.as_seconds() - 100, "client_id": "web"}));
    let dateless = provider.token(json!({"iat": null, "client_id": "app"}));
    let rule = |client_id: Option<&str>| NewNotBefore {
        issuer: provider.issuer.clone(),
        client_id: client_id.map(str::to_owned),
        subject: None,
        before: now,
        reason: "leak".to_owned(),
    };
    let all = async || {
        let mut found = Vec::new();
        for token in [&old, &new, &other, &dateless] {
            found.push(status(&us, "/demo/me", token).await);
        }
        found
    };
    assert_eq!(all().await, [200, 200, 200, 200]);
    let client = us.identity.revoke_before(rule(Some("app")), "admin").await.expect("made");
    assert_eq!(all().await, [401, 200, 200, 401], "of one client");
    let everybody = us.identity.revoke_before(rule(None), "admin").await.expect("made");
    assert_eq!(all().await, [401, 200, 401, 401], "of the issuer");
    us.identity.lift_revocation(&client.id, "admin").await.expect("lifted");
    assert_eq!(all().await, [401, 200, 401, 401], "both apply, one is enough");
    assert_eq!(us.identity.verify(&old).await.expect_err("refused").id(), "revoked");
    us.identity.lift_revocation(&everybody.id, "admin").await.expect("lifted");
    assert_eq!(all().await, [200, 200, 200, 200]);
    assert!(us.identity.lift_revocation(&everybody.id, "admin").await.is_err());
    // Our own tokens; another issuer's are not touched.
    let alice = us.token_for("alice", &[]).await;
    let ours = NewNotBefore {
        issuer: us.identity.issuer().to_owned(),
        subject: Some("alice".to_owned()),
        before: now + Duration::from_secs(60),
        ..rule(None)
    };
    us.identity.revoke_before(ours, "admin").await.expect("made");
    assert_eq!(status(&us, "/demo/me", alice.expose()).await, 401);
    assert_eq!(status(&us, "/demo/me", us.admin_token().expose()).await, 200);
    assert_eq!(all().await, [200, 200, 200, 200]);
    assert!(us.identity.is_revoked(us.identity.issuer(), "alice", None, now));
    let unknown = NewNotBefore { issuer: "https://nobody.example".to_owned(), ..rule(None) };
    assert!(us.identity.revoke_before(unknown, "admin").await.is_err());
}

#[tokio::test]
async fn a_remembered_token_survives_changes_of_others() {
    let provider = Provider::start().await;
    let us = engine(&provider.trusted("")).await;
    let token = provider.token(json!({"aud": AUDIENCE}));
    assert_eq!(status(&us, "/demo/me", &token).await, 200);
    drop(provider);
    // Accounts change, and the issuer is away: nothing has to be fetched again.
    us.token_for("alice", &[]).await;
    assert_eq!(status(&us, "/demo/me", &token).await, 200);
}
