//! A client for HTTP and WebDAV storage.
//!
//! Every call takes an absolute URL. Which addresses may be reached is the business of the [`dte_http::Client`] that it is
//! built on: use [`dte_http::Client::untrusted`] for URLs that arrived in requests.

use std::time::Duration;

use axum::body::Body;
use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_http::{Client, ClientError, Reply, RequestBuilder};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::digest::{self, Algorithm, Digest};
use crate::header::{Depth, parse_http_date};
use crate::multistatus::{self, Listing, Resource};
use crate::propfind::STAT_BODY;
use crate::range::{ByteRange, parse_content_range};

/// Redirects that are followed on reads.
const MOST_REDIRECTS: usize = 5;
/// Largest listing that is read.
const LARGEST_LISTING: usize = 256 << 20;
/// How long a server may take to compute a checksum of a large file (what gfal2 waits).
const CHECKSUM_PATIENCE: Duration = Duration::from_secs(1800);
/// How long a server may take to begin to answer anything else.
const PATIENCE: Duration = Duration::from_secs(180);

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{method} {url}: {source}")]
    Http { method: Method, url: String, source: ClientError },
    #[error("{method} {url}: the answer cannot be understood: {reason}")]
    Answer { method: Method, url: String, reason: String },
    /// The server may still give the whole file.
    #[error("GET {url}: a range was asked for and something else came")]
    NoRange { url: String },
}

impl Error {
    /// The status that the server answered, if it did.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Error::Http { source: ClientError::Status { status, .. }, .. } => Some(*status),
            _ => None,
        }
    }

    pub fn method(&self) -> &Method {
        match self {
            Error::Http { method, .. } | Error::Answer { method, .. } => method,
            Error::NoRange { .. } => &Method::GET,
        }
    }
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
    pub etag: Option<String>,
    pub digests: Vec<Digest>,
}

impl Head {
    fn of(headers: &HeaderMap) -> Head {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Head {
            size: text("content-length").and_then(|text| text.parse().ok()),
            modified: text("last-modified").and_then(parse_http_date),
            etag: text("etag").map(str::to_owned),
            // What a server says of itself in a form that we cannot read is as good as nothing said.
            digests: digest::stated(headers).unwrap_or_default(),
        }
    }
}

/// An opened download.
pub struct Download {
    pub head: Head,
    /// The stretch that follows and the whole size, if the server answered a range.
    pub range: Option<(ByteRange, Option<u64>)>,
    pub body: Body,
}

/// What is to be uploaded.
pub struct Upload {
    pub body: Body,
    pub size: Option<u64>,
    /// Said to the server, which may refuse what does not agree.
    pub digests: Vec<Digest>,
    /// Whether an existing file may be replaced.
    pub overwrite: bool,
}

/// A WebDAV client with the credential of one user.
#[derive(Clone)]
pub struct WebdavClient {
    http: Client,
    bearer: Option<Secret>,
}

impl WebdavClient {
    pub fn new(http: Client, bearer: Option<Secret>) -> WebdavClient {
        WebdavClient { http, bearer }
    }

