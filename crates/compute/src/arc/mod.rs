//! Plugin `arc`: pods as jobs of an ARC computing element, over its REST interface.
//!
//! ```text
//! engine ── description, inputs ── A-REX ── the site's batch system ── node ── job.sh ── runner, as on every site
//!    └─ states of all jobs in one question; what came of them from their session folders
//! ```
//!
//! There is no shared folder: a job's session folder is the pod's run folder, reached through the computing element
//! (`rest`). It gets the runner, what it is told, and the inputs; a job does not start before all of them are there. So
//! a job whose number was lost never runs, as its files never come, and a pod may be handed over again after any kill.
//!
//! The description (`description`) is XML from checked values; `wire` reads answers; `site` has the pods, `hand_over` makes
//! their jobs, `poll` asks how they go, `settle` brings home what came of them, `logs` what they write meanwhile. Runners, container
//! programs and resources are those of [`crate::batch`].

mod description;
mod hand_over;
mod logs;
mod poll;
mod rest;
mod settle;
mod site;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;
use url::Url;

pub use site::ArcSite;

use crate::batch::runtime::{Kind, RuntimeConfig};
use crate::quantity::Quantity;
use crate::site::SiteError;

/// `[[compute.sites]]` with `plugin = "arc"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArcConfig {
    pub name: String,
    /// The computing element, such as `https://ce.example.org/arex`.
    pub url: String,
    /// A file with the bearer token to show, read for every call.
    pub token_file: Option<PathBuf>,
    /// PEM files with the certificate to show, or a proxy, and its key. Read again when they change.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// PEM file with the authority of the computing element's certificate, if the machine does not trust it.
    pub ca: Option<PathBuf>,
    /// The queue, if not the one that the computing element chooses.
    pub queue: Option<String>,
    /// How often the computing element is asked how the jobs go.
    pub poll: Span,
    /// Whether jobs run in their session folders. Then what running pods say is seen, and an end before the computing element tells.
    pub shared_session: bool,
    /// The program with the runner's stages, if not the engine itself: nodes may be of another kind. It is sent with each job.
    pub runner: Option<PathBuf>,
    /// Where the nodes have it, so that it need not be sent.
    pub runner_on_nodes: Option<PathBuf>,
    pub log_limit: Bytes,
    /// Time between SIGTERM and SIGKILL for pods that do not say.
    pub grace: Span,
    /// Pods that may be there at once.
    pub pods: u64,
    /// Capacity to show.
    pub cpu: String,
    pub memory: String,
    /// The container program of the nodes; without one, pods run programs of the nodes (image `host`).
    pub container: Option<RuntimeConfig>,
}

impl Default for ArcConfig {
    fn default() -> Self {
        ArcConfig {
            name: "arc".into(),
            url: String::new(),
            token_file: None,
            certificate: None,
            key: None,
            ca: None,
            queue: None,
            poll: Span(Duration::from_secs(10)),
            shared_session: true,
            runner: None,
            runner_on_nodes: None,
            log_limit: Bytes(16 << 20),
            grace: Span(Duration::from_secs(10)),
            pods: 1_000,
            cpu: "1000".into(),
            memory: "1Ti".into(),
            container: None,
        }
    }
}

impl ArcConfig {
    fn check(&self) -> Result<(), SiteError> {
        let wrong = |text: String| Err(SiteError::Configuration(format!("site {}: {text}", self.name)));
        if !crate::pod::is_dns_label(&self.name) {
            return wrong("its name must be a DNS label".into());
        }
        let is_url = Url::parse(&self.url).is_ok_and(|url| {
            url.scheme() == "https" && url.host().is_some() && url.query().is_none() && url.username().is_empty()
        });
        if !is_url {
            return wrong(format!("url: {:?} is not the https URL of a computing element", self.url));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return wrong("certificate and key must be set together; a proxy has both in one file".into());
        }
        if self.token_file.is_none() && self.certificate.is_none() {
            return wrong("token_file, or certificate and key, must say who the engine is there".into());
        }
        if self.poll.0 < Duration::from_millis(500) {
            return wrong("poll must be at least 500ms".into());
        }
        if let Some(path) = &self.runner_on_nodes {
            crate::place::check_folder(&format!("site {}: runner_on_nodes", self.name), path)?;
        }
        for (setting, value) in [("cpu", &self.cpu), ("memory", &self.memory)] {
            if Quantity::parse(value).is_none() {
                return wrong(format!("{setting}: {value:?} is not a quantity"));
            }
        }
        if let Some(container) = &self.container {
            container.check(&self.name)?;
            if !matches!(container.kind, Kind::Apptainer | Kind::Singularity) {
                return wrong("container: nodes of a computing element run apptainer or singularity".into());
            }
        }
        Ok(())
    }
}
