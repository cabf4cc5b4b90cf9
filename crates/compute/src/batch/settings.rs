//! What all batch systems are told by the configuration.

use std::path::PathBuf;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;

use super::runtime::RuntimeConfig;
use crate::site::SiteError;

/// What stands between pods and the account that the jobs run as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WallsSetting {
    /// Nothing: only pods of administrators run here.
    #[default]
    None,
    /// User namespaces on the nodes. A node that does not allow them fails the pod.
    UserNamespace,
    /// A user id of its own for each pod, where jobs run as root.
    OtherUser,
}

/// A batch site, whatever its batch system. The settings' meaning stands where they are read, such as
/// [`SlurmConfig`](crate::slurm::SlurmConfig).
#[derive(Clone, Debug)]
pub struct Settings {
    pub name: String,
    pub folder: PathBuf,
    pub poll: Span,
    pub look: Span,
    pub file_lag: Span,
    pub max_pods: u64,
    pub walls: WallsSetting,
    pub uid_first: u32,
    pub uid_count: u32,
    pub log_limit: Bytes,
    pub grace: Span,
    pub max_processes: u64,
    pub hide: Vec<PathBuf>,
    pub visible: Vec<PathBuf>,
    pub runner: Option<PathBuf>,
    pub ssh: Option<crate::ssh::SshConfig>,
    pub container: Option<RuntimeConfig>,
}

impl Settings {
    /// Everything in it that ends up in a job's description or a command.
    pub(super) fn check(&self) -> Result<(), SiteError> {
        let wrong = |text: String| Err(SiteError::Configuration(format!("site {}: {text}", self.name)));
        if !crate::pod::is_dns_label(&self.name) {
            return wrong("its name must be a DNS label".into());
        }
        crate::place::check_folder(&format!("site {}: folder", self.name), &self.folder)?;
        if self.poll.0 < Duration::from_millis(200) || self.look.0 < Duration::from_millis(50) {
            return wrong("poll must be at least 200ms and look at least 50ms".into());
        }
        if self.walls == WallsSetting::UserNamespace && self.ssh.is_none() && nix::unistd::geteuid().is_root() {
            return wrong("walls = \"user-namespace\" does not hold back root: use \"other-user\"".into());
        }
        if let Some(container) = &self.container {
            container.check(&self.name)?;
            if self.walls != WallsSetting::None {
                return wrong(
                    "a container program makes walls of its own, within which ours cannot be: walls = \"none\"".into(),
                );
            }
        }
        let is_root = match &self.ssh {
            Some(ssh) => ssh.user == "root",
            None => nix::unistd::geteuid().is_root(),
        };
        if self.walls == WallsSetting::OtherUser && !is_root {
            return wrong("walls = \"other-user\" takes jobs that run as root: use \"user-namespace\"".into());
        }
        Ok(())
    }
}
