//! A refusal as OAuth 2.0 says it (RFC 6749 section 5.2).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) detail: String,
    /// Where a person can do something about it.
    pub(crate) page: Option<String>,
    pub(crate) retry: Option<Duration>,
    /// The challenge of a 401.
    pub(crate) challenge: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(error: &'static str, detail: impl Into<String>) -> Self {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            error,
            detail: detail.into(),
            page: None,
            retry: None,
            challenge: None,
        }
    }

    pub(crate) fn request(detail: impl Into<String>) -> Self {
        Refusal::new("invalid_request", detail)
    }

    pub(crate) fn grant(detail: impl Into<String>) -> Self {
        Refusal::new("invalid_grant", detail)
    }

    /// One text for all: which half of the credentials was wrong is nobody's business.
    pub(crate) fn client(basic: bool) -> Self {
        Refusal {
            status: StatusCode::UNAUTHORIZED,
            challenge: basic.then_some("Basic realm=\"dte\""),
            ..Refusal::new("invalid_client", "the client or its secret is not known")
        }
    }

    pub(crate) fn too_many(wait: Duration) -> Self {
        Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry: Some(wait),
            ..Refusal::new("slow_down", "too many tries; wait")
        }
    }

    pub(crate) fn ours(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "the issuer cannot answer");
        Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..Refusal::new("server_error", "the engine cannot do this now")
        }
    }
}

impl From<dte_store::Error> for Refusal {
    fn from(error: dte_store::Error) -> Self {
        match error {
            dte_store::Error::Full => Refusal {
                status: StatusCode::INSUFFICIENT_STORAGE,
                ..Refusal::new("server_error", "the engine's disk is full: nothing was changed, try again later")
            },
            error => Refusal::ours(error),
        }
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Store(error) => error.into(),
            error => Refusal::ours(error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"error": self.error, "error_description": self.detail});
        if let Some(page) = &self.page {
            body["error_uri"] = page.as_str().into();
        }
        let mut response = private(self.status, &body);
        if let Some(wait) = self.retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// An answer that nobody may keep. No endpoint that answers so takes cookies, so scripts of any page may read it.
pub(crate) fn private(status: StatusCode, body: &Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    (status, headers, axum::Json(body)).into_response()
}
