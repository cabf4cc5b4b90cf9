//! Slurm's commands, with arguments that are ours alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::flags::{self, Flag};
use super::queue::{self, COLUMNS, NODE_COLUMNS};
use super::template::Template;
use super::{ArraysSetting, SlurmConfig, script};
use crate::batch::resources::Wanted;
use crate::batch::system::{Asked, BatchSystem, Command, JobName, JobPlace, Past, Queued, Refusal};
use crate::place::{Order, Place, PlaceError, Ran};
use crate::pod::PodPlan;

/// Bytes at the end of the job completion log that are searched.
const LOG_TAIL: u64 = 4 << 20;

/// Slurm as a place has it.
pub struct Slurm {
    pub config: SlurmConfig,
    pub template: Template,
    pub place: Arc<dyn Place>,
}

/// What `sbatch` says of jobs that it will never take.
const NEVER: [&str; 15] = [
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
    "Invalid job array specification",
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

impl Slurm {
    async fn run(&self, name: &str, arguments: &[&str]) -> Result<Ran, PlaceError> {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        let Command { program, arguments, environment } = self.command(name, arguments);
        self.place.run(&program, arguments, &environment).await
    }

    fn command(&self, name: &str, arguments: Vec<String>) -> Command {
        let program = self.config.programs.as_deref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let mut environment =
            vec![("SLURM_TIME_FORMAT".to_owned(), "%s".to_owned()), ("LC_ALL".to_owned(), "C".to_owned())];
        environment.extend(self.config.conf.iter().map(|conf| ("SLURM_CONF".to_owned(), conf.display().to_string())));
        Command { program, arguments, environment }
    }

    /// Like `run`, for commands whose failure is an error. That they complain is not: sites greet people on standard error.
    async fn succeed(&self, name: &str, arguments: &[&str]) -> Result<String, PlaceError> {
        let ran = self.run(name, arguments).await?;
        if ran.succeeded() { Ok(ran.stdout) } else { Err(PlaceError::Failed(format!("{name}: {}", ran.complaint()))) }
    }

    /// The options of a pod's job: the site's, then what the pod's annotation says, then what its containers are limited to.
    pub fn flags_of(&self, plan: &PodPlan, grace_seconds: u64) -> Result<Vec<Flag>, String> {
        let config = &self.config;
        let named = [("partition", &config.partition), ("account", &config.account), ("qos", &config.qos)];
        let mut layers: Vec<Flag> = named
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| (name.to_owned(), Some(value.clone()))))
            .collect();
        layers.extend(flags::read_words(&config.flags, None)?);
        layers.extend(flags::of_pod(&plan.annotations, &config.allowed_flags)?);
        layers.extend(wanted_flags(&Wanted::of_pod(plan, grace_seconds, &config.name)?));
        Ok(flags::merged(layers))
    }

    async fn queue_of(&self, name: Option<String>) -> Result<HashMap<JobName, Queued>, PlaceError> {
        // Every task of an array on a line of its own.
        let mut words = vec!["--noheader", "--all", "--states=all", "--me", "--array"];
        words.extend(name.as_deref());
        words.extend(["--format", COLUMNS]);
        Ok(queue::read_queue(&self.succeed("squeue", &words).await?))
    }

    async fn hand_over(&self, script: &Path) -> Result<u64, Refusal> {
        let script = script.display().to_string();
        let ran = match self.run("sbatch", &["--parsable", &script]).await {
            Ok(ran) => ran,
            Err(PlaceError::Unreachable(why)) => return Err(Refusal::Unreachable(why)),
            Err(error) => return Err(Refusal::Unsure(error.to_string())),
        };
        if ran.succeeded() {
            // "ID" or "ID;CLUSTER"
            let number = ran.stdout.lines().rev().find_map(|line| line.split(';').next()?.trim().parse().ok());
            return number.ok_or_else(|| Refusal::Unsure(format!("sbatch answered {:?}", ran.stdout)));
        }
        Err(refusal("sbatch", ran.complaint()))
    }

    /// `scancel` of this job, if it is still called so: a number that was given again harms nobody.
    async fn cancel(&self, name: JobName, job: u64, options: &[&str]) -> Result<(), PlaceError> {
        let (called, number) = (format!("--name={}", name.name), number_of(name, job));
        let mut words = options.to_vec();
        if name.task.is_none() {
            words.push(&called);
        } else if self.queue_of(Some(called.clone())).await?.get(&name).is_none_or(|known| known.id != job) {
            // With the name, Slurm would end all tasks of the array that wait together.
            return Ok(());
        }
        words.push(&number);
        self.succeed("scancel", &words).await.map(drop)
    }

    /// Signals the pod's runner alone.
    async fn signal_runner(&self, name: JobName, job: u64, signal: &str) -> Result<(), PlaceError> {
        self.cancel(name, job, &["--batch", &format!("--signal={signal}")]).await
    }

    async fn past_of(&self, jobs: &[(JobName, Option<u64>)]) -> Result<HashMap<JobName, Past>, PlaceError> {
        let mut found = HashMap::new();
        let numbers: Vec<String> = jobs.iter().filter_map(|(name, job)| Some(number_of(*name, (*job)?))).collect();
        let past = |(state, code)| Past { state, code, reason: String::new() };
        if self.config.sacct && !numbers.is_empty() {
            let numbers = format!("--jobs={}", numbers.join(","));
            let words = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode", &numbers];
            let known = queue::read_sacct(&self.succeed("sacct", &words).await?);
            let of = |name: &JobName, job: &Option<u64>| known.get(&((*job)?, name.task)).copied();
            found.extend(jobs.iter().filter_map(|(name, job)| Some((*name, past(of(name, job)?)))));
        }
        let Some(path) = self.config.jobcomp.clone().filter(|_| found.len() < jobs.len()) else { return Ok(found) };
        let tail = self.place.bytes(Order::Tail { path, limit: LOG_TAIL }).await?;
        let tail = String::from_utf8_lossy(&tail);
        for (name, _) in jobs {
            if !found.contains_key(name)
                && let Some(known) = queue::read_jobcomp(&tail, *name)
            {
                found.insert(*name, past(known));
            }
        }
        Ok(found)
    }
}

