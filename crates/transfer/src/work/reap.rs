//! Forgets old jobs, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{NewWork, Outcome, Worker};
use serde_json::json;

use crate::shared::Shared;
use crate::store::reap::some_before;

const QUEUE: &str = "transfer.reap";
/// When there is nothing left to forget: a tenth of what is remembered, within these.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Between two pieces, so that users' transactions come between.
const BREATH: Duration = Duration::from_millis(20);

pub async fn start(shared: &Arc<Shared>, tasks: &Tasks) -> Result<(), dte_store::Error> {
    shared.store.write(|tx| tx.request(NewWork::new(QUEUE, "reap", json!({})))).await?;
    let shared = Arc::clone(shared);
    Worker::new(&shared.store.clone(), QUEUE).concurrency(1).max_attempts(u32::MAX).run(tasks, move |_| {
        let shared = Arc::clone(&shared);
        async move { step(&shared).await }
    });
    Ok(())
}

async fn step(shared: &Shared) -> Outcome {
    let limit = Timestamp::now() - shared.settings.retention.0;
    match shared.store.write(move |tx| some_before(tx, limit)).await {
        Ok(0) => Outcome::Later((shared.settings.retention.0 / 10).clamp(SHORTEST_REST, LONGEST_REST)),
        Ok(_) => Outcome::Later(BREATH),
        Err::<_, dte_store::Error>(error) => Outcome::Retry { error: error.to_string() },
    }
}
