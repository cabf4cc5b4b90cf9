//! Asking how the jobs go: once in an interval, about all together, and only while there are some.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_http::ClientError;
use uuid::Uuid;

use super::rest::{RestError, in_time};
use super::settle::EXIT_FILE;
use super::site::{Inner, Record};
use super::wire::{self, JobAnswer};
use crate::batch::state::JobState;
use crate::report::PodReport;
use crate::site::SiteError;

/// Jobs in one question.
const TOGETHER: usize = 500;
/// Session folders that are looked at in one round; the others come in the next ones.
const LOOKS: usize = 50;
/// A job that the computing element does not have may just have been made.
const MISSES: u32 = 3;
/// A slow computing element is asked less often: it shall spend at most this share of its time on us.
const SHARE: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const STATE_FILE: &str = "state.json";
/// What a pod says of itself.
const LONGEST_NOTE: usize = 4 << 20;

pub(super) async fn run(inner: Arc<Inner>) {
    let work = async {
        let mut is_failing = false;
        loop {
            let begun = Instant::now();
            if !inner.pods().values().any(|entry| entry.is_active()) {
                inner.wake.notified().await;
                continue;
            }
            let outcome = inner.ask().await;
            match &outcome {
                Err(error) if !is_failing => {
                    tracing::warn!(site = inner.config.name, %error, "the computing element cannot be asked how the jobs go; they go on");
                }
                Ok(()) if is_failing => tracing::info!(site = inner.config.name, "the computing element answers again"),
                _ => {}
            }
            is_failing = outcome.is_err();
            let pause = (begun.elapsed() * SHARE).min(LONGEST_PAUSE);
            tokio::time::sleep(inner.config.poll.0.max(pause)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = inner.tasks.stopping() => {}
    }
}

impl Inner {
    async fn ask(self: &Arc<Self>) -> Result<(), SiteError> {
        let jobs: Vec<(Uuid, Record)> = {
            let pods = self.pods();
            let active = pods.iter().filter(|(_, entry)| entry.is_active());
            active
                .filter_map(|(uid, entry)| Some((*uid, entry.record.clone()?)))
                .filter(|(_, r)| r.is_complete)
                .collect()
        };
        for some in jobs.chunks(TOGETHER) {
            let ids: Vec<&str> = some.iter().map(|(_, record)| &record.job[..]).collect();
            let answers = self.rest.act("status", &ids).await.map_err(|error| self.away(&error))?;
            let answers: HashMap<&str, &JobAnswer> = answers.iter().map(|answer| (&answer.id[..], answer)).collect();
            for (uid, record) in some {
                let Some(answer) = answers.get(&record.job[..]) else { continue };
                if let Some(end) = self.hear(*uid, answer) {
                    self.settle_soon(*uid, record.clone(), end);
                }
            }
        }
        if self.config.shared_session { self.look().await } else { Ok(()) }
    }

    /// Notes what is said of a job. Answers how it ended, if it did.
    fn hear(&self, uid: Uuid, answer: &JobAnswer) -> Option<JobState> {
        let mut pods = self.pods();
        let entry = pods.get_mut(&uid).filter(|entry| entry.is_active())?;
        if wire::is_gone(answer) {
            entry.missing += 1;
            return (entry.missing >= MISSES).then_some(JobState::Other);
        }
        entry.missing = 0;
        entry.state = answer.state.clone();
        Some(wire::state_of(&answer.state)).filter(|state| state.is_terminal())
    }

    /// Brings an outcome home as a task of its own: its files may be many, and the others shall be heard of meanwhile.
    fn settle_soon(self: &Arc<Self>, uid: Uuid, record: Record, end: JobState) {
        let Some(turn) = self.turn(uid) else { return };
        let this = self.clone();
        self.tasks.spawn("the outcome of a job", async move {
            let _turn = turn;
            let work = async {
                // It is never closed.
                let _place = this.settling.acquire().await.ok();
                this.conclude(uid, &record, end).await
            };
            let settled = tokio::select! {
                settled = work => settled,
                // The next engine asks again.
                () = this.tasks.stopping() => Ok(()),
            };
            if let Err(error) = settled {
                tracing::warn!(%uid, %error, "the outcome of a pod cannot be brought home yet");
            }
        });
    }

    /// Looks into the session folders of those that may run: computing elements tell of an end long after it, and pods say more.
    /// One that cannot be looked into does not keep the others from being looked at.
    pub(super) async fn look(self: &Arc<Self>) -> Result<(), SiteError> {
        let mut open: Vec<(Option<Instant>, Uuid, Record)> = {
            let pods = self.pods();
            let active = pods.iter().filter(|(_, entry)| entry.is_active());
            let known = active.filter_map(|(uid, entry)| Some((entry.looked, *uid, entry.record.clone()?)));
            known.filter(|(.., record)| record.is_complete).collect()
        };
        open.sort_by_key(|(looked, ..)| *looked);
        for (_, uid, record) in open.into_iter().take(LOOKS) {
            // Before anything can go wrong: the next round begins with those that were not looked at for longest.
            if let Some(entry) = self.pods().get_mut(&uid) {
                entry.looked = Some(Instant::now());
            }
            match self.look_into(uid, &record).await {
                Ok(()) => {}
                Err(error) if error.is_about_all() => return Err(self.away(&error)),
                Err(error) => tracing::info!(%uid, %error, "how a pod goes cannot be seen"),
            }
        }
        Ok(())
    }

    async fn look_into(self: &Arc<Self>, uid: Uuid, record: &Record) -> Result<(), RestError> {
        if self.note_of(&record.job, EXIT_FILE).await?.is_some() {
            self.settle_soon(uid, record.clone(), JobState::Completing);
            return Ok(());
        }
        let state = self.note_of(&record.job, STATE_FILE).await?;
        if let Some(entry) = self.pods().get_mut(&uid).filter(|entry| entry.is_active()) {
            entry.said = state.or(entry.said.take());
        }
        Ok(())
    }

    /// What the runner wrote into the session folder, if it did. What the pod has put in its place is no note; then the end of its
    /// job decides.
    pub(super) async fn note_of(&self, job: &str, name: &str) -> Result<Option<PodReport>, RestError> {
        let Some(reply) = self.rest.get(job, name, 0).await? else { return Ok(None) };
        match in_time(reply.bytes(LONGEST_NOTE)).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(RestError::Call(ClientError::TooLarge(most))) => {
                tracing::debug!(job, name, "a pod's note is larger than {most}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
