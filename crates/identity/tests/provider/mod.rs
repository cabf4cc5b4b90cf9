//! A foreign issuer for tests, on loopback: its keys, introspection and userinfo, and a count of who asks for what. It signs
//! whatever a test wants, also what no honest issuer would.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Form, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use dte_base::time::Timestamp;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Denial, Mount, Principal, Require, Routes, StorageOp};
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};

pub const AUDIENCE: &str = "https://us.example";

#[derive(Default)]
pub struct Said {
    pub jwks: AtomicU32,
    pub introspection: AtomicU32,
    pub userinfo: AtomicU32,
    /// Requests to places that nobody should ask.
    pub trap: AtomicU32,
    pub answers: Mutex<HashMap<String, Value>>,
    pub userinfo_answer: Mutex<Option<Value>>,
    issuer: Mutex<String>,
    keys: Mutex<Vec<Value>>,
}

/// The issuer. Ends with the test.
pub struct Provider {
    pub issuer: String,
    pub said: Arc<Said>,
    key: EncodingKey,
    pub jwk: Value,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn metadata(State(said): State<Arc<Said>>) -> axum::Json<Value> {
    let issuer = said.issuer.lock().expect("not poisoned").clone();
    axum::Json(json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "introspection_endpoint": format!("{issuer}/introspect"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
    }))
}

async fn keys(State(said): State<Arc<Said>>) -> axum::Json<Value> {
    said.jwks.fetch_add(1, Ordering::SeqCst);
    axum::Json(json!({"keys": *said.keys.lock().expect("not poisoned")}))
}

async fn introspect(
    State(said): State<Arc<Said>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    said.introspection.fetch_add(1, Ordering::SeqCst);
    // us:secret
    if headers.get("authorization").is_none_or(|value| value != "Basic dXM6c2VjcmV0") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let known = form.get("token").and_then(|token| said.answers.lock().expect("not poisoned").get(token).cloned());
    match known {
        Some(Value::String(raw)) => ([("content-type", "application/json")], raw).into_response(),
        Some(answer) => axum::Json(answer).into_response(),
        None => axum::Json(json!({"active": false})).into_response(),
    }
}

async fn userinfo(State(said): State<Arc<Said>>) -> Response {
    said.userinfo.fetch_add(1, Ordering::SeqCst);
    match said.userinfo_answer.lock().expect("not poisoned").clone() {
        Some(Value::Null) => StatusCode::UNAUTHORIZED.into_response(),
        Some(answer) => axum::Json(answer).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn trap(State(said): State<Arc<Said>>, _: Request) -> StatusCode {
    said.trap.fetch_add(1, Ordering::SeqCst);
    StatusCode::NOT_FOUND
}

impl Provider {
    pub async fn start() -> Provider {
        let secret = loop {
            if let Ok(secret) = p256::SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
                break secret;
            }
        };
        let point = secret.public_key().to_encoded_point(false);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": "one", "use": "sig",
            "x": B64.encode(point.x().expect("x")), "y": B64.encode(point.y().expect("y")),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let said = Arc::new(Said::default());
        said.issuer.lock().expect("not poisoned").clone_from(&issuer);
        said.keys.lock().expect("not poisoned").push(jwk.clone());
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/introspect", post(introspect))
            .route("/userinfo", get(userinfo))
            .fallback(any(trap))
            .with_state(Arc::clone(&said));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let der = secret.to_pkcs8_der().expect("a key");
        Provider { issuer, said, key: EncodingKey::from_ec_der(der.as_bytes()), jwk, serving }
    }

    /// Good claims for us.
    pub fn claims(&self) -> Value {
        let now = Timestamp::now().as_seconds();
        json!({
            "iss": self.issuer, "sub": "carol", "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 600,
            "jti": dte_base::id::new_id().to_string(), "wlcg.ver": "1.0", "scope": "openid",
        })
    }

    /// A token with the good claims changed; null removes.
    pub fn token(&self, changes: Value) -> String {
        let mut claims = self.claims();
        let all = claims.as_object_mut().expect("an object");
        for (name, value) in changes.as_object().expect("an object") {
            if value.is_null() {
                all.remove(name);
            } else {
                all.insert(name.clone(), value.clone());
            }
        }
        self.signed(&json!({"alg": "ES256", "kid": "one", "typ": "at+jwt"}).to_string(), &claims.to_string())
    }

    /// The good claims under a header of the test's.
    pub fn under(&self, header: Value) -> String {
        self.signed(&header.to_string(), &self.claims().to_string())
    }

    /// Any text under any header, correctly signed.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).expect("signed");
        format!("{message}.{signature}")
    }

    /// The good claims as text, with more put in at the end.
    pub fn raw(&self, more: &str) -> String {
        let claims = self.claims().to_string();
        let claims = format!("{},{more}}}", claims.trim_end_matches('}'));
        self.signed(r#"{"alg":"ES256","kid":"one"}"#, &claims)
    }

    /// A piece of configuration that trusts this issuer.
    pub fn trusted(&self, more: &str) -> String {
        format!(
            "[[identity.trusted_issuers]]\nissuer = '{}'\nvo = 'twins'\naudiences = ['{AUDIENCE}']\n{more}\n",
            self.issuer
        )
    }
}

async fn whoami(principal: Principal) -> String {
    format!("{}|{}|{}", principal.issuer, principal.subject, principal.name())
}

async fn file(principal: Principal, axum::extract::Path(path): axum::extract::Path<String>) -> Result<String, Denial> {
    let path = format!("/{path}");
    principal.may_storage(StorageOp::Read, &path)?;
    Ok(path)
}

pub fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/me", Require::Authenticated, whoami)
        .get("/compute", Require::Scope("compute.create"), whoami)
        .get("/admin", Require::Admin, whoami)
        .get("/files/{*path}", Require::Storage("storage.read at the path"), file);
    vec![Mount { prefix: "/demo", routes }]
}

/// An engine with a demo service and this configuration.
pub async fn engine(config: &str) -> TestEngine {
    TestEngine::start_with(TestSetup::config(config), async |_| Ok(mounts())).await
}

/// The status of a GET with this token.
pub async fn status(engine: &TestEngine, path: &str, token: &str) -> u16 {
    let request = engine.client.get(engine.url_of(path)).header("authorization", format!("Bearer {token}"));
    request.send().await.expect("an answer").status.as_u16()
}
