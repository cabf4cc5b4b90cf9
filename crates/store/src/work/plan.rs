//! Claims by plan: a service that knows more about its lanes than how many may run at once says how much of each is next.
//!
//! What a plan looks at is one row per lane, found by going from lane to lane in an index; how much waits behind the first few
//! of each does not matter.

use std::sync::Arc;

use dte_base::time::Timestamp;

use super::claim::{Claim, read_claim};
use super::{DEAD, LEASED};
use crate::{Error, Row, Tx, params};

/// A lane of a queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub name: String,
    /// Claims that hold work of it, in all processes.
    pub running: usize,
    /// Work that could be done now, counted up to the number that was asked for.
    pub due: usize,
    /// When the work that waits longest could be (or could have been) done. None when nothing waits.
    pub first: Option<Timestamp>,
}

/// How many pieces of each lane are claimed next, in the order of the lanes. `usize` is how many pieces the worker can take.
pub(crate) type Plan = Arc<dyn Fn(&mut Tx<'_>, &[Lane], usize) -> Result<Vec<usize>, Error> + Send + Sync>;

impl Tx<'_> {
    /// The lanes of a queue, by name. `most` is how far due work is counted.
    pub fn lanes(&mut self, queue: &str, most: usize) -> Result<Vec<Lane>, Error> {
        let mut lanes = self.query(
            "WITH RECURSIVE names(lane) AS (
               SELECT MIN(lane) FROM work WHERE queue = ?1 AND state = 0
               UNION ALL
               SELECT (SELECT MIN(w.lane) FROM work w WHERE w.queue = ?1 AND w.state = 0 AND w.lane > names.lane)
               FROM names WHERE names.lane IS NOT NULL)
             SELECT lane,
               (SELECT COUNT(*) FROM (SELECT 1 FROM work w WHERE w.queue = ?1 AND w.state = 0 AND w.lane = names.lane
                  AND w.run_at <= ?2 LIMIT ?3) AS due),
               (SELECT MIN(w.run_at) FROM work w WHERE w.queue = ?1 AND w.state = 0 AND w.lane = names.lane)
             FROM names WHERE lane IS NOT NULL ORDER BY lane",
            &params![queue, Timestamp::now(), most],
            |row| Ok(Lane { name: row.get(0)?, running: 0, due: row.get(1)?, first: row.get(2)? }),
        )?;
        let running = self.query(
            "SELECT lane, COUNT(*) FROM work WHERE queue = ?1 AND state = 1 GROUP BY lane",
            &params![queue],
            |row| Ok((row.get::<String>(0)?, row.get::<usize>(1)?)),
        )?;
        for (name, running) in running {
            match lanes.iter_mut().find(|lane| lane.name == name) {
                Some(lane) => lane.running = running,
                None => lanes.push(Lane { name, running, due: 0, first: None }),
            }
        }
        Ok(lanes)
    }
}

/// The work that `plan` chooses, not yet leased.
pub(super) fn choose(tx: &mut Tx<'_>, queue: &str, count: usize, plan: &Plan) -> Result<Vec<Claim>, Error> {
    let lanes = tx.lanes(queue, count)?;
    let counts = plan(tx, &lanes, count)?;
    let now = Timestamp::now();
    let lock = if tx.for_update().is_empty() { "" } else { " FOR UPDATE SKIP LOCKED" };
    let sql = format!(
        "SELECT queue, id, lane, payload, attempts FROM work WHERE queue = ?1 AND state = 0 AND lane = ?2 AND run_at <= ?3
         ORDER BY run_at LIMIT ?4{lock}"
    );
    let mut chosen = Vec::with_capacity(count);
    for (lane, wanted) in lanes.iter().zip(counts).filter(|(_, wanted)| *wanted > 0) {
        let wanted = wanted.min(count - chosen.len());
        chosen.extend(tx.query(&sql, &params![queue, &lane.name, now, wanted], read_claim)?);
    }
    Ok(chosen)
}

/// Where a piece of work stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub lane: String,
    /// A worker has it.
    pub is_claimed: bool,
    /// It failed too often.
    pub is_dead: bool,
    /// Not before this.
    pub run_at: Timestamp,
    /// Work of its lane that comes before it, counted up to the number that was asked for.
    pub before: usize,
}

impl Tx<'_> {
    /// Where a piece of work stands, if it is waiting, running or dead. `most` is how far what comes before it is counted.
    pub fn standing(&mut self, queue: &str, id: &str, most: usize) -> Result<Option<Standing>, Error> {
        let sql = "SELECT lane, state, run_at FROM work WHERE queue = ?1 AND id = ?2";
        let read = |row: &Row| Ok((row.get::<String>(0)?, row.get::<i64>(1)?, row.get::<Timestamp>(2)?));
        let Some((lane, state, run_at)) = self.query_opt(sql, &params![queue, id], read)? else { return Ok(None) };
        let before = self.query_one(
            "SELECT COUNT(*) FROM (SELECT 1 FROM work WHERE queue = ?1 AND state = 0 AND lane = ?2 AND run_at < ?3 LIMIT ?4) AS earlier",
            &params![queue, &lane, run_at, most],
            |row| row.get(0),
        )?;
        Ok(Some(Standing { lane, is_claimed: state == LEASED, is_dead: state == DEAD, run_at, before }))
    }
}
