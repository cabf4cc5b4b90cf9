//! Plugin `container`: pods as containers of this machine, by the command line of podman (or docker, which has the same verbs).
//!
//! A pod's containers are made one after the other by the engine and run under podman's own supervision, so they outlive the
//! engine. Each carries the pod's UID as a label and in its name: a container is made once, and an engine that comes later
//! finds what the earlier one made. Init containers run in order; then the others, which share the network of the first.
//!
//! * `program`: the command line;
//! * `advance`: what is to be done next for a pod, from what its containers are: pure;
//! * `arguments`: how a container is made;
//! * `exec`: programs that somebody runs in a container;
//! * `folder`: what is remembered of a pod, and what its volumes hold;
//! * `follow`: the loop that looks at all containers at once and takes the next steps.

mod advance;
mod arguments;
mod exec;
mod folder;
mod follow;
mod places;
mod program;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use dte_base::units::Span;
use serde::Deserialize;

pub(crate) use arguments::is_image;
pub use site::ContainerSite;

use crate::site::SiteError;

/// `[[compute.sites]]` with `plugin = "container"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerConfig {
    pub name: String,
    /// `podman` or `docker`, or a path to one of them.
    pub program: PathBuf,
    /// Arguments before every command, such as `["--root", "/var/lib/dte-containers"]`.
    pub args: Vec<String>,
    /// Arguments of every container, such as `["--ulimit", "nofile=1024:1024"]`.
    pub extra_args: Vec<String>,
    /// The network of pods: a name that the program knows, `none` or `host`. None: the program's default.
    pub network: Option<String>,
    /// Images that pods may use, see [`crate::image::allowed`]. Empty: all.
    pub images: Vec<String>,
    /// When images are fetched: `missing`, `always`, `never`.
    pub pull: Pull,
    /// Folders of this machine that pods may mount with `hostPath`.
    pub host_paths: Vec<PathBuf>,
    /// Pods that run at once; by default two for each processor, at least four.
    pub slots: Option<usize>,
    /// How often the containers are looked at.
    pub poll: Span,
    /// Time between SIGTERM and SIGKILL for pods that do not say.
    pub grace: Span,
    /// The first wait before a container is started again; it doubles up to five minutes.
    pub restart_wait: Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    #[default]
    Missing,
    Always,
    Never,
}

impl Pull {
    const fn as_str(self) -> &'static str {
        match self {
            Pull::Missing => "missing",
            Pull::Always => "always",
            Pull::Never => "never",
        }
    }
}

impl Default for ContainerConfig {
    fn default() -> Self {
        ContainerConfig {
            name: "containers".into(),
            program: "podman".into(),
            args: Vec::new(),
            extra_args: Vec::new(),
            network: None,
            images: Vec::new(),
            pull: Pull::Missing,
            host_paths: Vec::new(),
            slots: None,
            poll: Span(Duration::from_millis(500)),
            grace: Span(Duration::from_secs(10)),
            restart_wait: Span(Duration::from_secs(10)),
        }
    }
}

impl ContainerConfig {
    fn check(&self) -> Result<(), SiteError> {
        let wrong = |text: &str| Err(SiteError::Configuration(format!("site {}: {text}", self.name)));
        if !crate::pod::is_dns_label(&self.name) {
            return wrong("its name must be a DNS label");
        }
        if self.poll.0 < Duration::from_millis(50) {
            return wrong("poll must be at least 50ms");
        }
        if self.network.as_deref().is_some_and(|network| network.is_empty() || network.starts_with('-')) {
            return wrong("network must be a name that the container program knows");
        }
        Ok(())
    }

    fn is_docker(&self) -> bool {
        self.program.file_name().is_some_and(|name| name == "docker")
    }
}
