//! Stops jobs and files. Copies that are under way notice that their file has ended and break off.

use dte_base::time::Timestamp;
use dte_protocol_fts::FileState;
use dte_store::{Error, NewWork, Tx, params};
use serde_json::json;
use uuid::Uuid;

use crate::model::state::{self, Trigger};
use crate::store::advance::{cancel_files, end_file, settle_job};
use crate::store::outcome::CANCELED_BY_USER;
use crate::store::row::{self, FileRow, JobRow};
use crate::store::{CANCEL_QUEUE, COPY_QUEUE, DISPATCH_QUEUE};

/// Files that one transaction cancels at most.
const PIECE: usize = 200;

/// What cancelling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    Done,
    /// Some files are still to be cancelled: call again. If nobody does, the work that was declared will.
    More,
    /// It had ended before.
    WasOver,
}

/// Cancels what a job has not done yet, or a piece of that, because its submitter wants that.
pub fn job(tx: &mut Tx<'_>, job: &JobRow, now: Timestamp) -> Result<Cancelled, Error> {
    job_because(tx, job, CANCELED_BY_USER, now)
}

/// The same for another reason.
pub fn job_because(tx: &mut Tx<'_>, job: &JobRow, reason: &str, now: Timestamp) -> Result<Cancelled, Error> {
    if job.state.is_terminal() {
        return Ok(Cancelled::WasOver);
    }
    // Also when it was set before: everybody takes the job's row before those of its files.
    tx.execute("UPDATE transfer_jobs SET cancelled = 1 WHERE job_id = ?1", &params![job.job_id])?;
    if !job.cancelled {
        tx.forget_work(DISPATCH_QUEUE, &job.job_id.to_string())?;
    }
    let mut open = row::open_files(tx, job.job_id, PIECE)?;
    // Their work finds that they have ended.
    cancel_files(tx, job, &mut open, reason, now)?;
    if open.len() < PIECE {
        settle_job(tx, job, now)?;
        return Ok(Cancelled::Done);
    }
    tx.enqueue(NewWork::new(CANCEL_QUEUE, job.job_id.to_string(), json!({})))?;
    Ok(Cancelled::More)
}

/// Cancels one file, if it has not ended; answers its state afterwards.
pub fn file_of(tx: &mut Tx<'_>, job: &JobRow, file: &mut FileRow, now: Timestamp) -> Result<FileState, Error> {
    if state::next(file.state, Trigger::Cancel).is_some() {
        end_file(tx, job, file, Trigger::Cancel, Some(CANCELED_BY_USER), now)?;
        tx.forget_work(COPY_QUEUE, &file.file_id.to_string())?;
    }
    Ok(file.state)
}

/// Cancels some files of a job; answers their states, or none for a file of another job.
pub fn files(tx: &mut Tx<'_>, job: &JobRow, ids: &[i64], now: Timestamp) -> Result<Vec<Option<FileState>>, Error> {
    let mut states = Vec::with_capacity(ids.len());
    for id in ids {
        states.push(match row::file(tx, *id)?.filter(|file| file.job_id == job.job_id) {
            Some(mut file) => Some(file_of(tx, job, &mut file, now)?),
            None => None,
        });
    }
    settle_job(tx, job, now)?;
    Ok(states)
}

/// Which of these files may still be copied.
pub fn wanted(tx: &mut Tx<'_>, file_id: i64) -> Result<bool, Error> {
    let state = tx.query_opt("SELECT state FROM transfer_files WHERE file_id = ?1", &params![file_id], |row| {
        row.get::<String>(0)
    })?;
    Ok(state.as_deref() == Some(FileState::Active.as_str()))
}

/// Gives a job that has not ended another priority; files that are handed over from now on have it.
pub fn set_priority(tx: &mut Tx<'_>, job_id: Uuid, priority: i64) -> Result<bool, Error> {
    let changed = tx.execute(
        "UPDATE transfer_jobs SET priority = ?2 WHERE job_id = ?1 AND finished IS NULL",
        &params![job_id, priority],
    )?;
    Ok(changed > 0)
}
