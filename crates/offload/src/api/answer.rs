//! Answers as interLink clients expect them.

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use dte_identity::{Denial, Principal, UserRef};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;

/// A refusal in plain text.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Refusal { status, text: text.into() }
    }

    pub fn bad_request(text: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }
}

impl From<dte_store::Error> for Refusal {
    fn from(error: dte_store::Error) -> Self {
        tracing::error!(%error, "the store failed a request");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store is not available")
    }
}

impl From<dte_compute::SiteError> for Refusal {
    fn from(error: dte_compute::SiteError) -> Self {
        let status = match &error {
            dte_compute::SiteError::Unknown(_) => StatusCode::NOT_FOUND,
            dte_compute::SiteError::Refused(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], self.text + "\n").into_response()
    }
}

pub fn denied(denial: Denial) -> Response {
    let challenge = denial.challenge().and_then(|text| HeaderValue::from_str(&text).ok());
    let mut response = Refusal::new(denial.status(), denial.detail).into_response();
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Reads a JSON body under any content type; an empty one is `null`.
pub fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(text).map_err(|error| Refusal::bad_request(format!("invalid request body: {error}")))
}

/// Whose pods the principal may see: all (`None`), or their own.
pub fn visible(principal: &Principal) -> Option<UserRef> {
    (!principal.is_admin()).then(|| principal.user_ref())
}

/// Whether the principal may see a pod of `owner`.
pub fn may_see(principal: &Principal, owner: &UserRef) -> bool {
    principal.is_admin() || principal.is(owner)
}
