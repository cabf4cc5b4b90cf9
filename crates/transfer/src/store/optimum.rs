//! What was measured of links, and what the optimiser made of it.

use std::collections::BTreeMap;

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};
use serde::{Deserialize, Serialize};

use crate::model::optimiser::Memory;
use crate::store::rules::changed;

/// Steps of a link that are kept.
const KEPT: i64 = 50;

/// A source and a destination.
pub type Link = (String, String);

/// What ended on a link within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub finished: u64,
    pub failed: u64,
    /// Tries that were followed by another.
    pub retried: u64,
    pub bytes: u64,
    /// Seconds that the finished files took, all together.
    pub seconds: u64,
}

/// What ended after `since`, link by link.
pub fn measured(tx: &mut Tx<'_>, since: Timestamp) -> Result<BTreeMap<Link, Measured>, Error> {
    let link = |row: &Row| Ok::<Link, Error>((row.get(0)?, row.get(1)?));
    let ended = tx.query(
        "SELECT source_se, dest_se, SUM(CASE WHEN state = 'FINISHED' THEN 1 ELSE 0 END),
           SUM(CASE WHEN state = 'FAILED' THEN 1 ELSE 0 END),
           SUM(CASE WHEN state = 'FINISHED' THEN COALESCE(bytes, 0) ELSE 0 END),
           SUM(CASE WHEN state = 'FINISHED' THEN (finished - COALESCE(started, finished)) / 1000000 ELSE 0 END)
         FROM transfer_files WHERE finished > ?1 GROUP BY source_se, dest_se",
        &params![since],
        |row| {
            let measured = Measured {
                finished: row.get(2)?,
                failed: row.get(3)?,
                bytes: row.get(4)?,
                seconds: row.get(5)?,
                retried: 0,
            };
            Ok((link(row)?, measured))
        },
    )?;
    let mut all: BTreeMap<Link, Measured> = ended.into_iter().collect();
    let retried = tx.query(
        "SELECT f.source_se, f.dest_se, COUNT(*) FROM transfer_retries r JOIN transfer_files f ON f.file_id = r.file_id
         WHERE r.time > ?1 GROUP BY f.source_se, f.dest_se",
        &params![since],
        |row| Ok((link(row)?, row.get::<u64>(2)?)),
    )?;
    for (link, count) in retried {
        all.entry(link).or_default().retried = count;
    }
    Ok(all)
}

/// One decision, as it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub active: u32,
    pub throughput: f64,
    pub success: Option<f64>,
    pub rationale: String,
    pub diff: i64,
    pub actual_active: u32,
    pub queue_size: u32,
    pub ema: f64,
    pub filesize_avg: f64,
}

/// What is remembered of links.
pub fn memories(tx: &mut Tx<'_>) -> Result<BTreeMap<Link, Memory>, Error> {
    let found = tx.query("SELECT source, destination, memory FROM transfer_optimum", &[], |row| {
        let memory: Memory = serde_json::from_str(&row.get::<String>(2)?)
            .map_err(|_| Error::Column { index: 2, wanted: "what is remembered of a link" })?;
        Ok(((row.get(0)?, row.get(1)?), memory))
    })?;
    Ok(found.into_iter().collect())
}

/// Keeps a decision.
pub fn keep(
    tx: &mut Tx<'_>,
    (source, destination): &Link,
    memory: &Memory,
    told: Option<&Told>,
    now: Timestamp,
) -> Result<(), Error> {
    let text = |error: serde_json::Error| Error::Invalid(error.to_string());
    let link = params![source, destination];
    let before =
        tx.query_opt("SELECT active FROM transfer_optimum WHERE source = ?1 AND destination = ?2", &link, |row| {
            row.get::<u32>(0)
        })?;
    tx.execute(
        "INSERT INTO transfer_optimum (source, destination, active, time, memory) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (source, destination) DO UPDATE SET active = excluded.active, time = excluded.time,
           memory = excluded.memory",
        &params![source, destination, memory.active, now, serde_json::to_string(memory).map_err(text)?],
    )?;
    if before != Some(memory.active) {
        changed(tx)?;
    }
    let Some(told) = told else { return Ok(()) };
    tx.execute(
        "INSERT INTO transfer_optimum_steps (source, destination, time, step) VALUES (?1, ?2, ?3, ?4)",
        &params![source, destination, now, serde_json::to_string(told).map_err(text)?],
    )?;
    tx.execute(
        "DELETE FROM transfer_optimum_steps WHERE source = ?1 AND destination = ?2 AND id < (SELECT MIN(id) FROM (
           SELECT id FROM transfer_optimum_steps WHERE source = ?1 AND destination = ?2 ORDER BY id DESC LIMIT ?3) AS kept)",
        &params![source, destination, KEPT],
    )?;
    Ok(())
}

/// A link with the number found for it, its average of throughput, and when that was.
pub type Current = (Link, Memory, Timestamp);

/// The links that the optimiser decided about, or one of them.
pub fn current(tx: &mut Tx<'_>, source: Option<&str>, destination: Option<&str>) -> Result<Vec<Current>, Error> {
    let sql = "SELECT source, destination, memory, time FROM transfer_optimum
               WHERE (CAST(?1 AS TEXT) IS NULL OR source = ?1) AND (CAST(?2 AS TEXT) IS NULL OR destination = ?2)
               ORDER BY source, destination";
    tx.query(sql, &params![source, destination], |row| {
        let memory: Memory = serde_json::from_str(&row.get::<String>(2)?)
            .map_err(|_| Error::Column { index: 2, wanted: "what is remembered of a link" })?;
        Ok(((row.get(0)?, row.get(1)?), memory, row.get(3)?))
    })
}

/// The last decisions, the newest first.
pub fn steps(
    tx: &mut Tx<'_>,
    source: Option<&str>,
    destination: Option<&str>,
) -> Result<Vec<(Link, Timestamp, Told)>, Error> {
    let sql = "SELECT source, destination, time, step FROM transfer_optimum_steps
               WHERE (CAST(?1 AS TEXT) IS NULL OR source = ?1) AND (CAST(?2 AS TEXT) IS NULL OR destination = ?2)
               ORDER BY id DESC LIMIT ?3";
    tx.query(sql, &params![source, destination, KEPT], |row| {
        let told = serde_json::from_str(&row.get::<String>(3)?);
        let told = told.map_err(|_| Error::Column { index: 3, wanted: "a decision of the optimiser" })?;
        Ok(((row.get(0)?, row.get(1)?), row.get(2)?, told))
    })
}
