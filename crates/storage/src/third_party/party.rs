//! The file at the other server, and requests about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use dte_http::{Client, ClientError, Reply};
use dte_protocol_webdav::digest::{self, Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request};
use url::Url;

use super::address::{is_presigned, next_hop, read_url, shown};
use crate::byte_store::{Answer, ByteStore, Content, Entry, Reading, Stat, Written};
use crate::error::{Errno, Error};
use crate::resolve::Location;
use crate::webdav::errno_of;

/// Headers that are passed on at most.
const MOST_HEADERS: usize = 32;
/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;
/// How long a server may take to begin to answer.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a server may take to compute the checksum of a large file (what gfal2 waits).
const CHECKSUM_PATIENCE: Duration = Duration::from_secs(1800);
/// Without a byte in this time a connection is given up.
const PAUSE: Duration = Duration::from_secs(30);
/// Shorter values of headers are not looked for in what a server says: they could be any word.
const SHORTEST_SECRET: usize = 12;

/// What a request needs for itself; passing one of these on would change what is asked.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "content-range",
    "expect",
    "host",
    "if-match",
    "if-none-match",
    "if-range",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "want-digest",
];

/// Why there cannot be such a party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadParty {
    #[error("the URL of the other server is not one such as https://host/path: {0}")]
    Url(String),
    #[error("user and password in the URL of the other server are not accepted")]
    Credentials,
    #[error("the header {0} cannot be passed on to the other server")]
    Header(String),
    #[error("at most {MOST_HEADERS} headers can be passed on to the other server")]
    TooMany,
}

/// A file at another server. Its `Debug` and `Display` show the URL without its query.
#[derive(Clone)]
pub struct Party {
    client: Client,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) pause: Duration,
    /// Whether what the server says of its checksum counts.
    pub(super) is_believed: bool,
    /// Whether it must say one.
    pub(super) must_tell: bool,
}

/// What a server says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub bytes: Option<u64>,
    pub etag: Option<String>,
    pub modified: Option<String>,
    pub digests: Vec<Digest>,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.url))
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Party({self})")
    }
}

