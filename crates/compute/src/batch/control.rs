//! Ending, suspending and forgetting pods.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::jobs::Stage;
use super::runtime::Kind;
use super::site::Inner;
use super::submit::grace_of;
use crate::place::Order;
use crate::site::{Cancellation, SiteError};

/// What a runner may take beyond the pod's own grace before the batch system ends the job.
const PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    pub(super) async fn cancel(&self, uid: Uuid, how: &Cancellation) -> Result<(), SiteError> {
        let (record, known) = {
            let jobs = self.jobs();
            let job = jobs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            match job.record() {
                Some(record) => (record.clone(), job.job()),
                // It has ended, or was never handed over and will not be.
                None => return Ok(()),
            }
        };
        self.place.order(Order::Prepare { uid }).await?;
        self.place.order(Order::Cancel { uid, how: how.clone() }).await?;
        let known = match known {
            // What was last heard of several jobs may be old.
            Some(known) if record.shared.len() < 2 => Some(known),
            _ => self.find(&record).await?.map(|(name, job)| (name, job.id)),
        };
        // Whoever takes the folder decides: a runner, which is told to end, or we, and then none will ever run.
        if self.place.yes(Order::Claim { uid }).await? {
            if let Some((name, number)) = known {
                self.system.kill(name, number).await?;
            }
            return Ok(self.end_unstarted(uid, &record, &how.reason).await?);
        }
        let grace = how.grace.unwrap_or(Duration::from_secs(grace_of(&self.settings, &record.plan)));
        if let Some(job) = self.jobs().get_mut(&uid) {
            job.kill_at = Some(Instant::now() + grace + PATIENCE);
        }
        match known {
            Some((name, number)) => Ok(self.system.end_runner(name, number).await?),
            // The batch system has forgotten the job, so it has ended.
            None => Ok(self.news(uid).await?),
        }
    }

    /// Whether pods can be made to stand still: the runner has to hear of it, and their processes have to be its own, which those
    /// of podman's containers are not.
    pub(super) fn suspends(&self) -> bool {
        let is_podman = self.settings.container.as_ref().is_some_and(|container| container.kind == Kind::Podman);
        self.system.wakes_runners() && !is_podman
    }

    /// The pod's runner stops or continues its processes. One that has not started yet finds the note when it does.
    pub(super) async fn set_suspended(&self, uid: Uuid, wanted: bool) -> Result<(), SiteError> {
        if !self.suspends() {
            return Err(SiteError::Refused(format!("site {} cannot suspend pod {uid}", self.settings.name)));
        }
        let known = {
            let jobs = self.jobs();
            let job = jobs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            match &job.stage {
                Stage::Ended(_) => return Ok(()),
                Stage::Prepared => return Err(SiteError::Refused(format!("pod {uid} does not run yet"))),
                _ => job.job(),
            }
        };
        self.place.order(Order::Suspend { uid, wanted }).await?;
        let has_started =
            self.place.look(vec![uid]).await?.pop().is_some_and(|seen| seen.started && seen.exit.is_none());
        if let (true, Some((name, number))) = (has_started, known) {
            self.system.wake_runner(name, number).await?;
        }
        Ok(())
    }

    pub(super) async fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        match self.jobs().get(&uid) {
            None => return Ok(()),
            Some(job) if job.is_active() => return Err(SiteError::Refused(format!("pod {uid} still runs"))),
            Some(_) => {}
        }
        self.place.order(Order::Remove { uid }).await?;
        self.index.remove(uid).map_err(SiteError::io(format!("the folder of pod {uid}")))?;
        self.jobs().remove(&uid);
        Ok(())
    }
}
