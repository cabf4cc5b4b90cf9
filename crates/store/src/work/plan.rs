//! Claims by plan: a service that knows more about its lanes than how many may run at once says how much of each is next.
//!
//! What a plan looks at is one row per lane, found by going from lane to lane in an index; how much waits behind the first few
//! of each does not matter. Of very many lanes a claim looks at some, and the next claim at those that follow.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

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

/// Lanes with waiting work that one claim looks at.
const LOOKED_AT: usize = 500;
/// How often one claim looks further when it finds nothing to begin.
const LOOKS: usize = 4;

/// How many pieces of each lane are claimed next, in the order of the lanes. `usize` is how many pieces the worker can take.
type Plan = dyn Fn(&mut Tx<'_>, &[Lane], usize) -> Result<Vec<usize>, Error> + Send + Sync;

/// A plan, and where its next look begins when there are more lanes than one look takes.
pub(crate) struct Planned {
    plan: Box<Plan>,
    from: Mutex<String>,
}

impl Planned {
    pub(crate) fn new(
        plan: impl Fn(&mut Tx<'_>, &[Lane], usize) -> Result<Vec<usize>, Error> + Send + Sync + 'static,
    ) -> Self {
        Planned { plan: Box::new(plan), from: Mutex::default() }
    }

    pub(crate) fn looks_on(&self) -> bool {
        !self.from.lock().is_empty()
    }
}

impl Tx<'_> {
    /// The lanes of a queue, by name: all on which something runs, and of those on which something waits the first 500. `most`
    /// is how far due work is counted.
    pub fn lanes(&mut self, queue: &str, most: usize) -> Result<Vec<Lane>, Error> {
        let waiting = self.waiting_lanes(queue, most, "", LOOKED_AT)?;
        self.with_running(queue, waiting)
    }

    /// Up to `count` lanes on which something waits, by name, the first of them `from` or what follows.
    fn waiting_lanes(&mut self, queue: &str, most: usize, from: &str, count: usize) -> Result<Vec<Lane>, Error> {
        self.query(
            "WITH RECURSIVE names(lane, n) AS (
               SELECT MIN(lane), CAST(1 AS BIGINT) FROM work WHERE queue = ?1 AND state = 0 AND lane >= ?4
               UNION ALL
               SELECT (SELECT MIN(w.lane) FROM work w WHERE w.queue = ?1 AND w.state = 0 AND w.lane > names.lane), n + 1
               FROM names WHERE names.lane IS NOT NULL AND n < ?5)
             SELECT lane,
               (SELECT COUNT(*) FROM (SELECT 1 FROM work w WHERE w.queue = ?1 AND w.state = 0 AND w.lane = names.lane
                  AND w.run_at <= ?2 LIMIT ?3) AS due),
               (SELECT MIN(w.run_at) FROM work w WHERE w.queue = ?1 AND w.state = 0 AND w.lane = names.lane)
             FROM names WHERE lane IS NOT NULL ORDER BY n",
            &params![queue, Timestamp::now(), most, from, count],
            |row| Ok(Lane { name: row.get(0)?, running: 0, due: row.get(1)?, first: row.get(2)? }),
        )
    }

    /// Lanes that begin with `from`, and behind the last the first ones; and where the next look begins.
    fn some_lanes(&mut self, queue: &str, most: usize, from: &str) -> Result<(Vec<Lane>, String), Error> {
        let mut lanes = self.waiting_lanes(queue, most, from, LOOKED_AT)?;
        let mut next = lanes.last().filter(|_| lanes.len() == LOOKED_AT).map(|lane| lane.name.clone());
        if next.is_none() && !from.is_empty() {
            let rest = self.waiting_lanes(queue, most, "", LOOKED_AT - lanes.len())?;
            next = rest.last().map(|lane| lane.name.clone());
            let known: HashSet<String> = lanes.iter().map(|lane| lane.name.clone()).collect();
            lanes.extend(rest.into_iter().filter(|lane| !known.contains(&lane.name)));
            lanes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok((self.with_running(queue, lanes)?, next.unwrap_or_default()))
    }

    fn with_running(&mut self, queue: &str, mut lanes: Vec<Lane>) -> Result<Vec<Lane>, Error> {
        let running = self.query(
            "SELECT lane, COUNT(*) FROM work WHERE queue = ?1 AND state = 1 GROUP BY lane",
            &params![queue],
            |row| Ok((row.get::<String>(0)?, row.get::<usize>(1)?)),
        )?;
        let mut running: HashMap<String, usize> = running.into_iter().collect();
        for lane in &mut lanes {
            lane.running = running.remove(&lane.name).unwrap_or(0);
        }
        let mut only: Vec<(String, usize)> = running.into_iter().collect();
        only.sort_unstable();
        lanes.extend(only.into_iter().map(|(name, running)| Lane { name, running, due: 0, first: None }));
        Ok(lanes)
    }
}

/// The work that `plan` chooses, not yet leased.
pub(super) fn choose(tx: &mut Tx<'_>, queue: &str, count: usize, planned: &Planned) -> Result<Vec<Claim>, Error> {
    for _ in 0..LOOKS {
        let from = planned.from.lock().clone();
        let (lanes, next) = tx.some_lanes(queue, count, &from)?;
        let there_are_more = !next.is_empty();
        *planned.from.lock() = next;
        let counts = (planned.plan)(tx, &lanes, count)?;
        let chosen = oldest(tx, queue, count, &lanes, &counts)?;
        if !chosen.is_empty() || !there_are_more {
            return Ok(chosen);
        }
    }
    Ok(Vec::new())
}

/// So many of each lane, those first that waited longest.
fn oldest(tx: &mut Tx<'_>, queue: &str, count: usize, lanes: &[Lane], counts: &[usize]) -> Result<Vec<Claim>, Error> {
    let now = Timestamp::now();
    let lock = if tx.for_update().is_empty() { "" } else { " FOR UPDATE SKIP LOCKED" };
    let sql = format!(
        "SELECT queue, id, lane, payload, attempts FROM work WHERE queue = ?1 AND state = 0 AND lane = ?2 AND run_at <= ?3
         ORDER BY run_at LIMIT ?4{lock}"
    );
    let mut chosen = Vec::with_capacity(count);
    for (lane, wanted) in lanes.iter().zip(counts).filter(|(_, wanted)| **wanted > 0) {
        let wanted = (*wanted).min(count - chosen.len());
        chosen.extend(tx.query(&sql, &params![queue, &lane.name, now, wanted], read_claim)?);
    }
    Ok(chosen)
}

impl Tx<'_> {
    /// How much work of a queue the holder of this store ([`Store::instance`](crate::Store::instance)) has claimed.
    pub fn held_by(&mut self, queue: &str, instance: &str) -> Result<usize, Error> {
        let sql = "SELECT COUNT(*) FROM work WHERE queue = ?1 AND state = 1 AND substr(lease, 1, length(?2)) = ?2";
        self.query_one(sql, &params![queue, format!("{instance}:")], |row| row.get(0))
    }
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
