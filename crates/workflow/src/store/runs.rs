//! Runs and what came of them.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};
use serde_json::Value as Json;

use crate::model::month::Month;
use crate::model::pod::File;
use crate::model::run::State;

/// A model on an arrival.
#[derive(Clone, Debug)]
pub struct Run {
    pub uid: String,
    pub twin: String,
    pub model: String,
    pub arrival: u64,
    pub issue: Month,
    pub attempt: u32,
    /// Of the document.
    pub version: i64,
    pub state: State,
    pub reason: Option<String>,
    pub exit_code: Option<i64>,
    pub site: Option<String>,
    /// Why it ran there.
    pub why: Option<String>,
    /// What the end of the pod told, while it waits to be judged.
    pub outcome: Option<Json>,
    /// The end of the log of a run that failed.
    pub log: Option<String>,
    pub started: Timestamp,
    pub submitted: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// Microseconds.
    pub cpu: i64,
    pub wall: i64,
}

const COLUMNS: &str =
    "uid, twin, model, arrival, issue, attempt, version, state, reason, exit_code, site, why, outcome,
    log, started, submitted, ended, cpu, wall";

fn read(row: &Row) -> Result<Run, Error> {
    let state: String = row.get(7)?;
    Ok(Run {
        uid: row.get(0)?,
        twin: row.get(1)?,
        model: row.get(2)?,
        arrival: row.get(3)?,
        issue: row.get(4)?,
        attempt: row.get(5)?,
        version: row.get(6)?,
        state: State::parse(&state).ok_or_else(|| Error::Invalid(format!("a stored run is {state:?}")))?,
        reason: row.get(8)?,
        exit_code: row.get(9)?,
        site: row.get(10)?,
        why: row.get(11)?,
        outcome: row.get(12)?,
        log: row.get(13)?,
        started: row.get(14)?,
        submitted: row.get(15)?,
        ended: row.get(16)?,
        cpu: row.get(17)?,
        wall: row.get(18)?,
    })
}

pub fn get(tx: &mut Tx<'_>, uid: &str) -> Result<Option<Run>, Error> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM workflow_runs WHERE uid = ?1"), &params![uid], read)
}

/// The run of the newest arrival that this model was started on.
pub fn last(tx: &mut Tx<'_>, twin: &str, model: &str) -> Result<Option<Run>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM workflow_runs WHERE twin = ?1 AND model = ?2 ORDER BY arrival DESC LIMIT 1");
    tx.query_opt(&sql, &params![twin, model], read)
}

/// The run that a twin started last.
pub fn last_of_twin(tx: &mut Tx<'_>, twin: &str) -> Result<Option<Run>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM workflow_runs WHERE twin = ?1 ORDER BY arrival DESC, started DESC LIMIT 1");
    tx.query_opt(&sql, &params![twin], read)
}

pub fn at_arrival(tx: &mut Tx<'_>, twin: &str, model: &str, arrival: u64) -> Result<Option<Run>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM workflow_runs WHERE twin = ?1 AND model = ?2 AND arrival = ?3");
    tx.query_opt(&sql, &params![twin, model, arrival], read)
}

/// A page of runs, newest arrival first; `before` is the place where the page before ended.
pub fn page(
    tx: &mut Tx<'_>,
    twin: &str,
    state: Option<&str>,
    before: Option<(u64, String)>,
    limit: usize,
) -> Result<Vec<Run>, Error> {
    let (arrival, model) = before.unwrap_or((i64::MAX.unsigned_abs(), String::new()));
    let sql = format!(
        "SELECT {COLUMNS} FROM workflow_runs
         WHERE twin = ?1 AND (arrival < ?2 OR (arrival = ?2 AND model > ?3)) AND (state = ?4 OR ?5 = 1)
         ORDER BY arrival DESC, model LIMIT ?6"
    );
    tx.query(&sql, &params![twin, arrival, &model, state.unwrap_or_default(), state.is_none(), limit], read)
}

/// Commits to a run before anything is done about it.
pub fn insert(tx: &mut Tx<'_>, run: &Run) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO workflow_runs
           (uid, twin, model, arrival, issue, attempt, version, state, reason, why, started, cpu, wall)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0)",
        &params![
            &run.uid,
            &run.twin,
            &run.model,
            run.arrival,
            run.issue,
            run.attempt,
            run.version,
            run.state.as_str(),
            run.reason.clone(),
            run.why.clone(),
            run.started
        ],
    )?;
    Ok(())
}

/// Writes what has changed of a run whose state was `from`. `false` when it is not any more.
pub fn update(tx: &mut Tx<'_>, from: State, run: &Run) -> Result<bool, Error> {
    let changed = tx.execute(
        "UPDATE workflow_runs SET state = ?4, reason = ?5, exit_code = ?6, site = ?7, why = ?8, outcome = ?9, log = ?10,
           submitted = ?11, ended = ?12, cpu = ?13, wall = ?14
         WHERE uid = ?1 AND attempt = ?2 AND state = ?3",
        &params![
            &run.uid,
            run.attempt,
            from.as_str(),
            run.state.as_str(),
            run.reason.clone(),
            run.exit_code,
            run.site.clone(),
            run.why.clone(),
            run.outcome.clone(),
            run.log.clone(),
            run.submitted,
            run.ended,
            run.cpu,
            run.wall
        ],
    )?;
    Ok(changed > 0)
}

