//! Putting a file at the other server.
//!
//! The content waits until the server has said that it wants it (`100 Continue`), so that a server that sends us on to
//! another one, as clusters do, has not used it up. A server that does not know the question gets the content after a second.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dte_protocol_webdav::digest;
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{Method, StatusCode};
use tokio::sync::{Mutex, Notify};

use super::address::{next_hop, shown};
use super::party::Party;
use crate::byte_store::{ByteStream, Content, Written};
use crate::error::{Errno, Error};

/// How long a server may take to say that it wants the content.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// Content that is used once, by whichever request gets as far as sending it.
type Slot = Arc<Mutex<Option<ByteStream>>>;

impl Party {
    /// Uploads, following redirects as long as nothing was sent.
    pub(super) async fn put(&self, content: Content) -> Result<Written, Error> {
        let headers = headers_of(&content)?;
        let slot: Slot = Arc::new(Mutex::new(Some(content.stream)));
        let mut url = self.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let wanted = Arc::new(Notify::new());
            let mut asking = headers.clone();
            let is_own = self.is_own(&url);
            if is_own {
                wanted.notify_one();
            } else {
                asking.insert(EXPECT, HeaderValue::from_static("100-continue"));
            }
            let body = body_of(slot.clone(), wanted.clone());
            let sending = self.send_to(&url, &Method::PUT, &asking, body, move |request| {
                hyper::ext::on_informational(request, move |answer| {
                    if answer.status() == StatusCode::CONTINUE {
                        wanted.notify_one();
                    }
                });
            });
            let reply = sending.await?;
            match next_hop(&url, &reply)? {
                None => {
                    let reply = reply.ok().await.map_err(|error| self.explain(&Method::PUT, &url, error))?;
                    let stated =
                        if self.is_believed { digest::stated(&reply.headers).unwrap_or_default() } else { Vec::new() };
                    return Ok(Written { stated });
                }
                Some(_) if slot.lock().await.is_none() => {
                    let text = format!("PUT {}: the server sends us on after it took content", shown(&url));
                    return Err(Error::new(Errno::EIO, text));
                }
                Some(there) => url = there,
            }
        }
        Err(Error::new(Errno::EIO, format!("PUT {self}: too many redirects")))
    }
}

fn headers_of(content: &Content) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if let Some(bytes) = content.bytes {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    for digest in &content.digests {
        let value = HeaderValue::try_from(digest.legacy());
        let value = value.map_err(|_| Error::new(Errno::EINVAL, "a checksum does not fit into a header"))?;
        headers.append(HeaderName::from_static("digest"), value);
    }
    if !content.overwrite {
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    Ok(headers)
}

fn body_of(slot: Slot, wanted: Arc<Notify>) -> Body {
    let opening = async move {
        // After a while it is sent unasked (RFC 9110 section 10.1.1).
        if tokio::time::timeout(CONTINUE_WAIT, wanted.notified()).await.is_err() {
            tracing::debug!("a server does not say that it wants the content; it is sent all the same");
        }
        match slot.lock().await.take() {
            Some(content) => content,
            None => stream::once(async { Err::<Bytes, _>(Error::new(Errno::EIO, "the content was used up")) }).boxed(),
        }
    };
    Body::from_stream(stream::once(opening).flatten())
}