impl Party {
    /// The file at `url`, asked for with `headers`. Give [`Client::untrusted`], since the URL arrived in a request.
    pub fn new(client: Client, url: &str, headers: HeaderMap) -> Result<Party, BadParty> {
        let url = read_url(url)?;
        if headers.len() > MOST_HEADERS {
            return Err(BadParty::TooMany);
        }
        if let Some(name) =
            headers.keys().find(|name| OURS.contains(&name.as_str()) || name.as_str().starts_with("x-dte-"))
        {
            return Err(BadParty::Header(name.to_string()));
        }
        let mut kept = HeaderMap::with_capacity(headers.len());
        for (name, value) in &headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            kept.append(name, value);
        }
        // A signature in the URL is the credential; servers that take it refuse a second one.
        if is_presigned(&url) {
            kept.remove(AUTHORIZATION);
        }
        Ok(Party { client, url, headers: kept, pause: PAUSE, is_believed: true, must_tell: false })
    }

    /// With another limit for the time without a byte.
    #[must_use]
    pub fn pausing_at_most(mut self, pause: Duration) -> Party {
        self.pause = pause;
        self
    }

    /// Whether what the server says of its checksum counts. It does unless this is said.
    #[must_use]
    pub fn verifying(mut self, is_believed: bool) -> Party {
        self.is_believed = is_believed;
        self
    }

    /// Whether a copy fails when the server tells no adler32; the length counts then otherwise.
    #[must_use]
    pub fn must_tell_checksum(mut self, must_tell: bool) -> Party {
        self.must_tell = must_tell;
        self
    }

    /// The host alone, in one spelling.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_end_matches('.')
    }

    /// As an end of a copy.
    pub fn location(&self) -> Location {
        let path = ResourcePath::parse(self.url.path()).unwrap_or_default();
        Location::new(Arc::new(self.clone()), path, self.to_string())
    }

    /// Whether the request is answered without a network.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        self.client.is_own(url.as_str())
    }

    /// Sends one request, with the headers that were given if it goes to the origin that they were given for.
    pub(super) async fn send_to(
        &self,
        url: &Url,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        prepare: impl FnOnce(&mut Request<Body>),
    ) -> Result<Reply, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| Error::new(Errno::EINVAL, format!("{}: not a URL", shown(url))))?;
        if url.origin() == self.url.origin() {
            request.headers_mut().extend(self.headers.clone());
        }
        for (name, value) in headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        prepare(&mut request);
        self.client.send(request).await.map(Reply::from).map_err(|error| self.explain(method, url, error))
    }

    /// Sends a request without a body and follows redirects. Gives any answer.
    async fn ask(&self, method: &Method, headers: &HeaderMap, patience: Duration) -> Result<(Reply, Url), Error> {
        let mut url = self.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let sending = self.send_to(&url, method, headers, Body::empty(), |_| {});
            let reply = tokio::time::timeout(patience, sending).await.map_err(|_| {
                let text =
                    format!("{method} {}: operation timeout, no answer within {} s", shown(&url), patience.as_secs());
                Error::new(Errno::ETIMEDOUT, text)
            })??;
            match next_hop(&url, &reply)? {
                Some(there) => url = there,
                None => return Ok((reply, url)),
            }
        }
        Err(Error::new(Errno::EIO, format!("{method} {self}: too many redirects")))
    }

    /// The same; what is no success is an error.
    pub(super) async fn must(&self, method: &Method, headers: &HeaderMap) -> Result<Reply, Error> {
        let (reply, url) = self.ask(method, headers, PATIENCE).await?;
        reply.ok().await.map_err(|error| self.explain(method, &url, error))
    }

    /// What the server says of the file. `wanted` asks for a checksum, for which servers may have to read the file.
    pub async fn look(&self, wanted: Option<Algorithm>) -> Result<Looked, Error> {
        let mut headers = HeaderMap::new();
        let mut patience = PATIENCE;
        if let Some(algorithm) = wanted {
            ask_for_digest(&mut headers, algorithm);
            patience = CHECKSUM_PATIENCE;
        }
        let (reply, url) = self.ask(&Method::HEAD, &headers, patience).await?;
        let reply = reply.ok().await.map_err(|error| self.explain(&Method::HEAD, &url, error))?;
        Ok(looked(&reply))
    }

    /// Deletes the file.
    pub(super) async fn remove(&self) -> Result<(), Error> {
        self.must(&Method::DELETE, &HeaderMap::new()).await.map(|_| ())
    }

    /// From an HTTP failure to the category that gfal2 puts it in, in words that schedulers know, without what is secret.
    pub(super) fn explain(&self, method: &Method, url: &Url, error: ClientError) -> Error {
        let (errno, text) = match &error {
            ClientError::Status { status, detail } => {
                let said = self.without_secrets(detail);
                let text =
                    format!("Remote side failed with status code {}; error message: \"{said}\"", status.as_u16());
                (errno_of(*status, method, false), text)
            }
            ClientError::Timeout { .. } => (Errno::ETIMEDOUT, error.to_string()),
            ClientError::Unreachable { .. } => (Errno::ECONN, format!("Couldn't connect to server: {error}")),
            ClientError::Broken(_) => (Errno::ECONN, error.to_string()),
            ClientError::Refused(_) => (Errno::EACCES, error.to_string()),
            ClientError::BadUrl(_) | ClientError::Request(_) => (Errno::EINVAL, "not a URL".to_owned()),
            _ => (Errno::EIO, error.to_string()),
        };
        Error::new(errno, format!("{method} {}: {text}", shown(url)))
    }

    /// What is wrong with a server that tells no checksum where one is required.
    pub(super) fn silent(&self) -> Error {
        Error::new(Errno::ENOSYS, format!("{self}: the server tells no adler32, and verification is required"))
    }

    fn without_secrets(&self, text: &str) -> String {
        let values = self.headers.values().filter_map(|value| value.to_str().ok());
        let words = values.flat_map(str::split_whitespace).chain(self.url.query());
        words.filter(|word| word.len() >= SHORTEST_SECRET).fold(text.to_owned(), |text, word| text.replace(word, "…"))
    }
}

