//! Section `[offload]`.

use std::path::PathBuf;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;
use url::Url;

use crate::model::quota::Amounts;
use crate::socket::Socket;

pub const SECTION: &str = "offload";

/// How pods are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The data lake's REST API; by default this engine's own.
    pub lake: Option<Url>,
    /// How long the run folder of a pod that ended stays, with its log.
    pub retention: Span,
    /// How long it is remembered that a pod was there, and how it ended. Its UID means a new pod after that.
    pub remember: Span,
    /// Tries of staging or collecting before a pod fails.
    pub attempts: u32,
    /// The longest wait between two tries.
    pub longest_wait: Span,
    /// Files that are fetched at once for one pod.
    pub parallel_files: usize,
    /// Pods whose data is staged at once.
    pub parallel_staging: usize,
    /// Pods of one person, waiting or running, at once. Administrators' are not limited.
    pub most_pods: u64,
    /// Processors that a person's pods ask for together.
    pub most_cores: u64,
    /// Memory that a person's pods ask for together.
    pub most_memory: Bytes,
    /// Space for verified inputs that later pods may want too.
    pub cache_limit: Bytes,
    /// How long a pod of somebody who is suspended stands still at most before it is ended with the reason `Suspended`.
    pub suspended_for: Span,
    /// Folders of this machine from which everybody's pods may take their program. Administrators' pods may from anywhere.
    pub code_roots: Vec<PathBuf>,
    /// Sockets for parties that cannot show a token; none by default.
    pub sockets: Vec<Socket>,
}

impl Settings {
    /// What one person may have.
    pub fn quota(&self) -> Amounts {
        let cpu_millis = self.most_cores.saturating_mul(1_000);
        Amounts { pods: self.most_pods, cpu_millis, memory_bytes: self.most_memory.0 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lake: None,
            retention: Span(Duration::from_secs(600)),
            remember: Span(Duration::from_secs(30 * 86_400)),
            attempts: 10,
            longest_wait: Span(Duration::from_secs(60)),
            parallel_files: 8,
            parallel_staging: 4,
            most_pods: 10_000,
            most_cores: 10_000,
            most_memory: Bytes(100 << 40),
            cache_limit: Bytes(10 << 30),
            suspended_for: Span(Duration::from_secs(7 * 86_400)),
            code_roots: Vec::new(),
            sockets: Vec::new(),
        }
    }
}
