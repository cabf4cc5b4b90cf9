//! Durable work: what must be done even if the engine dies in the middle.
//!
//! Work is declared in the transaction of the change that needs it ([`Tx::enqueue`]), claimed under a lease by a
//! [`Worker`], and ended in the transaction that records its effect ([`Tx::finished`]). A worker that dies lets its lease run
//! out (at once on SQLite, where the lock on the file proves that it is gone). Failures wait with backoff and jitter; after too
//! many, the work is *dead*: kept, visible ([`Store::dead_letters`](crate::Store::dead_letters)), and retried when a person says so.
//!
//! States: `ready → leased → (gone | ready | dead)`, `dead → ready`.

mod claim;
mod dead;
mod park;
mod plan;
mod worker;

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use serde_json::Value as Json;

use crate::{Error, Migration, Tx, params};

pub use claim::Claim;
pub use dead::{DeadLetter, QueueDepth};
pub use park::Parked;
pub use plan::{Lane, Standing};
pub use worker::{Outcome, Worker};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("0001.sql") },
    // Before the index of version 2, which on PostgreSQL takes no longer rows; where that is already, it changes nothing.
    Migration { version: 3, sql: include_str!("0003.sql") },
    Migration { version: 2, sql: include_str!("0002.sql") },
];

/// The states as stored.
pub(crate) const READY: i64 = 0;
pub(crate) const LEASED: i64 = 1;
pub(crate) const DEAD: i64 = 2;

/// Bytes of the name of a lane. A row of an index of PostgreSQL has 2704 at most.
const LONGEST_LANE: usize = 2_200;

/// Work to be declared.
#[derive(Clone, Debug)]
pub struct NewWork {
    queue: String,
    id: String,
    payload: Json,
    lane: String,
    priority: i64,
    run_at: Option<Timestamp>,
}

impl NewWork {
    /// `id` is unique within `queue` and derived from what the work is, so that declaring it twice is declaring it once.
    pub fn new(queue: impl Into<String>, id: impl Into<String>, payload: Json) -> Self {
        NewWork { queue: queue.into(), id: id.into(), payload, lane: String::new(), priority: 0, run_at: None }
    }

    /// Work of one lane is limited by [`Worker::per_lane`]. Without a lane there is no such limit. The name of a lane is a key
    /// of an index: of one that is very long the end is replaced by a digest.
    pub fn lane(mut self, lane: impl Into<String>) -> Self {
        self.lane = lane.into();
        if self.lane.len() > LONGEST_LANE {
            let digest = derived_id(&[&self.lane]).simple().to_string();
            self.lane.truncate(self.lane.floor_char_boundary(LONGEST_LANE - digest.len()));
            self.lane.push_str(&digest);
        }
        self
    }

    /// Higher first; default 0.
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Not before `time`.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.run_at = Some(time);
        self
    }
}

