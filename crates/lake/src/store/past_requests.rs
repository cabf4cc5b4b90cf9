//! Requests that are over, for a while.

use dte_base::time::Timestamp;
use dte_protocol_rucio::Did;
use dte_store::{Row, Tx, params, values};

use super::did_at;
use super::requests::Request;
use crate::error::Result;

/// A request that is over.
pub(crate) struct Ended {
    pub id: String,
    pub did: Did,
    pub rse: String,
    pub source_rse: Option<String>,
    pub rule_id: String,
    pub account: String,
    pub activity: String,
    pub bytes: i64,
    pub adler32: Option<String>,
    /// `D` done, or `F` failed or called off.
    pub state: String,
    pub attempt: i64,
    pub job_id: Option<String>,
    pub error: Option<String>,
    pub requested_at: Timestamp,
    pub submitted_at: Option<Timestamp>,
    pub ended_at: Timestamp,
}

const ENDED: &str =
    "SELECT id, scope, name, rse, source_rse, rule_id, account, activity, bytes, adler32, state, attempt,
    job_id, error, requested_at, submitted_at, ended_at FROM lake_request_history";

fn read_ended(row: &Row) -> Result<Ended, dte_store::Error> {
    Ok(Ended {
        id: row.get(0)?,
        did: did_at(row, 1)?,
        rse: row.get(3)?,
        source_rse: row.get(4)?,
        rule_id: row.get(5)?,
        account: row.get(6)?,
        activity: row.get(7)?,
        bytes: row.get(8)?,
        adler32: row.get(9)?,
        state: row.get(10)?,
        attempt: row.get(11)?,
        job_id: row.get(12)?,
        error: row.get(13)?,
        requested_at: row.get(14)?,
        submitted_at: row.get(15)?,
        ended_at: row.get(16)?,
    })
}

/// The last request for a copy that is over.
pub(crate) fn ended_of_copy(tx: &mut Tx<'_>, did: &Did, rse: &str) -> Result<Option<Ended>> {
    let sql = format!("{ENDED} WHERE scope = ?1 AND name = ?2 AND rse = ?3 ORDER BY serial DESC LIMIT 1");
    Ok(tx.query_opt(&sql, &params![&did.scope, &did.name, rse], read_ended)?)
}

/// Requests that are over, newest first.
pub(crate) fn ended_page(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<Ended>> {
    Ok(tx.query(&format!("{ENDED} ORDER BY serial DESC LIMIT ?1"), &params![limit], read_ended)?)
}

/// Forgets what ended long ago.
pub(crate) fn forget_ended(tx: &mut Tx<'_>, before: Timestamp) -> Result<()> {
    tx.execute("DELETE FROM lake_request_history WHERE ended_at < ?1", &params![before])?;
    Ok(())
}

/// Notes how a request ended.
pub(crate) fn note(tx: &mut Tx<'_>, request: &Request, state: &str, now: Timestamp) -> Result<()> {
    let columns = [
        "id",
        "scope",
        "name",
        "rse",
        "source_rse",
        "rule_id",
        "account",
        "activity",
        "bytes",
        "adler32",
        "state",
        "attempt",
        "job_id",
        "error",
        "requested_at",
        "submitted_at",
        "ended_at",
    ];
    let row = values![
        &request.id,
        &request.did.scope,
        &request.did.name,
        &request.rse,
        request.source_rse.clone(),
        &request.rule_id,
        &request.account,
        &request.activity,
        request.bytes,
        request.adler32.clone(),
        state,
        request.attempt,
        request.job_id.clone(),
        request.error.clone(),
        request.requested_at,
        request.submitted_at,
        now
    ];
    tx.insert_many("lake_request_history", &columns, &[row])?;
    Ok(())
}
