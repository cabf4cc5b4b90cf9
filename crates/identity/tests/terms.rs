//! Terms of use and real grants: at the next token after a material change nobody gets one who has not accepted, whichever
//! way the token would have come; what was given out begins nothing new; and one click puts all of it right.

mod issuer_support;

use std::time::Duration;

use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, Require, Routes};
use http::Method;
use issuer_support::*;
use serde_json::{Value, json};

const CONFIG: &str = "[identity.issuer]\nregistrations_per_minute = 1000\n";
/// How long a device waits before it asks again.
const DEVICE_INTERVAL: Duration = Duration::from_secs(5);
const AGENT: &str = "openid wlcg offline_access";

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/things", Require::Authenticated, async || "all")
        .post("/things", Require::Authenticated, async || "begun")
        .delete("/things", Require::Authenticated, async || "gone")
        .post("/pods", Require::Scope("compute.create"), async || "begun");
    vec![Mount { prefix: "/demo", routes }]
}

async fn engines() -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let setup = TestSetup { config: CONFIG.to_owned(), store: Some(store), ..TestSetup::default() };
        let engine = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
        engine.identity.add_user("alice", false, "test").await.expect("made");
        engine.identity.add_user("bob", false, "test").await.expect("made");
        engines.push(engine);
    }
    engines
}

