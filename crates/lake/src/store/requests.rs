//! Requests: copies that have to be made. At most one for a file and a destination; it outlives failed attempts and ends
//! when the copy is there or nobody wants it any more.

use std::collections::HashMap;
use std::time::Duration;

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_protocol_rucio::Did;
use dte_store::{NewWork, Row, Tx, Value, params, values};
use serde_json::json;

use super::place::FileToPlace;
use super::rules::Rule;
use super::{did_at, past_requests, query_wanted};
use crate::error::Result;

/// The queue in which requests become transfers; the work's id is the request's.
pub(crate) const QUEUE: &str = "lake.transfer";

/// The queue that calls transfers off; the work's id is the job's.
pub(crate) const CANCEL: &str = "lake.cancel";

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestState {
    /// To be submitted.
    Queued,
    /// The transfer service has it, or is being asked.
    Submitted,
    /// Given up for now: its locks are stuck. Tried again later.
    Failed,
}

impl RequestState {
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            RequestState::Queued => "Q",
            RequestState::Submitted => "S",
            RequestState::Failed => "F",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "Q" => Some(RequestState::Queued),
            "S" => Some(RequestState::Submitted),
            "F" => Some(RequestState::Failed),
            _ => None,
        }
    }

    /// The name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            RequestState::Queued => "QUEUED",
            RequestState::Submitted => "SUBMITTED",
            RequestState::Failed => "FAILED",
        }
    }
}

/// A request as stored.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub id: String,
    pub did: Did,
    pub rse: String,
    pub rule_id: String,
    pub account: String,
    /// As whom it is transferred, as JSON.
    pub principal: String,
    pub activity: String,
    pub priority: i64,
    pub bytes: i64,
    pub adler32: Option<String>,
    pub source_expression: Option<String>,
    pub state: RequestState,
    /// Counts the transfers that were tried, from 1.
    pub attempt: i64,
    /// Counts how often all attempts were used up.
    pub rounds: i64,
    pub job_id: Option<String>,
    pub source_rse: Option<String>,
    pub dest_url: Option<String>,
    pub error: Option<String>,
    /// Not before this time.
    pub due_at: Option<Timestamp>,
    pub requested_at: Timestamp,
    pub submitted_at: Option<Timestamp>,
}

const COLUMNS: &str =
    "q.id, q.scope, q.name, q.rse, q.rule_id, q.account, q.principal, q.activity, q.priority, q.bytes,
    q.adler32, q.source_expression, q.state, q.attempt, q.rounds, q.job_id, q.source_rse, q.dest_url, q.error,
    q.due_at, q.requested_at, q.submitted_at";

fn read(row: &Row) -> Result<Request, dte_store::Error> {
    Ok(Request {
        id: row.get(0)?,
        did: did_at(row, 1)?,
        rse: row.get(3)?,
        rule_id: row.get(4)?,
        account: row.get(5)?,
        principal: row.get(6)?,
        activity: row.get(7)?,
        priority: row.get(8)?,
        bytes: row.get(9)?,
        adler32: row.get(10)?,
        source_expression: row.get(11)?,
        state: super::letter(row, 12, RequestState::parse)?,
        attempt: row.get(13)?,
        rounds: row.get(14)?,
        job_id: row.get(15)?,
        source_rse: row.get(16)?,
        dest_url: row.get(17)?,
        error: row.get(18)?,
        due_at: row.get(19)?,
        requested_at: row.get(20)?,
        submitted_at: row.get(21)?,
    })
}

/// A copy that a rule wants.
pub(crate) struct Wanted {
    did: Did,
    rse: String,
    bytes: i64,
    adler32: Option<String>,
    rule_id: String,
    account: String,
    principal: String,
    activity: String,
    priority: i64,
    source_expression: Option<String>,
}

impl Wanted {
    pub(crate) fn new(rule: &Rule, file: &FileToPlace, rse: &str) -> Self {
        Wanted {
            did: file.did.clone(),
            rse: rse.to_owned(),
            bytes: file.bytes,
            adler32: file.adler32.clone(),
            rule_id: rule.id.clone(),
            account: rule.account.clone(),
            principal: rule.principal.clone(),
            activity: rule.activity.clone(),
            priority: rule.priority,
            source_expression: rule.source_expression.clone(),
        }
    }
}

