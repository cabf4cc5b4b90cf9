//! Clients that publish their keys (`jwks_uri`): found through the guard of `[http.outbound]`, remembered, followed when they
//! change, and never asked for often.

mod issuer_support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use dte_identity::testing::TestEngine;
use issuer_support::{App, CALLBACK, claims, register_raw, register_trusted, start_with, text, token};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;
use serde_json::{Value, json};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).expect("a key")
}

fn jwk(kid: &str, key: &SigningKey) -> Value {
    let point = key.verifying_key().to_encoded_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| B64.encode(bytes.expect("a coordinate"));
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": coordinate(point.x()), "y": coordinate(point.y())})
}

/// The client's web server.
#[derive(Clone, Default)]
struct Publisher {
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicU32>,
}

impl Publisher {
    async fn start() -> (Publisher, u16) {
        let publisher = Publisher::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let router = Router::new()
            .route("/jwk", get(keys))
            .route("/moved", get(async || Redirect::temporary("/jwk")))
            .route("/huge", get(huge))
            .with_state(publisher.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (publisher, port)
    }

    fn publish(&self, keys: Value) {
        *self.keys.lock().expect("not poisoned") = keys;
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn keys(State(publisher): State<Publisher>) -> Response {
    publisher.asked.fetch_add(1, Ordering::SeqCst);
    let keys = publisher.keys.lock().expect("not poisoned").clone();
    if keys.is_null() {
        return http::StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(json!({"keys": keys})).into_response()
}

async fn huge(State(publisher): State<Publisher>) -> Response {
    let keys = publisher.keys.lock().expect("not poisoned").clone();
    Json(json!({"keys": keys, "more": "x".repeat(1 << 20)})).into_response()
}

async fn client(engine: &TestEngine, uri: &str) -> App {
    let metadata = json!({"grant_types": ["client_credentials"], "scope": "compute.read",
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri});
    register_trusted(engine, metadata).await
}

async fn sign_in(engine: &TestEngine, app: &App, kid: &str, key: &SigningKey) -> (u16, Value) {
    sign_in_as(engine, app, kid, key, json!({})).await
}

async fn sign_in_as(engine: &TestEngine, app: &App, kid: &str, key: &SigningKey, changes: Value) -> (u16, Value) {
    let now = dte_base::time::Timestamp::now().as_seconds();
    let mut body = json!({"iss": app.id, "sub": app.id, "aud": engine.identity.issuer(), "exp": now + 300,
        "jti": dte_base::id::new_id().to_string()});
    for (name, value) in changes.as_object().expect("an object") {
        body[name] = value.clone();
    }
    let header = json!({"alg": "ES256", "kid": kid}).to_string();
    let message = format!("{}.{}", B64.encode(header), B64.encode(body.to_string()));
    let signature: p256::ecdsa::Signature = key.sign(message.as_bytes());
    let assertion = format!("{message}.{}", B64.encode(signature.to_bytes()));
    // Programs that registered themselves have no grant of their own; with a refresh token that is none, they are known
    // (`invalid_grant`) or not (`invalid_client`).
    let grant =
        if app.registration["grant_types"][0] == "client_credentials" { "client_credentials" } else { "refresh_token" };
    let fields = [
        ("grant_type", grant),
        ("refresh_token", "none"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", &assertion),
    ];
    token(engine, app, &fields).await
}

fn settings(port: u16, pause: &str) -> String {
    format!(
        "[http.outbound]\nallow = ['127.0.0.1:{port}']\n[identity.issuer]\nclient_keys_pause = '{pause}'\n\
         registrations_per_minute = 1000\n"
    )
}

#[tokio::test]
async fn keys_are_fetched_remembered_and_followed() {
    for store in dte_store::testing::stores().await.expect("stores") {
        let (publisher, port) = Publisher::start().await;
        let engine = start_with(&settings(port, "1s"), Some(store)).await;
        let app = client(&engine, &format!("http://127.0.0.1:{port}/jwk")).await;
        assert_eq!(app.registration["jwks_uri"], format!("http://127.0.0.1:{port}/jwk"));
        assert!(app.registration.get("jwks").is_none() && app.secret.is_none());
        assert_eq!(publisher.asked(), 0, "nothing is fetched to register");
        publisher.publish(json!([jwk("first", &key(1))]));
        let (status, answer) = sign_in(&engine, &app, "first", &key(1)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(claims(text(&answer, "access_token"))["sub"], app.id.as_str());
        for _ in 0..5 {
            assert_eq!(sign_in(&engine, &app, "first", &key(1)).await.0, 200);
        }
        assert_eq!(publisher.asked(), 1, "keys are remembered");
        // Another's key under this name is nothing.
        assert_eq!(sign_in(&engine, &app, "first", &key(2)).await.0, 401);
        // The client changes its keys: the new one counts once it is published, the old one no longer.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        publisher.publish(json!([jwk("second", &key(2))]));
        assert_eq!(sign_in(&engine, &app, "second", &key(2)).await.0, 200);
        assert_eq!(publisher.asked(), 2);
        assert_eq!(sign_in(&engine, &app, "first", &key(1)).await.0, 401);
        // While the client's server is away, what it published stays good.
        publisher.publish(Value::Null);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(sign_in(&engine, &app, "third", &key(3)).await.0, 401);
        assert_eq!(sign_in(&engine, &app, "second", &key(2)).await.0, 200);
        assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
    }
}

#[tokio::test]
async fn nobody_makes_us_knock_often() {
    let (publisher, port) = Publisher::start().await;
    let engine = start_with(&settings(port, "1m"), None).await;
    publisher.publish(json!([jwk("good", &key(1))]));
    let uri = format!("http://127.0.0.1:{port}/jwk");
    let app = client(&engine, &uri).await;
    // What no key could save is not worth a fetch.
    for bad in [json!({"aud": "https://elsewhere.example"}), json!({"exp": 1}), json!({"jti": ""})] {
        assert_eq!(sign_in_as(&engine, &app, "good", &key(1), bad).await.0, 401);
    }
    assert_eq!(publisher.asked(), 0);
    for number in 0..20 {
        assert_eq!(sign_in(&engine, &app, &format!("unheard-of-{number}"), &key(1)).await.0, 401);
    }
    assert_eq!(publisher.asked(), 1);
    assert_eq!(sign_in(&engine, &app, "good", &key(1)).await.0, 200);
    // Nor by registering again and again: one server is asked so often in a minute for strangers.
    let (before, mut known) = (publisher.asked(), 0);
    for _ in 0..40 {
        let metadata =
            json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri});
        let (status, registration) = register_raw(&engine, metadata).await;
        assert_eq!(status, 201, "{registration}");
        let app = App { id: text(&registration, "client_id").to_owned(), secret: None, registration };
        let (_, answer) = sign_in(&engine, &app, "good", &key(1)).await;
        known += u32::from(text(&answer, "error") == "invalid_grant");
    }
    assert_eq!((publisher.asked() - before, known), (30, 30));
    // What an administrator registered is not held up by that.
    let other = client(&engine, &format!("{uri}?other")).await;
    assert_eq!(sign_in(&engine, &other, "good", &key(1)).await.0, 200);
}

#[tokio::test]
async fn only_from_where_we_may_go() {
    let (publisher, port) = Publisher::start().await;
    publisher.publish(json!([jwk("good", &key(1))]));
    // Nothing private may be reached unless the operator says so.
    let engine = start_with("", None).await;
    let app = client(&engine, &format!("http://127.0.0.1:{port}/jwk")).await;
    let (status, answer) = sign_in(&engine, &app, "good", &key(1)).await;
    assert_eq!((status, text(&answer, "error")), (401, "invalid_client"));
    assert!(!answer.to_string().contains("127.0.0.1"), "a stranger does not learn what we can reach: {answer}");
    assert_eq!(publisher.asked(), 0);
    let engine = start_with(&settings(port, "1s"), None).await;
    // No redirect is followed, and no large document is read.
    for place in ["moved", "huge", "nothing"] {
        let app = client(&engine, &format!("http://127.0.0.1:{port}/{place}")).await;
        assert_eq!(sign_in(&engine, &app, "good", &key(1)).await.0, 401, "{place}");
    }
    assert_eq!(publisher.asked(), 0);
    // A private key that is public proves nothing.
    let mut leaked = jwk("leaked", &key(4));
    leaked["d"] = B64.encode([4; 32]).into();
    publisher.publish(json!([leaked]));
    let app = client(&engine, &format!("http://127.0.0.1:{port}/jwk")).await;
    assert_eq!(sign_in(&engine, &app, "leaked", &key(4)).await.0, 401);
    // Not our own routes, which are reached without a socket, and not two sources of keys.
    let place = format!("http://127.0.0.1:{port}/jwk");
    for bad in [
        json!({"jwks_uri": engine.url_of("/oidc/jwk")}),
        json!({"jwks_uri": place, "jwks": {"keys": [jwk("good", &key(1))]}}),
        json!({"jwks_uri": "http://keys.example/jwk"}),
        json!({"jwks_uri": "file:///etc/passwd"}),
        json!({}),
    ] {
        let mut metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt"});
        metadata.as_object_mut().expect("an object").extend(bad.as_object().expect("an object").clone());
        let (status, answer) = register_raw(&engine, metadata).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid_client_metadata"), "{bad}");
    }
}

#[tokio::test]
async fn a_program_moves_its_keys_itself() {
    let (publisher, port) = Publisher::start().await;
    publisher.publish(json!([jwk("moved", &key(2))]));
    let engine = start_with(&settings(port, "1m"), None).await;
    let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [jwk("given", &key(1))]}});
    let (status, registration) = register_raw(&engine, metadata).await;
    assert_eq!(status, 201, "{registration}");
    let app = App { id: text(&registration, "client_id").to_owned(), secret: None, registration };
    let error = async |kid: &str, number: u8| {
        let (_, answer) = sign_in(&engine, &app, kid, &key(number)).await;
        text(&answer, "error").to_owned()
    };
    assert_eq!(error("given", 1).await, "invalid_grant");
    let place = format!("http://127.0.0.1:{port}/jwk");
    let changed = json!({"client_id": app.id, "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": place});
    let own = text(&app.registration, "registration_access_token").to_owned();
    let put = engine.client.put(text(&app.registration, "registration_client_uri")).bearer(&own).json(&changed);
    let reply = put.send().await.expect("an answer");
    assert_eq!(reply.status, 200);
    let shown: Value = reply.json().await.expect("JSON");
    assert_eq!((shown["jwks_uri"].as_str(), shown.get("jwks")), (Some(place.as_str()), None));
    assert_eq!(error("given", 1).await, "invalid_client");
    assert_eq!(error("moved", 2).await, "invalid_grant");
}
