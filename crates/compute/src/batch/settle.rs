//! From what folder and batch system say to the one outcome of a pod.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use uuid::Uuid;

use super::index::Record;
use super::jobs::{Job, Stage};
use super::site::Inner;
use super::state::{JobState, Verdict};
use super::system::{JobName, Past};
use crate::host::outcome::Outcome;
use crate::place::{Order, PlaceError, Seen};
use crate::pod::PodPlan;
use crate::report::{ContainerState, Phase, PodReport};

/// What a runner says that was told to end by somebody it does not know.
pub(crate) const TOLD_TO_END: &str = "Terminated";
/// What a runner says whose pod was killed beneath it. Slurm signals all processes of a job, in any order.
const KILLED_BENEATH: &str = "Killed";

impl Inner {
    /// The outcome of a pod may be there.
    pub(super) async fn news(&self, uid: Uuid) -> Result<(), PlaceError> {
        match self.place.look(vec![uid]).await?.pop() {
            Some(seen) => self.take(seen).await,
            None => Ok(()),
        }
    }

    /// Takes a pod's outcome from its folder, if it is there and the batch system has nothing to add.
    pub(super) async fn take(&self, seen: Seen) -> Result<(), PlaceError> {
        let (uid, Some(mut report)) = (seen.uid, seen.exit) else { return Ok(()) };
        {
            let mut jobs = self.jobs();
            let Some(job) = jobs.get_mut(&uid).filter(|job| job.is_active()) else { return Ok(()) };
            let is_from_outside = matches!(report.reason.as_deref(), Some(TOLD_TO_END | KILLED_BENEATH));
            if is_from_outside && seen.cancelled.is_none() {
                let state = job.job_state();
                let is_known = job.missing > 0 || state.is_some_and(JobState::is_terminal);
                if !is_known {
                    job.awaits_word = true;
                    return Ok(());
                }
                if let Some(reason) = state.and_then(JobState::reason_to_end) {
                    let verdict = state.map(|state| state.verdict(self.system.name(), None, true, ""));
                    report.reason = Some(reason.to_owned());
                    report.message = verdict.map(|verdict| verdict.message);
                }
            }
        }
        if !self.place.is_local() {
            self.fetch_outputs(uid).await?;
        }
        self.index.save_exit(uid, &report).map_err(PlaceError::failed(format!("the folder of pod {uid}")))?;
        let first = match self.jobs().get_mut(&uid) {
            Some(job) if job.is_active() => {
                *job = Job { user: job.user, ..Job::new(Stage::Ended(Box::new(report))) };
                true
            }
            _ => false,
        };
        if first {
            // Nobody may be listening; who starts to listen asks for the status first.
            drop(self.ended.send(uid));
        }
        Ok(())
    }

    /// The batch system says that these jobs have ended, and there is no outcome: we write it in the runners' place. What it
    /// has written of those that its queue has forgotten is asked for once.
    pub(super) async fn conclude_all(&self, overdue: Vec<Seen>) -> Result<(), PlaceError> {
        let forgotten: Vec<(JobName, Option<u64>)> = {
            let jobs = self.jobs();
            let known = overdue.iter().filter_map(|seen| jobs.get(&seen.uid));
            let forgotten = known.filter(|job| !job.job_state().is_some_and(JobState::is_terminal));
            forgotten.filter_map(|job| Some((job.record()?.called(), job.number()))).collect()
        };
        let past = if forgotten.is_empty() { HashMap::new() } else { self.system.past(&forgotten).await? };
        for seen in overdue {
            let uid = seen.uid;
            let called = self.jobs().get(&uid).and_then(|job| Some(job.record()?.called()));
            let past = called.and_then(|name| past.get(&name).cloned());
            if let Err(error) = self.conclude(seen, past).await {
                tracing::warn!(%uid, %error, "cannot settle a pod yet");
            }
        }
        Ok(())
    }

    async fn conclude(&self, seen: Seen, past: Option<Past>) -> Result<(), PlaceError> {
        let uid = seen.uid;
        let Some((record, queued)) =
            self.jobs().get(&uid).and_then(|job| Some((job.record()?.clone(), job.queued.clone())))
        else {
            return Ok(());
        };
        if !seen.started && !self.place.yes(Order::Claim { uid }).await? {
            // A runner has it after all.
            return Ok(());
        }
        let (state, code, why) = match (queued, past) {
            (Some(queued), _) if queued.state.is_terminal() => {
                if queued.state == JobState::Held {
                    self.system.kill(record.called(), queued.id).await?;
                }
                let code = match queued.code {
                    Some(code) => Some(code),
                    None => self.system.exit_code(record.called(), queued.id).await?,
                };
                let why = if queued.state == JobState::Held { queued.reason } else { String::new() };
                (queued.state, code, why)
            }
            (_, Some(past)) => (past.state, past.code, past.reason),
            (_, None) => (JobState::Other, None, String::new()),
        };
        let said = [why, seen.complaint].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        let verdict = state.verdict(self.system.name(), code, seen.started, &said);
        let report = outcome(&record.plan, seen.state, verdict, seen.cancelled.map(|how| how.reason), seen.started);
        self.place.order(Order::Conclude { uid, report: Box::new(report) }).await?;
        self.news(uid).await
    }

    /// The pod was ended before anything of it ran.
    pub(super) async fn end_unstarted(&self, uid: Uuid, record: &Record, reason: &str) -> Result<(), PlaceError> {
        let verdict = Verdict {
            reason: "Cancelled",
            message: "the pod was ended before it started".into(),
            exit_code: 143,
            signal: Some(15),
        };
        let report = outcome(&record.plan, None, verdict, Some(reason.to_owned()), false);
        self.place.order(Order::Conclude { uid, report: Box::new(report) }).await?;
        self.news(uid).await
    }
}

/// The outcome of a pod whose runner wrote none. `last`: how it went when last heard of.
pub(crate) fn outcome(
    plan: &PodPlan,
    last: Option<PodReport>,
    verdict: Verdict,
    cancelled: Option<String>,
    started: bool,
) -> PodReport {
    let now = Timestamp::now();
    let mut report = last.unwrap_or_else(|| PodReport { started: None, ..Outcome::new(plan, now).state() });
    let reason = cancelled.unwrap_or_else(|| verdict.reason.to_owned());
    let end = |state: &mut ContainerState| {
        let began = match state {
            ContainerState::Terminated { .. } => return,
            ContainerState::Running { started } => Some(*started),
            ContainerState::Waiting { .. } => None,
        };
        *state = ContainerState::Terminated {
            exit_code: verdict.exit_code,
            signal: verdict.signal,
            reason: reason.clone(),
            message: None,
            started: began,
            finished: now,
        };
    };
    for container in report.init_containers.iter_mut().filter(|c| matches!(c.state, ContainerState::Running { .. })) {
        end(&mut container.state);
    }
    for container in &mut report.containers {
        end(&mut container.state);
        container.ready = false;
    }
    if !started {
        report.started = None;
    }
    PodReport {
        phase: Phase::Failed,
        reason: Some(reason),
        message: Some(verdict.message),
        finished: Some(now),
        ..report
    }
}
