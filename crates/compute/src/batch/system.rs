//! What a batch system is: the few questions that differ between Slurm, HTCondor and their like.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use uuid::Uuid;

use super::state::JobState;
use crate::place::PlaceError;
use crate::pod::PodPlan;

/// What came of a question.
pub type Asked<'a, T, E = PlaceError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A job that the batch system knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub id: u64,
    pub state: JobState,
    /// Why it waits, or ended.
    pub reason: String,
    pub nodes: String,
    /// Its exit code and the signal that ended it, where the queue says so.
    pub code: Option<(i32, i32)>,
}

/// What is written of a job that the queue has forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub state: JobState,
    pub code: Option<(i32, i32)>,
    /// What the batch system itself says of it; may be empty.
    pub reason: String,
}

/// Why a job was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// It never will.
    Never(String),
    /// There is no room now.
    Later(String),
    /// It is not known what became of it.
    Unsure(String),
}

/// Where a pod's job finds what it runs.
#[derive(Clone, Copy, Debug)]
pub struct JobPlace<'a> {
    pub run_folder: &'a Path,
    pub runner: &'a Path,
    /// Seconds between asking the pod to end and ending it.
    pub grace_seconds: u64,
}

/// A command of the submit node.
#[derive(Clone, Debug)]
pub struct Command {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

/// A batch system, reached through a [place](crate::place). Every question may be repeated.
pub trait BatchSystem: Send + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Whether the runner of a job can be told to look at its folder again, which suspending takes.
    fn wakes_runners(&self) -> bool;

    /// The description of a pod's job, in the batch system's own language; why there can be none.
    fn describe(&self, plan: &PodPlan, place: &JobPlace<'_>) -> Result<String, String>;

    /// All jobs of the site, ended ones too as long as the queue remembers them.
    fn queue(&self) -> Asked<'_, HashMap<Uuid, Queued>>;

    /// The pod's job, if the queue has it.
    fn find(&self, uid: Uuid) -> Asked<'_, Option<Queued>>;

    /// Hands a description over. The job's number.
    fn submit<'a>(&'a self, description: &'a Path) -> Asked<'a, u64, Refusal>;

    /// Ends the job, whatever its runner says.
    fn kill(&self, uid: Uuid, job: u64) -> Asked<'_, ()>;

    /// Asks the runner to end its pod; it knows how long it has.
    fn end_runner(&self, uid: Uuid, job: u64) -> Asked<'_, ()>;

    /// Tells the runner to look at its folder again.
    fn wake_runner(&self, uid: Uuid, job: u64) -> Asked<'_, ()>;

    /// The command that runs these words beside the job's own program, where that runs, with the command's input and output. None:
    /// there is no such thing.
    fn beside(&self, job: u64, words: Vec<String>) -> Option<Command> {
        let _ = (job, words);
        None
    }

    /// What is written of jobs that the queue has forgotten; those of which nothing is written are left out.
    fn past<'a>(&'a self, jobs: &'a [(Uuid, Option<u64>)]) -> Asked<'a, HashMap<Uuid, Past>>;

    /// The exit code and signal of an ended job that the queue still has, where `Queued::code` is none.
    fn exit_code(&self, job: u64) -> Asked<'_, Option<(i32, i32)>>;

    /// Processors (thousandths) and memory of the nodes that can work.
    fn nodes(&self) -> Asked<'_, (u64, u64)>;
}
