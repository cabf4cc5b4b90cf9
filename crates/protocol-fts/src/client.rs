//! The client: the requests that a service makes of an FTS, here or elsewhere.

use dte_base::secret::Secret;
use dte_http::{Client, ClientError, Reply, RequestBuilder};
use http::StatusCode;
use serde::de::DeserializeOwned;
use url::Url;
use uuid::Uuid;

use crate::identifier::deterministic_job_id;
use crate::object::{ErrorBody, File, Job, JobStatus, Submitted, Whoami};
use crate::submission::{IdGenerator, Submission};

/// The longest answer that is read: ten thousand files at a few kilobytes each.
const LONGEST_ANSWER: usize = 64 << 20;

/// Why a request of an FTS failed.
#[derive(Debug, thiserror::Error)]
pub enum FtsError {
    /// The submission or the question is wrong; asking again will not help.
    #[error("the transfer service refused: {message}")]
    Refused { status: u16, message: String },
    #[error("the transfer service does not allow it: {message}")]
    Forbidden { message: String },
    #[error("no such job: {message}")]
    NotFound { message: String },
    /// The job identifier that our `sid` leads to belongs to somebody else.
    #[error("the sid {sid:?} is taken by another user's job {job_id}")]
    SidTaken { sid: String, job_id: Uuid },
    /// It may work later.
    #[error("the transfer service is not available: {message}")]
    Unavailable { message: String },
    #[error("the transfer service cannot be reached: {0}")]
    Unreachable(#[source] ClientError),
    #[error("the transfer service gave an answer that cannot be read: {0}")]
    Unreadable(String),
}

impl FtsError {
    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, FtsError::Unavailable { .. } | FtsError::Unreachable(_))
    }
}

/// An FTS, as one user sees it. Cheap to clone.
#[derive(Clone)]
pub struct FtsClient {
    client: Client,
    base: String,
    token: Secret,
}

impl FtsClient {
    /// `base_url` is the endpoint (`https://host:8446`, or `…/fts` of an engine), with or without a slash at its end.
    pub fn new(client: Client, base_url: Url, token: Secret) -> Self {
        FtsClient { client, base: base_url.as_str().trim_end_matches('/').to_owned(), token }
    }

    /// Submits a job. With a deterministic identifier, a job that exists already and is ours is a success.
    pub async fn submit(&self, submission: &Submission) -> Result<Uuid, FtsError> {
        let reply = self.send(self.client.post(self.url("/jobs")).json(submission)).await?;
        if reply.status == StatusCode::CONFLICT
            && submission.params.id_generator == Some(IdGenerator::Deterministic)
            && let Some(sid) = &submission.params.sid
        {
            return self.existing(sid).await;
        }
        Ok(read::<Submitted>(reply).await?.job_id)
    }

    /// The job that `sid` names, when it is the asking user's own.
    async fn existing(&self, sid: &str) -> Result<Uuid, FtsError> {
        let me = self.whoami().await?;
        let vo = me.vos.first().map(String::as_str).unwrap_or_default();
        let job_id = deterministic_job_id(vo, sid);
        match self.job(job_id).await {
            Ok(job) if job.cred_id.is_some() && job.cred_id == me.delegation_id => Ok(job_id),
            Ok(_) | Err(FtsError::Forbidden { .. }) => Err(FtsError::SidTaken { sid: sid.to_owned(), job_id }),
            Err(other) => Err(other),
        }
    }

    pub async fn job(&self, job_id: Uuid) -> Result<Job, FtsError> {
        read(self.send(self.client.get(self.url(&format!("/jobs/{job_id}")))).await?).await
    }

    /// Several jobs at once, in the order asked for, each with the named fields of its files.
    pub async fn jobs(&self, job_ids: &[Uuid], file_fields: &[&str]) -> Result<Vec<JobStatus>, FtsError> {
        if job_ids.is_empty() {
            return Ok(Vec::new());
        }
        // A comma at the end makes the answer a list also for a single job.
        let ids: String = job_ids.iter().map(|id| format!("{id},")).collect();
        let fields = if file_fields.is_empty() { String::new() } else { format!("?files={}", file_fields.join(",")) };
        read(self.send(self.client.get(self.url(&format!("/jobs/{ids}{fields}")))).await?).await
    }

    pub async fn files(&self, job_id: Uuid) -> Result<Vec<File>, FtsError> {
        read(self.send(self.client.get(self.url(&format!("/jobs/{job_id}/files")))).await?).await
    }

    /// Cancels what is not done yet; answers the job as it is then. A job that ended before stays as it is.
    pub async fn cancel(&self, job_id: Uuid) -> Result<Job, FtsError> {
        read(self.send(self.client.delete(self.url(&format!("/jobs/{job_id}")))).await?).await
    }

    pub async fn whoami(&self) -> Result<Whoami, FtsError> {
        read(self.send(self.client.get(self.url("/whoami"))).await?).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, FtsError> {
        request.bearer(&self.token).send().await.map_err(FtsError::Unreachable)
    }
}

async fn read<T: DeserializeOwned>(reply: Reply) -> Result<T, FtsError> {
    let status = reply.status;
    let body = reply.bytes(LONGEST_ANSWER).await.map_err(FtsError::Unreachable)?;
    // 207: an answer about several jobs of which some failed; each element says how it went.
    if status == StatusCode::OK || status == StatusCode::MULTI_STATUS {
        return serde_json::from_slice(&body).map_err(|error| FtsError::Unreadable(error.to_string()));
    }
    let message = message_of(&body);
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FtsError::Forbidden { message },
        StatusCode::NOT_FOUND => FtsError::NotFound { message },
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => FtsError::Unavailable { message },
        _ => FtsError::Refused { status: status.as_u16(), message },
    })
}

/// The `message` of an error body, or its beginning when it is something else.
fn message_of(body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(body).chars().take(300).collect(),
    }
}
