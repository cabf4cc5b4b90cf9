//! Reading the other server's file, going on where it broke off.

use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use dte_http::Reply;
use dte_protocol_webdav::digest::Algorithm;
use dte_protocol_webdav::range::parse_content_range;
use futures_util::{StreamExt as _, stream};
use http::header::{ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use http::{Method, StatusCode};

use super::party::{Party, ask_for_digest, looked};
use crate::byte_store::Reading;
use crate::error::{Errno, Error};

/// How often one copy goes on after it broke off.
const MOST_RESUMES: u32 = 20;
/// The wait before going on, which grows from time to time …
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A download under way.
struct Download {
    party: Party,
    body: BodyDataStream,
    at: u64,
    total: Option<u64>,
    /// Says whether it is still the same file.
    tag: Option<HeaderValue>,
    resumes: u32,
}

impl Party {
    /// Opens the file, and hears what the server says of it.
    pub(super) async fn open(&self) -> Result<Reading, Error> {
        // Many servers tell a checksum with HEAD only. One that does not know HEAD, or a URL that is signed for GET, is no failure.
        let mut headers = HeaderMap::new();
        let mut head = None;
        if self.is_believed {
            ask_for_digest(&mut headers, Algorithm::Adler32);
            head = match self.look(Some(Algorithm::Adler32)).await {
                Ok(head) => Some(head),
                Err(error) if error.errno == Errno::ENOENT => return Err(error),
                Err(_) => None,
            };
        }
        let reply = self.must(&Method::GET, &headers).await?;
        let said = looked(&reply);
        let mut stated = said.digests;
        let same = head.filter(|head| head.etag == said.etag && head.modified == said.modified);
        for digest in same.into_iter().flat_map(|head| head.digests) {
            if !stated.iter().any(|known| known.algorithm() == digest.algorithm()) {
                stated.push(digest);
            }
        }
        if !self.is_believed {
            stated.clear();
        }
        if self.must_tell && !stated.iter().any(|digest| digest.algorithm() == Algorithm::Adler32) {
            return Err(self.silent());
        }
        let download = Download {
            party: self.clone(),
            at: 0,
            total: said.bytes,
            tag: strong_tag(&reply),
            resumes: 0,
            body: reply.body.into_data_stream(),
        };
        Ok(Reading { bytes: said.bytes, stated, stream: stream::try_unfold(download, next).boxed() })
    }
}

/// A tag that promises the same bytes.
fn strong_tag(reply: &Reply) -> Option<HeaderValue> {
    reply.headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).cloned()
}

async fn next(mut download: Download) -> Result<Option<(Bytes, Download)>, Error> {
    loop {
        let pause = download.party.pause;
        let broken = match tokio::time::timeout(pause, download.body.next()).await {
            Ok(Some(Ok(piece))) => {
                download.at += piece.len() as u64;
                return Ok(Some((piece, download)));
            }
            Ok(None) if download.total.is_none_or(|total| download.at >= total) => return Ok(None),
            Ok(None) => download.broken(Errno::ECONN, "the answer ended early"),
            Ok(Some(Err(error))) => download.broken(Errno::ECONN, &format!("the answer broke off: {error}")),
            Err(_) => {
                download.broken(Errno::ETIMEDOUT, &format!("operation timeout, no byte came in {} s", pause.as_secs()))
            }
        };
        download = download.resume(broken).await?;
    }
}

impl Download {
    fn broken(&self, errno: Errno, what: &str) -> Error {
        let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        Error::new(errno, format!("GET {}: {what}, after {}{of} bytes", self.party, self.at))
    }

    /// Asks for the rest, as long as the file is the same.
    async fn resume(mut self, mut cause: Error) -> Result<Download, Error> {
        let Some(tag) = self.tag.clone() else { return Err(cause) };
        while self.resumes < MOST_RESUMES {
            let wait = FIRST_WAIT * 2_u32.saturating_pow(self.resumes.min(10));
            self.resumes += 1;
            tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            let mut headers = HeaderMap::new();
            headers.insert(IF_RANGE, tag.clone());
            let range = HeaderValue::try_from(format!("bytes={}-", self.at));
            headers.insert(RANGE, range.map_err(|_| cause.clone())?);
            match self.party.must(&Method::GET, &headers).await {
                Ok(reply) => {
                    self.check(&reply, &tag)?;
                    tracing::debug!(party = %self.party, at = self.at, "a download goes on where it broke off");
                    self.body = reply.body.into_data_stream();
                    return Ok(self);
                }
                Err(error) if error.is_recoverable() => cause = error,
                Err(error) => return Err(error),
            }
        }
        Err(cause)
    }

    /// Whether this is the rest of what was begun.
    fn check(&self, reply: &Reply, tag: &HeaderValue) -> Result<(), Error> {
        let stretch = reply.header("content-range").and_then(parse_content_range);
        let fits = stretch.is_some_and(|(range, total)| {
            range.first == self.at && (total.is_none() || self.total.is_none() || total == self.total)
        });
        let is_same = reply.headers.get(ETAG).is_none_or(|now| now == tag);
        if reply.status == StatusCode::PARTIAL_CONTENT && fits && is_same {
            return Ok(());
        }
        Err(self.broken(Errno::EIO, "it broke off, and the file there is another now"))
    }
}
