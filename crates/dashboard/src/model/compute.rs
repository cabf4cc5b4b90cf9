//! Sites and pods as a person wants to see them.

use dte_base::time::Timestamp;

/// A place where pods run.
#[derive(Clone, Debug, Default)]
pub struct Site {
    pub name: String,
    pub is_up: bool,
    /// Why it does not answer.
    pub problem: Option<String>,
    pub sandbox: String,
    pub images: Vec<String>,
    pub can_suspend: bool,
    pub cpu_millis: Option<u64>,
    pub memory: Option<u64>,
    pub places: Option<u64>,
    pub free: Option<u64>,
    pub running: u64,
    pub waiting: u64,
    pub mean_run_seconds: Option<f64>,
}

/// The page of all sites.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    pub sites: Vec<Site>,
    pub missing: Vec<(&'static str, String)>,
}

/// A pod in a list.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub uid: String,
    pub name: String,
    pub phase: String,
    /// None: not decided yet.
    pub site: Option<String>,
    pub user: String,
    pub reason: Option<String>,
    pub exit_code: Option<i64>,
    pub created: Option<Timestamp>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

/// The page of all pods.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// The newest first.
    pub pods: Vec<Line>,
    pub missing: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub state: String,
    pub exit_code: Option<i64>,
    pub is_init: bool,
}

/// What was thought of one site when the pod was placed.
#[derive(Clone, Debug, Default)]
pub struct Considered {
    pub site: String,
    pub verdict: String,
    pub reason: String,
}

/// The page of one pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub line: Line,
    pub message: Option<String>,
    /// Why it does not run yet.
    pub waits: Option<String>,
    pub why_there: String,
    pub considered: Vec<Considered>,
    pub timeline: Vec<(Option<Timestamp>, String)>,
    pub containers: Vec<Container>,
    /// The container whose log is shown.
    pub shown: String,
    /// The end of its log.
    pub log: String,
    pub cpu_seconds: Option<f64>,
    pub memory: Option<u64>,
    pub missing: Vec<(&'static str, String)>,
}

impl Line {
    pub fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}
