//! Answers: HTML with the headers that keep a page to itself, and refusals as pages.

use axum::response::{IntoResponse, Response};
use dte_http::ClientError;
use dte_identity::{Denial, DenialKind};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use maud::Markup;

use crate::page::door;

/// Only our own files; no frames, no plug-ins, no inline scripts or styles, no other place for forms.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers would send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Adds the headers that every answer of ours has.
pub fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A page or a part of one.
pub fn html(status: StatusCode, content: Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    guarded((status, kind, content.into_string()).into_response())
}

/// Sends the browser on with a GET.
pub fn see_other(path: &'static str) -> Response {
    guarded((StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static(path))]).into_response())
}

/// A refusal of the gate.
pub fn denied(denial: Denial) -> Response {
    let page = match denial.kind {
        DenialKind::NoToken => door::closed(None),
        DenialKind::BadToken => door::closed(Some("You are not signed in any more.")),
        DenialKind::Insufficient => door::problem("Not allowed", &denial.detail, None),
        DenialKind::NoRoute => door::problem("Not found", "There is no such page.", None),
        DenialKind::NoMethod => door::problem("Not possible", "This page does not take that.", None),
    };
    let mut response = html(denial.status(), page);
    let extra = [(header::WWW_AUTHENTICATE, denial.challenge()), (header::ALLOW, denial.allow)];
    for (name, value) in extra {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Why a page cannot be shown.
#[derive(Debug)]
pub struct Failure {
    pub status: StatusCode,
    pub title: &'static str,
    pub detail: String,
}

impl Failure {
    pub fn forbidden(detail: &str) -> Failure {
        Failure { status: StatusCode::FORBIDDEN, title: "Not allowed", detail: detail.to_owned() }
    }

    pub fn internal(error: impl std::fmt::Display) -> Failure {
        tracing::error!(%error, "a page cannot be shown");
        let detail = "The engine made a mistake; its log has it.".to_owned();
        Failure { status: StatusCode::INTERNAL_SERVER_ERROR, title: "Something went wrong", detail }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let (status, title) = match &error {
            ClientError::Status { status, .. } if *status == StatusCode::NOT_FOUND => (*status, "Not found"),
            ClientError::Status { status, .. } if *status == StatusCode::FORBIDDEN => (*status, "Not allowed"),
            ClientError::Status { status, .. } if *status == StatusCode::UNAUTHORIZED => (*status, "Not signed in"),
            _ => (StatusCode::BAD_GATEWAY, "A service did not answer"),
        };
        let detail = match error {
            ClientError::Status { detail, .. } => detail,
            other => other.to_string(),
        };
        Failure { status, title, detail }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        html(self.status, door::problem(self.title, &self.detail, None))
    }
}

/// Whether a browser sends this from a page of ours. What is not said to be is refused: forms of ours always say it.
pub fn comes_from_us(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match text(header::ORIGIN) {
        // The listener has checked that the host is a name of ours.
        Some(origin) => {
            let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            authority.is_some() && authority == text(header::HOST) || origin == public_url.trim_end_matches('/')
        }
        None => site.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_come_from_our_pages_only() {
        let from = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(
                    HeaderName::try_from(*name).expect("a name"),
                    HeaderValue::from_str(value).expect("a value"),
                );
            }
            comes_from_us(&headers, "https://twin.example/")
        };
        let host = ("host", "127.0.0.1:8990");
        assert!(from(&[host, ("origin", "http://127.0.0.1:8990")]));
        assert!(from(&[("host", "x"), ("origin", "https://twin.example")]));
        assert!(from(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(!from(&[host]));
        assert!(!from(&[host, ("origin", "null")]));
        assert!(!from(&[host, ("origin", "http://evil.example")]));
        assert!(!from(&[host, ("origin", "http://127.0.0.1:8991")]));
        assert!(!from(&[host, ("origin", "http://127.0.0.1:8990"), ("sec-fetch-site", "same-site")]));
        assert!(!from(&[("origin", "http://")]));
    }
}