async fn send(engine: &TestEngine, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = engine.client.request(method, engine.url_of(path)).bearer(&Secret::new(token.to_owned()));
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let reply = request.send().await.expect("an answer");
    let status = reply.status.as_u16();
    let text = reply.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Publishes a version of the infrastructure's terms.
async fn publish(engine: &TestEngine, class: &str, grace_days: u64) {
    let admin = engine.admin_token();
    let versions = "/policy/v1/aups/infrastructure/versions";
    let wanted = json!({
        "change_class": class, "name": "Ocean infrastructure", "purpose": "research on the ocean", "grace_days": grace_days,
        "security_contact": "security@example.org", "privacy_notices": ["https://example.org/privacy"],
    });
    let (status, draft) = send(engine, admin.expose(), "POST", versions, Some(&wanted)).await;
    assert_eq!(status, 201, "{draft}");
    let path = format!("{versions}/{}:publish", text(&draft, "version"));
    let (status, published) = send(engine, admin.expose(), "POST", &path, None).await;
    assert_eq!(status, 200, "{published}");
}

/// The token endpoint says what is missing, and where that can be put right.
fn asks_for_terms(engine: &TestEngine, (status, answer): &(u16, Value)) {
    assert_eq!((*status, text(answer, "error")), (400, "access_denied"), "{answer}");
    assert_eq!(text(answer, "error_description"), "aup_acceptance_required");
    assert_eq!(text(answer, "error_uri"), engine.url_of("/oidc/aup"));
}

async fn begins(engine: &TestEngine, token: &str) -> u16 {
    send(engine, token, "POST", "/demo/things", None).await.0
}

/// Answers the page of terms; gives where the browser is sent.
async fn answer_terms(browser: &Browser<'_>, path: &str, said: &str) -> Page {
    let page = browser.get(path).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let (csrf, next, versions) = (page.field("csrf"), page.field("next"), page.field("versions"));
    browser.post("/oidc/aup", &[("csrf", &csrf), ("next", &next), ("versions", &versions), ("answer", said)]).await
}

async fn device(engine: &TestEngine, app: &App) -> Value {
    let (status, begun) = call(engine, "/oidc/devicecode", app, &[("scope", AGENT)]).await;
    assert_eq!(status, 200, "{begun}");
    begun
}

async fn allow_device(browser: &Browser<'_>, begun: &Value) -> Page {
    let csrf = browser.get(text(begun, "verification_uri_complete")).await.field("csrf");
    let fields = [("csrf", csrf.as_str()), ("user_code", text(begun, "user_code")), ("decision", "allow")];
    browser.post("/oidc/device", &fields).await
}

async fn poll(engine: &TestEngine, app: &App, begun: &Value) -> (u16, Value) {
    token(engine, app, &[("grant_type", DEVICE_GRANT), ("device_code", text(begun, "device_code"))]).await
}

#[tokio::test]
async fn every_way_to_a_token_asks_first() {
    for engine in engines().await {
        let alice = Browser::signed_in(&engine, "alice").await;
        let app = register(&engine, json!({})).await;
        let service = register_trusted(
            &engine,
            json!({"grant_types": [EXCHANGE_GRANT, "client_credentials"], "scope": "openid compute.create"}),
        )
        .await;
        let policy = json!({"rule": "PERMIT", "originClient": {"type": "ANY"}, "destinationClient": {"type": "ANY"}});
        let policies = "/oidc/iam/api/exchange/policies";
        assert_eq!(send(&engine, engine.admin_token().expose(), "POST", policies, Some(&policy)).await.0, 201);
        let held = alice.tokens(&app, AGENT).await;
        let (access, kept) = (text(&held, "access_token"), text(&held, "refresh_token"));
        let exchange = async || {
            let fields = [
                ("grant_type", EXCHANGE_GRANT),
                ("subject_token", access),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("scope", "compute.create"),
            ];
            token(&engine, &service, &fields).await
        };
        let robot = async || token(&engine, &service, &[("grant_type", "client_credentials")]).await;
        assert_eq!((begins(&engine, access).await, exchange().await.0, robot().await.0), (200, 200, 200));
        // Half of a grant of each kind, before there are terms.
        let code = alice.code(&app, AGENT, &[]).await;
        let consent = alice.authorize(&app, AGENT, &[("prompt", "consent")]).await;
        let (allowed, waiting) = (device(&engine, &app).await, device(&engine, &app).await);
        assert_eq!(allow_device(&alice, &allowed).await.status, 200);

        publish(&engine, "material", 0).await;
        asks_for_terms(&engine, &refresh(&engine, &app, kept, &[]).await);
        asks_for_terms(&engine, &redeem(&engine, &app, &code, &[]).await);
        asks_for_terms(&engine, &poll(&engine, &app, &allowed).await);
        let polled = tokio::time::Instant::now();
        asks_for_terms(&engine, &exchange().await);
        // Programs that act for nobody go on.
        let (status, own) = robot().await;
        assert_eq!(status, 200, "{own}");
        assert_eq!(send(&engine, text(&own, "access_token"), "POST", "/demo/pods", None).await.0, 200);
        // What was given out begins nothing new, with the way out; what there is stays readable and can be given up.
        let (status, problem) = send(&engine, access, "POST", "/demo/things", None).await;
        assert_eq!((status, text(&problem, "reason")), (403, "aup-required"), "{problem}");
        assert_eq!(text(&problem, "link"), engine.url_of("/oidc/aup"));
        for method in ["GET", "DELETE"] {
            assert_eq!(send(&engine, access, method, "/demo/things", None).await.0, 200, "{method}");
        }
        assert_eq!(get_with(&engine, "/oidc/userinfo", access).await, 200);
        // Pages lead to the terms, and know the way back.
        let silent = alice.authorize(&app, AGENT, &[("prompt", "none")]).await.answer();
        assert_eq!(silent["error"], "interaction_required");
        let (csrf, request) = (consent.field("csrf"), consent.field("request"));
        let agreed = [("csrf", csrf.as_str()), ("request", &request), ("decision", "allow")];
        let from_consent = alice.post("/oidc/consent", &agreed).await.location.expect("a redirect");
        assert!(from_consent.starts_with("/oidc/aup?next=%2Foidc%2Fauthorize"), "{from_consent}");
        let from_device = allow_device(&alice, &waiting).await.location.expect("a redirect");
        assert!(from_device.starts_with("/oidc/aup?next=%2Foidc%2Fdevice"), "{from_device}");
        let from_authorize = alice.authorize(&app, AGENT, &[]).await.location.expect("a redirect");
        assert!(from_authorize.starts_with("/oidc/aup?next=%2Foidc%2Fauthorize"), "{from_authorize}");

        // Not now: as before, for tokens and for what was given out.
        assert_eq!(answer_terms(&alice, &from_authorize, "refuse").await.status, 200);
        asks_for_terms(&engine, &refresh(&engine, &app, kept, &[]).await);
        assert_eq!(begins(&engine, access).await, 403);
        assert_eq!(send(&engine, access, "GET", "/demo/things", None).await.0, 200);
        // A form of another page accepts nothing.
        let versions = alice.get("/oidc/aup").await.field("versions");
        let forged = [("csrf", "0"), ("versions", versions.as_str()), ("answer", "accept"), ("next", "/ui")];
        assert_eq!(alice.post("/oidc/aup", &forged).await.status, 403);
        assert_eq!(begins(&engine, access).await, 403);

        // Accepted: back where it began, and on to the code.
        let accepted = answer_terms(&alice, &from_authorize, "accept").await;
        assert_eq!(accepted.status, 303, "{}", accepted.body);
        let back = accepted.location.expect("a redirect");
        assert!(back.starts_with("/oidc/authorize?") && back.contains("state=the+state"), "{back}");
        let new = alice.get(&back).await.answer()["code"].clone();
        assert_eq!(redeem(&engine, &app, &new, &[]).await.0, 200);
        assert_eq!(begins(&engine, access).await, 200);
        assert_eq!(exchange().await.0, 200);
        let (status, fresh) = refresh(&engine, &app, kept, &[]).await;
        assert_eq!(status, 200, "{fresh}");
        assert_eq!(begins(&engine, text(&fresh, "access_token")).await, 200);
        // What was half done is not lost.
        let (status, late) = redeem(&engine, &app, &code, &[]).await;
        assert_eq!(status, 200, "{late}");
        assert_eq!(redeem(&engine, &app, &code, &[]).await.0, 400, "once all the same");
        assert_eq!(allow_device(&alice, &waiting).await.status, 200);
        assert_eq!(poll(&engine, &app, &waiting).await.0, 200);
        // The other device asks again, as often as it may.
        tokio::time::sleep_until(polled + DEVICE_INTERVAL).await;
        let (status, late) = poll(&engine, &app, &allowed).await;
        assert_eq!(status, 200, "{late}");
        assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn editorial_changes_ask_nobody_and_grace_gives_time() {
    for engine in engines().await {
        let (alice, bob) = (Browser::signed_in(&engine, "alice").await, Browser::signed_in(&engine, "bob").await);
        let app = register(&engine, json!({})).await;
        let (of_alice, of_bob) = (alice.tokens(&app, AGENT).await, bob.tokens(&app, AGENT).await);
        // This client has a secret: its refresh token stays the same.
        let next = async |held: &Value| refresh(&engine, &app, text(held, "refresh_token"), &[]).await;
        // Both accept the first version, one of them the second.
        publish(&engine, "material", 0).await;
        for (browser, held) in [(&alice, &of_alice), (&bob, &of_bob)] {
            asks_for_terms(&engine, &next(held).await);
            assert_eq!(answer_terms(browser, "/oidc/aup", "accept").await.status, 303);
        }
        publish(&engine, "editorial", 0).await;
        for held in [&of_alice, &of_bob] {
            let (status, answer) = next(held).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(begins(&engine, text(&answer, "access_token")).await, 200);
        }
        publish(&engine, "material", 0).await;
        asks_for_terms(&engine, &next(&of_alice).await);
        assert_eq!(answer_terms(&alice, "/oidc/aup", "accept").await.status, 303);
        assert_eq!(next(&of_alice).await.0, 200);
        asks_for_terms(&engine, &next(&of_bob).await);
        assert_eq!(answer_terms(&bob, "/oidc/aup", "accept").await.status, 303);
        // With grace those who had accepted have time, and see the page when they like; newcomers have none.
        publish(&engine, "material", 3).await;
        for held in [&of_alice, &of_bob] {
            let (status, answer) = next(held).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(begins(&engine, text(&answer, "access_token")).await, 200);
        }
        assert!(alice.get("/oidc/aup").await.body.contains("To be accepted until"));
        assert!(alice.authorize(&app, AGENT, &[]).await.location.is_some_and(|place| place.starts_with(CALLBACK)));
        engine.identity.add_user("carol", false, "test").await.expect("made");
        let carol = Browser::signed_in(&engine, "carol").await;
        let led = carol.authorize(&app, AGENT, &[]).await.location.expect("a redirect");
        assert!(led.starts_with("/oidc/aup?next="), "{led}");
        assert!(engine.stop().await);
    }
}