    /// The client below.
    pub fn http(&self) -> &Client {
        &self.http
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let request = self.http.request(method, url.as_str());
        match &self.bearer {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    async fn send(&self, method: Method, url: &Url, request: RequestBuilder) -> Result<Reply, Error> {
        let outcome = match request.send().await {
            Ok(reply) => reply.ok().await,
            Err(error) => Err(error),
        };
        outcome.map_err(|source| Error::Http { method, url: shown(url), source })
    }

    /// Opens a file, or a stretch of it.
    pub async fn get(&self, url: &Url, range: Option<ByteRange>) -> Result<Download, Error> {
        let mut request = self.request(Method::GET, url).header("want-digest", "adler32").follow(MOST_REDIRECTS);
        if let Some(range) = range {
            request = request.header("range", format!("bytes={}-{}", range.first, range.last));
        }
        let reply = self.send(Method::GET, url, request.timeout(PATIENCE)).await?;
        let answered = reply.header("content-range").and_then(parse_content_range);
        if let Some(wanted) = range
            && answered.is_none_or(|(got, _)| got.first != wanted.first)
        {
            return Err(Error::NoRange { url: shown(url) });
        }
        Ok(Download { head: Head::of(&reply.headers), range: answered, body: reply.body })
    }

    /// Uploads a file; gives the checksums that the server says of what it took in.
    pub async fn put(&self, url: &Url, upload: Upload) -> Result<Vec<Digest>, Error> {
        let mut request = self.request(Method::PUT, url).body(upload.body);
        if let Some(size) = upload.size {
            request = request.header("content-length", size);
        }
        for digest in &upload.digests {
            request = request.header("digest", digest.legacy());
        }
        if !upload.overwrite {
            request = request.header("if-none-match", "*");
        }
        let reply = self.send(Method::PUT, url, request).await?;
        Ok(digest::stated(&reply.headers).unwrap_or_default())
    }

    /// HEAD, asking for a checksum.
    pub async fn head(&self, url: &Url, wanted: Option<Algorithm>) -> Result<Head, Error> {
        let mut request = self.request(Method::HEAD, url).follow(MOST_REDIRECTS).timeout(PATIENCE);
        if let Some(algorithm) = wanted {
            request = request.header("want-digest", algorithm.name()).timeout(CHECKSUM_PATIENCE);
        }
        let reply = self.send(Method::HEAD, url, request).await?;
        Ok(Head::of(&reply.headers))
    }

    /// What the server says of one resource; by HEAD where it speaks no WebDAV.
    pub async fn stat(&self, url: &Url) -> Result<Resource, Error> {
        match self.propfind(url, Depth::Zero).await {
            Ok(found) => found.resources.into_iter().next().ok_or_else(|| Error::Answer {
                method: propfind(),
                url: shown(url),
                reason: "it describes nothing".to_owned(),
            }),
            Err(error) if error.status().is_some_and(|status| matches!(status.as_u16(), 400 | 405 | 501)) => {
                let head = self.head(url, None).await?;
                let path = crate::path::ResourcePath::parse(url.path()).unwrap_or_default();
                Ok(Resource {
                    is_collection: path.is_collection(),
                    path,
                    size: head.size,
                    modified: head.modified,
                    etag: head.etag,
                    quota_used: None,
                    quota_available: None,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The folder itself and its members, as the server lists them.
    pub async fn list(&self, url: &Url) -> Result<Vec<Resource>, Error> {
        self.list_all(url).await.map(|listing| listing.resources)
    }

    /// The same, with what of it cannot be read.
    pub async fn list_all(&self, url: &Url) -> Result<Listing, Error> {
        self.propfind(url, Depth::One).await
    }

    async fn propfind(&self, url: &Url, depth: Depth) -> Result<Listing, Error> {
        let request = self
            .request(propfind(), url)
            .header("depth", depth.as_str())
            .header("content-type", "application/xml; charset=utf-8")
            .bytes(STAT_BODY)
            .follow(MOST_REDIRECTS)
            .timeout(PATIENCE);
        let reply = self.send(propfind(), url, request).await?;
        let broken = |reason: String| Error::Answer { method: propfind(), url: shown(url), reason };
        if reply.status != StatusCode::MULTI_STATUS {
            return Err(broken(format!("{} instead of 207", reply.status)));
        }
        let body = reply.bytes(LARGEST_LISTING).await;
        let body = body.map_err(|source| Error::Http { method: propfind(), url: shown(url), source })?;
        let text = std::str::from_utf8(&body).map_err(|_| broken("not UTF-8".to_owned()))?;
        multistatus::parse_listing(text).map_err(|error| broken(error.to_string()))
    }

    /// Makes one folder. Its parent must exist; a folder that exists is fine.
    pub async fn mkcol(&self, url: &Url) -> Result<(), Error> {
        let method = mkcol();
        let request = self.request(method.clone(), url).timeout(PATIENCE);
        match self.send(method, url, request).await {
            Err(error) if error.status() == Some(StatusCode::METHOD_NOT_ALLOWED) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Makes a folder and those above it, going up only as far as needed.
    pub async fn mkcol_with_parents(&self, url: &Url) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut at = url.clone();
        loop {
            match self.mkcol(&at).await {
                Ok(()) => break,
                Err(error) if is_missing_parent(&error) && missing.len() < MOST_PARENTS => {
                    let Some(above) = parent(&at) else { return Err(error) };
                    missing.push(at);
                    at = above;
                }
                Err(error) => return Err(error),
            }
        }
        for folder in missing.iter().rev() {
            self.mkcol(folder).await?;
        }
        Ok(())
    }

    /// Deletes a file or folder.
    pub async fn delete(&self, url: &Url) -> Result<(), Error> {
        let request = self.request(Method::DELETE, url).timeout(PATIENCE);
        self.send(Method::DELETE, url, request).await.map(|_| ())
    }

    /// Gives a resource another name on the same server.
    pub async fn rename(&self, from: &Url, to: &Url, overwrite: bool) -> Result<(), Error> {
        let request = self
            .request(rename(), from)
            .header("destination", to.as_str())
            .header("overwrite", if overwrite { "T" } else { "F" })
            .timeout(PATIENCE);
        self.send(rename(), from, request).await.map(|_| ())
    }
}

/// No tree of folders is made deeper than this.
const MOST_PARENTS: usize = 64;

fn is_missing_parent(error: &Error) -> bool {
    matches!(error.status(), Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND))
}

/// The folder above, as a URL.
pub fn parent(url: &Url) -> Option<Url> {
    let trimmed = url.path().trim_end_matches('/');
    let (above, _) = trimmed.rsplit_once('/')?;
    let mut parent = url.clone();
    parent.set_path(&format!("{above}/"));
    parent.set_query(None);
    Some(parent)
}

fn propfind() -> Method {
    method("PROPFIND")
}

fn mkcol() -> Method {
    method("MKCOL")
}

fn rename() -> Method {
    method("MOVE")
}

fn method(name: &'static str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap_or_default()
}

/// A URL for messages: without query, which may carry a signature or token.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        let up = |text: &str| parent(&text.parse().expect("a URL")).map(String::from);
        assert_eq!(up("http://h/a/b%20c?x=1").as_deref(), Some("http://h/a/"));
        assert_eq!(up("http://h/a/b/").as_deref(), Some("http://h/a/"));
        assert_eq!(up("http://h/a").as_deref(), Some("http://h/"));
        assert_eq!(up("http://h/"), None);
        assert_eq!(mkcol().as_str(), "MKCOL");
    }
}
