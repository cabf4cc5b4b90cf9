//! Plugin `slurm`: pods as batch jobs.
//!
//! ```text
//! engine ── sbatch ── slurmctld ── slurmd ── job.sh ── exec dte pod-shim FOLDER ── as on every site
//!    └─ squeue, once in an interval, for all jobs together
//! ```
//!
//! How pods become jobs is [`crate::batch`]'s business; here is what is Slurm's own: the batch script (`script`), directives built
//! from checked values and one `exec` of the runner; the options that pods may set (`flags`); and Slurm's commands (`commands`)
//! with what they print (`queue`). A job is called as its pod's UID, but for a task of an array ([`ArraysSetting`]), which has
//! the array's name and its own place in it. `rest` is the same through `slurmrestd`.

mod asked;
mod commands;
mod flags;
mod queue;
mod rest;
mod script;
mod template;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;

pub(crate) use asked::asked_for;
pub use flags::FLAGS_ANNOTATION;
pub use rest::RestConfig;
use template::Template;

pub use crate::batch::WallsSetting;
use crate::batch::runtime::RuntimeConfig;
use crate::batch::{BatchSite, BatchSystem, Settings};
use crate::place::Place;
use crate::site::{SiteContext, SiteError};

/// Which pods may become tasks of one batch array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArraysSetting {
    /// None: each pod is a job of its own, called as its UID.
    #[default]
    Off,
    /// Those of one Indexed Job that ask for the same.
    Jobs,
    /// All that ask for the same and come within half a second.
    Equal,
}

/// `[[compute.sites]]` with `plugin = "slurm"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    pub name: String,
    /// The folder that engine and nodes share: run folders and the runner are put there. Must be given.
    pub folder: PathBuf,
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    /// Further options of every job, such as `["--constraint=fast"]`.
    pub flags: Vec<String>,
    /// Options that pods may set with the annotation `slurm-job.vk.io/flags`, by their long names.
    pub allowed_flags: Vec<String>,
    /// The site's own batch script, with a line `#DTE RUN` where the pod is run: its `#SBATCH` lines and its set-up, such as modules.
    pub template: Option<PathBuf>,
    /// Which pods that are handed over together become one array.
    pub arrays: ArraysSetting,
    /// How often Slurm is asked how the jobs go.
    pub poll: Span,
    /// How often run folders are looked at for outcomes that the kernel does not tell of, on shared file systems.
    pub look: Span,
    /// How long a file that a node wrote may take to be seen here.
    pub file_lag: Span,
    /// The folder of `sbatch`, `squeue` and the others; by default they are looked for on the PATH.
    pub programs: Option<PathBuf>,
    /// `SLURM_CONF` for these programs.
    pub conf: Option<PathBuf>,
    /// Slurm's HTTP daemon, in place of the commands.
    pub rest: Option<RestConfig>,
    /// Whether `sacct` knows jobs that Slurm's controller has forgotten.
    pub sacct: bool,
    /// Where Slurm writes ended jobs (`JobCompType=jobcomp/filetxt`), if it does.
    pub jobcomp: Option<PathBuf>,
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
    /// The login node, if Slurm's commands and the folder are not on this machine.
    pub ssh: Option<crate::ssh::SshConfig>,
    /// The container program of the nodes; without one, pods run programs of the nodes (image `host`).
    pub container: Option<RuntimeConfig>,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        SlurmConfig {
            name: "slurm".into(),
            folder: PathBuf::new(),
            partition: None,
            account: None,
            qos: None,
            flags: Vec::new(),
            allowed_flags: flags::ALLOWED_BY_DEFAULT.iter().map(|flag| (*flag).to_owned()).collect(),
            template: None,
            arrays: ArraysSetting::Off,
            poll: Span(Duration::from_secs(5)),
            look: Span(Duration::from_millis(500)),
            file_lag: Span(Duration::from_secs(10)),
            programs: None,
            conf: None,
            rest: None,
            sacct: false,
            jobcomp: None,
            max_pods: 10_000,
            walls: WallsSetting::None,
            uid_first: 620_000,
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
pub async fn open(config: SlurmConfig, context: &SiteContext) -> Result<Arc<BatchSite>, SiteError> {
    config.check()?;
    let template = config.template.as_deref().map(Template::read).transpose();
    let template = template.map_err(|why| SiteError::Configuration(format!("site {}: {why}", config.name)))?;
    let (settings, template) = (config.settings(), template.unwrap_or_default());
    let rest = config.rest.clone();
    let commands = |place: Arc<dyn Place>| commands::Slurm { config, template, place };
    match rest {
        None => BatchSite::open(settings, context, |place| Ok(Box::new(commands(place)))).await,
        Some(rest) => {
            let open = |place| Ok(Box::new(rest::SlurmRest::open(rest, commands(place))?) as Box<dyn BatchSystem>);
            BatchSite::open(settings, context, open).await
        }
    }
}

impl SlurmConfig {
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

    /// What only Slurm has, and that ends up in a batch script or a command.
    fn check(&self) -> Result<(), SiteError> {
        let wrong = |text: String| Err(SiteError::Configuration(format!("site {}: {text}", self.name)));
        for (setting, value) in [("partition", &self.partition), ("account", &self.account), ("qos", &self.qos)] {
            if value.as_deref().is_some_and(|value| !flags::is_plain(value)) {
                return wrong(format!("{setting}: {value:?} has characters that Slurm's names do not have"));
            }
        }
        if let Some(Err(why)) = self.rest.as_ref().map(|rest| rest.check(self)) {
            return wrong(why);
        }
        if let Err(error) = flags::read_words(&self.flags, None) {
            return wrong(format!("flags: {error}"));
        }
        if let Some(unknown) = self.allowed_flags.iter().find(|flag| !flags::is_known(flag)) {
            return wrong(format!("allowed_flags: {unknown:?} is not the long name of an option that pods could set"));
        }
        Ok(())
    }
}
