//! The one error body: problem details for HTTP APIs (RFC 9457).

use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

/// What went wrong, for the client. Protocols with an error body of their own render it from [`Problem::status`] and
/// [`Problem::detail`].
#[derive(Clone)]
pub struct Problem(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    kind: Option<String>,
    title: Option<String>,
    detail: String,
    extensions: Map<String, Value>,
    headers: HeaderMap,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:ident;)*) => { $(
        $(#[$doc])*
        pub fn $name(detail: impl Into<String>) -> Problem { Problem::new(StatusCode::$status, detail) }
    )* };
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem(Box::new(Inner {
            status,
            kind: None,
            title: None,
            detail: detail.into(),
            extensions: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    kinds! {
        /// 400: the request itself is wrong.
        bad_request = BAD_REQUEST;
        /// 401: nobody knows who is asking.
        unauthorized = UNAUTHORIZED;
        /// 403: who is asking may not do this.
        forbidden = FORBIDDEN;
        /// 404
        not_found = NOT_FOUND;
        /// 405
        method_not_allowed = METHOD_NOT_ALLOWED;
        /// 409: it contradicts what is there.
        conflict = CONFLICT;
        /// 413: larger than a limit.
        too_large = PAYLOAD_TOO_LARGE;
        /// 422: understood, but not acceptable.
        unprocessable = UNPROCESSABLE_ENTITY;
        /// 429
        too_many_requests = TOO_MANY_REQUESTS;
        /// 500: our own fault. Say what failed, never a secret.
        internal = INTERNAL_SERVER_ERROR;
        /// 501
        not_implemented = NOT_IMPLEMENTED;
        /// 503: try again later.
        unavailable = SERVICE_UNAVAILABLE;
        /// 507: no room.
        insufficient_storage = INSUFFICIENT_STORAGE;
    }

    /// A URI that names the kind of problem; `about:blank` otherwise.
    pub fn with_type(mut self, uri: impl Into<String>) -> Self {
        self.0.kind = Some(uri.into());
        self
    }

    /// A short title instead of the status code's own words.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.0.title = Some(title.into());
        self
    }

    /// A further member of the body.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// A header of the answer, for example `Retry-After`. A value that no header can hold is left out.
    pub fn with_header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers.append(name, value);
        }
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The body as JSON.
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), self.0.kind.as_deref().unwrap_or("about:blank").into());
        let reason = || self.0.status.canonical_reason().unwrap_or("Error");
        body.insert("title".to_owned(), self.0.title.as_deref().unwrap_or_else(reason).into());
        body.insert("status".to_owned(), self.0.status.as_u16().into());
        body.insert("detail".to_owned(), self.0.detail.as_str().into());
        for (member, value) in &self.0.extensions {
            body.insert(member.clone(), value.clone());
        }
        if let Some(id) = crate::current_request_id() {
            body.insert("request_id".to_owned(), id.as_str().into());
        }
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.0.headers);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.status, self.0.detail)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Problem({self})")
    }
}

impl std::error::Error for Problem {}

impl From<dte_store::Error> for Problem {
    /// What a client should be told of a failed transaction; the cause itself goes to the log.
    fn from(error: dte_store::Error) -> Self {
        use dte_store::Error;
        match error {
            Error::NotFound => Problem::not_found("there is no such thing"),
            Error::Duplicate(_) => Problem::conflict("it exists already"),
            Error::Full => Problem::insufficient_storage("the engine's disk is full"),
            Error::Closed => Problem::unavailable("the engine is stopping"),
            other => {
                tracing::error!(error = %other, "a transaction failed");
                Problem::internal("the store failed; the log has the cause under this request id")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_members() {
        let problem = Problem::conflict("taken").with_type("urn:dte:taken").with("name", "enso");
        let body = problem.to_json();
        assert_eq!(body["type"], "urn:dte:taken");
        assert_eq!(body["status"], 409);
        assert_eq!(body["title"], "Conflict");
        assert_eq!(body["name"], "enso");
        let response = problem.into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
