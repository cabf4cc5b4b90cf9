//! Asking the batch system: once in an interval, about all jobs together, and only while there are some.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::index::Record;
use super::jobs::Stage;
use super::site::Inner;
use super::system::{JobName, Queued};
use crate::place::{Order, PlaceError};

/// A slow controller is asked less often: it shall spend at most this share of its time on us.
const SHARE: u32 = 10;
/// A job that the queue does not have may just have been handed over: it counts as gone after so many looks.
const LOOKS: u32 = 2;

impl Inner {
    /// Starts what goes on in the background.
    pub(super) fn start(self: &Arc<Self>) {
        let this = self.clone();
        self.tasks.spawn("a batch system's queue", async move {
            tokio::select! {
                () = this.ask_again_and_again() => {}
                () = this.tasks.stopping() => {}
            }
        });
        let this = self.clone();
        let mut ended = self.place.ended();
        self.tasks.spawn("ends of a batch system's pods", async move {
            loop {
                let told = tokio::select! {
                    told = ended.recv() => told,
                    () = this.tasks.stopping() => return,
                };
                match told {
                    Ok(uid) => {
                        if let Err(error) = this.news(uid).await {
                            tracing::warn!(%uid, %error, "cannot read the outcome of a pod yet");
                        }
                    }
                    // The next look at the queue finds those that were missed.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    async fn ask_again_and_again(&self) {
        let mut is_failing = false;
        loop {
            let begun = Instant::now();
            if self.jobs().values().any(|job| job.is_active()) {
                let outcome = self.ask().await;
                match &outcome {
                    Err(error) if !is_failing => {
                        tracing::warn!(site = self.settings.name, %error, "the batch system cannot be asked how the jobs go; pods that run go on");
                    }
                    Ok(()) if is_failing => tracing::info!(site = self.settings.name, "the batch system answers again"),
                    _ => {}
                }
                is_failing = outcome.is_err();
            } else {
                self.wake.notified().await;
            }
            tokio::time::sleep(self.settings.poll.0.max(begun.elapsed().min(Duration::from_secs(60)) * SHARE)).await;
        }
    }

    async fn ask(&self) -> Result<(), PlaceError> {
        let unwatched: Vec<Uuid> = {
            let jobs = self.jobs();
            jobs.iter().filter(|(_, job)| job.is_active() && !job.is_watched).map(|(uid, _)| *uid).collect()
        };
        for uid in unwatched {
            match self.place.order(Order::Watch { uid }).await {
                Ok(()) => {
                    if let Some(job) = self.jobs().get_mut(&uid) {
                        job.is_watched = true;
                    }
                }
                Err(error @ PlaceError::Unreachable(_)) => return Err(error),
                Err(error) => tracing::debug!(%uid, %error, "a pod's folder cannot be watched"),
            }
        }
        let queue = self.system.queue().await?;
        let (look, kill) = self.compare(&queue);
        for (name, job) in kill {
            self.system.kill(name, job).await?;
        }
        let mut overdue = Vec::new();
        for seen in self.place.look(look).await? {
            let uid = seen.uid;
            if seen.exit.is_none() {
                overdue.extend(self.is_overdue(uid).then_some(seen));
            } else if let Err(error) = self.take(seen).await {
                tracing::warn!(%uid, %error, "cannot settle a pod yet");
            }
        }
        self.conclude_all(overdue).await
    }

    /// Notes what the queue says. Answers which folders to look at, and which jobs had their time to end.
    fn compare(&self, queue: &HashMap<JobName, Queued>) -> (Vec<Uuid>, Vec<(JobName, u64)>) {
        let (mut look, mut kill) = (Vec::new(), Vec::new());
        let now = Instant::now();
        for (uid, job) in self.jobs().iter_mut().filter(|(_, job)| job.is_active()) {
            let found = job.record().and_then(|record| live_or_last(record, queue));
            match (found, &mut job.stage) {
                (Some((name, queued)), Stage::Unsure(record) | Stage::Queued(record)) => {
                    record.call(name);
                    record.job = Some(queued.id);
                    job.missing = 0;
                    if queued.state.is_terminal() {
                        job.over_since.get_or_insert(now);
                        look.push(*uid);
                    } else {
                        job.over_since = None;
                        if job.kill_at.is_some_and(|at| now >= at) {
                            job.kill_at = None;
                            kill.push((name, queued.id));
                        }
                    }
                    job.queued = Some(queued.clone());
                }
                // Whoever hands it over asks by its name.
                (None, Stage::Unsure(_)) => {}
                (None, _) => {
                    job.missing += 1;
                    if job.missing >= LOOKS {
                        job.over_since.get_or_insert(now);
                        look.push(*uid);
                    }
                }
                _ => {}
            }
            if job.awaits_word && !look.contains(uid) && job.missing > 0 {
                look.push(*uid);
            }
        }
        (look, kill)
    }

    /// Whether a job has ended so long ago that its outcome would be seen if there was one.
    fn is_overdue(&self, uid: Uuid) -> bool {
        let jobs = self.jobs();
        let over_since = jobs.get(&uid).and_then(|job| job.over_since);
        over_since.is_some_and(|since| since.elapsed() >= self.settings.file_lag.0)
    }
}

/// Of the jobs that a pod has, the one that runs, else one that waits, else the last.
fn live_or_last<'a>(record: &Record, queue: &'a HashMap<JobName, Queued>) -> Option<(JobName, &'a Queued)> {
    // Tasks that were ended before any of them was started are one job in the queue.
    let ended_together = |name: JobName| {
        let all = name.task.and_then(|_| queue.get(&JobName::own(name.name)));
        all.filter(|job| job.state.is_terminal())
    };
    let known = record.names().filter_map(|name| Some((name, queue.get(&name).or_else(|| ended_together(name))?)));
    known.max_by_key(|(_, queued)| queued.rank())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::state::JobState;
    use crate::pod::PodPlan;

    #[test]
    fn of_two_jobs_of_a_pod_the_one_that_runs_counts() {
        let mut record = Record::new(&PodPlan { uid: Uuid::from_u128(1), ..PodPlan::default() });
        let (own, task) = (JobName::own(Uuid::from_u128(1)), JobName::task(Uuid::from_u128(2), 0));
        record.call(task);
        let job = |id, state| Queued { id, own_id: id, state, reason: String::new(), nodes: String::new(), code: None };
        for (of_own, of_task, wanted) in [
            (JobState::Running, JobState::Waiting, own),
            (JobState::Waiting, JobState::Running, task),
            (JobState::Completed, JobState::Waiting, task),
            (JobState::Waiting, JobState::Failed, own),
        ] {
            // The task's number is the later one.
            let queue = HashMap::from([(own, job(5, of_own)), (task, job(6, of_task))]);
            assert_eq!(live_or_last(&record, &queue).map(|(name, _)| name), Some(wanted));
        }
    }
}
