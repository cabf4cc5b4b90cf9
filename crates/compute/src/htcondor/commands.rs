//! HTCondor's programs, with arguments that are ours alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dte_base::time::Timestamp;
use uuid::Uuid;

use super::HtcondorConfig;
use super::description;
use super::flags::{self, Command};
use super::queue::{self, ATTRIBUTES, JobAd};
use crate::batch::resources::Wanted;
use crate::batch::system::{Asked, BatchSystem, JobName, JobPlace, Past, Queued, Refusal};
use crate::place::{Place, PlaceError, Ran};
use crate::pod::PodPlan;

/// HTCondor as a place has it.
pub struct Htcondor {
    pub config: HtcondorConfig,
    pub place: Arc<dyn Place>,
}

/// What `condor_submit` says of descriptions that it will never take.
const NEVER: [&str; 5] =
    ["Failed to parse", "ERROR: on Line", "ERROR: Parse error", "Invalid value", "SUBMIT_REQUIREMENT"];

/// And of those that it may take another time: its queue is full, or nobody was there to be asked.
const LATER: [&str; 6] = [
    "MAX_JOBS_SUBMITTED",
    "MAX_JOBS_PER_OWNER",
    "would exceed",
    "Can't find address",
    "Failed to connect to queue manager",
    "Can't connect to queue manager",
];

/// What `condor_rm` says where there is nothing to remove any more.
const NONE_THERE: [&str; 3] = ["Couldn't find", "not found", "no jobs matched"];

impl Htcondor {
    async fn run(&self, name: &str, arguments: Vec<String>) -> Result<Ran, PlaceError> {
        let program = self.config.programs.as_deref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let mut env = vec![("LC_ALL".to_owned(), "C".to_owned())];
        env.extend(self.config.conf.iter().map(|conf| ("CONDOR_CONFIG".to_owned(), conf.display().to_string())));
        self.place.run(&program, arguments, &env).await
    }

    /// The words of a call: which pool and queue, then the others.
    fn words(&self, rest: &[&str]) -> Vec<String> {
        let named = |option: &str, value: &Option<String>| {
            value.iter().flat_map(|v| [option.to_owned(), v.clone()]).collect::<Vec<_>>()
        };
        let mut words = named("-pool", &self.config.pool);
        words.extend(named("-name", &self.config.schedd));
        words.extend(rest.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Like `run`, for programs whose failure is an error; that they complain is not.
    async fn succeed(&self, name: &str, arguments: Vec<String>) -> Result<String, PlaceError> {
        let ran = self.run(name, arguments).await?;
        if ran.succeeded() { Ok(ran.stdout) } else { Err(PlaceError::Failed(format!("{name}: {}", ran.complaint()))) }
    }

    fn commands_of(&self, plan: &PodPlan, grace_seconds: u64) -> Result<Vec<Command>, String> {
        let site = self.config.flags.iter().map(|line| flags::read_line(line)).collect::<Result<Vec<_>, _>>()?;
        let pod = flags::of_pod(&plan.annotations, &self.config.allowed_flags)?;
        let wanted = Wanted::of_pod(plan, grace_seconds, &self.config.name)?;
        Ok(flags::merged(site.into_iter().chain(pod).chain(description::wanted_commands(&wanted))))
    }

    /// The site's name is a DNS label, a UID is hexadecimal: nothing in a constraint needs to be quoted.
    async fn ask(&self, constraint: &str) -> Result<HashMap<Uuid, Queued>, PlaceError> {
        let words = self.words(&["-json", "-attributes", ATTRIBUTES, "-constraint", constraint]);
        let ads: Vec<JobAd> = queue::read_ads(&self.succeed("condor_q", words).await?).map_err(PlaceError::Failed)?;
        let held_for = i64::try_from(self.config.held_for.0.as_secs()).unwrap_or(i64::MAX);
        Ok(queue::by_pod(&ads, Timestamp::now().as_seconds(), held_for))
    }

    async fn hand_over(&self, description: &Path) -> Result<u64, Refusal> {
        let description = description.display().to_string();
        let ran = match self.run("condor_submit", self.words(&["-terse", &description])).await {
            Ok(ran) => ran,
            Err(PlaceError::Unreachable(why)) => return Err(Refusal::Unreachable(why)),
            Err(error) => return Err(Refusal::Unsure(error.to_string())),
        };
        if ran.succeeded() {
            return read_terse(&ran.stdout)
                .ok_or_else(|| Refusal::Unsure(format!("condor_submit answered {:?}", ran.stdout)));
        }
        let why = ran.complaint();
        Err(if LATER.iter().any(|words| why.contains(words)) {
            Refusal::Later(why)
        } else if NEVER.iter().any(|words| why.contains(words)) {
            Refusal::Never(format!("condor_submit: {why}"))
        } else {
            Refusal::Unsure(format!("condor_submit: {why}"))
        })
    }

    /// Removes the job if it is still this pod's. The runner hears SIGTERM, and HTCondor gives it the time that the
    /// description says.
    async fn remove(&self, uid: Uuid, job: u64) -> Result<(), PlaceError> {
        let constraint = format!("ClusterId == {job} && DtePod == \"{uid}\" && JobStatus != 3");
        let ran = self.run("condor_rm", self.words(&["-constraint", &constraint])).await?;
        let why = ran.complaint();
        if ran.succeeded() || NONE_THERE.iter().any(|words| why.contains(words)) {
            return Ok(());
        }
        Err(PlaceError::Failed(format!("condor_rm: {why}")))
    }

    async fn past_of(&self, jobs: &[(JobName, Option<u64>)]) -> Result<HashMap<Uuid, Past>, PlaceError> {
        let uids: Vec<String> = jobs.iter().map(|(name, _)| name.name.to_string()).collect();
        let constraint = format!("stringListMember(DtePod, \"{}\")", uids.join(","));
        // A pod may have had two jobs.
        let most = (jobs.len() * 2).to_string();
        let words = self.words(&["-json", "-attributes", ATTRIBUTES, "-limit", &most, "-constraint", &constraint]);
        let ads: Vec<JobAd> =
            queue::read_ads(&self.succeed("condor_history", words).await?).map_err(PlaceError::Failed)?;
        Ok(queue::past_by_pod(&ads))
    }
}

/// Each pod has a job of its own here.
fn named<T>(by_pod: HashMap<Uuid, T>) -> HashMap<JobName, T> {
    by_pod.into_iter().map(|(uid, known)| (JobName::own(uid), known)).collect()
}

/// `12.0 - 12.0`
fn read_terse(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| {
        let (first, last) = line.split_once(" - ")?;
        let number = |job: &str| job.trim().split_once('.')?.0.parse::<u64>().ok();
        number(first).filter(|cluster| number(last) == Some(*cluster))
    })
}

impl BatchSystem for Htcondor {
    fn name(&self) -> &'static str {
        "HTCondor"
    }

