//! Forgetting the records of events from outside once the log has forgotten the events.

use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{Error, NewWork, Outcome, Store, Tx, Worker};

use crate::store::published;

const QUEUE: &str = "events.prune";
/// How often.
const EVERY: Duration = Duration::from_secs(3_600);
/// Records outlive their events by this much, since the log keeps an event until every consumer has seen it.
const GRACE: Duration = Duration::from_secs(7 * 86_400);
/// Records removed in one transaction.
const AT_ONCE: usize = 1_000;

/// Declares the work; the same work each time.
pub fn declare(tx: &mut Tx<'_>) -> Result<(), Error> {
    tx.enqueue(NewWork::new(QUEUE, "published", serde_json::json!({}))).map(|_| ())
}

/// Starts forgetting what is older than `retention` and a grace.
pub fn start(store: &Store, tasks: &Tasks, retention: Duration) {
    let owned = store.clone();
    Worker::new(store, QUEUE).concurrency(1).max_attempts(u32::MAX).run(tasks, move |_| {
        let store = owned.clone();
        async move {
            let before = Timestamp::now() - (retention + GRACE);
            match store.write(move |tx| published::prune(tx, before, AT_ONCE)).await {
                Ok::<u64, Error>(gone) if gone >= AT_ONCE as u64 => Outcome::Later(Duration::ZERO),
                Ok(_) => Outcome::Later(EVERY),
                Err(error) => Outcome::Retry { error: error.to_string() },
            }
        }
    });
}
