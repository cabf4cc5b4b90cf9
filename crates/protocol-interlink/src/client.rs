//! [`InterlinkClient`]: what a virtual node asks an interLink API server.

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_http::{Client, ClientError, Reply};
use http::{Method, StatusCode};
use serde::Serialize;
use url::Url;

use crate::message::{CreateStruct, LogStruct, PingResponse, PodCreateRequests, PodStatus};
use crate::pod::RawPod;
use crate::{SESSION_HEADER, message};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum InterlinkError {
    /// The server answered with an error; the text is its own.
    #[error("{status}: {text}")]
    Refused { status: StatusCode, text: String },
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
            InterlinkError::Http(error) => error.is_transient(),
        }
    }
}

/// A client of an interLink API server.
#[derive(Clone)]
pub struct InterlinkClient {
    client: Client,
    base: String,
    token: Option<Secret>,
}

impl InterlinkClient {
    /// `base` is where the API begins: `https://engine.example.org/interlink`, or another server's root.
    pub fn new(client: Client, base: &Url, token: Option<Secret>) -> Self {
        InterlinkClient { client, base: base.as_str().trim_end_matches('/').to_owned(), token }
    }

    /// Hands a pod over. The same pod again answers the same.
    pub async fn create(&self, request: &PodCreateRequests) -> Result<CreateStruct, InterlinkError> {
        Ok(self.call(Method::POST, "create", "CreatePod", Some(request)).await?.json().await?)
    }

    /// How pods go. Pods that the server does not know are missing in the answer; its order means nothing.
    pub async fn status(&self, pods: &[RawPod]) -> Result<Vec<PodStatus>, InterlinkError> {
        let reply = self.call(Method::GET, "status", "GetStatus", Some(pods)).await?;
        Ok(reply.json::<Option<Vec<PodStatus>>>().await?.unwrap_or_default())
    }

    /// The log, as a stream when it is to be followed.
    pub async fn logs(&self, asked: &LogStruct) -> Result<Reply, InterlinkError> {
        self.call(Method::GET, "getLogs", "GetLogs", Some(asked)).await
    }

    /// Ends a pod and forgets it. A pod that is not there is fine.
    pub async fn delete(&self, pod: &RawPod) -> Result<String, InterlinkError> {
        Ok(self.call(Method::DELETE, "delete", "DeletePod", Some(pod)).await?.text().await?)
    }

    /// Whether the server is well, and what it has, if it says so.
    pub async fn ping(&self) -> Result<Option<PingResponse>, InterlinkError> {
        let text = self.call(Method::POST, "pinglink", "PingInterLink", None::<&()>).await?.text().await?;
        Ok(serde_json::from_str::<message::PingResponse>(&text).ok())
    }

    async fn call<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        name: &str,
        body: Option<&B>,
    ) -> Result<Reply, InterlinkError> {
        let session = format!("{name}#{}", new_id().as_u128() % 100_000);
        let mut request =
            self.client.request(method, format!("{}/{path}", self.base)).header(SESSION_HEADER, session.as_str());
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
