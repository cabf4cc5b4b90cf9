//! Plugin `htcondor`: pods as jobs of an HTCondor pool.
//!
//! How pods become jobs is [`crate::batch`]'s business; here is what is HTCondor's own: the submit description (`description`),
//! built from checked values, which starts the runner; the submit commands that pods may set (`flags`); the programs
//! (`commands`) and what they print (`queue`). A job carries its pod's UID in the attribute `DtePod`.
//!
//! Folders are shared between submit node and execution nodes, so HTCondor transfers no files. Ending a pod is removing its job:
//! the runner hears SIGTERM and has the pod's grace, and some more, until HTCondor ends it. There is no way to suspend a pod.

mod asked;
mod commands;
mod description;
mod flags;
mod queue;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;

pub(crate) use asked::asked_for;
pub use flags::FLAGS_ANNOTATION;

pub use crate::batch::WallsSetting;
use crate::batch::runtime::RuntimeConfig;
use crate::batch::{BatchSite, Settings};
use crate::site::{SiteContext, SiteError};

/// `[[compute.sites]]` with `plugin = "htcondor"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HtcondorConfig {
    pub name: String,
    /// The folder that submit node and execution nodes share: run folders and the runner are put there. Must be given.
    pub folder: PathBuf,
    /// The pool's collector and the queue to use, if not those of the submit node's configuration.
    pub pool: Option<String>,
    pub schedd: Option<String>,
    /// Further submit commands of every job, such as `["requirements = OpSysAndVer == \"AlmaLinux9\""]`.
    pub flags: Vec<String>,
    /// Submit commands that pods may set with the annotation `htcondor-job.vk.io/flags`; `+NAME` is an attribute.
    pub allowed_flags: Vec<String>,
    /// How long a job may be on hold before its pod fails. Jobs that somebody put on hold on purpose stay.
    pub held_for: Span,
    /// How often HTCondor is asked how the jobs go.
    pub poll: Span,
    /// How often run folders are looked at for outcomes that the kernel does not tell of, on shared file systems.
    pub look: Span,
    /// How long a file that a node wrote may take to be seen here.
    pub file_lag: Span,
    /// The folder of `condor_submit` and the others; by default they are looked for on the PATH.
    pub programs: Option<PathBuf>,
    /// `CONDOR_CONFIG` for these programs.
    pub conf: Option<PathBuf>,
    /// Pods that may be queued and running at once.
    pub max_pods: u64,
    /// The walls around pods on the nodes.
    pub walls: WallsSetting,
    /// With `walls = "other-user"`: the first of the user ids that pods get, one each. Nobody else may have them on any node.
    pub uid_first: u32,
    pub uid_count: u32,
    pub log_limit: Bytes,
    /// Time between SIGTERM and SIGKILL for pods that do not say.
    pub grace: Span,
    /// Processes that one pod may have at once, behind walls.
    pub max_processes: u64,
    /// More places on the nodes that pods must not see.
    pub hide: Vec<PathBuf>,
    /// Places beneath hidden ones that they may read after all.
    pub visible: Vec<PathBuf>,
    /// The program with the runner's stages, if not the engine itself: nodes may be of another kind.
    pub runner: Option<PathBuf>,
    /// The submit node, if HTCondor's commands and the folder are not on this machine.
    pub ssh: Option<crate::ssh::SshConfig>,
    /// The container program of the nodes; without one, pods run programs of the nodes (image `host`).
    pub container: Option<RuntimeConfig>,
}

impl Default for HtcondorConfig {
    fn default() -> Self {
        HtcondorConfig {
            name: "htcondor".into(),
            folder: PathBuf::new(),
            pool: None,
            schedd: None,
            flags: Vec::new(),
            allowed_flags: flags::ALLOWED_BY_DEFAULT.iter().map(|flag| (*flag).to_owned()).collect(),
            held_for: Span(Duration::from_secs(600)),
            poll: Span(Duration::from_secs(10)),
            look: Span(Duration::from_millis(500)),
            file_lag: Span(Duration::from_secs(10)),
            programs: None,
            conf: None,
            max_pods: 10_000,
            walls: WallsSetting::None,
            uid_first: 640_000,
            uid_count: 20_000,
            log_limit: Bytes(16 << 20),
            grace: Span(Duration::from_secs(10)),
            max_processes: 4_096,
            hide: Vec::new(),
            visible: Vec::new(),
            runner: None,
            ssh: None,
            container: None,
        }
    }
}

/// Opens the site and goes on with the pods that it had. A site that cannot be reached now is opened too.
pub async fn open(config: HtcondorConfig, context: &SiteContext) -> Result<Arc<BatchSite>, SiteError> {
    config.check()?;
    let settings = config.settings();
    BatchSite::open(settings, context, |place| Ok(Box::new(commands::Htcondor { config, place }))).await
}

impl HtcondorConfig {
    fn settings(&self) -> Settings {
        Settings {
            name: self.name.clone(),
            folder: self.folder.clone(),
            poll: self.poll,
            look: self.look,
            file_lag: self.file_lag,
            max_pods: self.max_pods,
            walls: self.walls,
            uid_first: self.uid_first,
            uid_count: self.uid_count,
            log_limit: self.log_limit,
            grace: self.grace,
            max_processes: self.max_processes,
            hide: self.hide.clone(),
            visible: self.visible.clone(),
            runner: self.runner.clone(),
            ssh: self.ssh.clone(),
            container: self.container.clone(),
        }
    }

    fn check(&self) -> Result<(), SiteError> {
        let wrong = |text: String| Err(SiteError::Configuration(format!("site {}: {text}", self.name)));
        for (setting, value) in [("pool", &self.pool), ("schedd", &self.schedd)] {
            if value.as_deref().is_some_and(|value| !flags::is_plain(value)) {
                return wrong(format!("{setting}: {value:?} is not the name or address of a daemon"));
            }
        }
        if let Some(error) = self.flags.iter().find_map(|line| flags::read_line(line).err()) {
            return wrong(format!("flags: {error}"));
        }
        if let Some(bad) = self.allowed_flags.iter().find(|flag| !flags::may_be_allowed(flag)) {
            return wrong(format!("allowed_flags: {bad:?} is not a submit command or +ATTRIBUTE that pods could set"));
        }
        Ok(())
    }
}
