//! Forgets what ended long ago, and finds what no mover would ever end.

use dte_base::time::Timestamp;
use dte_protocol_fts::FileState;
use dte_store::{Error, Tx, params};
use uuid::Uuid;

use crate::store::advance::settle_job;
use crate::store::submit::enqueue_copy;
use crate::store::{COPY_QUEUE, row};

/// Jobs that one transaction forgets at most.
const AT_ONCE: i64 = 20;
/// Files that are being copied that one look goes through, and jobs that one look finds.
const LOOKED_AT: i64 = 10_000;
const FOUND_AT_ONCE: i64 = 200;

/// Removes some jobs that ended before `limit`; answers how many.
pub fn some_before(tx: &mut Tx<'_>, limit: Timestamp) -> Result<usize, Error> {
    let old = tx.query(
        "SELECT job_id FROM transfer_jobs WHERE finished < ?1 ORDER BY finished LIMIT ?2",
        &params![limit, AT_ONCE],
        |row| row.get::<String>(0),
    )?;
    for job_id in &old {
        tx.execute(
            "DELETE FROM transfer_retries WHERE file_id IN (SELECT file_id FROM transfer_files WHERE job_id = ?1)",
            &params![job_id],
        )?;
        tx.execute("DELETE FROM transfer_files WHERE job_id = ?1", &params![job_id])?;
        tx.execute("DELETE FROM transfer_jobs WHERE job_id = ?1", &params![job_id])?;
    }
    Ok(old.len())
}

/// What nobody works on although it has not ended. Movers of another version may leave such behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that are said to be copied while nobody has them.
    pub files: Vec<i64>,
    /// Jobs whose files have all ended.
    pub jobs: Vec<Uuid>,
}

/// Finds it, as it is at one moment: a mover that has a file changes both in one transaction.
pub fn lost(tx: &mut Tx<'_>) -> Result<Lost, Error> {
    let sql = "SELECT file_id FROM transfer_files WHERE finished IS NULL AND state = ?1 LIMIT ?2";
    let active = tx.query(sql, &params![FileState::Active.as_str(), LOOKED_AT], |row| row.get::<i64>(0))?;
    let mut files = Vec::new();
    for file_id in active {
        if !tx.has_work(COPY_QUEUE, &file_id.to_string())? {
            files.push(file_id);
        }
    }
    let jobs = tx.query(
        "SELECT job_id FROM transfer_jobs WHERE finished IS NULL AND NOT EXISTS (SELECT 1 FROM transfer_files f
           WHERE f.job_id = transfer_jobs.job_id AND f.finished IS NULL AND f.state <> ?1) LIMIT ?2",
        &params![FileState::NotUsed.as_str(), FOUND_AT_ONCE],
        |row| row.get(0),
    )?;
    Ok(Lost { files, jobs })
}

/// Has such files copied again (what has arrived already is found then), and ends such jobs.
pub fn recover(tx: &mut Tx<'_>, lost: &Lost, now: Timestamp) -> Result<(), Error> {
    for file_id in &lost.files {
        let file = row::file(tx, *file_id)?.filter(|file| file.state == FileState::Active);
        let Some(file) = file else { continue };
        if let Some(job) = row::job(tx, file.job_id)? {
            enqueue_copy(tx, &file, job.priority)?;
        }
    }
    for job_id in &lost.jobs {
        if let Some(job) = row::job(tx, *job_id)? {
            settle_job(tx, &job, now)?;
        }
    }
    Ok(())
}
