//! The engine as a person wants to see it.

use std::time::Duration;

use dte_base::time::Timestamp;

use super::twin::State;

/// Everything on the engine's page.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub version: String,
    pub uptime: Duration,
    /// Resident memory of this process.
    pub memory: Option<u64>,
    /// Newest first by name.
    pub twins: Vec<TwinLine>,
    pub services: Vec<ServiceLine>,
    pub log: Log,
    pub queues: Vec<Queue>,
    pub sites: Vec<SiteLine>,
    pub rses: Vec<RseLine>,
    pub pods: Vec<PodLine>,
    /// Parts that could not be read, each with its reason.
    pub missing: Vec<(&'static str, String)>,
}

/// One twin in the list.
#[derive(Clone, Debug, Default)]
pub struct TwinLine {
    pub name: String,
    pub title: String,
    pub state: State,
    pub behind: Option<i64>,
    pub last: Option<String>,
    pub runs: u64,
    pub alerts: u64,
    pub owner: String,
}

#[derive(Clone, Debug, Default)]
pub struct ServiceLine {
    pub name: String,
    /// Where it is mounted.
    pub prefixes: Vec<String>,
    pub requests: u64,
    pub errors: u64,
}

/// The event log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The number of the newest event.
    pub position: i64,
    /// Events a second, over the last moments.
    pub rate: Option<f64>,
    /// How far each consumer is behind.
    pub newest: Option<Timestamp>,
    pub recent: Vec<(String, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    pub name: String,
    pub ready: u64,
    pub running: u64,
    pub dead: u64,
}

#[derive(Clone, Debug, Default)]
pub struct SiteLine {
    pub name: String,
    pub plugin: String,
    pub state: String,
    pub running: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct RseLine {
    pub name: String,
    pub kind: String,
    pub used: Option<u64>,
    pub total: Option<u64>,
    pub files: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct PodLine {
    pub uid: String,
    pub name: String,
    pub phase: String,
    pub site: String,
    pub user: String,
    pub since: Option<Timestamp>,
}
