//! Taking work under a lease, keeping it, giving it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde_json::Value as Json;

use super::park::{Lot, Parked};
use super::plan::{self, Planned};
use crate::sql::Dialect;
use crate::value::Row;
use crate::work::LEASED;
use crate::{Error, Tx, params};

/// Work that this process holds.
#[derive(Clone, Debug)]
pub struct Claim {
    pub queue: String,
    pub id: String,
    pub lane: String,
    pub payload: Json,
    /// 1 at the first try.
    pub attempt: u32,
    pub(crate) lease: String,
    finished: Arc<AtomicBool>,
    /// Where its worker keeps those that only wait.
    lot: Lot,
}

impl Claim {
    pub(crate) fn within(mut self, lot: &Lot) -> Self {
        self.lot = lot.clone();
        self
    }

    /// Says that its handler only waits until the guard is dropped: for that time it is none of the handlers at once
    /// ([`Worker::concurrency`](crate::Worker::concurrency)), and the work goes on with other claims.
    pub fn park(&self) -> Parked {
        self.lot.park()
    }

    /// The handler ended the work inside a transaction. May be noted although that transaction fails later; whoever reads it
    /// only uses it to save a statement that would find nothing.
    pub(crate) fn note_finished(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(crate) fn was_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// The payload as a type.
    pub fn payload<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(self.payload.clone())
            .map_err(|error| Error::Invalid(format!("work {}/{}: {error}", self.queue, self.id)))
    }
}

/// Candidates that one claim looks at.
const LOOKED_AT: usize = 512;

/// How a worker chooses among what waits.
#[derive(Clone)]
pub(crate) enum Choice {
    /// The best by priority and time, so many of a lane at once.
    PerLane(usize),
    Planned(Arc<Planned>),
}

impl Choice {
    /// Whether the last claim left lanes for the next.
    pub(crate) fn looks_on(&self) -> bool {
        matches!(self, Choice::Planned(plan) if plan.looks_on())
    }
}

/// Claims up to `count` pieces of work. Claims of one queue follow each other, so a lane's limit holds across processes.
pub(crate) fn claim(
    tx: &mut Tx<'_>,
    queue: &str,
    count: usize,
    choice: &Choice,
    lease: Duration,
    instance: &str,
) -> Result<Vec<Claim>, Error> {
    if tx.dialect() == Dialect::Postgres {
        tx.query(
            "SELECT 1 FROM (SELECT pg_advisory_xact_lock(722513, hashtext(?1))) AS held",
            &params![queue],
            |_| Ok(()),
        )?;
    }
    let now = Timestamp::now();
    tx.execute(
        "UPDATE work SET state = 0, lease = NULL, lease_until = NULL WHERE queue = ?1 AND state = 1 AND lease_until < ?2",
        &params![queue, now],
    )?;
    let mut chosen = match choice {
        Choice::PerLane(most) => best(tx, queue, count, *most, now)?,
        Choice::Planned(plan) => plan::choose(tx, queue, count, plan)?,
    };
    for claim in &mut chosen {
        claim.lease = format!("{instance}:{}", new_id().simple());
    }
    let until = now + lease;
    let rows: Vec<Vec<crate::Value>> =
        chosen.iter().map(|c| crate::values![&c.queue, &c.id, LEASED, &c.lease, until, c.attempt]).collect();
    tx.update_many("work", &["queue", "id"], &["state", "lease", "lease_until", "attempts"], &rows)?;
    Ok(chosen)
}

/// The best of what is ready, up to `count`, in lanes that are not full.
fn best(tx: &mut Tx<'_>, queue: &str, count: usize, per_lane: usize, now: Timestamp) -> Result<Vec<Claim>, Error> {
    let mut taken: HashMap<String, usize> = tx
        .query(
            "SELECT lane, COUNT(*) FROM work WHERE queue = ?1 AND state = 1 AND lane <> '' GROUP BY lane",
            &params![queue],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .into_iter()
        .collect();
    let candidates = candidates(tx, queue, now, &taken, per_lane)?;
    let mut chosen = Vec::new();
    for candidate in candidates {
        if chosen.len() == count {
            break;
        }
        if !candidate.lane.is_empty() {
            let in_lane = taken.entry(candidate.lane.clone()).or_insert(0);
            if *in_lane >= per_lane {
                continue;
            }
            *in_lane += 1;
        }
        chosen.push(candidate);
    }
    Ok(chosen)
}

/// Ready work outside full lanes, best first.
fn candidates(
    tx: &mut Tx<'_>,
    queue: &str,
    now: Timestamp,
    taken: &HashMap<String, usize>,
    per_lane: usize,
) -> Result<Vec<Claim>, Error> {
    let mut sql = String::from(
        "SELECT queue, id, lane, payload, attempts FROM work WHERE queue = ?1 AND state = 0 AND run_at <= ?2",
    );
    let mut values = params![queue, now, LOOKED_AT].to_vec();
    for lane in taken.iter().filter(|(_, count)| **count >= per_lane).map(|(lane, _)| lane) {
        values.push(lane.into());
        sql.push_str(&format!(" AND lane <> ?{}", values.len()));
    }
    sql.push_str(" ORDER BY priority DESC, run_at LIMIT ?3");
    if tx.dialect() == Dialect::Postgres {
        sql.push_str(" FOR UPDATE SKIP LOCKED");
    }
    tx.query(&sql, &values, read_claim)
}

pub(super) fn read_claim(row: &Row) -> Result<Claim, Error> {
    Ok(Claim {
        queue: row.get(0)?,
        id: row.get(1)?,
        lane: row.get(2)?,
        payload: row.get(3)?,
        attempt: row.get::<u32>(4)? + 1,
        lease: String::new(),
        finished: Arc::default(),
        lot: Lot::default(),
    })
}

/// Extends the leases that are still ours.
pub(crate) fn renew(tx: &mut Tx<'_>, leases: &[String], until: Timestamp) -> Result<u64, Error> {
    let rows: Vec<Vec<crate::Value>> = leases.iter().map(|lease| crate::values![lease, until]).collect();
    tx.update_many("work", &["lease"], &["lease_until"], &rows)
}

/// Puts claimed work back: at `run_at`, as `state`, with what went wrong.
pub(crate) fn put_back(
    tx: &mut Tx<'_>,
    claim: &Claim,
    state: i64,
    run_at: Timestamp,
    attempts: u32,
    error: Option<&str>,
) -> Result<(), Error> {
    tx.touched.queues.insert(claim.queue.clone());
    tx.execute(
        "UPDATE work SET state = CASE WHEN again = 1 THEN 0 ELSE CAST(?4 AS BIGINT) END, lease = NULL, lease_until = NULL,
           run_at = CASE WHEN again = 1 THEN CAST(?8 AS BIGINT) ELSE CAST(?5 AS BIGINT) END, again = 0, attempts = ?6, last_error = ?7
         WHERE queue = ?1 AND id = ?2 AND lease = ?3",
        &params![&claim.queue, &claim.id, &claim.lease, state, run_at, attempts, error, Timestamp::now()],
    )?;
    Ok(())
}

/// When the next ready work of the queue is due.
pub(crate) fn next_due(tx: &mut Tx<'_>, queue: &str) -> Result<Option<Timestamp>, Error> {
    tx.query_opt("SELECT MIN(run_at) FROM work WHERE queue = ?1 AND state = 0", &params![queue], |row| {
        row.get::<Option<Timestamp>>(0)
    })
    .map(Option::flatten)
}
