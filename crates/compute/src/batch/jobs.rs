//! The pods that the site knows, and where each is.

use std::collections::HashMap;
use std::time::Instant;

use dte_base::time::Timestamp;
use uuid::Uuid;

use super::index::Record;
use super::state::JobState;
use super::system::{JobName, Queued};
use crate::host::outcome::Outcome;
use crate::report::{Phase, PodReport, Usage};

/// One pod.
pub struct Job {
    pub stage: Stage,
    /// What the last look at the queue said.
    pub queued: Option<Queued>,
    /// Looks in a row in which the queue did not have it.
    pub missing: u32,
    /// Since when the batch system says that it has ended, without an outcome to be seen.
    pub over_since: Option<Instant>,
    /// The place tells when its outcome is written.
    pub is_watched: bool,
    /// Its outcome says only that it was told to end, and the batch system has yet to say why.
    pub awaits_word: bool,
    /// When it has to have ended by itself.
    pub kill_at: Option<Instant>,
    /// The user id that nobody else may have until its folder is gone.
    pub user: Option<u32>,
}

pub enum Stage {
    /// Its folder is there; it was not handed over.
    Prepared,
    /// It may have been handed over.
    Unsure(Box<Record>),
    Queued(Box<Record>),
    Ended(Box<PodReport>),
}

pub type Jobs = HashMap<Uuid, Job>;

impl Job {
    pub fn new(stage: Stage) -> Job {
        let user = match &stage {
            Stage::Unsure(record) | Stage::Queued(record) => record.user,
            Stage::Prepared | Stage::Ended(_) => None,
        };
        Job {
            stage,
            queued: None,
            missing: 0,
            over_since: None,
            is_watched: false,
            awaits_word: false,
            kill_at: None,
            user,
        }
    }

    pub fn record(&self) -> Option<&Record> {
        match &self.stage {
            Stage::Unsure(record) | Stage::Queued(record) => Some(record),
            Stage::Prepared | Stage::Ended(_) => None,
        }
    }

    /// The batch system has to be asked about it.
    pub fn is_active(&self) -> bool {
        self.record().is_some()
    }

    /// The number of its job, from whoever knows.
    pub fn number(&self) -> Option<u64> {
        self.record().and_then(|record| record.job).or(self.queued.as_ref().map(|queued| queued.id))
    }

    /// What its job is called, and its number, if it has one.
    pub fn job(&self) -> Option<(JobName, u64)> {
        Some((self.record()?.called(), self.number()?))
    }

    pub fn job_state(&self) -> Option<JobState> {
        self.queued.as_ref().map(|queued| queued.state)
    }

    /// How it goes as far as the batch system (`system`) knows: for pods whose runner has not yet said anything.
    pub fn outlook(&self, uid: Uuid, system: &str) -> PodReport {
        let mut report = match self.record() {
            Some(record) => Outcome::new(&record.plan, Timestamp::now()).state(),
            None => blank(uid),
        };
        report.started = None;
        let state = self.job_state();
        (report.reason, report.message) = match (&self.queued, state) {
            (Some(queued), Some(JobState::Waiting)) => {
                (Some(format!("{system}Pending")), Some(why_it_waits(system, &queued.reason, queued.id)))
            }
            (Some(queued), Some(JobState::Suspended)) => {
                (Some(format!("{system}Suspended")), Some(format!("{system} holds job {} still", queued.id)))
            }
            _ => (None, None),
        };
        report
    }
}

fn why_it_waits(system: &str, reason: &str, id: u64) -> String {
    match reason {
        "" | "None" => format!("job {id} waits for {system} to look at it"),
        known => format!("job {id} waits: {known}"),
    }
}

fn blank(uid: Uuid) -> PodReport {
    PodReport {
        uid,
        phase: Phase::Pending,
        reason: None,
        message: None,
        started: None,
        finished: None,
        init_containers: Vec::new(),
        containers: Vec::new(),
        usage: Usage::default(),
    }
}
