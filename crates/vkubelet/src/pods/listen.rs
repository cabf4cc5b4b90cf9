//! Hears from an engine of ours which pods changed, so that the cluster knows at once. Whoever does not tell is asked now and then
//! all the same.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use http::header::ACCEPT;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Notify;

use super::controller::Controller;
use crate::Error;
use dte_protocol_interlink::InterlinkError;

/// How long after a stream ended the next is opened.
const PAUSE: Duration = Duration::from_secs(2);
/// An engine says something this often; a longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(45);
/// A line that is longer is not of this protocol.
const LONGEST_LINE: usize = 1 << 20;

/// What was heard and not yet looked at.
#[derive(Default)]
pub struct Heard {
    waiting: Mutex<HashSet<String>>,
    bell: Notify,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    uids: Vec<String>,
}

impl Heard {
    fn tell(&self, uids: Vec<String>) {
        if !uids.is_empty() {
            self.waiting.lock().extend(uids);
            self.bell.notify_one();
        }
    }

    /// Waits for news; which pods it is about.
    pub async fn next(&self) -> HashSet<String> {
        loop {
            self.bell.notified().await;
            let uids = std::mem::take(&mut *self.waiting.lock());
            if !uids.is_empty() {
                return uids;
            }
        }
    }
}

/// Listens until the end.
pub async fn run(controller: Arc<Controller>) {
    while !controller.tasks.is_stopping() {
        if controller.site.is_engine() {
            let outcome = tokio::select! {
                outcome = stream(&controller) => outcome,
                () = controller.tasks.stopping() => return,
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "the site's stream of changes ended");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = controller.tasks.stopping() => {}
        }
    }
}

async fn stream(controller: &Controller) -> Result<(), Error> {
    let site = &controller.site;
    let mut request = site.http()?.request(Method::GET, site.url("events")).header(ACCEPT, "text/event-stream");
    if let Some(token) = site.token().await? {
        request = request.bearer(&token);
    }
    let reply = request.send().await.map_err(InterlinkError::from)?;
    if !reply.status.is_success() {
        let status = reply.status;
        let text = reply.text().await.map_err(InterlinkError::from)?;
        return Err(InterlinkError::Refused { status, text }.into());
    }
    let mut pieces = reply.body.into_data_stream();
    let mut line = Vec::new();
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(SILENCE, pieces.next()).await {
        for byte in piece {
            if byte == b'\n' {
                controller.heard.tell(named(&line));
                line.clear();
            } else if line.len() < LONGEST_LINE {
                line.push(byte);
            }
        }
    }
    Ok(())
}

/// The pods that a line names.
fn named(line: &[u8]) -> Vec<String> {
    let data = line.strip_prefix(b"data:").unwrap_or_default();
    serde_json::from_slice::<Named>(data).map(|named| named.uids).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(named(br#"data: {"uids":["a","b"]}"#), ["a", "b"]);
        for line in ["data: {}", "event: pods", ": quiet", "", "data: x"] {
            assert!(named(line.as_bytes()).is_empty(), "{line}");
        }
    }

    #[tokio::test]
    async fn news_is_gathered() {
        let heard = Heard::default();
        heard.tell(vec!["a".into()]);
        heard.tell(vec!["b".into(), "a".into()]);
        assert_eq!(heard.next().await.len(), 2);
    }
}
