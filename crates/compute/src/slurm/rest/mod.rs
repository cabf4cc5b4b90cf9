//! Slurm over HTTP: its daemon `slurmrestd`, for sites that give an address and no commands.
//!
//! The daemon reads no `#SBATCH` lines, so a job's description is the body of the request: the script, and beside it the options as
//! properties (`wire`). It signals all processes of a job together, never the runner alone: pods cannot be suspended, and have no
//! time of grace when they are ended.

mod wire;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dte_http::{Client, ClientError, HttpConfig, TlsFiles};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::commands::{self, Slurm};
use super::{ArraysSetting, SlurmConfig};
use crate::batch::system::{Asked, BatchSystem, JobName, JobPlace, Past, Queued, Refusal};
use crate::place::{Order, PlaceError};
use crate::pod::PodPlan;
use crate::site::SiteError;

const PATIENCE: Duration = Duration::from_secs(60);
/// A job's description, which we have written ourselves.
const LONGEST_DESCRIPTION: u64 = 4 << 20;
/// What is shown of an answer that is not understood.
const COMPLAINT: usize = 300;
/// What the daemon says of jobs that the controller does not know.
const UNKNOWN_JOB: &str = "Invalid job id specified";

/// `rest = { url = "unix:///run/slurmrestd.sock", … }` of a Slurm site.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// `unix:///run/slurmrestd.sock`, `http://…` or `https://…`
    pub url: String,
    /// The version of its interface; the daemon keeps several.
    #[serde(default = "usual_version")]
    pub version: String,
    /// Whose jobs they are. The daemon tells of everybody's, and others may call theirs as they like.
    pub user: String,
    /// A token of Slurm's (`scontrol token`), read for every call.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Who signs the daemon's certificate, if not one of the usual authorities.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

fn usual_version() -> String {
    "v0.0.38".to_owned()
}

/// Slurm behind its daemon. What it does not know, such as ended jobs, comes from where the commands have it.
pub struct SlurmRest {
    rest: RestConfig,
    base: String,
    client: Client,
    slurm: Slurm,
}

impl RestConfig {
    /// What goes with it.
    pub fn check(&self, config: &SlurmConfig) -> Result<(), String> {
        let number = self.version.strip_prefix("v0.0.").and_then(|number| number.parse::<u32>().ok());
        if number.is_none() {
            return Err(format!("rest: version {:?} is not such as v0.0.38", self.version));
        }
        if self.user.trim().is_empty() {
            return Err("rest: user must say whose jobs they are".into());
        }
        if config.template.is_some() {
            return Err("rest: slurmrestd reads no #SBATCH lines, so a template has no place there".into());
        }
        if config.arrays != ArraysSetting::Off {
            return Err("rest: arrays go through Slurm's commands only".into());
        }
        if config.sacct {
            return Err("rest: sacct is one of Slurm's commands".into());
        }
        Ok(())
    }
}

