//! The reconcilers: one takes each pod along its way, one cleans up after it.

pub mod cache;
mod collect;
pub mod followers;
mod hold;
mod line;
pub mod place;
mod run;
mod stage;
pub mod storage;
pub mod tally;
pub mod turns;

use std::sync::Arc;
use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_compute::SiteError;
use dte_store::work::Claim;
use dte_store::{Outcome, Worker};
use uuid::Uuid;

use crate::shared::Shared;
use crate::store;

/// Reason of pods whose owner may no longer work here.
pub const SUSPENDED: &str = "Suspended";
/// Pods for which something is done at once in this process. Those that wait for a place or for their end are not among them.
const PODS: usize = 1_024;
/// Run folders removed at once.
const CLEANERS: usize = 2;
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// How often old pods are forgotten, at most and at least.
const FORGET_SOONEST: Duration = Duration::from_millis(100);
const FORGET_LATEST: Duration = Duration::from_secs(3_600);
const STILL_RUNS: Duration = Duration::from_secs(5);
const STILL_READ: Duration = Duration::from_millis(200);

/// Starts the workers of this process.
pub fn start(shared: &Arc<Shared>, tasks: &Tasks) {
    let backoff = Backoff::new(FIRST_WAIT, shared.settings.longest_wait.0);
    let own = Arc::clone(shared);
    // How often is the pod's own business: it must end with an event, not as a dead letter.
    let runner =
        Worker::new(&shared.store, shared.queues.run).concurrency(PODS).backoff(backoff).max_attempts(u32::MAX);
    runner.run(tasks, move |claim| run::drive(Arc::clone(&own), claim));
    let own = Arc::clone(shared);
    tasks.spawn("counting pods", async move { tally::read_again(&own).await });
    let own = Arc::clone(shared);
    tasks.spawn("forgetting old pods", async move { forget(&own).await });
    let own = Arc::clone(shared);
    let cleaner = Worker::new(&shared.store, shared.queues.clean).concurrency(CLEANERS).backoff(backoff);
    cleaner.run(tasks, move |claim| clean(Arc::clone(&own), claim));
}

/// Forgets pods that ended long ago.
async fn forget(shared: &Shared) {
    let every = (shared.settings.remember.0 / 10).clamp(FORGET_SOONEST, FORGET_LATEST);
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shared.tasks.stopping() => return,
        }
        // A run folder is removed long before its pod is forgotten.
        let before = Timestamp::now() - shared.settings.remember.0.max(shared.settings.retention.0 * 2);
        loop {
            match store::prune(&shared.store, before).await {
                Ok(0) => break,
                Ok(count) => tracing::debug!(count, "old pods were forgotten"),
                Err(error) => {
                    tracing::warn!(%error, "old pods cannot be forgotten now");
                    break;
                }
            }
        }
    }
}

/// Removes an ended pod's run folder.
async fn clean(shared: Arc<Shared>, claim: Claim) -> Outcome {
    let Ok(uid) = claim.id.parse::<Uuid>() else {
        return Outcome::Dead { error: format!("{:?} is not a pod's UID", claim.id) };
    };
    if shared.followers.hold_up(uid) {
        return Outcome::Later(STILL_READ);
    }
    for site in &shared.sites {
        match site.remove(uid).await {
            Ok(()) => {}
            Err(SiteError::Refused(why)) => {
                tracing::info!(%uid, why, "a run folder is not removed yet");
                return Outcome::Later(STILL_RUNS);
            }
            Err(error) => return Outcome::Retry { error: error.to_string() },
        }
    }
    let own = Arc::clone(&shared);
    match tokio::task::spawn_blocking(move || own.cache.sweep()).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => Outcome::Retry { error: format!("the cache of inputs: {error}") },
        Err(error) => Outcome::Retry { error: error.to_string() },
    }
}
