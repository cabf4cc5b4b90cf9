//! Files that arrived, and the values of those that were accepted.

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, Value, params, values};

use crate::model::month::Month;
use crate::model::number::Micro;
use crate::model::pod::File;

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be looked at.
    Pending,
    /// Waits for its predecessor.
    Held,
    /// Not taken; the reason says why.
    Refused,
    /// It was announced but is not there; looked for now and then.
    Missing,
    /// Not taken because something newer or equal stands for it.
    Superseded,
    /// Part of the series.
    Accepted,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Held => "held",
            State::Refused => "refused",
            State::Missing => "missing",
            State::Superseded => "superseded",
            State::Accepted => "accepted",
        }
    }

    pub fn parse(text: &str) -> Option<State> {
        [State::Pending, State::Held, State::Refused, State::Missing, State::Superseded, State::Accepted]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A file that arrived.
#[derive(Clone, Debug)]
pub struct Observation {
    pub id: String,
    pub twin: String,
    pub source: String,
    pub name: String,
    pub bytes: u64,
    pub adler32: String,
    /// `None` for the history and for a name without a month.
    pub month: Option<Month>,
    pub state: State,
    pub reason: Option<String>,
    /// Its copies are where the rule wants them.
    pub ready: bool,
    pub seen: Timestamp,
}

const COLUMNS: &str = "id, twin, source, name, bytes, adler32, month, state, reason, ready, seen";

fn read(row: &Row) -> Result<Observation, Error> {
    let state: String = row.get(7)?;
    Ok(Observation {
        id: row.get(0)?,
        twin: row.get(1)?,
        source: row.get(2)?,
        name: row.get(3)?,
        bytes: row.get(4)?,
        adler32: row.get(5)?,
        month: row.get(6)?,
        state: State::parse(&state).ok_or_else(|| Error::Invalid(format!("a stored observation is {state:?}")))?,
        reason: row.get(8)?,
        ready: row.get(9)?,
        seen: row.get(10)?,
    })
}

/// A file as it was announced.
#[derive(Clone, Debug)]
pub struct Announced {
    pub name: String,
    pub bytes: u64,
    pub adler32: String,
    pub month: Option<Month>,
}

/// Notes a file that was announced; one that had been refused is looked at again. `place` orders files.
pub fn announce(tx: &mut Tx<'_>, twin: &str, source: &str, file: &Announced, place: i64) -> Result<(), Error> {
    let id = derived_id(&["observation", twin, source, &file.name, &file.bytes.to_string(), &file.adler32]);
    tx.execute(
        "INSERT INTO workflow_observations
           (id, twin, source, name, bytes, adler32, month, state, registered, ready, place, seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', 0, 0, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET state = 'pending', reason = NULL, place = excluded.place
           WHERE workflow_observations.state IN ('refused', 'missing', 'superseded')",
        &params![id, twin, source, &file.name, file.bytes, &file.adler32, file.month, place, Timestamp::now()],
    )?;
    Ok(())
}

/// What is to be done next: first what the lake does not have yet, in order, then the next file to look at.
pub fn next(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<Option<Observation>, Error> {
    let unregistered = tx.query_opt(
        &format!(
            "SELECT {COLUMNS} FROM workflow_observations
             WHERE twin = ?1 AND source = ?2 AND state = 'accepted' AND registered = 0 ORDER BY arrival LIMIT 1"
        ),
        &params![twin, source],
        read,
    )?;
    if unregistered.is_some() {
        return Ok(unregistered);
    }
    tx.query_opt(
        &format!(
            "SELECT {COLUMNS} FROM workflow_observations
             WHERE twin = ?1 AND source = ?2 AND state = 'pending' ORDER BY place LIMIT 1"
        ),
        &params![twin, source],
        read,
    )
}

/// Sets where a file stands, if it still is `from`. `false` when it is not.
pub fn settle(tx: &mut Tx<'_>, id: &str, from: State, to: State, reason: Option<&str>) -> Result<bool, Error> {
    let changed = tx.execute(
        "UPDATE workflow_observations SET state = ?3, reason = ?4, settled = ?5 WHERE id = ?1 AND state = ?2",
        &params![id, from.as_str(), to.as_str(), reason, Timestamp::now()],
    )?;
    Ok(changed > 0)
}

/// Makes a pending file part of the series. `false` when it is not pending any more.
pub fn accept(tx: &mut Tx<'_>, id: &str, arrival: u64, did: &str, dataset: &str) -> Result<bool, Error> {
    let changed = tx.execute(
        "UPDATE workflow_observations
         SET state = 'accepted', reason = NULL, arrival = ?2, did = ?3, dataset = ?4, settled = ?5
         WHERE id = ?1 AND state = 'pending'",
        &params![id, arrival, did, dataset, Timestamp::now()],
    )?;
    Ok(changed > 0)
}

/// Looks again at files of `month` that were held.
pub fn release(tx: &mut Tx<'_>, twin: &str, source: &str, month: Month) -> Result<(), Error> {
    tx.execute(
        "UPDATE workflow_observations SET state = 'pending', reason = NULL
         WHERE twin = ?1 AND source = ?2 AND state = 'held' AND month = ?3",
        &params![twin, source, month],
    )?;
    Ok(())
}

/// Looks again for files that were not there.
pub fn look_for_missing(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE workflow_observations SET state = 'pending' WHERE twin = ?1 AND source = ?2 AND state = 'missing'",
        &params![twin, source],
    )?;
    Ok(())
}

pub fn set_registered(tx: &mut Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE workflow_observations SET registered = 1 WHERE id = ?1", &params![id])?;
    Ok(())
}

/// The lake says that a dataset is in place; whose it is, if it is an observation's.
pub fn set_ready(tx: &mut Tx<'_>, dataset: &str) -> Result<Option<(String, String)>, Error> {
    tx.query_opt(
        "UPDATE workflow_observations SET ready = 1 WHERE dataset = ?1 AND state = 'accepted' AND ready = 0
         RETURNING twin, source",
        &params![dataset],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The accepted observation of a place in the order.
pub fn at_arrival(tx: &mut Tx<'_>, twin: &str, source: &str, arrival: u64) -> Result<Option<Observation>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM workflow_observations WHERE twin = ?1 AND source = ?2 AND arrival = ?3");
    tx.query_opt(&sql, &params![twin, source, arrival], read)
}

/// The accepted observation under a name, or of a month.
pub fn accepted_as(tx: &mut Tx<'_>, twin: &str, source: &str, name: &str) -> Result<Option<Observation>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM workflow_observations
         WHERE twin = ?1 AND source = ?2 AND state = 'accepted' AND name = ?3 LIMIT 1"
    );
    tx.query_opt(&sql, &params![twin, source, name], read)
}

/// All files up to a place in the order, in that order: what a run may know.
pub fn files_up_to(tx: &mut Tx<'_>, twin: &str, source: &str, arrival: u64) -> Result<Vec<File>, Error> {
    tx.query(
        "SELECT did, name, bytes, adler32 FROM workflow_observations
         WHERE twin = ?1 AND source = ?2 AND arrival <= ?3 AND state = 'accepted' ORDER BY arrival",
        &params![twin, source, arrival],
        |row| Ok(File { did: row.get(0)?, name: row.get(1)?, bytes: row.get(2)?, adler32: row.get(3)? }),
    )
}

/// The oldest dataset that is registered, but not in place as far as we know.
pub fn not_ready(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<Option<String>, Error> {
    tx.query_opt(
        "SELECT dataset FROM workflow_observations
         WHERE twin = ?1 AND source = ?2 AND state = 'accepted' AND registered = 1 AND ready = 0
         ORDER BY arrival LIMIT 1",
        &params![twin, source],
        |row| row.get(0),
    )
}

/// How many files are in each state.
pub fn counts(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<Vec<(String, u64)>, Error> {
    tx.query(
        "SELECT state, COUNT(*) FROM workflow_observations WHERE twin = ?1 AND source = ?2 GROUP BY state ORDER BY state",
        &params![twin, source],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The newest files in a state.
pub fn newest(
    tx: &mut Tx<'_>,
    twin: &str,
    source: &str,
    state: State,
    limit: usize,
) -> Result<Vec<Observation>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM workflow_observations
         WHERE twin = ?1 AND source = ?2 AND state = ?3 ORDER BY place DESC LIMIT ?4"
    );
    tx.query(&sql, &params![twin, source, state.as_str(), limit], read)
}

/// Adds values to the series.
pub fn add_values(
    tx: &mut Tx<'_>,
    twin: &str,
    source: &str,
    arrival: u64,
    rows: &[(Month, Micro)],
) -> Result<(), Error> {
    let rows: Vec<Vec<Value>> =
        rows.iter().map(|(month, value)| values![twin, source, *month, *value, arrival]).collect();
    tx.insert_many("workflow_values", &["twin", "source", "month", "value", "arrival"], &rows)?;
    Ok(())
}

pub fn value(tx: &mut Tx<'_>, twin: &str, source: &str, month: Month) -> Result<Option<Micro>, Error> {
    tx.query_opt(
        "SELECT value FROM workflow_values WHERE twin = ?1 AND source = ?2 AND month = ?3",
        &params![twin, source, month],
        |row| row.get(0),
    )
}

/// Values from a month to a month, in order.
pub fn values(tx: &mut Tx<'_>, twin: &str, source: &str, from: Month, to: Month) -> Result<Vec<(Month, Micro)>, Error> {
    tx.query(
        "SELECT month, value FROM workflow_values
         WHERE twin = ?1 AND source = ?2 AND month >= ?3 AND month <= ?4 ORDER BY month",
        &params![twin, source, from, to],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}
