//! One delivery to a webhook: the request, and what the answer means.

use std::time::Duration;

use dte_base::time::Timestamp;
use dte_http::{Client, RequestBuilder};
use dte_identity::Identity;
use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::model::cloudevent::{Envelope, STRUCTURED};
use crate::model::signature;
use crate::model::subscription::{ContentMode, Spec};

/// How long a sink may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A sink may ask for this much patience at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    Accepted,
    /// Not now: the sink asks to be left alone for a while. Counts as no failure.
    Later(Duration, String),
    Failed(String),
    /// The sink will never take this one.
    Refused(String),
    /// The sink wants nothing more at all (410).
    Gone,
}

/// The name under which a subscription's secret is sealed.
pub fn secret_name(subscription: &str) -> String {
    format!("events.subscription.{subscription}")
}

/// Where and how to deliver for one subscription.
pub struct Sink {
    client: Client,
    url: String,
    spec: Spec,
    secret: Option<String>,
}

impl Sink {
    /// `None` when the subscription has no sink; an error when its secret does not open.
    pub fn of(
        client: &Client,
        identity: &Identity,
        id: &str,
        spec: &Spec,
        sealed: Option<&[u8]>,
    ) -> Result<Option<Sink>, String> {
        let Some(url) = &spec.sink else { return Ok(None) };
        let secret = match sealed {
            None => None,
            Some(sealed) => {
                let opened = identity.unseal(&secret_name(id), sealed).map_err(|error| error.to_string())?;
                Some(String::from_utf8(opened).map_err(|_| "the secret is not text".to_owned())?)
            }
        };
        Ok(Some(Sink { client: client.untrusted(), url: url.to_string(), spec: spec.clone(), secret }))
    }

    /// Sends an event of the log.
    pub async fn send(&self, event: &Envelope) -> Delivered {
        match self.spec.protocolsettings.mode {
            ContentMode::Structured => self.send_structured(&event.id(), &event.structured()).await,
            ContentMode::Binary => {
                let (headers, content_type, body) = event.binary();
                let request =
                    headers.into_iter().fold(self.request(&content_type), |r, (name, value)| r.header(name, value));
                self.finish(request, &event.id(), body).await
            }
        }
    }

    /// Sends an event that is at hand in structured form only.
    pub async fn send_structured(&self, id: &str, event: &serde_json::Value) -> Delivered {
        self.finish(self.request(STRUCTURED), id, event.to_string().into_bytes()).await
    }

    fn request(&self, content_type: &str) -> RequestBuilder {
        let origin = self.client.public_url().host_str().unwrap_or("localhost").to_owned();
        let request = self.client.post(&self.url).timeout(PATIENCE).header("webhook-request-origin", origin);
        let request = request.header(http::header::CONTENT_TYPE, content_type);
        let own = &self.spec.protocolsettings.headers;
        own.iter().fold(request, |request, (name, value)| request.header(name.as_str(), value.as_str()))
    }

    async fn finish(&self, request: RequestBuilder, id: &str, body: Vec<u8>) -> Delivered {
        let signed = self.secret.as_deref().map(|secret| {
            // The id of an event from outside may have characters that no header takes; the same id is signed and sent.
            let id: String = id.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
            signature::headers(secret, &id, Timestamp::now().as_seconds(), &body)
        });
        let request = signed.into_iter().flatten().fold(request, |request, (name, value)| request.header(name, value));
        // Some receivers wait for a length also where there is nothing.
        let request = if body.is_empty() { request.header(http::header::CONTENT_LENGTH, "0") } else { request };
        match request.bytes(body).send().await {
            Err(error) => Delivered::Failed(error.to_string()),
            Ok(reply) => {
                let after = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                meaning(reply.status, after)
            }
        }
    }
}

/// What an answer means (CloudEvents webhook specification, sections 2.2 and 4). Redirects are not followed.
fn meaning(status: StatusCode, retry_after: Option<&str>) -> Delivered {
    let seconds = retry_after.and_then(|text| text.trim().parse().ok());
    let text = || format!("the sink answered {status}");
    match status {
        _ if status.is_success() => Delivered::Accepted,
        StatusCode::GONE => Delivered::Gone,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Delivered::Refused(text()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if seconds.is_some() => {
            Delivered::Later(Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_PAUSE), text())
        }
        _ => Delivered::Failed(text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let failed = |status: u16| {
            matches!(meaning(StatusCode::from_u16(status).expect("a status"), None), Delivered::Failed(_))
        };
        assert_eq!(meaning(StatusCode::NO_CONTENT, None), Delivered::Accepted);
        assert_eq!(meaning(StatusCode::GONE, None), Delivered::Gone);
        assert!(matches!(meaning(StatusCode::UNSUPPORTED_MEDIA_TYPE, None), Delivered::Refused(_)));
        assert!(
            matches!(meaning(StatusCode::TOO_MANY_REQUESTS, Some("7")), Delivered::Later(pause, _) if pause.as_secs() == 7)
        );
        assert!(
            matches!(meaning(StatusCode::TOO_MANY_REQUESTS, Some("9999999")), Delivered::Later(pause, _) if pause == LONGEST_PAUSE)
        );
        for status in [302, 400, 404, 429, 500, 503] {
            assert!(failed(status), "{status}");
        }
    }
}
