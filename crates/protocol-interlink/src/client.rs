//! [`InterlinkClient`]: what a virtual node asks an interLink API server, and what an API server asks a plugin.

use std::time::Duration;

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_http::{Client, ClientError, Reply};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::message::{CreateStruct, LogStruct, PingResponse, PodCreateRequests, PodStatus, RetrievedPodData};
use crate::pod::RawPod;
use crate::{SESSION_HEADER, message};

/// How long a server may take until it begins to answer: batch systems are slow, and upstream waits as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum InterlinkError {
    /// The server answered with an error; the text is its own.
    #[error("{status}: {text}")]
    Refused { status: StatusCode, text: String },
    /// The server said yes in words that cannot be read.
    #[error("an answer that is not of the protocol: {0}")]
    Odd(String),
    #[error(transparent)]
    Http(#[from] ClientError),
}

impl InterlinkError {
    /// Asking again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            InterlinkError::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            InterlinkError::Odd(_) => false,
            InterlinkError::Http(error) => error.is_transient(),
        }
    }
}

/// Which of the two interfaces a server has. Paths are the same, methods and some bodies are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// An interLink API server: what a virtual node talks to.
    #[default]
    Api,
    /// A plugin in front of a batch system: what an API server talks to.
    Plugin,
}

/// A client of an interLink API server or of a plugin.
#[derive(Clone)]
pub struct InterlinkClient {
    client: Client,
    base: String,
    token: Option<Secret>,
    side: Side,
}

impl InterlinkClient {
    /// `base` is where the API begins: `https://engine.example.org/interlink`, or another server's root.
    pub fn new(client: Client, base: &Url, token: Option<Secret>) -> Self {
        InterlinkClient { client, base: base.as_str().trim_end_matches('/').to_owned(), token, side: Side::Api }
    }

    /// The same for a server of the other kind.
    pub fn on_side(self, side: Side) -> Self {
        InterlinkClient { side, ..self }
    }

    /// Hands a pod over. Toward an engine of ours the same pod again answers the same; other servers start a second job.
    pub async fn create(&self, request: &PodCreateRequests) -> Result<CreateStruct, InterlinkError> {
        let reply = match self.side {
            Side::Api => self.call(Method::POST, "create", "CreatePod", Some(request)).await?,
            Side::Plugin => {
                let data = RetrievedPodData::of(request);
                self.call(Method::POST, "create", "CreatePod", Some(&data)).await?
            }
        };
        let text = reply.text().await?;
        created(&text).ok_or_else(|| InterlinkError::Odd(start_of(&text)))
    }

    /// How pods go. Pods that the server does not know are missing in the answer; its order means nothing. One entry that
    /// cannot be read does not spoil the others.
    pub async fn status(&self, pods: &[RawPod]) -> Result<Vec<PodStatus>, InterlinkError> {
        let reply = self.call(Method::GET, "status", "GetStatus", Some(pods)).await?;
        let entries = reply.json::<Option<Vec<Value>>>().await?.unwrap_or_default();
        Ok(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
    }

    /// The log, as a stream when it is to be followed.
    pub async fn logs(&self, asked: &LogStruct) -> Result<Reply, InterlinkError> {
        self.call(Method::GET, "getLogs", "GetLogs", Some(asked)).await
    }

    /// Ends a pod and forgets it. A pod that is not there is fine, for an engine of ours.
    pub async fn delete(&self, pod: &RawPod) -> Result<String, InterlinkError> {
        let method = match self.side {
            Side::Api => Method::DELETE,
            Side::Plugin => Method::POST,
        };
        Ok(self.call(method, "delete", "DeletePod", Some(pod)).await?.text().await?)
    }

    /// Whether the server is well, and what it has, if it says so.
    pub async fn ping(&self) -> Result<Option<PingResponse>, InterlinkError> {
        let reply = match self.side {
            Side::Api => self.call(Method::POST, "pinglink", "PingInterLink", None::<&()>).await?,
            Side::Plugin => self.call(Method::GET, "status", "PingInterLink", Some::<&[RawPod]>(&[])).await?,
        };
        Ok(serde_json::from_str::<message::PingResponse>(&reply.text().await?).ok())
    }

    async fn call<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        name: &str,
        body: Option<&B>,
    ) -> Result<Reply, InterlinkError> {
        let session = format!("{name}#{}", new_id().as_u128() % 100_000);
        let mut request = self
            .client
            .request(method, format!("{}/{path}", self.base))
            .timeout(PATIENCE)
            .header(SESSION_HEADER, session.as_str());
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await?;
        // A plugin is known to say 201; everybody else says 200.
        if reply.status.is_success() {
            return Ok(reply);
        }
        let status = reply.status;
        Err(InterlinkError::Refused { status, text: reply.text().await?.trim().to_owned() })
    }
}

/// The answer to `/create`: an object, or a list of one as old servers have it; the job's identifier may be a number.
fn created(text: &str) -> Option<CreateStruct> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let one = match answer {
        Value::Array(list) => list.into_iter().next()?,
        one => one,
    };
    let word = |name: &str| match one.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    Some(CreateStruct { pod_uid: word("PodUID")?, pod_jid: word("PodJID")? })
}

/// The longest piece of an odd answer that a message shows.
const SHOWN: usize = 200;

fn start_of(text: &str) -> String {
    text.trim().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_create() {
        let wanted = CreateStruct { pod_uid: "u".into(), pod_jid: "5".into() };
        for text in [
            r#"{"PodUID":"u","PodJID":"5"}"#,
            r#"{"PodUID":"u","PodJID":5,"metadata":{}}"#,
            r#"[{"PodUID":"u","PodJID":"5"}]"#,
        ] {
            assert_eq!(created(text).as_ref(), Some(&wanted), "{text}");
        }
        for text in ["", "Containers created", "[]", "{}", r#"{"PodUID":"u"}"#, "null"] {
            assert_eq!(created(text), None, "{text}");
        }
    }
}