impl Tx<'_> {
    /// Declares work. `false` when work of this identity exists already (waiting, running or dead).
    pub fn enqueue(&mut self, work: NewWork) -> Result<bool, Error> {
        Ok(self.insert_work(&work, "DO NOTHING")? > 0)
    }

    /// Declares several pieces of work; what exists already stays as it is.
    pub fn enqueue_many(&mut self, work: &[NewWork]) -> Result<(), Error> {
        let now = Timestamp::now();
        let columns = ["queue", "id", "lane", "priority", "payload", "state", "run_at", "created", "attempts", "again"];
        let row = |w: &NewWork| {
            let run_at = w.run_at.unwrap_or(now);
            crate::values![&w.queue, &w.id, &w.lane, w.priority, &w.payload, READY, run_at, now, 0, 0]
        };
        let rows: Vec<Vec<crate::Value>> = work.iter().map(row).collect();
        self.touched.queues.extend(work.iter().map(|work| work.queue.clone()));
        self.insert_new_many("work", &columns, &rows).map(|_| ())
    }

    /// Declares that this work must run at least once from now on: new work is made, waiting work is brought forward, running
    /// work will run once more, dead work gets another chance. For reconcilers that compare wanted with actual state.
    pub fn request(&mut self, work: NewWork) -> Result<(), Error> {
        self.insert_work(
            &work,
            "DO UPDATE SET payload = excluded.payload,
               again = CASE WHEN work.state = 1 THEN 1 ELSE 0 END,
               attempts = CASE WHEN work.state = 2 THEN 0 ELSE work.attempts END,
               run_at = CASE WHEN work.state = 0 AND work.run_at < excluded.run_at THEN work.run_at
                             WHEN work.state = 1 THEN work.run_at ELSE excluded.run_at END,
               state = CASE WHEN work.state = 1 THEN 1 ELSE 0 END",
        )?;
        Ok(())
    }

    fn insert_work(&mut self, work: &NewWork, conflict: &str) -> Result<u64, Error> {
        let now = Timestamp::now();
        self.touched.queues.insert(work.queue.clone());
        self.execute(
            &format!(
                "INSERT INTO work (queue, id, lane, priority, payload, state, run_at, created, attempts, again)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, 0, 0) ON CONFLICT (queue, id) {conflict}"
            ),
            &params![&work.queue, &work.id, &work.lane, work.priority, &work.payload, work.run_at.unwrap_or(now), now],
        )
    }

    /// Has the workers of a queue look again once this transaction has committed: more of it may be done now than before.
    pub fn look_again(&mut self, queue: &str) {
        self.touched.queues.insert(queue.to_owned());
    }

    /// Runs a waiting or dead piece of work now. `false` when there is none.
    pub fn wake_work(&mut self, queue: &str, id: &str) -> Result<bool, Error> {
        self.touched.queues.insert(queue.to_owned());
        let changed = self.execute(
            "UPDATE work SET attempts = CASE WHEN state = 2 THEN 0 ELSE attempts END, state = 0, run_at = ?3
             WHERE queue = ?1 AND id = ?2 AND state <> 1",
            &params![queue, id, Timestamp::now()],
        )?;
        Ok(changed > 0)
    }

    /// Whether there is such work, waiting, running or dead.
    pub fn has_work(&mut self, queue: &str, id: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM work WHERE queue = ?1 AND id = ?2";
        Ok(self.query_opt(sql, &params![queue, id], |_| Ok(()))?.is_some())
    }

    /// Takes back work that is not running. `false` when there is none (or it runs).
    pub fn forget_work(&mut self, queue: &str, id: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM work WHERE queue = ?1 AND id = ?2 AND state <> 1";
        Ok(self.execute(sql, &params![queue, id])? > 0)
    }

    /// Ends claimed work in the caller's transaction, so that effect and end are one. [`Error::LeaseLost`] when another
    /// worker has it by now: then the effect must not stand either, and returning the error undoes it.
    pub fn finished(&mut self, claim: &Claim) -> Result<(), Error> {
        let key = params![&claim.queue, &claim.id, &claim.lease];
        let gone = self.execute("DELETE FROM work WHERE queue = ?1 AND id = ?2 AND lease = ?3 AND again = 0", &key)?;
        if gone > 0 {
            // Its lane may have a place now.
            self.touched.queues.insert(claim.queue.clone());
            claim.note_finished();
            return Ok(());
        }
        let again = self.execute(
            "UPDATE work SET state = 0, again = 0, lease = NULL, lease_until = NULL, attempts = 0, run_at = ?4
             WHERE queue = ?1 AND id = ?2 AND lease = ?3",
            &params![&claim.queue, &claim.id, &claim.lease, Timestamp::now()],
        )?;
        if again == 0 {
            return Err(Error::LeaseLost);
        }
        self.touched.queues.insert(claim.queue.clone());
        claim.note_finished();
        Ok(())
    }
}

/// Leases that one statement names at most.
const LEASES_AT_ONCE: usize = 500;

impl Tx<'_> {
    /// Which of these claims are still ours, kept so until the end of a transaction of [`Store::claim`](crate::Store::claim).
    pub fn still_ours(&mut self, claims: &[&Claim]) -> Result<Vec<bool>, Error> {
        let mut held = std::collections::HashSet::new();
        for some in claims.chunks(LEASES_AT_ONCE) {
            let marks: Vec<String> = (1..=some.len()).map(|n| format!("?{n}")).collect();
            let leases: Vec<crate::Value> = some.iter().map(|claim| (&claim.lease).into()).collect();
            let lock = self.for_update();
            let sql = format!("SELECT lease FROM work WHERE lease IN ({}){lock}", marks.join(", "));
            held.extend(self.query(&sql, &leases, |row| row.get::<String>(0))?);
        }
        Ok(claims.iter().map(|claim| held.contains(&claim.lease)).collect())
    }

    /// [`Tx::finished`] for several pieces of work of one queue: which of them were still ours. The effect of the others must not
    /// stand, so this comes before the effects.
    pub fn finished_many(&mut self, claims: &[&Claim]) -> Result<Vec<bool>, Error> {
        let mut gone = std::collections::HashSet::new();
        for some in claims.chunks(LEASES_AT_ONCE) {
            let marks: Vec<String> = (1..=some.len()).map(|n| format!("?{n}")).collect();
            let leases: Vec<crate::Value> = some.iter().map(|claim| (&claim.lease).into()).collect();
            let sql = format!("DELETE FROM work WHERE lease IN ({}) AND again = 0 RETURNING lease", marks.join(", "));
            gone.extend(self.query(&sql, &leases, |row| row.get::<String>(0))?);
        }
        let mut ours = Vec::with_capacity(claims.len());
        for claim in claims {
            ours.push(if gone.contains(&claim.lease) {
                self.touched.queues.insert(claim.queue.clone());
                claim.note_finished();
                true
            } else {
                // Lost, or wanted once more.
                match self.finished(claim) {
                    Ok(()) => true,
                    Err(Error::LeaseLost) => false,
                    Err(error) => return Err(error),
                }
            });
        }
        Ok(ours)
    }
}

/// Frees all leases: only where it is certain that their holders are gone.
pub(crate) fn release_all(tx: &mut Tx<'_>) -> Result<(), Error> {
    tx.execute("UPDATE work SET state = 0, lease = NULL, lease_until = NULL WHERE state = 1", &[])?;
    Ok(())
}
