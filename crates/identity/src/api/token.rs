//! `POST /token`: the token endpoint (RFC 6749).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dte_http::Form;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{Error, Identity};

/// What clients send. Unknown parameters are ignored, as RFC 6749 section 3.2 wants.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    grant_type: String,
    scope: Option<String>,
    audience: Option<String>,
    /// RFC 8707.
    resource: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

pub(super) async fn grant(
    State(identity): State<Identity>,
    headers: HeaderMap,
    form: Result<Form<Wanted>, dte_http::Problem>,
) -> Response {
    let wanted = match form {
        Ok(Form(wanted)) => wanted,
        Err(problem) => return refuse(StatusCode::BAD_REQUEST, "invalid_request", problem.detail()),
    };
    let basic = headers.contains_key(AUTHORIZATION);
    let Some((client_id, secret)) = credentials(&headers, &wanted) else {
        return unknown_client(basic);
    };
    match wanted.grant_type.as_str() {
        "client_credentials" => {}
        "" => return refuse(StatusCode::BAD_REQUEST, "invalid_request", "grant_type is missing"),
        _ => return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", "only client_credentials is supported"),
    }
    let audience = wanted.audience.as_deref().or(wanted.resource.as_deref());
    match identity.client_token(&client_id, &secret, wanted.scope.as_deref(), audience) {
        Ok(issued) => no_store(
            StatusCode::OK,
            &json!({
                "access_token": issued.token.expose(), "token_type": "Bearer",
                "expires_in": issued.lifetime.as_secs(), "scope": issued.scope,
            }),
        ),
        Err(Error::Client | Error::Banned(_)) => unknown_client(basic),
        Err(error @ Error::Scope(_)) => refuse(StatusCode::BAD_REQUEST, "invalid_scope", &error.to_string()),
        Err(error @ Error::Audience(_)) => refuse(StatusCode::BAD_REQUEST, "invalid_target", &error.to_string()),
        Err(Error::TooManyFailures(wait)) => {
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "slow_down", "too many failures");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            response
        }
        Err(error) => {
            tracing::error!(%error, "a token could not be issued");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the token could not be issued")
        }
    }
}

/// `client_secret_basic` or `client_secret_post`, never both.
fn credentials(headers: &HeaderMap, wanted: &Wanted) -> Option<(String, String)> {
    match (headers.get(AUTHORIZATION), &wanted.client_secret) {
        (Some(value), None) => {
            let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
            if !scheme.eq_ignore_ascii_case("basic") {
                return None;
            }
            let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
            let (id, secret) = text.split_once(':')?;
            Some((decoded(id)?, decoded(secret)?))
        }
        (None, Some(secret)) => Some((wanted.client_id.clone()?, secret.clone())),
        _ => None,
    }
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn unknown_client(basic: bool) -> Response {
    let mut response = refuse(StatusCode::UNAUTHORIZED, "invalid_client", "the client or its secret is not known");
    if basic {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dte\""));
    }
    response
}

fn refuse(status: StatusCode, error: &str, description: &str) -> Response {
    no_store(status, &json!({"error": error, "error_description": description}))
}

fn no_store(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