/// Makes requests. With `true` they are tried now; with `false` they are noted as failed and wait for a source. A request
/// that is there already is tried again if it had failed.
pub(crate) fn want(tx: &mut Tx<'_>, wanted: &[(Wanted, bool)], now: Timestamp) -> Result<()> {
    let dids: Vec<Did> = wanted.iter().map(|(one, _)| one.did.clone()).collect();
    let known = of_files(tx, &dids)?;
    let columns = [
        "id",
        "scope",
        "name",
        "rse",
        "rule_id",
        "account",
        "principal",
        "activity",
        "priority",
        "bytes",
        "adler32",
        "source_expression",
        "state",
        "attempt",
        "rounds",
        "error",
        "due_at",
        "requested_at",
    ];
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for (one, try_now) in wanted {
        if let Some(known) = known.get(&one.did).into_iter().flatten().find(|known| known.rse == one.rse) {
            if *try_now && known.state == RequestState::Failed {
                retry(tx, known)?;
            }
            continue;
        }
        // The moment is part of the identity: the same copy may be wanted, deleted and wanted again.
        let id = derived_id(&["lake.request", &one.rule_id, &one.did.to_string(), &one.rse, &now.to_string()]);
        let id = id.simple().to_string();
        let state = if *try_now { RequestState::Queued } else { RequestState::Failed };
        let error = (!try_now).then_some(NO_SOURCE);
        let due = (!try_now).then(|| now + rest(0));
        rows.push(values![
            &id,
            &one.did.scope,
            &one.did.name,
            &one.rse,
            &one.rule_id,
            &one.account,
            &one.principal,
            &one.activity,
            one.priority,
            one.bytes,
            one.adler32.clone(),
            one.source_expression.clone(),
            state.letter(),
            1_i64,
            0_i64,
            error,
            due,
            now
        ]);
        tx.enqueue(work(&id, &one.rse, one.priority).at(due.unwrap_or(now)))?;
    }
    tx.insert_many("lake_requests", &columns, &rows)?;
    Ok(())
}

/// What people read when there is nothing to copy from, or nowhere to write.
pub(crate) const NO_SOURCE: &str = "MissingSourceReplica: no copy of the file can be read at the moment";

fn work(id: &str, rse: &str, priority: i64) -> NewWork {
    NewWork::new(QUEUE, id, json!({})).lane(rse).priority(priority)
}

/// Tries a request again from now on; one that waits is brought forward.
pub(crate) fn retry(tx: &mut Tx<'_>, request: &Request) -> Result<()> {
    tx.execute(
        "UPDATE lake_requests SET state = 'Q', attempt = attempt + 1, job_id = NULL, error = NULL, due_at = NULL
         WHERE id = ?1",
        &params![&request.id],
    )?;
    tx.request(work(&request.id, &request.rse, request.priority))?;
    Ok(())
}

/// The next attempt of a request that failed, after a wait.
pub(crate) fn next_attempt(tx: &mut Tx<'_>, request: &Request, error: &str, at: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE lake_requests SET state = 'Q', attempt = attempt + 1, job_id = NULL, error = ?2, due_at = ?3
         WHERE id = ?1",
        &params![&request.id, error, at],
    )?;
    tx.request(work(&request.id, &request.rse, request.priority).at(at))?;
    Ok(())
}

/// Gives a request up until `at`.
pub(crate) fn give_up(tx: &mut Tx<'_>, request: &Request, error: &str, at: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE lake_requests SET state = 'F', rounds = rounds + 1, job_id = NULL, error = ?2, due_at = ?3
         WHERE id = ?1",
        &params![&request.id, error, at],
    )?;
    tx.request(work(&request.id, &request.rse, request.priority).at(at))?;
    Ok(())
}

/// Notes the transfer that is about to be asked for, before it is asked for. `false` when this attempt is not wanted any
/// more. One statement, so it needs no turn.
pub(crate) fn submitting(
    tx: &mut Tx<'_>,
    id: &str,
    attempt: i64,
    job_id: &str,
    source_rse: &str,
    dest_url: &str,
    now: Timestamp,
) -> Result<bool> {
    let noted = tx.execute(
        "UPDATE lake_requests SET state = 'S', job_id = ?3, source_rse = ?4, dest_url = ?5, submitted_at = ?6,
            polled_at = ?6 WHERE id = ?1 AND attempt = ?2 AND state <> 'F'",
        &params![id, attempt, job_id, source_rse, dest_url, now],
    )?;
    Ok(noted > 0)
}

/// Brings forward the waiting requests of a principal, in order after the request `after`; gives the last one.
pub(crate) fn wake_queued(tx: &mut Tx<'_>, principal: &str, after: &str, limit: usize) -> Result<Option<String>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_requests q WHERE q.principal = ?1 AND q.state = 'Q' AND q.id > ?2
         ORDER BY q.id LIMIT ?3"
    );
    let found = tx.query(&sql, &params![principal, after, limit], read)?;
    for request in &found {
        tx.request(work(&request.id, &request.rse, request.priority))?;
    }
    Ok(found.last().map(|request| request.id.clone()))
}

pub(crate) fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<Request>> {
    let sql = format!("SELECT {COLUMNS} FROM lake_requests q WHERE q.id = ?1");
    Ok(tx.query_opt(&sql, &params![id], read)?)
}

