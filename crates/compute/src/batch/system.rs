//! What a batch system is: the few questions that differ between Slurm, HTCondor and their like.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::state::JobState;
use crate::place::PlaceError;
use crate::pod::PodPlan;

/// What came of a question.
pub type Asked<'a, T, E = PlaceError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// What the batch system calls a pod's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobName {
    /// The pod's UID, or the name of the array that the job is a task of.
    pub name: Uuid,
    #[serde(default)]
    pub task: Option<u32>,
}

impl JobName {
    /// A job of the pod's own.
    pub const fn own(uid: Uuid) -> JobName {
        JobName { name: uid, task: None }
    }

    /// A task of an array.
    pub const fn task(array: Uuid, task: u32) -> JobName {
        JobName { name: array, task: Some(task) }
    }
}

/// A job that the batch system knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its number; of a task, the number of its array.
    pub id: u64,
    /// Its number by itself, which no other task of its array has.
    pub own_id: u64,
    pub state: JobState,
    /// Why it waits, or ended.
    pub reason: String,
    pub nodes: String,
    /// Its exit code and the signal that ended it, where the queue says so.
    pub code: Option<(i32, i32)>,
}

impl Queued {
    /// Of several jobs of one pod the highest counts: one that runs has the pod's folder, one that waits may yet get it.
    pub fn rank(&self) -> impl Ord + use<> {
        (self.state.standing(), self.id)
    }
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
#[derive(Clone, Debug)]
pub enum Refusal {
    /// It never will.
    Never(String),
    /// There is no room now.
    Later(String),
    /// The site went out of reach meanwhile: whoever comes again looks for it first.
    Unreachable(String),
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

    /// What pods have in common that may be tasks of one array; none: this pod gets a job of its own.
    fn array_of(&self, plan: &PodPlan, place: &JobPlace<'_>) -> Option<String> {
        let _ = (plan, place);
        None
    }

    /// The description of an array, one task for each of these pods, which have [`BatchSystem::array_of`] in common.
    fn describe_array(&self, name: Uuid, pods: &[(&PodPlan, JobPlace<'_>)]) -> Result<String, String> {
        let _ = pods;
        Err(format!("{} has no arrays here (array {name})", self.name()))
    }

    /// All jobs of the site, ended ones too as long as the queue remembers them.
    fn queue(&self) -> Asked<'_, HashMap<JobName, Queued>>;

    /// The jobs of these names that the queue has.
    fn find<'a>(&'a self, names: &'a [JobName]) -> Asked<'a, HashMap<JobName, Queued>>;

    /// Hands a description over. The job's number, or its array's.
    fn submit<'a>(&'a self, description: &'a Path) -> Asked<'a, u64, Refusal>;

    /// Ends the job, whatever its runner says.
    fn kill(&self, name: JobName, job: u64) -> Asked<'_, ()>;

    /// Asks the runner to end its pod; it knows how long it has.
    fn end_runner(&self, name: JobName, job: u64) -> Asked<'_, ()>;

    /// Tells the runner to look at its folder again.
    fn wake_runner(&self, name: JobName, job: u64) -> Asked<'_, ()>;

    /// The command that runs these words beside the own program of the job with this number of its own, where that runs, with the command's input and output. None:
    /// there is no such thing.
    fn beside(&self, job: u64, words: Vec<String>) -> Option<Command> {
        let _ = (job, words);
        None
    }

    /// What is written of jobs that the queue has forgotten; those of which nothing is written are left out.
    fn past<'a>(&'a self, jobs: &'a [(JobName, Option<u64>)]) -> Asked<'a, HashMap<JobName, Past>>;

    /// The exit code and signal of an ended job that the queue still has, where `Queued::code` is none.
    fn exit_code(&self, name: JobName, job: u64) -> Asked<'_, Option<(i32, i32)>>;

    /// Processors (thousandths) and memory of the nodes that can work.
    fn nodes(&self) -> Asked<'_, (u64, u64)>;
}
