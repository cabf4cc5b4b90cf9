//! Jobs and files as they stand in the database.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_fts::{FileState, JobState, JobType};
use dte_store::{Error, Row, Tx, params};
use serde_json::Value;
use uuid::Uuid;

use crate::model::params::JobParams;
use crate::model::place::storage_key;

/// A job.
#[derive(Clone, Debug)]
pub struct JobRow {
    pub job_id: Uuid,
    pub state: JobState,
    pub job_type: JobType,
    pub owner: UserRef,
    pub user_dn: String,
    /// Tells submitters apart; `user_dn` of two issuers may be the same.
    pub cred_id: String,
    pub vo: String,
    pub source_se: Option<String>,
    pub dest_se: Option<String>,
    pub priority: i64,
    pub params: JobParams,
    pub reason: Option<String>,
    pub cancelled: bool,
    pub submitted: Timestamp,
    pub finished: Option<Timestamp>,
}

pub(super) const JOB_COLUMNS: &str = "job_id, state, job_type, owner, user_dn, cred_id, vo, source_se, dest_se, priority, \
    params, reason, cancelled, submitted, finished";

/// A text column as a word, a JSON document, or whatever else parses.
fn parsed<T: std::str::FromStr>(row: &Row, index: usize, wanted: &'static str) -> Result<T, Error> {
    row.get::<String>(index)?.parse().map_err(|_| Error::Column { index, wanted })
}

fn json<T: serde::de::DeserializeOwned>(row: &Row, index: usize, wanted: &'static str) -> Result<T, Error> {
    serde_json::from_str(&row.get::<String>(index)?).map_err(|_| Error::Column { index, wanted })
}

fn job_type(row: &Row, index: usize) -> Result<JobType, Error> {
    parsed(row, index, "a job type")
}

pub(super) fn read_job(row: &Row) -> Result<JobRow, Error> {
    Ok(JobRow {
        job_id: row.get(0)?,
        state: parsed(row, 1, "a job state")?,
        job_type: job_type(row, 2)?,
        owner: json(row, 3, "a user")?,
        user_dn: row.get(4)?,
        cred_id: row.get(5)?,
        vo: row.get(6)?,
        source_se: row.get(7)?,
        dest_se: row.get(8)?,
        priority: row.get(9)?,
        params: json(row, 10, "job parameters")?,
        reason: row.get(11)?,
        cancelled: row.get(12)?,
        submitted: row.get(13)?,
        finished: row.get(14)?,
    })
}

