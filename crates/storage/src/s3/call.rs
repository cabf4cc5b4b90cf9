//! Signed requests of one bucket, and what its answers mean.

use std::time::Duration;

use dte_http::{ClientError, Reply, RequestBuilder};
use http::Method;
use rusty_s3::S3Action;

use super::S3Store;
use crate::error::{Errno, Error};
use crate::webdav::category;

/// How long a signature counts: long enough for a slow clock at the other side, and for the start of an upload.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// How long a server may take to begin to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
/// The longest answer that says how a request went.
const LONGEST_WORD: usize = 64 << 10;

impl S3Store {
    /// A request whose address carries its signature. It must not be shown to anybody.
    pub(super) fn request<'a>(&self, method: Method, action: &impl S3Action<'a>) -> RequestBuilder {
        self.client.request(method, action.sign(SIGNED_FOR)).timeout(PATIENCE)
    }

    /// Sends it; what is no success is an error.
    pub(super) async fn send(&self, method: Method, key: &str, request: RequestBuilder) -> Result<Reply, Error> {
        let outcome = match request.send().await {
            Ok(reply) => reply.ok().await,
            Err(error) => Err(error),
        };
        outcome.map_err(|error| self.explain(&method, key, &error))
    }

    fn explain(&self, method: &Method, key: &str, error: &ClientError) -> Error {
        let errno = category(error, method);
        let text = match error {
            ClientError::Status { status, detail } => {
                format!("{}{}", status.as_u16(), said(detail).map_or_else(String::new, |said| format!(", {said}")))
            }
            // These words may repeat the address, and so the signature.
            ClientError::BadUrl(_) | ClientError::Request(_) => "the request cannot be made".to_owned(),
            other => other.to_string(),
        };
        Error::new(errno, format!("{method} {}: {text}", self.bucket.object_url(key)))
    }

    /// The answer to a request that may take long: servers say 200 first and then, perhaps, that it went wrong.
    pub(super) async fn said_so(&self, reply: Reply, key: &str) -> Result<String, Error> {
        let wrong = |text: String| Error::new(Errno::EIO, format!("{}: {text}", self.bucket.object_url(key)));
        let text = reply
            .bytes(LONGEST_WORD)
            .await
            .map_err(|error| Error::new(Errno::ECONN, format!("{}: {error}", self.bucket.object_url(key))))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains("<Error>") {
            return Err(wrong(said(&text).unwrap_or_else(|| "the server failed".to_owned())));
        }
        Ok(text)
    }
}

/// Code and message of an error's document. The rest of it may repeat what was signed, and is left out.
fn said(document: &str) -> Option<String> {
    let inside = |name: &str| {
        let (_, rest) = document.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(text, _)| text.chars().filter(|c| !c.is_control()).take(300).collect::<String>())
    };
    let code = inside("Code")?;
    Some(inside("Message").map_or(code.clone(), |message| format!("{code}: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_errors() {
        let document = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>There is no such key.</Message>\
                        <StringToSign>secret</StringToSign></Error>";
        assert_eq!(said(document).as_deref(), Some("NoSuchKey: There is no such key."));
        assert_eq!(said("nonsense"), None);
    }
}
