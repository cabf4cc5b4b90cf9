//! A refusal, before it gets the body of the protocol that was spoken.

use axum::response::{IntoResponse, Response};
use dte_http::Problem;
use http::StatusCode;
use http::header::{ALLOW, WWW_AUTHENTICATE};

/// What kind of refusal it is; decides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// 401: no token was shown.
    NoToken,
    /// 401: the token is not good.
    BadToken,
    /// 403: it is good, but not for this.
    Insufficient,
    /// 404: there is no such route.
    NoRoute,
    /// 405: the route has other methods.
    NoMethod,
}

/// A refusal. `reason` is a stable id that also stands in the audit log; `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub kind: DenialKind,
    pub reason: &'static str,
    pub detail: String,
    /// Why each rule that could have permitted it did not: stable ids, in words by [`in_words`](super::decision::in_words).
    pub reasons: Box<[&'static str]>,
    /// The scope that would have been enough.
    pub scope: Option<Box<str>>,
    /// The methods that there are (405).
    pub allow: Option<String>,
    /// A page where the person can remove the cause.
    pub link: Option<Box<str>>,
}

impl Denial {
    pub fn no_token() -> Self {
        Denial::new(DenialKind::NoToken, "no-token", "this needs a bearer token")
    }

    pub fn bad_token(reason: &'static str, detail: impl Into<String>) -> Self {
        Denial::new(DenialKind::BadToken, reason, detail)
    }

    /// The principal is known but may not do this.
    pub fn insufficient(detail: impl Into<String>) -> Self {
        Denial::new(DenialKind::Insufficient, "insufficient", detail)
    }

    pub fn new(kind: DenialKind, reason: &'static str, detail: impl Into<String>) -> Self {
        Denial {
            kind,
            reason,
            detail: detail.into(),
            reasons: Box::new([reason]),
            scope: None,
            allow: None,
            link: None,
        }
    }

    /// Names the scope that would have been enough.
    pub fn needing(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into().into());
        self
    }

    /// Names every reason.
    #[must_use]
    pub fn because(mut self, reasons: Vec<&'static str>) -> Self {
        self.reasons = reasons.into();
        self
    }

    /// Names the page where the person can remove the cause.
    #[must_use]
    pub fn linking(mut self, link: impl Into<String>) -> Self {
        self.link = Some(link.into().into());
        self
    }

    pub fn status(&self) -> StatusCode {
        match self.kind {
            DenialKind::NoToken | DenialKind::BadToken => StatusCode::UNAUTHORIZED,
            DenialKind::Insufficient => StatusCode::FORBIDDEN,
            DenialKind::NoRoute => StatusCode::NOT_FOUND,
            DenialKind::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The `WWW-Authenticate` header (RFC 6750 section 3) of a 401 or 403.
    pub fn challenge(&self) -> Option<String> {
        match self.kind {
            DenialKind::NoToken => Some("Bearer realm=\"dte\"".to_owned()),
            DenialKind::BadToken => Some("Bearer realm=\"dte\", error=\"invalid_token\"".to_owned()),
            DenialKind::Insufficient => {
                let scope =
                    self.scope.as_deref().map(|scope| format!(", scope=\"{}\"", scope.replace(['"', '\\'], "")));
                Some(format!("Bearer realm=\"dte\", error=\"insufficient_scope\"{}", scope.unwrap_or_default()))
            }
            DenialKind::NoRoute | DenialKind::NoMethod => None,
        }
    }
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        let mut problem = Problem::new(denial.status(), denial.detail.clone()).with("reason", denial.reason);
        if denial.challenge().is_some() {
            problem = problem.with("reasons", denial.reasons.to_vec());
        }
        if let Some(challenge) = denial.challenge() {
            problem = problem.with_header(WWW_AUTHENTICATE, challenge);
        }
        if let Some(link) = &denial.link {
            problem = problem.with_type(format!("urn:dte:{}", denial.reason)).with("link", link.to_string());
        }
        if let Some(allow) = &denial.allow {
            problem = problem.with_header(ALLOW, allow);
        }
        problem
    }
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.reason)
    }
}

impl std::error::Error for Denial {}