/// A file of a job.
#[derive(Clone, Debug)]
pub struct FileRow {
    pub file_id: i64,
    pub job_id: Uuid,
    pub file_index: i64,
    pub state: FileState,
    pub initial_state: FileState,
    pub source: String,
    pub destination: String,
    /// Under their one name ([`storage_key`]).
    pub source_se: String,
    pub dest_se: String,
    pub lane: String,
    pub activity: String,
    pub strategy: String,
    pub checksum: String,
    pub user_filesize: Option<i64>,
    pub metadata: Option<Value>,
    pub staging_metadata: Option<Value>,
    pub archive_metadata: Option<Value>,
    pub scitag: Option<i64>,
    pub hashed_id: i64,
    /// What was copied.
    pub bytes: Option<i64>,
    pub adler32: Option<String>,
    pub reason: Option<String>,
    pub recoverable: Option<bool>,
    pub retries: u32,
    pub host: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

pub(super) const FILE_COLUMNS: &str = "file_id, job_id, file_index, state, initial_state, source, destination, source_se, \
    dest_se, lane, activity, strategy, checksum, user_filesize, metadata, staging_metadata, archive_metadata, scitag, \
    hashed_id, bytes, adler32, reason, recoverable, retries, host, started, finished";

/// The one name of a storage; older movers wrote others.
fn storage(row: &Row, index: usize) -> Result<String, Error> {
    let name: String = row.get(index)?;
    Ok(storage_key(&name).unwrap_or(name))
}

pub(super) fn read_file(row: &Row) -> Result<FileRow, Error> {
    Ok(FileRow {
        file_id: row.get(0)?,
        job_id: row.get(1)?,
        file_index: row.get(2)?,
        state: parsed(row, 3, "a file state")?,
        initial_state: parsed(row, 4, "a file state")?,
        source: row.get(5)?,
        destination: row.get(6)?,
        source_se: storage(row, 7)?,
        dest_se: storage(row, 8)?,
        lane: row.get(9)?,
        activity: row.get(10)?,
        strategy: row.get(11)?,
        checksum: row.get(12)?,
        user_filesize: row.get(13)?,
        metadata: row.get(14)?,
        staging_metadata: row.get(15)?,
        archive_metadata: row.get(16)?,
        scitag: row.get(17)?,
        hashed_id: row.get(18)?,
        bytes: row.get(19)?,
        adler32: row.get(20)?,
        reason: row.get(21)?,
        recoverable: row.get(22)?,
        retries: row.get(23)?,
        host: row.get(24)?,
        started: row.get(25)?,
        finished: row.get(26)?,
    })
}

pub fn job(tx: &mut Tx<'_>, job_id: Uuid) -> Result<Option<JobRow>, Error> {
    tx.query_opt(&format!("SELECT {JOB_COLUMNS} FROM transfer_jobs WHERE job_id = ?1"), &params![job_id], read_job)
}

pub fn file(tx: &mut Tx<'_>, file_id: i64) -> Result<Option<FileRow>, Error> {
    tx.query_opt(&format!("SELECT {FILE_COLUMNS} FROM transfer_files WHERE file_id = ?1"), &params![file_id], read_file)
}

/// All files of a job, in the order of the submission.
pub fn files(tx: &mut Tx<'_>, job_id: Uuid) -> Result<Vec<FileRow>, Error> {
    let sql = format!("SELECT {FILE_COLUMNS} FROM transfer_files WHERE job_id = ?1 ORDER BY file_id");
    tx.query(&sql, &params![job_id], read_file)
}

/// Some of the files of a job that have not ended.
pub fn open_files(tx: &mut Tx<'_>, job_id: Uuid, limit: usize) -> Result<Vec<FileRow>, Error> {
    let sql = format!(
        "SELECT {FILE_COLUMNS} FROM transfer_files WHERE job_id = ?1 AND finished IS NULL ORDER BY file_id LIMIT ?2"
    );
    tx.query(&sql, &params![job_id, limit], read_file)
}

/// The tries of a file that were followed by another.
pub fn retries(tx: &mut Tx<'_>, file_id: i64) -> Result<Vec<dte_protocol_fts::Retry>, Error> {
    let sql = "SELECT file_id, attempt, time, reason, host FROM transfer_retries WHERE file_id = ?1 ORDER BY attempt";
    tx.query(sql, &params![file_id], |row| {
        Ok(dte_protocol_fts::Retry {
            file_id: row.get(0)?,
            attempt: row.get(1)?,
            datetime: row.get::<Timestamp>(2)?.into(),
            reason: row.get(3)?,
            transfer_host: row.get(4)?,
            log_file: None,
        })
    })
}

/// Identifiers that one statement names at most.
const IDS_AT_ONCE: usize = 500;

/// Those of the jobs that there are.
pub fn jobs(tx: &mut Tx<'_>, ids: &[Uuid]) -> Result<Vec<JobRow>, Error> {
    by_ids(tx, ids, |marks| format!("SELECT {JOB_COLUMNS} FROM transfer_jobs WHERE job_id IN ({marks})"), read_job)
}

/// The files of several jobs, each job's in the order of its submission.
pub fn files_of(tx: &mut Tx<'_>, ids: &[Uuid]) -> Result<Vec<FileRow>, Error> {
    by_ids(
        tx,
        ids,
        |marks| format!("SELECT {FILE_COLUMNS} FROM transfer_files WHERE job_id IN ({marks}) ORDER BY job_id, file_id"),
        read_file,
    )
}

/// Some files, kept from others until the end of the transaction. Their jobs come first: see [`jobs_of_files`].
pub(super) fn files_by_id(tx: &mut Tx<'_>, ids: &[i64]) -> Result<Vec<FileRow>, Error> {
    let lock = tx.for_update();
    let sql = |marks: &str| {
        format!("SELECT {FILE_COLUMNS} FROM transfer_files WHERE file_id IN ({marks}) ORDER BY file_id{lock}")
    };
    by_ids(tx, ids, sql, read_file)
}

/// The jobs of some files, kept from others until the end of the transaction, in one order for all who ask.
pub(super) fn jobs_of_files(tx: &mut Tx<'_>, ids: &[i64]) -> Result<HashMap<Uuid, JobRow>, Error> {
    let sql = |marks: &str| format!("SELECT DISTINCT job_id FROM transfer_files WHERE file_id IN ({marks})");
    let mut jobs = by_ids(tx, ids, sql, |row| row.get::<Uuid>(0))?;
    jobs.sort_unstable();
    jobs.dedup();
    let lock = tx.for_update();
    let sql = |marks: &str| {
        format!("SELECT {JOB_COLUMNS} FROM transfer_jobs WHERE job_id IN ({marks}) ORDER BY job_id{lock}")
    };
    Ok(by_ids(tx, &jobs, sql, read_job)?.into_iter().map(|job| (job.job_id, job)).collect())
}

/// Whether no file of its job comes after this one.
pub(super) fn is_last(tx: &mut Tx<'_>, file: &FileRow) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM transfer_files WHERE job_id = ?1 AND file_index > ?2 LIMIT 1";
    Ok(tx.query_opt(sql, &params![file.job_id, file.file_index], |_| Ok(()))?.is_none())
}

fn by_ids<T, I>(
    tx: &mut Tx<'_>,
    ids: &[I],
    sql: impl Fn(&str) -> String,
    read: fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, Error>
where
    for<'a> &'a I: Into<dte_store::Value>,
{
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(IDS_AT_ONCE) {
        let marks: Vec<String> = (1..=chunk.len()).map(|n| format!("?{n}")).collect();
        let values: Vec<dte_store::Value> = chunk.iter().map(Into::into).collect();
        found.extend(tx.query(&sql(&marks.join(", ")), &values, read)?);
    }
    Ok(found)
}