/// What a complaint of Slurm's means for the job.
pub fn refusal(who: &str, why: String) -> Refusal {
    if NEVER.iter().any(|words| why.contains(words)) {
        Refusal::Never(format!("{who}: {why}"))
    } else if LATER.iter().any(|words| why.contains(words)) {
        Refusal::Later(why)
    } else {
        Refusal::Unsure(format!("{who}: {why}"))
    }
}

/// `12`, or `12_3` of a task.
fn number_of(name: JobName, job: u64) -> String {
    match name.task {
        Some(task) => format!("{job}_{task}"),
        None => job.to_string(),
    }
}

fn wanted_flags(wanted: &Wanted) -> impl Iterator<Item = Flag> {
    let asked = [
        ("cpus-per-task", wanted.cpus.map(|cpus| cpus.to_string())),
        ("mem", wanted.memory_mebibytes.map(|mebibytes| format!("{mebibytes}M"))),
        ("tmp", wanted.storage_mebibytes.map(|mebibytes| format!("{mebibytes}M"))),
        ("time", wanted.minutes.map(|minutes| minutes.to_string())),
        ("gres", (wanted.gpus > 0).then(|| format!("gpu:{}", wanted.gpus))),
    ];
    asked.into_iter().filter(|(_, value)| value.is_some()).map(|(name, value)| (name.to_owned(), value))
}

impl BatchSystem for Slurm {
    fn name(&self) -> &'static str {
        "Slurm"
    }

    fn wakes_runners(&self) -> bool {
        true
    }

    fn describe(&self, plan: &PodPlan, place: &JobPlace<'_>) -> Result<String, String> {
        let flags = self.flags_of(plan, place.grace_seconds)?;
        Ok(script::render(plan.uid, place.run_folder, place.runner, &flags, &self.template))
    }

    fn array_of(&self, plan: &PodPlan, place: &JobPlace<'_>) -> Option<String> {
        let common = match self.config.arrays {
            ArraysSetting::Off => return None,
            ArraysSetting::Jobs => plan.indexed_job.clone()?,
            ArraysSetting::Equal => String::new(),
        };
        let flags = self.flags_of(plan, place.grace_seconds).ok()?;
        Some(format!("{common} {flags:?}"))
    }

    fn describe_array(&self, name: Uuid, pods: &[(&PodPlan, JobPlace<'_>)]) -> Result<String, String> {
        let (plan, place) = pods.first().ok_or("an array without tasks")?;
        let flags = self.flags_of(plan, place.grace_seconds)?;
        let folders: Vec<&Path> = pods.iter().map(|(_, place)| place.run_folder).collect();
        Ok(script::render_array(name, &folders, place.runner, &flags, &self.template))
    }

    fn queue(&self) -> Asked<'_, HashMap<JobName, Queued>> {
        Box::pin(self.queue_of(None))
    }

    fn find<'a>(&'a self, names: &'a [JobName]) -> Asked<'a, HashMap<JobName, Queued>> {
        let called: Vec<String> = names.iter().map(|name| name.name.to_string()).collect();
        Box::pin(async move {
            let mut all = self.queue_of(Some(format!("--name={}", called.join(",")))).await?;
            all.retain(|name, _| names.contains(name));
            Ok(all)
        })
    }

    fn submit<'a>(&'a self, description: &'a Path) -> Asked<'a, u64, Refusal> {
        Box::pin(self.hand_over(description))
    }

    fn kill(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(async move { self.cancel(name, job, &[]).await })
    }

    fn end_runner(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(self.signal_runner(name, job, "TERM"))
    }

    fn wake_runner(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(self.signal_runner(name, job, "USR1"))
    }

    /// A step that shares what the job has. What `srun` would say of an exit code is not the program's.
    fn beside(&self, job: u64, words: Vec<String>) -> Option<Command> {
        // Unbuffered: else what ends without a line's end, such as a prompt, is withheld.
        let shared = ["--quiet", "--quiet", "--overlap", "--nodes=1", "--ntasks=1", "--unbuffered", "--chdir=/"];
        let mut arguments = shared.map(str::to_owned).to_vec();
        arguments.push(format!("--jobid={job}"));
        arguments.extend(words);
        Some(self.command("srun", arguments))
    }

    fn past<'a>(&'a self, jobs: &'a [(JobName, Option<u64>)]) -> Asked<'a, HashMap<JobName, Past>> {
        Box::pin(self.past_of(jobs))
    }

    fn exit_code(&self, name: JobName, job: u64) -> Asked<'_, Option<(i32, i32)>> {
        Box::pin(async move {
            let ran = self.run("scontrol", &["show", "job", &number_of(name, job), "--oneliner"]).await?;
            Ok(ran.stdout.split_ascii_whitespace().find_map(|word| queue::read_code(word.strip_prefix("ExitCode=")?)))
        })
    }

    fn nodes(&self) -> Asked<'_, (u64, u64)> {
        Box::pin(async move {
            let partition = self.config.partition.as_ref().map(|partition| format!("--partition={partition}"));
            let mut words = vec!["--noheader", "--Node", "--format", NODE_COLUMNS];
            words.extend(partition.as_deref());
            Ok(queue::read_nodes(&self.succeed("sinfo", &words).await?))
        })
    }
}
