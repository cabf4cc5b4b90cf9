//! Building a request and reading its answer.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use dte_base::secret::Secret;
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use url::Url;

use super::{Client, ClientError};

/// How long a call without a streamed body waits for the answer's head.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers that are read as a whole, unless the caller says otherwise.
const WHOLE_ANSWER: usize = 64 << 20;
/// Of a file, at a time.
const PIECE: usize = 256 << 10;
/// How much of an error's body is kept for the message.
const ERROR_TEXT: usize = 4 << 10;

/// What can be sent as a bearer token.
pub trait BearerText {
    fn text(&self) -> &str;
}

impl BearerText for Secret {
    fn text(&self) -> &str {
        self.expose()
    }
}

impl BearerText for str {
    fn text(&self) -> &str {
        self
    }
}

impl BearerText for String {
    fn text(&self) -> &str {
        self
    }
}

/// A request being built. Mistakes are kept until [`RequestBuilder::send`].
#[must_use]
pub struct RequestBuilder {
    client: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Content,
    timeout: Option<Duration>,
    redirects: usize,
    mistake: Option<ClientError>,
}

enum Content {
    Whole(Bytes),
    Stream(Body),
}

impl RequestBuilder {
    pub(super) fn new(client: Client, method: Method, url: &str) -> Self {
        RequestBuilder {
            client,
            method,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            body: Content::Whole(Bytes::new()),
            timeout: None,
            redirects: 0,
            mistake: None,
        }
    }

    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => self.mistake = Some(ClientError::Request("a header has impossible characters".to_owned())),
        }
        self
    }

    /// Shows this token.
    pub fn bearer(mut self, token: &(impl BearerText + ?Sized)) -> Self {
        match HeaderValue::from_str(&format!("Bearer {}", token.text())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(AUTHORIZATION, value);
            }
            Err(_) => self.mistake = Some(ClientError::Request("the token has impossible characters".to_owned())),
        }
        self
    }

    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => {
                self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                self.body = Content::Whole(text.into());
            }
            Err(error) => self.mistake = Some(ClientError::Request(error.to_string())),
        }
        self
    }

    pub fn form(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_urlencoded::to_string(value) {
            Ok(text) => {
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                self.headers.entry(CONTENT_TYPE).or_insert(kind);
                self.body = Content::Whole(text.into());
            }
            Err(error) => self.mistake = Some(ClientError::Request(error.to_string())),
        }
        self
    }

    /// A streamed body. Then there is no limit for the answer unless [`RequestBuilder::timeout`] sets one.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = Content::Stream(body.into());
        self
    }

    /// A file of `length` bytes as a streamed body. The other side is told the length, so a file that became shorter breaks the call off.
    pub fn file(self, file: tokio::fs::File, length: u64) -> Self {
        let pieces = futures_util::stream::try_unfold(file.take(length), |mut file| async move {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = file.read_buf(&mut piece).await?;
            Ok::<_, std::io::Error>((read > 0).then(|| (piece.freeze(), file)))
        });
        self.header(CONTENT_LENGTH, HeaderValue::from(length)).body(Body::from_stream(pieces))
    }

    /// A body that is in memory.
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = Content::Whole(bytes.into());
        self
    }

    /// Appends to the query.
    pub fn query(mut self, pairs: &(impl Serialize + ?Sized)) -> Self {
        match serde_urlencoded::to_string(pairs) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                self.url.push(if self.url.contains('?') { '&' } else { '?' });
                self.url.push_str(&text);
            }
            Err(error) => self.mistake = Some(ClientError::Request(error.to_string())),
        }
        self
    }

    /// How long to wait for the answer's head.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Follows up to `most` redirects of a GET, HEAD or PROPFIND. A token is not shown to another host.
    pub fn follow(mut self, most: usize) -> Self {
        self.redirects = most;
        self
    }

    /// Sends, and gives any answer, also an error's: see [`Reply::ok`].
    pub async fn send(self) -> Result<Reply, ClientError> {
        let RequestBuilder { client, method, mut url, mut headers, body, timeout, redirects, mistake } = self;
        if let Some(mistake) = mistake {
            return Err(mistake);
        }
        let repeatable = matches!(method.as_str(), "GET" | "HEAD" | "PROPFIND");
        let (whole, limit) = match &body {
            Content::Whole(bytes) => (Some(bytes.clone()), Some(timeout.unwrap_or(PATIENCE))),
            Content::Stream(_) => (None, timeout),
        };
        let mut stream = match body {
            Content::Stream(body) => Some(body),
            Content::Whole(_) => None,
        };
        for _ in 0..=redirects {
            let body = stream.take().unwrap_or_else(|| match &whole {
                Some(bytes) if !bytes.is_empty() => Body::from(bytes.clone()),
                _ => Body::empty(),
            });
            let mut request = Request::new(body);
            *request.method_mut() = method.clone();
            *request.uri_mut() = url.parse().map_err(|_| ClientError::BadUrl(url.clone()))?;
            *request.headers_mut() = headers.clone();
            let response = match limit {
                None => client.send(request).await?,
                Some(limit) => tokio::time::timeout(limit, client.send(request))
                    .await
                    .map_err(|_| ClientError::Timeout { host: host_of(&url), limit })??,
            };
            let reply = Reply::from(response);
            let target = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            match target {
                Some(target) if redirects > 0 && repeatable && reply.status.is_redirection() => {
                    let here = Url::parse(&url).map_err(|_| ClientError::BadUrl(url.clone()))?;
                    let there = here.join(target).map_err(|_| ClientError::BadUrl(target.to_owned()))?;
                    if there.origin() != here.origin() {
                        headers.remove(AUTHORIZATION);
                    }
                    url = there.into();
                }
                _ => return Ok(reply),
            }
        }
        Err(ClientError::Redirects)
    }
}

pub(super) fn host_of(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

impl From<http::Response<Body>> for Reply {
    fn from(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

impl Reply {
    /// The answer when it is a success, else an error with the body's own words.
    pub async fn ok(self) -> Result<Reply, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let status = self.status;
        let text = self.start_of_text(ERROR_TEXT).await;
        let detail = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|body| {
                ["detail", "error_description", "message", "ExceptionMessage", "error"]
                    .iter()
                    .find_map(|key| body[key].as_str().map(str::to_owned))
            })
            .unwrap_or(text);
        Err(ClientError::Status { status, detail })
    }

    async fn start_of_text(self, most: usize) -> String {
        let mut stream = self.body.into_data_stream();
        let mut text = Vec::new();
        while let Some(Ok(part)) = stream.next().await {
            text.extend_from_slice(&part[..part.len().min(most - text.len())]);
            if text.len() >= most {
                break;
            }
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// A header as text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, at most `limit` bytes.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, ClientError> {
        let mut stream = self.body.into_data_stream();
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        while let Some(part) = stream.next().await {
            let part = part.map_err(|error| ClientError::Broken(error.to_string()))?;
            if first.as_ref().map_or(0, Bytes::len) + rest.len() + part.len() > limit {
                return Err(ClientError::TooLarge(dte_base::units::Bytes(limit as u64)));
            }
            match first {
                None => first = Some(part),
                Some(ref head) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(head);
                        first = Some(Bytes::new());
                    }
                    rest.extend_from_slice(&part);
                }
            }
        }
        Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
    }

    /// The body as JSON. Does not look at the status: see [`Reply::ok`].
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let bytes = self.bytes(WHOLE_ANSWER).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Json(error.to_string()))
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    pub async fn text(self) -> Result<String, ClientError> {
        let bytes = self.bytes(WHOLE_ANSWER).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