    fn wakes_runners(&self) -> bool {
        false
    }

    fn describe(&self, plan: &PodPlan, place: &JobPlace<'_>) -> Result<String, String> {
        let commands = self.commands_of(plan, place.grace_seconds)?;
        Ok(description::render(plan.uid, &self.config.name, place, &commands))
    }

    fn queue(&self) -> Asked<'_, HashMap<JobName, Queued>> {
        Box::pin(async move { Ok(named(self.ask(&format!("DteSite == \"{}\"", self.config.name)).await?)) })
    }

    fn find<'a>(&'a self, names: &'a [JobName]) -> Asked<'a, HashMap<JobName, Queued>> {
        let is_one: Vec<String> = names.iter().map(|name| format!("DtePod == \"{}\"", name.name)).collect();
        Box::pin(async move { Ok(named(self.ask(&is_one.join(" || ")).await?)) })
    }

    fn submit<'a>(&'a self, description: &'a Path) -> Asked<'a, u64, Refusal> {
        Box::pin(self.hand_over(description))
    }

    fn kill(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(self.remove(name.name, job))
    }

    fn end_runner(&self, name: JobName, job: u64) -> Asked<'_, ()> {
        Box::pin(self.remove(name.name, job))
    }

    fn wake_runner(&self, name: JobName, _job: u64) -> Asked<'_, ()> {
        let uid = name.name;
        Box::pin(async move { Err(PlaceError::Failed(format!("HTCondor cannot signal the runner of pod {uid}"))) })
    }

    fn past<'a>(&'a self, jobs: &'a [(JobName, Option<u64>)]) -> Asked<'a, HashMap<JobName, Past>> {
        Box::pin(async move { Ok(named(self.past_of(jobs).await?)) })
    }

    fn exit_code(&self, _name: JobName, _job: u64) -> Asked<'_, Option<(i32, i32)>> {
        // The queue has said what there is.
        Box::pin(async { Ok(None) })
    }

    fn nodes(&self) -> Asked<'_, (u64, u64)> {
        Box::pin(async move {
            let mut words: Vec<String> =
                self.config.pool.iter().flat_map(|pool| ["-pool".to_owned(), pool.clone()]).collect();
            words.extend(["-json", "-attributes", "Machine,TotalCpus,TotalMemory"].map(str::to_owned));
            let text = self.succeed("condor_status", words).await?;
            Ok(queue::machines(&queue::read_ads(&text).map_err(PlaceError::Failed)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_jobs() {
        assert_eq!(read_terse("12.0 - 12.0\n"), Some(12));
        assert_eq!(read_terse("WARNING: a greeting\n7.0 - 7.0\n"), Some(7));
        for odd in ["", "12", "12.0 - 13.0", "a.0 - a.0", "1 job(s) submitted to cluster 5."] {
            assert_eq!(read_terse(odd), None, "{odd}");
        }
    }
}
