//! Old events are removed once every consumer has passed them.

use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;

use crate::{Error, Store, params};

/// How often old events are looked for.
const EVERY: Duration = Duration::from_secs(600);
/// Rows removed in one transaction, so that the writer is not held.
const AT_ONCE: i64 = 2_000;

impl Store {
    /// Removes events older than `keep` that all consumers have seen, now and then, until the engine stops.
    pub fn keep_events_for(&self, keep: Duration, tasks: &Tasks) {
        let store = self.clone();
        let stop = tasks.stop_token();
        tasks.spawn("event-retention", async move {
            loop {
                if let Err(error) = store.remove_events_before(Timestamp::now() - keep).await {
                    tracing::warn!(%error, "old events could not be removed");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        });
    }

    /// Removes events before `limit` that all consumers have seen; says how many.
    pub async fn remove_events_before(&self, limit: Timestamp) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let now: u64 = self
                .write(move |tx| {
                    tx.execute(
                        "DELETE FROM event_log WHERE seq IN (
                           SELECT seq FROM event_log
                           WHERE time < ?1 AND seq <= (SELECT COALESCE(MIN(seq), 9223372036854775807) FROM event_offset)
                           AND seq < (SELECT MAX(seq) FROM event_log)
                           ORDER BY seq LIMIT ?2)",
                        &params![limit, AT_ONCE],
                    )
                })
                .await
                .map_err(|error: Error| error)?;
            removed += now;
            if now < AT_ONCE.unsigned_abs() {
                return Ok(removed);
            }
        }
    }
}
