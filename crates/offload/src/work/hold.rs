//! Pods of people who are suspended: what runs stands still, what does not run yet waits, and both go on when the ban is lifted
//! or the account is active again. A site that cannot stop a pod ends it instead, with the reason `Suspended`.

use dte_compute::{Site, SiteError};
use tokio::time::Instant;

use super::run::{heard, look_every};
use crate::model::failure::Failure;
use crate::model::state::State;
use crate::shared::Shared;
use crate::store::{self, PodRow};

/// What shall become of a pod.
pub enum Wish {
    Go,
    /// Its owner may not work here now.
    Wait,
    /// It is not wanted any more, for this reason.
    End(String),
}

pub async fn wish(shared: &Shared, pod: &PodRow) -> Result<Wish, Failure> {
    Ok(match store::cancellation(&shared.store, pod.uid).await? {
        Some(reason) => Wish::End(reason),
        None if shared.is_welcome(&pod.owner) => Wish::Go,
        None => Wish::Wait,
    })
}

/// Whether the owner is suspended and no process of the pod exists.
pub fn nothing_runs(shared: &Shared, pod: &PodRow) -> bool {
    matches!(pod.state, State::Accepted | State::Staged) && !shared.is_welcome(&pod.owner)
}

/// Waits until the owner is welcome again or the pod is not wanted any more. `false`: the engine stops before.
pub async fn until_wanted(shared: &Shared, pod: &PodRow) -> Result<bool, Failure> {
    let mut accounts = shared.identity.watch_changes();
    let mut cancelled = shared.cancelled.subscribe();
    loop {
        accounts.borrow_and_update();
        if !matches!(wish(shared, pod).await?, Wish::Wait) {
            return Ok(true);
        }
        tokio::select! {
            changed = accounts.changed() => if changed.is_err() { return Ok(false) },
            () = heard(&mut cancelled, pod.uid) => {}
            () = tokio::time::sleep(look_every(shared)) => {}
            () = shared.tasks.stopping() => return Ok(false),
        }
    }
}

/// Whether a pod that runs stands still.
pub struct Pause {
    state: Still,
}

enum Still {
    /// An earlier process may have stopped it.
    Unknown,
    No,
    Until(Instant),
    /// It stood still for so long that it is not to go on.
    TooLong,
}

impl Pause {
    pub fn new(is_adopted: bool) -> Self {
        Pause { state: if is_adopted { Still::Unknown } else { Still::No } }
    }

    /// Stops the pod. `false`: it has to be ended instead.
    pub async fn stop(&mut self, shared: &Shared, pod: &PodRow, site: &dyn Site) -> Result<bool, Failure> {
        match self.state {
            Still::TooLong => return Ok(false),
            Still::Until(end) if Instant::now() >= end => {
                self.state = Still::TooLong;
                return Ok(false);
            }
            Still::Until(_) => return Ok(true),
            Still::Unknown | Still::No => {}
        }
        if !site.capabilities().suspend {
            return Ok(false);
        }
        match site.suspend(pod.uid).await {
            Ok(()) => {}
            Err(SiteError::Refused(why)) => {
                tracing::info!(uid = %pod.uid, why, "a pod of somebody who is suspended cannot stand still and is ended");
                return Ok(false);
            }
            Err(error) => return Err(unavailable(&error)),
        }
        store::paused(&shared.store, pod, true).await?;
        self.state = Still::Until(Instant::now() + shared.settings.suspended_for.0);
        Ok(true)
    }

    /// Lets the pod go on, if it was stopped.
    pub async fn go_on(&mut self, shared: &Shared, pod: &PodRow, site: &dyn Site) -> Result<(), Failure> {
        if matches!(self.state, Still::No) || !site.capabilities().suspend {
            return Ok(());
        }
        match site.resume(pod.uid).await {
            // It never could be stopped, so it was not.
            Ok(()) | Err(SiteError::Refused(_)) => {}
            Err(error) => return Err(unavailable(&error)),
        }
        if matches!(self.state, Still::Until(_)) {
            store::paused(&shared.store, pod, false).await?;
        }
        self.state = Still::No;
        Ok(())
    }

    /// Resolves when the pod has stood still for too long.
    pub async fn over(&self) {
        match self.state {
            Still::Until(end) => tokio::time::sleep_until(end).await,
            _ => std::future::pending().await,
        }
    }
}

fn unavailable(error: &SiteError) -> Failure {
    /// Said to people who look at the pod.
    const WHY: &str = "SiteUnavailable";
    Failure::passing(WHY, error.to_string())
}
