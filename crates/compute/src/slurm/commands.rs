//! Slurm's commands, with arguments that are ours alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::SlurmConfig;
use super::queue::{self, COLUMNS, NODE_COLUMNS, Queued};
use super::state::JobState;
use crate::place::{Order, Place, PlaceError, Ran};

/// Bytes at the end of the job completion log that are searched.
const LOG_TAIL: u64 = 4 << 20;

/// Slurm as a place has it.
pub struct Commands<'a> {
    pub config: &'a SlurmConfig,
    pub place: &'a dyn Place,
}

/// Why `sbatch` did not take a job.
#[derive(Debug)]
pub enum Refusal {
    /// It never will.
    Never(String),
    /// There is no room now.
    Later(String),
    /// It is not known what became of it.
    Unsure(String),
}

/// What `sbatch` says of jobs that it will never take.
const NEVER: [&str; 14] = [
    "Requested node configuration is not available",
    "Memory specification can not be satisfied",
    "Invalid partition",
    "invalid partition",
    "Invalid account",
    "Invalid qos",
    "Invalid generic resource",
    "Invalid feature specification",
    "Invalid license specification",
    "Invalid time limit",
    "Requested time limit is invalid",
    "Invalid --",
    "User's group not permitted",
    "Access/permission denied",
];

/// And of those that it may take when others have ended.
const LATER: [&str; 5] = [
    "QOSMaxSubmit",
    "AssocMaxSubmit",
    "AssocGrpSubmit",
    "Job violates accounting/QOS policy",
    "Slurm temporarily unable to accept job",
];

impl Commands<'_> {
    async fn run(&self, name: &str, arguments: &[&str]) -> Result<Ran, PlaceError> {
        let program = self.config.programs.as_deref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let mut env = vec![("SLURM_TIME_FORMAT".to_owned(), "%s".to_owned()), ("LC_ALL".to_owned(), "C".to_owned())];
        env.extend(self.config.conf.iter().map(|conf| ("SLURM_CONF".to_owned(), conf.display().to_string())));
        self.place.run(&program, arguments.iter().map(|word| (*word).to_owned()).collect(), &env).await
    }

    /// Like `run`, for commands whose failure is an error. That they complain is not: sites greet people on standard error.
    async fn succeed(&self, name: &str, arguments: &[&str]) -> Result<String, PlaceError> {
        let ran = self.run(name, arguments).await?;
        if ran.succeeded() { Ok(ran.stdout) } else { Err(PlaceError::Failed(format!("{name}: {}", ran.complaint()))) }
    }

    /// All jobs of the site's account, ended ones too as long as Slurm remembers them.
    pub async fn queue(&self) -> Result<HashMap<Uuid, Queued>, PlaceError> {
        let text =
            self.succeed("squeue", &["--noheader", "--all", "--states=all", "--me", "--format", COLUMNS]).await?;
        Ok(queue::read_queue(&text))
    }

    /// The pod's job, if Slurm has it.
    pub async fn find(&self, uid: Uuid) -> Result<Option<Queued>, PlaceError> {
        let name = format!("--name={uid}");
        let text = self
            .succeed("squeue", &["--noheader", "--all", "--states=all", "--me", &name, "--format", COLUMNS])
            .await?;
        Ok(queue::read_queue(&text).remove(&uid))
    }

    /// Hands a batch script over. The job's number.
    pub async fn submit(&self, script: &Path) -> Result<u64, Refusal> {
        let script = script.display().to_string();
        let ran = match self.run("sbatch", &["--parsable", &script]).await {
            Ok(ran) => ran,
            Err(PlaceError::Unreachable(why)) => return Err(Refusal::Later(why)),
            Err(error) => return Err(Refusal::Unsure(error.to_string())),
        };
        if ran.succeeded() {
            // "ID" or "ID;CLUSTER"
            let number = ran.stdout.lines().rev().find_map(|line| line.split(';').next()?.trim().parse().ok());
            return number.ok_or_else(|| Refusal::Unsure(format!("sbatch answered {:?}", ran.stdout)));
        }
        let why = ran.complaint();
        Err(if NEVER.iter().any(|words| why.contains(words)) {
            Refusal::Never(format!("sbatch: {why}"))
        } else if LATER.iter().any(|words| why.contains(words)) {
            Refusal::Later(why)
        } else {
            Refusal::Unsure(format!("sbatch: {why}"))
        })
    }

    /// Ends the job. Slurm does so only if the name is right too, so a number that was given again harms nobody.
    pub async fn kill(&self, uid: Uuid, job: u64) -> Result<(), PlaceError> {
        self.succeed("scancel", &[&format!("--name={uid}"), &job.to_string()]).await.map(drop)
    }

    /// Signals the pod's runner alone.
    pub async fn signal_runner(&self, uid: Uuid, job: u64, signal: &str) -> Result<(), PlaceError> {
        let (name, signal) = (format!("--name={uid}"), format!("--signal={signal}"));
        self.succeed("scancel", &["--batch", &signal, &name, &job.to_string()]).await.map(drop)
    }

    /// What is written of a job that Slurm's controller has forgotten.
    pub async fn history(
        &self,
        uid: Uuid,
        job: Option<u64>,
    ) -> Result<Option<(JobState, Option<(i32, i32)>)>, PlaceError> {
        if let (true, Some(job)) = (self.config.sacct, job) {
            let number = format!("--jobs={job}");
            let words = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode", &number];
            let text = self.succeed("sacct", &words).await?;
            if let Some(known) = queue::read_sacct(&text).remove(&job) {
                return Ok(Some(known));
            }
        }
        let Some(path) = &self.config.jobcomp else { return Ok(None) };
        let tail = self.place.bytes(Order::Tail { path: path.clone(), limit: LOG_TAIL }).await?;
        Ok(queue::read_jobcomp(&String::from_utf8_lossy(&tail), uid))
    }

    /// The exit code and signal of a job that Slurm still knows.
    pub async fn exit_code(&self, job: u64) -> Result<Option<(i32, i32)>, PlaceError> {
        let ran = self.run("scontrol", &["show", "job", &job.to_string(), "--oneliner"]).await?;
        Ok(ran.stdout.split_ascii_whitespace().find_map(|word| queue::read_code(word.strip_prefix("ExitCode=")?)))
    }

    /// Processors (thousandths) and memory of the nodes that can work.
    pub async fn nodes(&self) -> Result<(u64, u64), PlaceError> {
        let partition = self.config.partition.as_ref().map(|partition| format!("--partition={partition}"));
        let mut words = vec!["--noheader", "--Node", "--format", NODE_COLUMNS];
        words.extend(partition.as_deref());
        Ok(queue::read_nodes(&self.succeed("sinfo", &words).await?))
    }
}
