//! What is known of one container before it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::action::{Action, Probes};
use super::volume::Mount;

/// One container: what to run, before `$(VAR)` was expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    pub name: String,
    pub image: String,
    /// `command` and `args` together.
    pub argv: Vec<String>,
    /// There is no `command`: `argv` are arguments, perhaps none, for the image's own entry point.
    #[serde(default)]
    pub keeps_entrypoint: bool,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub limits: Limits,
    /// `resources.requests`; what is not requested but limited is requested as much.
    #[serde(default)]
    pub requests: Limits,
    /// Extended resources, such as `nvidia.com/gpu`, in whole pieces.
    #[serde(default)]
    pub extended: BTreeMap<String, u64>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// An init container with `restartPolicy: Always`: it goes on beside the others and ends after them.
    #[serde(default)]
    pub sidecar: bool,
    #[serde(default)]
    pub probes: Probes,
    #[serde(default)]
    pub post_start: Option<Action>,
    #[serde(default)]
    pub pre_stop: Option<Action>,
    #[serde(default)]
    pub termination: Termination,
    #[serde(default)]
    pub interactive: Interactive,
}

/// What a container reads, for somebody who attaches to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interactive {
    /// Its standard input stays open from its start on, and is empty until somebody types. Otherwise it has ended already.
    pub stdin: bool,
    /// It ends when the first who could type is gone.
    pub stdin_once: bool,
    /// Its input and outputs are a terminal.
    pub tty: bool,
}

impl Interactive {
    /// Whether it reads a pipe of each run's own. A terminal is the container's, in all its runs.
    pub fn has_pipe(self) -> bool {
        self.stdin && !self.tty
    }
}

/// Where a container says why it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// `terminationMessagePath`, where it is given.
    pub path: Option<String>,
    /// `FallbackToLogsOnError`: the end of the log, if it wrote nothing there and failed.
    pub from_log: bool,
}

/// Amounts of a container: limits or requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// `ephemeral-storage`
    pub storage_bytes: Option<u64>,
}
