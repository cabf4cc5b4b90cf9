//! How far each observed series is.

use dte_store::{Error, Row, Tx, params};

use crate::model::month::Month;

/// The place of an observed series in its order.
#[derive(Clone, Debug)]
pub struct Source {
    pub twin: String,
    pub source: String,
    pub watch: String,
    /// The number that the next accepted observation gets: 0 is the history, 1 the first month.
    pub next_arrival: u64,
    /// The month that is expected next; `None` while the history is expected.
    pub next_month: Option<Month>,
}

const COLUMNS: &str = "twin, source, watch, next_arrival, next_month";

fn read(row: &Row) -> Result<Source, Error> {
    Ok(Source {
        twin: row.get(0)?,
        source: row.get(1)?,
        watch: row.get(2)?,
        next_arrival: row.get(3)?,
        next_month: row.get(4)?,
    })
}

pub fn get(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<Option<Source>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM workflow_sources WHERE twin = ?1 AND source = ?2");
    tx.query_opt(&sql, &params![twin, source], read)
}

pub fn of(tx: &mut Tx<'_>, twin: &str) -> Result<Vec<Source>, Error> {
    tx.query(&format!("SELECT {COLUMNS} FROM workflow_sources WHERE twin = ?1 ORDER BY source"), &params![twin], read)
}

pub fn by_watch(tx: &mut Tx<'_>, watch: &str) -> Result<Option<Source>, Error> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM workflow_sources WHERE watch = ?1"), &params![watch], read)
}

/// Makes the source if it is new.
pub fn ensure(tx: &mut Tx<'_>, source: &Source) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO workflow_sources (twin, source, watch, next_arrival, next_month)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        &params![&source.twin, &source.source, &source.watch, source.next_arrival, source.next_month],
    )?;
    Ok(())
}

/// Forgets a source that has taken nothing in.
pub fn forget_empty(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM workflow_sources WHERE twin = ?1 AND source = ?2 AND NOT EXISTS
           (SELECT 1 FROM workflow_values v WHERE v.twin = ?1 AND v.source = ?2)",
        &params![twin, source],
    )?;
    Ok(())
}

/// One more observation is in.
pub fn advance(tx: &mut Tx<'_>, twin: &str, source: &str, next_arrival: u64, next_month: Month) -> Result<(), Error> {
    tx.execute(
        "UPDATE workflow_sources SET next_arrival = ?3, next_month = ?4 WHERE twin = ?1 AND source = ?2",
        &params![twin, source, next_arrival, next_month],
    )?;
    Ok(())
}
