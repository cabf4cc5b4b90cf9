//! Forgets old jobs, a few at a time, and takes up again what was lost.

use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{Error, NewWork, Outcome, Worker};
use serde_json::json;

use crate::shared::Shared;
use crate::store::reap::{lost, recover, some_before};

const QUEUE: &str = "transfer.reap";
/// When there is nothing left to forget: a tenth of what is remembered, within these.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Between two pieces, so that users' transactions come between.
const BREATH: Duration = Duration::from_millis(20);

pub async fn start(shared: &Arc<Shared>, tasks: &Tasks) -> Result<(), Error> {
    shared.store.write(|tx| tx.request(NewWork::new(QUEUE, "reap", json!({})))).await?;
    let shared = Arc::clone(shared);
    Worker::new(&shared.store.clone(), QUEUE).concurrency(1).max_attempts(u32::MAX).run(tasks, move |_| {
        let shared = Arc::clone(&shared);
        async move { step(&shared).await }
    });
    Ok(())
}

async fn step(shared: &Shared) -> Outcome {
    match forget(shared).await {
        Ok(wait) => Outcome::Later(wait),
        Err(error) => Outcome::Retry { error: error.to_string() },
    }
}

/// How long to wait before the next look.
async fn forget(shared: &Shared) -> Result<Duration, Error> {
    let retention = shared.settings.retention.0;
    let limit = Timestamp::now() - retention;
    if shared.store.write(move |tx| some_before(tx, limit)).await? > 0 {
        return Ok(BREATH);
    }
    // Most looks find nothing, and a look in a transaction that only reads is in nobody's way.
    let found = shared.store.read(lost).await?;
    if !found.files.is_empty() || !found.jobs.is_empty() {
        tracing::warn!(files = found.files.len(), jobs = found.jobs.len(), "transfers that nobody worked on go on");
        shared.store.write(move |tx| recover(tx, &found, Timestamp::now())).await?;
    }
    Ok((retention / 10).clamp(SHORTEST_REST, LONGEST_REST))
}
