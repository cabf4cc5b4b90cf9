//! Who we are as an issuer, and our public keys.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue};
use serde_json::{Value, json};

use crate::Identity;
use crate::issuer::model::client::{AuthMethod, Grant};
use crate::issuer::model::scope::SUPPORTED;

/// What clients may sign their assertions with.
const ASSERTION_ALGORITHMS: &[&str] = &["ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256"];

/// `GET /.well-known/openid-configuration`: only what is really there.
pub(super) async fn metadata(State(identity): State<Identity>) -> Response {
    let issuer = identity.issuer();
    let at = |path: &str| format!("{issuer}/{path}");
    let grants: Vec<&str> = Grant::ALL.iter().map(|(name, _)| *name).collect();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("jwk"),
        "device_authorization_endpoint": at("devicecode"),
        "introspection_endpoint": at("introspect"),
        "revocation_endpoint": at("revoke"),
        "end_session_endpoint": at("logout"),
        "scopes_supported": SUPPORTED,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": AuthMethod::ALL,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "revocation_endpoint_auth_methods_supported": AuthMethod::ALL,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent"],
        "claims_supported": [
            "iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "scope", "client_id", "act", "wlcg.ver", "wlcg.groups",
            "auth_time", "nonce", "at_hash", "name", "given_name", "family_name", "preferred_username", "email", "email_verified",
            "groups",
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    });
    if identity.0.issuing.config.registration {
        document["registration_endpoint"] = at("register").into();
    }
    open_document(&document)
}

/// `GET /jwk`
pub(super) async fn keys(State(identity): State<Identity>) -> Response {
    let keys = identity.0.keys.read().clone();
    open_document(&keys.jwks())
}

/// Anybody may read it, also a script of another page.
fn open_document(body: &Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=21600"));
    (headers, axum::Json(body)).into_response()
}
