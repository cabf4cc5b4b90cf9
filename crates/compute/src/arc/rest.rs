//! The computing element's REST interface, version 1.0.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use dte_base::secret::Secret;
use dte_http::{CertifiedClient, Client, ClientError, Reply, RequestBuilder, TlsFiles};
use http::header::{ACCEPT, CONTENT_TYPE, RANGE};
use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use super::ArcConfig;
use super::wire::{self, JobAnswer};
use crate::site::SiteError;

const VERSION: &str = "1.0";
/// Answers that are no files.
const LONGEST_ANSWER: usize = 64 << 20;
/// How long a file may wait for its place: computing elements serve few at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a computing element did not do.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error(transparent)]
    Call(#[from] ClientError),
    #[error("the computing element answered {0}")]
    Answer(String),
    #[error(
        "the computing element stopped in the middle of an answer: nothing came for {}",
        dte_base::units::Span(PATIENCE)
    )]
    Stalled,
    /// What the pod has left cannot be used, and asking again will hardly change that.
    #[error("{0}")]
    Unusable(String),
    #[error("{0}")]
    Own(String),
}

impl RestError {
    /// The computing element cannot be reached: who asks it about something else will not do better now.
    pub fn is_about_all(&self) -> bool {
        matches!(self, RestError::Call(ClientError::Unreachable { .. } | ClientError::Timeout { .. }))
    }
}

/// The limit of a request ends with the answer's head; what follows shall not take for ever either.
pub async fn in_time<T, E: Into<RestError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, RestError> {
    tokio::time::timeout(PATIENCE, answer).await.map_err(|_| RestError::Stalled)?.map_err(Into::into)
}

pub struct Rest {
    config: ArcConfig,
    base: Url,
    /// With the certificate that the files have by now: proxies live for hours.
    client: CertifiedClient,
}

impl Rest {
    pub fn new(config: &ArcConfig) -> Result<Rest, SiteError> {
        let wrong = |text: String| SiteError::Configuration(format!("site {}: {text}", config.name));
        let mut base = Url::parse(&config.url).map_err(|error| wrong(format!("url: {error}")))?;
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&format!("{path}/rest/{VERSION}"));
        let files = TlsFiles { roots: config.ca.clone(), identity: config.certificate.clone().zip(config.key.clone()) };
        // No URL of ours is ever called here.
        let nowhere = Url::parse("http://arc.invalid").map_err(|error| wrong(error.to_string()))?;
        let client = CertifiedClient::new(nowhere, files).map_err(|error| wrong(error.to_string()))?;
        Ok(Rest { config: config.clone(), base, client })
    }

    fn client(&self) -> Result<Client, RestError> {
        self.client.client().map_err(|error| RestError::Own(error.to_string()))
    }

    /// `path`: parts beneath the interface; they are encoded one by one.
    fn request<'a>(
        &self,
        method: Method,
        path: impl IntoIterator<Item = &'a str>,
        query: Option<(&str, &str)>,
    ) -> Result<RequestBuilder, RestError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| RestError::Own("the URL has no path".into()))?.extend(path);
        if let Some((name, value)) = query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = self.client()?.request(method, url.as_str()).header(ACCEPT, "application/json");
        let Some(file) = &self.config.token_file else { return Ok(request) };
        let token =
            std::fs::read_to_string(file).map_err(|error| RestError::Own(format!("{}: {error}", file.display())))?;
        Ok(request.bearer(&Secret::new(token.trim().to_owned())))
    }

    async fn text(request: RequestBuilder) -> Result<String, RestError> {
        let reply = request.timeout(PATIENCE).send().await?;
        let bytes = in_time(async { reply.ok().await?.bytes(LONGEST_ANSWER).await }).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes a job that waits for its files. Its number, or why it is never taken.
    pub async fn create(&self, description: String) -> Result<Result<String, String>, RestError> {
        let request = self.request(Method::POST, ["jobs"], Some(("action", "new")))?;
        let text = Self::text(request.header(CONTENT_TYPE, "application/xml").bytes(description)).await?;
        match wire::jobs(&text).map_err(RestError::Answer)?.pop() {
            Some(job) if job.code == "201" && !job.id.is_empty() => Ok(Ok(job.id)),
            Some(job) => Ok(Err(format!("{} {}", job.code, job.reason))),
            None => Err(RestError::Answer("nothing about the new job".into())),
        }
    }

    async fn action(&self, action: &str, ids: &[&str]) -> Result<String, RestError> {
        let jobs: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        Self::text(self.request(Method::POST, ["jobs"], Some(("action", action)))?.json(&json!({ "job": jobs }))).await
    }

    /// `status`, `kill` or `clean` of several jobs at once.
    pub async fn act(&self, action: &str, ids: &[&str]) -> Result<Vec<JobAnswer>, RestError> {
        wire::jobs(&self.action(action, ids).await?).map_err(RestError::Answer)
    }

    /// The exit code of an ended job and what went wrong, as far as they are told.
    pub async fn end_of(&self, id: &str) -> Result<(Option<i32>, String), RestError> {
        Ok(wire::end_of(&self.action("info", &[id]).await?))
    }

    fn session(&self, method: Method, id: &str, path: &str) -> Result<RequestBuilder, RestError> {
        self.request(method, ["jobs", id, "session"].into_iter().chain(path.split('/')), None)
    }

    /// Sends a file to the job's session folder.
    pub async fn put(&self, id: &str, path: &str, file: &Path) -> Result<(), RestError> {
        let own = |error: std::io::Error| RestError::Own(format!("{}: {error}", file.display()));
        let open = tokio::fs::File::open(file).await.map_err(own)?;
        let length = open.metadata().await.map_err(own)?.len();
        self.session(Method::PUT, id, path)?.file(open, length).send().await?.ok().await?;
        Ok(())
    }

    pub async fn put_text(&self, id: &str, path: &str, text: Vec<u8>) -> Result<(), RestError> {
        self.session(Method::PUT, id, path)?.bytes(text).timeout(PATIENCE).send().await?.ok().await?;
        Ok(())
    }

    /// A file of the session folder from byte `from` on. None: there is no such file, or no such byte.
    pub async fn get(&self, id: &str, path: &str, from: u64) -> Result<Option<Reply>, RestError> {
        let mut request = self.session(Method::GET, id, path)?.timeout(PATIENCE);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let reply = request.send().await?;
        match reply.status {
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            _ => Ok(Some(in_time(reply.ok()).await?)),
        }
    }

    /// Files and folders in a folder of the session folder.
    pub async fn list(&self, id: &str, path: &str) -> Result<(Vec<String>, Vec<String>), RestError> {
        let Some(reply) = self.get(id, path, 0).await? else { return Ok(Default::default()) };
        let bytes = in_time(reply.bytes(LONGEST_ANSWER)).await?;
        wire::listing(&String::from_utf8_lossy(&bytes)).map_err(RestError::Answer)
    }
}
