//! Errors as FTS says them: `{"status": "404 Not Found", "message": "…"}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use dte_http::Problem;
use dte_identity::Denial;
use dte_protocol_fts::ErrorBody;
use http::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};

use crate::model::reader::Refusal;

/// An error of a handler.
#[derive(Debug)]
pub struct FtsError {
    status: StatusCode,
    message: String,
}

impl FtsError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        FtsError { status, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        FtsError::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        FtsError::new(StatusCode::FORBIDDEN, message)
    }
}

impl IntoResponse for FtsError {
    fn into_response(self) -> Response {
        body(self.status, self.message)
    }
}

impl From<Refusal> for FtsError {
    fn from(refusal: Refusal) -> Self {
        FtsError::new(refusal.status, refusal.message)
    }
}

impl From<dte_store::Error> for FtsError {
    fn from(error: dte_store::Error) -> Self {
        let problem = Problem::from(error);
        FtsError::new(problem.status(), problem.detail())
    }
}

/// `404 Not Found`
pub fn status_text(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"))
}

fn body(status: StatusCode, message: String) -> Response {
    (status, Json(ErrorBody { status: status_text(status), message })).into_response()
}

/// Refusals before a handler is reached.
pub fn denied(denial: Denial) -> Response {
    let mut response = body(denial.status(), denial.detail.clone());
    let mut set = |name: HeaderName, value: Option<&str>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    };
    set(WWW_AUTHENTICATE, denial.challenge().as_deref());
    set(ALLOW, denial.allow.as_deref());
    response
}
