//! What a place to run a pod is, and the places there are.
//!
//! The unit of work is a Kubernetes `v1.Pod`. A [`Site`] can run one: it takes the pod once ([`Site::submit`] is idempotent
//! by the pod's UID), says how it goes, shows its log, ends it, and forgets it. What lies between (which pod goes where, whose
//! data it reads, who pays) is not this room's business.
//!
//! * [`site`]: the trait, and what a site says about itself;
//! * [`report`]: how a pod goes: phase, containers, what it used;
//! * [`quantity`]: Kubernetes quantities;
//! * [`pod`]: what an engine needs to know of a `v1.Pod` and what it mounts, read and checked once;
//! * [`asked`]: what a pod's annotations ask of batch systems;
//! * [`exec`]: running a program in a container that runs;
//! * [`image`]: names of images, and which of them a site allows;
//! * [`logs`]: which lines of a log somebody asked for;
//! * [`host`]: the plugin that runs pods as sandboxed processes of this machine;
//! * [`container`]: the plugin that runs them as containers;
//! * [`batch`]: what all batch systems have in common;
//! * [`slurm`], [`htcondor`]: the plugins that run them as batch jobs;
//! * [`arc`]: the plugin that runs them as jobs of a computing element;
//! * [`kubernetes`]: the plugin that runs them in another cluster;
//! * [`place`], [`ssh`]: where run folders are and commands run: here, or at a login node.
//! * [`interlink`]: the plugin that hands pods to another interLink server or plugin.

pub mod arc;
pub mod asked;
pub mod batch;
mod carry;
pub mod container;
pub mod exec;
mod files;
pub mod host;
pub mod htcondor;
pub mod image;
pub mod interlink;
pub mod kubernetes;
pub mod logs;
pub mod place;
pub mod pod;
pub mod quantity;
pub mod report;
pub mod site;
pub mod slurm;
pub mod ssh;
mod terminal;

use std::sync::Arc;

pub use exec::{AttachOrder, ExecInput, ExecOrder, ExecOutput, ExecSession};
pub use report::{ContainerReport, ContainerState, Phase, PodReport, Usage};
pub use site::{Answer, Capabilities, Capacity, Sandbox, Site, SiteContext, SiteError};

/// Section `[compute]`: the sites of this engine.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// `[[compute.sites]]`. Without any there is one: `local`, of plugin `host`.
    pub sites: Vec<SiteConfig>,
}

/// One `[[compute.sites]]`; `plugin` says which kind it is.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(tag = "plugin", rename_all = "lowercase")]
pub enum SiteConfig {
    Host(host::HostConfig),
    Slurm(Box<slurm::SlurmConfig>),
    Htcondor(Box<htcondor::HtcondorConfig>),
    Container(container::ContainerConfig),
    Interlink(interlink::InterlinkConfig),
    Kubernetes(Box<kubernetes::KubernetesConfig>),
    Arc(Box<arc::ArcConfig>),
}

/// Opens every configured site. Pods that ran when the engine last stopped are adopted on the way.
pub async fn open_sites(config: &ComputeConfig, context: &SiteContext) -> Result<Vec<Arc<dyn Site>>, SiteError> {
    let default = [SiteConfig::Host(host::HostConfig::default())];
    let wanted = if config.sites.is_empty() { &default[..] } else { &config.sites[..] };
    let mut sites: Vec<Arc<dyn Site>> = Vec::new();
    for site in wanted {
        let opened: Arc<dyn Site> = match site {
            SiteConfig::Host(host) => host::HostSite::open(host.clone(), context).await?,
            SiteConfig::Container(container) => container::ContainerSite::open(container.clone(), context).await?,
            SiteConfig::Slurm(slurm) => slurm::open((**slurm).clone(), context).await?,
            SiteConfig::Htcondor(condor) => htcondor::open((**condor).clone(), context).await?,
            SiteConfig::Kubernetes(cluster) => kubernetes::KubernetesSite::open((**cluster).clone(), context).await?,
            SiteConfig::Arc(element) => arc::ArcSite::open((**element).clone(), context).await?,
            SiteConfig::Interlink(there) => interlink::InterlinkSite::open(there.clone(), context).await?,
        };
        if sites.iter().any(|other| other.name() == opened.name()) {
            return Err(SiteError::Configuration(format!("two sites are called {}", opened.name())));
        }
        sites.push(opened);
    }
    Ok(sites)
}
