//! What every request carries through the engine: its id, and how many services it came through.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;

/// The header that carries the request id, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Counts how many services called each other to make this request.
pub const X_DTE_HOPS: HeaderName = HeaderName::from_static("x-dte-hops");
/// A chain of calls longer than this is a loop.
pub const HOP_LIMIT: u8 = 8;
/// Longer ids are replaced.
const LONGEST_ID: usize = 128;

/// Where a request came from: an extension of requests that came over a socket. It is the address at the other end of the
/// connection, or, when that is one of `[http] trusted_proxies`, what the proxy says. Calls in memory have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub std::net::IpAddr);

/// The id of one request: what the client sent in `X-Request-Id` when that is plain text of a sane length, else a
/// fresh UUIDv7. Also an extractor.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    pub fn fresh() -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = dte_base::id::new_id().hyphenated().encode_lower(&mut text);
        RequestId(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    /// The id in these headers, or a fresh one.
    pub(crate) fn accept(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(value) if is_valid(value.as_bytes()) => RequestId(value.clone()),
            _ => RequestId::fresh(),
        }
    }

    /// Takes an id that was noted with an event or a piece of work; `None` when it could not be a header.
    pub fn parse(text: &str) -> Option<Self> {
        if !is_valid(text.as_bytes()) {
            return None;
        }
        HeaderValue::from_str(text).ok().map(RequestId)
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_valid(bytes: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=');
    !bytes.is_empty() && bytes.len() <= LONGEST_ID && bytes.iter().all(plain)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(current_request_id().unwrap_or_else(|| RequestId::accept(&parts.headers)))
    }
}

/// What travels with the task that serves a request.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) id: RequestId,
    pub(crate) hops: u8,
}

tokio::task_local! {
    pub(crate) static CURRENT: Context;
}

/// The id of the request that this task is serving.
pub fn current_request_id() -> Option<RequestId> {
    CURRENT.try_with(|context| context.id.clone()).ok()
}

/// How many services are between the first caller and this task.
pub(crate) fn current_hops() -> u8 {
    CURRENT.try_with(|context| context.hops).unwrap_or(0)
}

/// Runs background work under the id of the request that caused it, so that its calls and log lines carry that id.
pub async fn with_request_id<T>(id: RequestId, work: impl Future<Output = T>) -> T {
    use tracing::Instrument as _;
    let span = tracing::info_span!("request", id = id.as_str());
    CURRENT.scope(Context { id, hops: 0 }, work).instrument(span).await
}

/// Hops in these headers; a text that is no number counts as the limit.
pub(crate) fn hops_of(headers: &HeaderMap) -> u8 {
    match headers.get(X_DTE_HOPS) {
        None => 0,
        Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u8::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_or_made() {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static("trace-7/a"));
        assert_eq!(RequestId::accept(&headers).as_str(), "trace-7/a");
        for bad in ["", "two words", "<script>", &"x".repeat(129)] {
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(bad).expect("a header"));
            assert_eq!(RequestId::accept(&headers).as_str().len(), 36, "{bad:?}");
        }
    }

    #[test]
    fn hops_that_are_no_number_stop_here() {
        let mut headers = HeaderMap::new();
        assert_eq!(hops_of(&headers), 0);
        headers.insert(X_DTE_HOPS, HeaderValue::from_static("3"));
        assert_eq!(hops_of(&headers), 3);
        headers.insert(X_DTE_HOPS, HeaderValue::from_static("-1"));
        assert_eq!(hops_of(&headers), u8::MAX);
    }
}
