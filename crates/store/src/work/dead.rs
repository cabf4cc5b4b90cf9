//! Work that could not be done, for people to see and to retry; and how much of each queue waits.

use dte_base::time::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;

use crate::work::DEAD;
use crate::{Error, Store, params};

/// Work that failed too often or for good.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    pub queue: String,
    pub id: String,
    pub payload: Json,
    pub attempts: u32,
    pub error: Option<String>,
    pub created: Timestamp,
}

/// How much work of a queue is in a state.
#[derive(Clone, Debug, Serialize)]
pub struct QueueDepth {
    pub queue: String,
    pub ready: u64,
    pub leased: u64,
    pub dead: u64,
}

impl Store {
    /// Dead work with keys after (`queue`, `id`), in the order of keys.
    pub async fn dead_letters(&self, after: (String, String), limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.read(move |tx| {
            tx.query(
                "SELECT queue, id, payload, attempts, last_error, created FROM work
                 WHERE state = ?1 AND (queue > ?2 OR (queue = ?2 AND id > ?3)) ORDER BY queue, id LIMIT ?4",
                &params![DEAD, &after.0, &after.1, limit],
                |row| {
                    Ok(DeadLetter {
                        queue: row.get(0)?,
                        id: row.get(1)?,
                        payload: row.get(2)?,
                        attempts: row.get(3)?,
                        error: row.get(4)?,
                        created: row.get(5)?,
                    })
                },
            )
        })
        .await
    }

    /// Every queue with how much of it waits, runs and is dead.
    pub async fn queue_depths(&self) -> Result<Vec<QueueDepth>, Error> {
        self.read(|tx| {
            tx.query(
                "SELECT queue, SUM(CASE WHEN state = 0 THEN 1 ELSE 0 END), SUM(CASE WHEN state = 1 THEN 1 ELSE 0 END),
                        SUM(CASE WHEN state = 2 THEN 1 ELSE 0 END) FROM work GROUP BY queue ORDER BY queue",
                &[],
                |row| Ok(QueueDepth { queue: row.get(0)?, ready: row.get(1)?, leased: row.get(2)?, dead: row.get(3)? }),
            )
        })
        .await
    }
}