impl SlurmRest {
    pub fn open(rest: RestConfig, slurm: Slurm) -> Result<SlurmRest, SiteError> {
        let wrong = |text: String| SiteError::Configuration(format!("site {}: rest: {text}", slurm.config.name));
        let base = crate::interlink::base_of(&rest.url).map_err(&wrong)?;
        // No URL of ours is ever called here.
        let nowhere = Url::parse("http://slurm.invalid").map_err(|error| wrong(error.to_string()))?;
        let files = TlsFiles { roots: rest.ca.clone(), identity: None };
        let client =
            Client::with_tls(&HttpConfig::default(), nowhere, &files).map_err(|error| wrong(error.to_string()))?;
        let base = format!("{}/slurm/{}", base.as_str().trim_end_matches('/'), rest.version);
        Ok(SlurmRest { rest, base, client, slurm })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Value, PlaceError> {
        let mut request = self.client.request(method, format!("{}/{path}", self.base)).timeout(PATIENCE);
        request = request.header("X-SLURM-USER-NAME", self.rest.user.as_str());
        if let Some(file) = &self.rest.token_file {
            let token = std::fs::read_to_string(file).map_err(PlaceError::failed(file.display()))?;
            request = request.header("X-SLURM-USER-TOKEN", token.trim());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").bytes(body);
        }
        let answered = async {
            let reply = request.send().await?;
            let status = reply.status;
            reply.text().await.map(|text| (status, text))
        };
        let (status, text) = match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(
                error @ (ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::Broken(_)),
            )) => {
                return Err(PlaceError::Unreachable(error.to_string()));
            }
            Ok(Err(error)) => return Err(PlaceError::Failed(error.to_string())),
            Err(_) => return Err(PlaceError::Unreachable("slurmrestd stopped in the middle of an answer".into())),
        };
        let odd = || {
            let start: String = text.chars().take(COMPLAINT).collect();
            PlaceError::Failed(format!("slurmrestd answered {status}: {}", start.trim()))
        };
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Err(odd());
        }
        serde_json::from_str(&text).map_err(|_| odd())
    }

    /// Like `ask`, for questions whose errors are failures.
    async fn succeed(&self, method: Method, path: &str) -> Result<Value, PlaceError> {
        let answer = self.ask(method, path, None).await?;
        match wire::complaint(&answer) {
            Some(why) => Err(PlaceError::Failed(format!("slurmrestd: {why}"))),
            None => Ok(answer),
        }
    }

    async fn queue_now(&self) -> Result<HashMap<JobName, Queued>, PlaceError> {
        Ok(wire::jobs(&self.succeed(Method::GET, "jobs").await?, &self.rest.user))
    }

    async fn hand_over(&self, description: &Path) -> Result<u64, Refusal> {
        let order = Order::Tail { path: description.to_path_buf(), limit: LONGEST_DESCRIPTION };
        let body = self.slurm.place.bytes(order).await.map_err(|error| Refusal::Later(error.to_string()))?;
        let answer = match self.ask(Method::POST, "job/submit", Some(body)).await {
            Ok(answer) => answer,
            Err(PlaceError::Unreachable(why)) => return Err(Refusal::Unreachable(why)),
            Err(error) => return Err(Refusal::Unsure(error.to_string())),
        };
        match (wire::complaint(&answer), answer["job_id"].as_u64().filter(|number| *number > 0)) {
            (None, Some(number)) => Ok(number),
            (Some(why), _) => Err(commands::refusal("slurmrestd", why)),
            (None, None) => Err(Refusal::Unsure("slurmrestd told no number of the job".into())),
        }
    }

    /// Signals the job if it is still called so: a number that was given again harms nobody.
    async fn signal(&self, name: JobName, job: u64, signal: &str) -> Result<(), PlaceError> {
        let path = format!("job/{job}");
        let known = match self.succeed(Method::GET, &path).await {
            Err(PlaceError::Failed(why)) if why.contains(UNKNOWN_JOB) => return Ok(()),
            known => wire::jobs(&known?, &self.rest.user),
        };
        if known.get(&name).is_none_or(|known| known.id != job || known.state.is_terminal()) {
            return Ok(());
        }
        match self.succeed(Method::DELETE, &format!("{path}{signal}")).await {
            Err(PlaceError::Failed(why)) if !why.contains(UNKNOWN_JOB) => Err(PlaceError::Failed(why)),
            Err(error @ PlaceError::Unreachable(_)) => Err(error),
            _ => Ok(()),
        }
    }
}

impl BatchSystem for SlurmRest {
    fn name(&self) -> &'static str {
        "Slurm"
    }

    fn wakes_runners(&self) -> bool {
        false
    }

    fn describe(&self, plan: &PodPlan, place: &JobPlace<'_>) -> Result<String, String> {
        let flags = self.slurm.flags_of(plan, place.grace_seconds)?;
        wire::description(plan.uid, place.run_folder, place.runner, &flags, &self.rest.version)
    }

    fn queue(&self) -> Asked<'_, HashMap<JobName, Queued>> {
        Box::pin(self.queue_now())
    }

    fn find<'a>(&'a self, names: &'a [JobName]) -> Asked<'a, HashMap<JobName, Queued>> {
        Box::pin(async move {
            let mut all = self.queue_now().await?;
            all.retain(|name, _| names.contains(name));
            Ok(all)
        })
    }

    fn submit<'a>(&'a self, description: &'a Path) -> Asked<'a, u64, Refusal> {
        Box::pin(self.hand_over(description))
    }

    fn kill(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(self.signal(name, job, ""))
    }

    fn end_runner(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(self.signal(name, job, "?signal=TERM"))
    }

    fn wake_runner(&self, name: JobName, _job: u64) -> Asked<'_, ()> {
        let uid = name.name;
        Box::pin(
            async move { Err(PlaceError::Failed(format!("slurmrestd cannot signal the runner of pod {uid} alone"))) },
        )
    }

    fn past<'a>(&'a self, jobs: &'a [(JobName, Option<u64>)]) -> Asked<'a, HashMap<JobName, Past>> {
        self.slurm.past(jobs)
    }

    fn exit_code(&self, _name: JobName, _job: u64) -> Asked<'_, Option<(i32, i32)>> {
        // The queue has said what there is.
        Box::pin(async { Ok(None) })
    }

    fn nodes(&self) -> Asked<'_, (u64, u64)> {
        Box::pin(async move {
            let answer = self.succeed(Method::GET, "nodes").await?;
            Ok(wire::nodes(&answer, self.slurm.config.partition.as_deref()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_to_say_whose_jobs_they_are() {
        let read = |text: &str| serde_json::from_str::<RestConfig>(text);
        let error = read(r#"{"url": "unix:///s"}"#).expect_err("nobody's");
        assert!(error.to_string().contains("user"), "{error}");
        let check = |user: &str| {
            let rest = read(&format!(r#"{{"url": "unix:///s", "user": "{user}"}}"#)).expect("settings");
            rest.check(&SlurmConfig::default())
        };
        assert!(check(" ").is_err_and(|why| why.contains("user")));
        assert_eq!(check("twin"), Ok(()));
    }
}