/// The request that a transfer job was made for.
pub(crate) fn of_job(tx: &mut Tx<'_>, job_id: &str) -> Result<Option<Request>> {
    let sql = format!("SELECT {COLUMNS} FROM lake_requests q WHERE q.job_id = ?1");
    Ok(tx.query_opt(&sql, &params![job_id], read)?)
}

pub(crate) fn of_files(tx: &mut Tx<'_>, files: &[Did]) -> Result<HashMap<Did, Vec<Request>>> {
    let sql =
        format!("SELECT {COLUMNS} FROM wanted JOIN lake_requests q ON q.scope = wanted.scope AND q.name = wanted.name");
    let mut found: HashMap<Did, Vec<Request>> = HashMap::new();
    for request in query_wanted(tx, &sql, &[], files, read)? {
        found.entry(request.did.clone()).or_default().push(request);
    }
    Ok(found)
}

/// The request for one copy.
pub(crate) fn of_copy(tx: &mut Tx<'_>, did: &Did, rse: &str) -> Result<Option<Request>> {
    let found = of_files(tx, std::slice::from_ref(did))?;
    Ok(found.into_values().flatten().find(|request| request.rse == rse))
}

/// Failed requests of a rule, for its next try.
pub(crate) fn failed_of_rule(tx: &mut Tx<'_>, rule: &str, limit: usize) -> Result<Vec<Request>> {
    let sql =
        format!("SELECT {COLUMNS} FROM lake_requests q WHERE q.rule_id = ?1 AND q.state = 'F' ORDER BY q.id LIMIT ?2");
    Ok(tx.query(&sql, &params![rule, limit], read)?)
}

/// How urgent the requests of a rule are from now on.
pub(crate) fn set_priority(tx: &mut Tx<'_>, rule: &str, priority: i64) -> Result<()> {
    tx.execute("UPDATE lake_requests SET priority = ?2 WHERE rule_id = ?1", &params![rule, priority])?;
    Ok(())
}

/// Submitted requests that nobody looked after since `before`; they count as looked after from now on.
pub(crate) fn to_poll(tx: &mut Tx<'_>, before: Timestamp, limit: usize, now: Timestamp) -> Result<Vec<Request>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_requests q WHERE q.state = 'S' AND q.polled_at < ?1 ORDER BY q.polled_at LIMIT ?2"
    );
    let found = tx.query(&sql, &params![before, limit], read)?;
    let rows: Vec<Vec<Value>> = found.iter().map(|request| values![&request.id, now]).collect();
    tx.update_many("lake_requests", &["id"], &["polled_at"], &rows)?;
    Ok(found)
}

/// Ends a request that nobody wants any more; a transfer that is under way is called off.
pub(crate) fn abandon(tx: &mut Tx<'_>, request: &Request) -> Result<()> {
    if let (RequestState::Submitted, Some(job_id)) = (request.state, &request.job_id) {
        tx.enqueue(NewWork::new(CANCEL, job_id.as_str(), json!({"principal": request.principal})))?;
    }
    delete(tx, request)
}

/// Requests between storage elements in some states, in order after an id. `from` is where it is read, once that is known.
pub(crate) fn page(
    tx: &mut Tx<'_>,
    to: &[String],
    states: &[RequestState],
    after: &str,
    limit: usize,
) -> Result<Vec<Request>> {
    let mut bound: Vec<Value> = values![after, limit];
    let mut marks = |texts: &mut dyn Iterator<Item = &str>| {
        let marks: Vec<String> = texts
            .map(|text| {
                bound.push(text.into());
                format!("?{}", bound.len())
            })
            .collect();
        if marks.is_empty() { "''".to_owned() } else { marks.join(", ") }
    };
    let to = marks(&mut to.iter().map(String::as_str));
    let states = marks(&mut states.iter().map(|state| state.letter()));
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_requests q WHERE q.id > ?1 AND q.rse IN ({to}) AND q.state IN ({states})
         ORDER BY q.id LIMIT ?2"
    );
    Ok(tx.query(&sql, &bound, read)?)
}

/// Ends a request whose copy is there.
pub(crate) fn fulfil(tx: &mut Tx<'_>, request: &Request, now: Timestamp) -> Result<()> {
    past_requests::note(tx, request, "D", now)?;
    delete(tx, request)
}

/// Ends a request.
pub(crate) fn delete(tx: &mut Tx<'_>, request: &Request) -> Result<()> {
    tx.execute("DELETE FROM lake_requests WHERE id = ?1", &params![&request.id])?;
    tx.forget_work(QUEUE, &request.id)?;
    Ok(())
}

/// How long a request rests after it was given up: ten minutes, then twice as long each time, at most eight hours.
pub(crate) fn rest(rounds: i64) -> Duration {
    let doublings = u32::try_from(rounds.clamp(0, 6)).unwrap_or(6);
    Duration::from_secs(600 << doublings).min(Duration::from_secs(8 * 3600))
}
