//! Who we are as an issuer, and our public keys.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue};
use serde_json::{Value, json};

use crate::Identity;

/// `GET /.well-known/openid-configuration`: only what is really there.
pub(super) async fn metadata(State(identity): State<Identity>) -> Response {
    let issuer = identity.issuer();
    open_document(&json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwk"),
        "token_endpoint": format!("{issuer}/token"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": [
            "openid", "wlcg", "storage.read:/", "storage.create:/", "storage.modify:/", "storage.stage:/",
            "compute.read", "compute.create", "compute.modify", "compute.cancel",
        ],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "client_id", "act", "wlcg.ver"],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    }))
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
