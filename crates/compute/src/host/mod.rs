//! Plugin `host`: pods as sandboxed processes of this machine.
//!
//! ```text
//! engine ── pod-shim ── pod-init ── pod-exec → program
//!           │           │           limits, landlock
//!           │           walls, process tree, measuring      (first process of the pod's namespace)
//!           log, deadline, outcome                          (own session; outlives the engine)
//! ```
//!
//! The three stages are the engine's own program, executed again: whoever has `main` calls [`shim_main`] first when
//! [`is_shim`] says so. What engine and shim share is the [run folder](folder); the engine watches the shim through a
//! process handle, so that an end is noticed at once, also by an engine that was started later.

mod action;
mod attach;
mod begin;
mod beside;
mod cgroup;
mod channel;
mod checks;
mod console;
mod door;
mod exec;
mod fit;
pub mod folder;
mod forward;
mod grpc;
mod guests;
mod hidden;
mod init;
pub mod logfile;
mod member;
mod mounts;
pub(crate) mod outcome;
mod pause;
mod plugin;
mod probe;
pub mod process;
pub mod sandbox;
mod session;
mod shim;
mod site;
mod spawn;
pub mod spec;
mod storage;
mod tree;
mod users;
mod volumes;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;

pub(crate) use plugin::memory_bytes;
pub use probe::{probe, probe_at};
pub use site::HostSite;
pub(crate) use site::hand_over;

pub(crate) const POD_SHIM: &str = "pod-shim";
const POD_INIT: &str = "pod-init";
const POD_EXEC: &str = "pod-exec";
const POD_PROBE: &str = "pod-probe";
pub(crate) const POD_PLACE: &str = "pod-place";

/// The running program, also if its file was replaced.
const SELF: &str = "/proc/self/exe";

/// Exit code for arguments that name no stage.
const USAGE: u8 = 64;

/// Whether this process, by its arguments (with the program's name), is a stage of a pod and not a command of the user.
pub fn is_shim(arguments: &[OsString]) -> bool {
    arguments
        .get(1)
        .is_some_and(|first| [POD_SHIM, POD_INIT, POD_EXEC, POD_PROBE, POD_PLACE].iter().any(|stage| first == stage))
}

/// Runs the stage that the arguments (with the program's name) ask for. To be called before threads are started.
pub fn shim_main(arguments: &[OsString]) -> ExitCode {
    let folder = arguments.get(2).map(Path::new).unwrap_or(Path::new(""));
    match arguments.get(1).and_then(|stage| stage.to_str()) {
        Some(POD_SHIM) => shim::main(folder),
        Some(POD_INIT) => init::main(folder),
        Some(POD_EXEC) => exec::main(folder),
        Some(POD_PROBE) => probe::main(folder),
        Some(POD_PLACE) => crate::place::agent::main(folder),
        _ => {
            eprintln!("{:?} is not a stage of a pod", arguments.get(1));
            ExitCode::from(USAGE)
        }
    }
}

/// `[[compute.sites]]` with `plugin = "host"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    pub name: String,
    /// Pods that run at once; by default two for each processor, at least four.
    pub slots: Option<usize>,
    /// Log kept for each container.
    pub log_limit: Bytes,
    /// Time between SIGTERM and SIGKILL for pods that do not say.
    pub grace: Span,
    /// When the engine is root: the first of the user ids that pods get, one each. Nobody else may have them.
    pub uid_first: u32,
    pub uid_count: u32,
    /// Processes and threads that one pod may have at once.
    pub max_processes: u64,
    /// Memory and disk of containers that name no limit; by default none.
    pub default_memory: Option<Bytes>,
    pub default_storage: Option<Bytes>,
    /// How long a container that ended again waits before its next start; doubled each time, up to five minutes.
    pub restart_wait: Span,
    /// Folders of this machine that pods may mount (`hostPath`), with what is beneath them.
    pub host_paths: Vec<PathBuf>,
    /// Extended resources of this machine, such as `"nvidia.com/gpu" = 2`.
    pub resources: BTreeMap<String, u64>,
    /// More places that pods must not see.
    pub hide: Vec<PathBuf>,
    /// Places beneath hidden ones that they may read after all, such as a Python environment in the home directory.
    pub visible: Vec<PathBuf>,
    /// `false`: no walls, and therefore only pods of administrators.
    pub sandbox: bool,
    /// The program with the shim's stages; by default the engine itself.
    pub shim: Option<PathBuf>,
}

impl Default for HostConfig {
    fn default() -> Self {
        HostConfig {
            name: "local".into(),
            slots: None,
            log_limit: Bytes(16 << 20),
            grace: Span(std::time::Duration::from_secs(10)),
            uid_first: 600_000,
            uid_count: 10_000,
            max_processes: 4_096,
            default_memory: None,
            default_storage: None,
            restart_wait: Span(std::time::Duration::from_secs(10)),
            host_paths: Vec::new(),
            resources: BTreeMap::new(),
            hide: Vec::new(),
            visible: Vec::new(),
            sandbox: true,
            shim: None,
        }
    }
}

impl HostConfig {
    fn shim_program(&self) -> &Path {
        self.shim.as_deref().unwrap_or(Path::new(SELF))
    }
}
