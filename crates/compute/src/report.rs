//! How a pod goes.

use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A pod's phase, by its Kubernetes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub const fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }
}

/// Where one container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ContainerState {
    Waiting {
        reason: String,
    },
    Running {
        started: Timestamp,
    },
    Terminated {
        exit_code: i32,
        signal: Option<i32>,
        reason: String,
        /// What the container said of its end (`terminationMessagePath`).
        #[serde(default)]
        message: Option<String>,
        started: Option<Timestamp>,
        finished: Timestamp,
    },
}

impl ContainerState {
    /// The exit code, once there is one.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            ContainerState::Terminated { exit_code, .. } => Some(*exit_code),
            _ => None,
        }
    }
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    pub name: String,
    #[serde(flatten)]
    pub state: ContainerState,
    /// It runs and its readiness probe, if it has one, says so.
    #[serde(default)]
    pub ready: bool,
    /// Its startup probe, if it has one, has succeeded.
    #[serde(default)]
    pub is_up: bool,
    #[serde(default)]
    pub restarts: u32,
    /// It goes on beside the others; how it ends says nothing of the pod.
    #[serde(default)]
    pub is_sidecar: bool,
    /// How it ended the last time, if it was started again or waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ContainerState>,
    /// Where its log begins in each of its last two runs, as far as the site knows: bytes that it had written before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_from: Vec<u64>,
}

impl ContainerReport {
    /// A container that is run once and has no probes: ready while it runs.
    pub fn new(name: impl Into<String>, state: ContainerState) -> Self {
        let is_running = matches!(state, ContainerState::Running { .. });
        ContainerReport {
            name: name.into(),
            state,
            ready: is_running,
            is_up: is_running,
            restarts: 0,
            is_sidecar: false,
            last: None,
            log_from: Vec::new(),
        }
    }

    /// Which part of the log the run wrote that ended last, from and to a number of bytes (none: to the end); `None`: no run
    /// before the present one is known.
    pub fn previous_log(&self) -> Option<(u64, Option<u64>)> {
        match (&self.state, self.log_from.as_slice()) {
            // It waits for its next run.
            (ContainerState::Waiting { .. }, [.., last]) if self.last.is_some() => Some((*last, None)),
            (ContainerState::Running { .. } | ContainerState::Terminated { .. }, [before, last]) => {
                Some((*before, Some(*last)))
            }
            _ => None,
        }
    }
}

/// What a pod used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of all its processes, user and system.
    pub cpu_micros: u64,
    /// The largest resident memory seen.
    pub max_rss_bytes: u64,
}

/// How a pod goes, or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    pub uid: Uuid,
    pub phase: Phase,
    /// Why it failed, in one word as Kubernetes has them: `Error`, `DeadlineExceeded`, `OOMKilled`, …
    pub reason: Option<String>,
    pub message: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub init_containers: Vec<ContainerReport>,
    pub containers: Vec<ContainerReport>,
    pub usage: Usage,
}

impl PodReport {
    /// The exit code that speaks for the whole pod: of the init container that failed, else the highest of its containers.
    pub fn exit_code(&self) -> Option<i32> {
        let inits = self.init_containers.iter().filter(|init| !init.is_sidecar);
        let failed_init = inits.filter_map(|c| c.state.exit_code()).find(|code| *code != 0);
        failed_init.or_else(|| self.containers.iter().filter_map(|c| c.state.exit_code()).max())
    }
}