/// The same arrival again as another pod.
pub fn begin_again(tx: &mut Tx<'_>, old: &str, uid: &str, attempt: u32, reason: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE workflow_runs SET uid = ?2, attempt = ?3, reason = ?4, state = 'starting', outcome = NULL,
           submitted = NULL, ended = NULL, started = ?5 WHERE uid = ?1",
        &params![old, uid, attempt, reason, Timestamp::now()],
    )?;
    Ok(())
}

/// How many runs of each model are in each state.
pub fn counts(tx: &mut Tx<'_>, twin: &str) -> Result<Vec<(String, String, u64)>, Error> {
    tx.query(
        "SELECT model, state, COUNT(*) FROM workflow_runs WHERE twin = ?1 GROUP BY model, state ORDER BY model, state",
        &params![twin],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )
}

/// Runs that were handed over before `limit` and have not ended.
pub fn submitted_before(tx: &mut Tx<'_>, limit: Timestamp, most: usize) -> Result<Vec<Run>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM workflow_runs WHERE state = 'submitted' AND submitted < ?1 ORDER BY uid LIMIT ?2"
    );
    tx.query(&sql, &params![limit, most], read)
}

/// A file that a run gave back.
#[derive(Clone, Debug)]
pub struct Product {
    pub product: String,
    pub arrival: u64,
    pub issue: Month,
    pub run: String,
    pub file: File,
    pub dataset: String,
}

pub fn add_product(tx: &mut Tx<'_>, twin: &str, product: &Product) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO workflow_products (twin, product, arrival, issue, run, did, name, bytes, adler32, dataset, ready)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0) ON CONFLICT DO NOTHING",
        &params![
            twin,
            &product.product,
            product.arrival,
            product.issue,
            &product.run,
            &product.file.did,
            &product.file.name,
            product.file.bytes,
            &product.file.adler32,
            &product.dataset
        ],
    )?;
    Ok(())
}

/// The lake says that a dataset is in place; whose it is, if it is a product's.
pub fn set_product_ready(tx: &mut Tx<'_>, dataset: &str) -> Result<Option<(String, String)>, Error> {
    tx.query_opt(
        "UPDATE workflow_products SET ready = 1 WHERE dataset = ?1 AND ready = 0 RETURNING twin, product",
        &params![dataset],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The oldest dataset of a product that is not in place as far as we know.
pub fn product_not_ready(tx: &mut Tx<'_>, twin: &str, product: &str) -> Result<Option<String>, Error> {
    tx.query_opt(
        "SELECT dataset FROM workflow_products WHERE twin = ?1 AND product = ?2 AND ready = 0 ORDER BY arrival LIMIT 1",
        &params![twin, product],
        |row| row.get(0),
    )
}

/// Whether the product of an arrival is in place; `None` when there is none.
pub fn product_ready(tx: &mut Tx<'_>, twin: &str, product: &str, arrival: u64) -> Result<Option<bool>, Error> {
    tx.query_opt(
        "SELECT ready FROM workflow_products WHERE twin = ?1 AND product = ?2 AND arrival = ?3",
        &params![twin, product, arrival],
        |row| row.get(0),
    )
}

/// The product's files up to an arrival, in order.
pub fn product_files_up_to(tx: &mut Tx<'_>, twin: &str, product: &str, arrival: u64) -> Result<Vec<File>, Error> {
    tx.query(
        "SELECT did, name, bytes, adler32 FROM workflow_products
         WHERE twin = ?1 AND product = ?2 AND arrival <= ?3 ORDER BY arrival",
        &params![twin, product, arrival],
        |row| Ok(File { did: row.get(0)?, name: row.get(1)?, bytes: row.get(2)?, adler32: row.get(3)? }),
    )
}

/// How many files of a product there are, and the newest.
pub fn product_summary(tx: &mut Tx<'_>, twin: &str, product: &str) -> Result<(u64, Option<(Month, String)>), Error> {
    let count = tx.query_one(
        "SELECT COUNT(*) FROM workflow_products WHERE twin = ?1 AND product = ?2",
        &params![twin, product],
        |row| row.get(0),
    )?;
    let newest = tx.query_opt(
        "SELECT issue, did FROM workflow_products WHERE twin = ?1 AND product = ?2 ORDER BY arrival DESC LIMIT 1",
        &params![twin, product],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((count, newest))
}

/// Products of a run.
pub fn products_of(tx: &mut Tx<'_>, run: &str) -> Result<Vec<Product>, Error> {
    tx.query(
        "SELECT product, arrival, issue, run, did, name, bytes, adler32, dataset FROM workflow_products
         WHERE run = ?1 ORDER BY product",
        &params![run],
        |row| {
            Ok(Product {
                product: row.get(0)?,
                arrival: row.get(1)?,
                issue: row.get(2)?,
                run: row.get(3)?,
                file: File { did: row.get(4)?, name: row.get(5)?, bytes: row.get(6)?, adler32: row.get(7)? },
                dataset: row.get(8)?,
            })
        },
    )
}