/// Asks for a checksum in both generations of headers.
pub(super) fn ask_for_digest(headers: &mut HeaderMap, algorithm: Algorithm) {
    headers.insert(HeaderName::from_static("want-digest"), HeaderValue::from_static(algorithm.name()));
}

pub(super) fn looked(reply: &Reply) -> Looked {
    let text = |name: &str| reply.header(name).map(str::to_owned);
    Looked {
        bytes: reply.header("content-length").and_then(|text| text.parse().ok()),
        etag: text("etag"),
        modified: text("last-modified"),
        // What a server says of itself in a form that we cannot read is as good as nothing said.
        digests: digest::stated(&reply.headers).unwrap_or_default(),
    }
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(Error::new(Errno::ENOSYS, format!("{what} is not part of a third-party copy")))
}

/// The one file as a store: paths are not looked at.
impl ByteStore for Party {
    fn stat<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, Stat> {
        Box::pin(async move {
            let looked = self.look(None).await?;
            Ok(Stat { is_folder: false, bytes: looked.bytes, modified: None })
        })
    }

    fn list<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(async { unsupported("a listing") })
    }

    fn read<'a>(
        &'a self,
        _: &'a ResourcePath,
        range: Option<dte_protocol_webdav::range::ByteRange>,
    ) -> Answer<'a, Reading> {
        Box::pin(async move { if range.is_some() { unsupported("a range") } else { self.open().await } })
    }

    fn write<'a>(&'a self, _: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        Box::pin(self.put(content))
    }

    fn rename<'a>(&'a self, _: &'a ResourcePath, _: &'a ResourcePath, _: bool) -> Answer<'a, ()> {
        Box::pin(async { unsupported("another name") })
    }

    fn delete<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(self.remove())
    }

    fn make_folder<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async { unsupported("a folder") })
    }

    fn checksum<'a>(&'a self, _: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async move {
            if !self.is_believed {
                return Ok(None);
            }
            let looked = self.look(Some(algorithm)).await?;
            Ok(looked.digests.into_iter().find(|digest| digest.algorithm() == algorithm))
        })
    }

    /// The credential of a third-party copy is good for the one name, so there is no other to write to first.
    fn writes_atomically(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(url: &str, headers: &[(&'static str, &'static str)]) -> Result<Party, BadParty> {
        let own: Url = "http://127.0.0.1:8990".parse().expect("a URL");
        let client = Client::new(&dte_http::HttpConfig::default(), own);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Party::new(client, url, map)
    }

    #[tokio::test]
    async fn what_can_be_a_party() {
        let ok =
            party("davs://h:8443/a%20b?authz=secret#x", &[("authorization", "Bearer 123456789012")]).expect("is one");
        assert_eq!(
            (ok.url.as_str(), ok.to_string().as_str()),
            ("https://h:8443/a%20b?authz=secret", "https://h:8443/a%20b")
        );
        assert_eq!(ok.without_secrets("no 123456789012 here"), "no … here");
        assert!(!format!("{ok:?}").contains("secret"));
        let signed = party("https://h/a?X-Amz-Signature=1", &[("authorization", "Bearer x")]).expect("is one");
        assert!(signed.headers.is_empty());
        for bad in [
            "",
            "h/a",
            "ftp://h/a",
            "https:///a",
            "https://h",
            "https://h/",
            "https://u:p@h/a",
            "https://h/\na",
            "https://h\\@i/a",
        ] {
            assert!(party(bad, &[]).is_err(), "{bad}");
        }
        for header in ["host", "range", "x-dte-hops", "transfer-encoding"] {
            assert!(party("https://h/a", &[(header, "1")]).is_err(), "{header}");
        }
    }
}
