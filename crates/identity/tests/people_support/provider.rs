//! A small OpenID provider for tests: it knows whoever the test says, and lies as the test says.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use dte_base::time::Timestamp;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

pub const SECRET: &str = "secret of the client";

/// How an ID token is spoilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    #[default]
    Good,
    /// `alg: none`, without a signature.
    None,
    /// By a key that is not among the provider's.
    Foreign,
}

#[derive(Default)]
struct Inner {
    issuer: String,
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    person: Mutex<Value>,
    lies: Mutex<(Value, Signing)>,
    says_issuer: bool,
    key: Option<p256::SecretKey>,
}

#[derive(Clone)]
pub struct Provider(Arc<Inner>);

fn fresh_key() -> p256::SecretKey {
    loop {
        if let Ok(key) = p256::SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
            return key;
        }
    }
}

fn sign(key: &p256::SecretKey, claims: &Value) -> String {
    let der = key.to_pkcs8_der().expect("a key");
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(der.as_bytes())).expect("signed")
}

impl Provider {
    pub async fn start(says_issuer: bool) -> Provider {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Provider(Arc::new(Inner { issuer, says_issuer, key: Some(fresh_key()), ..Inner::default() }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The section of the configuration; the secret's file lies in `folder`.
    pub fn config(&self, name: &str, folder: &std::path::Path, more: &str) -> String {
        let file = folder.join(format!("{name}.secret"));
        std::fs::write(&file, format!("{SECRET}\n")).expect("written");
        format!(
            "[[identity.login_providers]]\nname = '{name}'\ntitle = 'Institute {name}'\nissuer = '{}'\nclient_id = 'us'\nclient_secret_file = '{}'\n{more}\n",
            self.issuer(),
            file.display()
        )
    }

    /// Who signs in there from now on.
    pub fn knows(&self, subject: &str, username: &str, email: &str) {
        *self.0.person.lock().expect("a lock") =
            json!({"sub": subject, "preferred_username": username, "email": email});
    }

    /// Claims that are put in place of the right ones (null removes), and what is wrong with the signature.
    pub fn lies(&self, claims: Value, signing: Signing) {
        *self.0.lies.lock().expect("a lock") = (claims, signing);
    }

    /// What the person's browser comes back with after it was sent to `location`: the parameters of the answer.
    pub fn answer(&self, location: &str) -> Vec<(String, String)> {
        let url = Url::parse(location).expect("a URL");
        assert!(location.starts_with(&format!("{}/authorize?", self.issuer())), "{location}");
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", "us"));
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        assert!(asked["state"].len() >= 32 && asked["nonce"].len() >= 32);
        let code = hex::encode(rand::random::<[u8; 16]>());
        let state = asked["state"].clone();
        self.0.codes.lock().expect("a lock").insert(code.clone(), asked);
        let mut answer = vec![("code".to_owned(), code), ("state".to_owned(), state)];
        if self.0.says_issuer {
            answer.push(("iss".to_owned(), self.issuer().to_owned()));
        }
        answer
    }

    /// An access token of this provider for `audience`.
    pub fn access_token(&self, subject: &str, audience: &str, scope: &str) -> String {
        let now = Timestamp::now().as_seconds();
        let claims = json!({"iss": self.issuer(), "sub": subject, "aud": audience, "iat": now, "exp": now + 600, "scope": scope});
        sign(self.0.key.as_ref().expect("a key"), &claims)
    }
}

async fn metadata(State(provider): State<Provider>) -> Json<Value> {
    let issuer = provider.issuer();
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"), "authorization_response_iss_parameter_supported": provider.0.says_issuer,
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    let point = provider.0.key.as_ref().expect("a key").public_key().to_encoded_point(false);
    let part = |bytes: Option<&p256::FieldBytes>| B64.encode(bytes.expect("a coordinate"));
    Json(
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": part(point.x()), "y": part(point.y())}]}),
    )
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    let basic = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let pair = base64::engine::general_purpose::STANDARD.decode(basic.trim_start_matches("Basic ")).unwrap_or_default();
    assert_eq!(pair, b"us:secret%20of%20the%20client", "the client shows its secret");
    let asked = provider.0.codes.lock().expect("a lock").remove(&form["code"]).ok_or(StatusCode::BAD_REQUEST)?;
    let challenge = B64.encode(Sha256::digest(&form["code_verifier"]));
    if challenge != asked["code_challenge"] || form["redirect_uri"] != asked["redirect_uri"] {
        return Err(StatusCode::BAD_REQUEST);
    }
    let now = Timestamp::now().as_seconds();
    let mut claims = json!({
        "iss": provider.issuer(), "aud": "us", "iat": now, "exp": now + 300, "nonce": asked["nonce"],
    });
    let (lies, signing) = provider.0.lies.lock().expect("a lock").clone();
    let person = provider.0.person.lock().expect("a lock").clone();
    for changes in [person, lies] {
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
    }
    if let Some(map) = claims.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    let id_token = match signing {
        Signing::Good => sign(provider.0.key.as_ref().expect("a key"), &claims),
        Signing::Foreign => sign(&fresh_key(), &claims),
        Signing::None => format!("{}.{}.", B64.encode(r#"{"alg":"none","kid":"k1"}"#), B64.encode(claims.to_string())),
    };
    Ok(Json(json!({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token})))
}
