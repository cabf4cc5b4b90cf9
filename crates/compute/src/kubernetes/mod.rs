//! Plugin `kubernetes`: another cluster is a site.
//!
//! ```text
//! engine ── create, watch, log, exec, delete ── API server ── whatever nodes the cluster has
//! ```
//!
//! A pod is made anew for the cluster (`object`): from what was read and checked of it, and nothing else. Its name there
//! follows from its UID, so that one that is made twice is there once. How it goes is told by one watch for all pods of the
//! site (`watch`, `news`). A finalizer keeps what is left of a pod until its outcome and its logs are on our disk (`settle`),
//! whoever deletes it; so an engine that was away misses nothing.
//!
//! A cluster sees no folder of ours, so it takes no pods with data of the lake. Files of volumes go there as one Secret.

mod capacity;
mod exec;
mod logs;
mod news;
mod object;
mod settle;
mod site;
mod tail;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dte_base::units::Span;
use serde::Deserialize;

pub use site::KubernetesSite;

use crate::quantity::Quantity;
use crate::site::SiteError;

/// `[[compute.sites]]` with `plugin = "kubernetes"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    pub name: String,
    /// How the cluster is reached; none: as for a program that runs in it, or as the environment says.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it, if not its current one.
    pub context: Option<String>,
    /// The namespace of all pods of this site. It has to be there, and no other site may use it.
    pub namespace: String,
    /// Labels that the pods' nodes must have.
    pub node_selector: BTreeMap<String, String>,
    /// Keys of taints that the pods stand.
    pub tolerations: Vec<String>,
    /// The service account of the pods. They get no token of it.
    pub service_account: Option<String>,
    /// Names of secrets for the images' registries.
    pub image_pull_secrets: Vec<String>,
    pub runtime_class: Option<String>,
    /// Images that pods may use, see [`crate::image::allowed`]. Empty: all.
    pub images: Vec<String>,
    /// How long a pod may wait with an image or a setting that cannot be had before it fails.
    pub stuck_for: Span,
    /// Pods that may be there at once.
    pub pods: u64,
    /// Capacity to show when the nodes may not be listed.
    pub cpu: String,
    pub memory: String,
    /// `true`: everybody's pods may go there; the cluster keeps them from each other. Else only administrators' pods.
    pub open: bool,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        KubernetesConfig {
            name: "kubernetes".into(),
            kubeconfig: None,
            context: None,
            namespace: "dte".into(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            service_account: None,
            image_pull_secrets: Vec::new(),
            runtime_class: None,
            images: Vec::new(),
            stuck_for: Span(Duration::from_secs(600)),
            pods: 1_000,
            cpu: "1000".into(),
            memory: "1Ti".into(),
            open: false,
        }
    }
}

impl KubernetesConfig {
    fn check(&self) -> Result<(), SiteError> {
        let wrong = |text: String| Err(SiteError::Configuration(format!("site {}: {text}", self.name)));
        for (setting, value) in [("name", &self.name), ("namespace", &self.namespace)] {
            if !crate::pod::is_dns_label(value) {
                return wrong(format!("{setting}: {value:?} is not a DNS label"));
            }
        }
        for (setting, value) in [("cpu", &self.cpu), ("memory", &self.memory)] {
            if Quantity::parse(value).is_none() {
                return wrong(format!("{setting}: {value:?} is not a quantity"));
            }
        }
        Ok(())
    }
}
