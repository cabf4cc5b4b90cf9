//! How files and jobs end. Each change, the event that tells of it and the end of the work that led to it are one transaction.
//!
//! Whoever ends files counts them in their job's row (`note_ended`) before looking whether it was the last: so two that end
//! files of one job at the same time follow each other there, whatever the isolation of their transactions, and one of them
//! sees that nothing is left.

use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobState};
use dte_store::{Error, Tx, params, values};

use crate::model::state::{self, Tally, Trigger};
use crate::store::outcome;
use crate::store::row::{self, FileRow, JobRow};
use crate::store::submit::enqueue_copy;

/// Counts files of a job that end in this transaction. Says whether some of the job's files have not ended yet.
pub(super) fn note_ended(tx: &mut Tx<'_>, job: &JobRow, files: usize) -> Result<bool, Error> {
    let sql = "UPDATE transfer_jobs SET ended = ended + ?2 WHERE job_id = ?1 RETURNING files - ended";
    Ok(tx.query_opt(sql, &params![job.job_id, files], |row| row.get::<i64>(0))?.is_some_and(|open| open > 0))
}

/// Writes the end of one file, counts it and tells of it. `file` carries what the end found out.
pub(super) fn end_file(
    tx: &mut Tx<'_>,
    job: &JobRow,
    file: &mut FileRow,
    trigger: Trigger,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(state) = state::next(file.state, trigger) else {
        return Err(Error::Invalid(format!("file {} is {}, which {trigger:?} does not end", file.file_id, file.state)));
    };
    file.state = state;
    file.reason = reason.map(str::to_owned);
    file.finished = Some(now);
    note_ended(tx, job, 1)?;
    tx.execute(
        "UPDATE transfer_files SET state = ?2, reason = ?3, finished = ?4, bytes = ?5, adler32 = ?6, recoverable = ?7
         WHERE file_id = ?1",
        &params![file.file_id, state.as_str(), reason, now, file.bytes, file.adler32.as_ref(), file.recoverable],
    )?;
    tx.emit(outcome::file_event(job, file))
}

/// What a job says of its end. One that was cancelled says what its files say.
fn why(tx: &mut Tx<'_>, job: &JobRow, state: JobState) -> Result<Option<String>, Error> {
    let general = outcome::job_reason(state).map(str::to_owned);
    if state != JobState::Canceled {
        return Ok(general);
    }
    let sql = "SELECT reason FROM transfer_files WHERE job_id = ?1 AND state = ?2 AND reason IN (?3, ?4) LIMIT 1";
    let banned = params![job.job_id, FileState::Canceled.as_str(), outcome::STORAGE_BANNED, outcome::USER_BANNED];
    Ok(tx.query_opt(sql, &banned, |row| row.get::<String>(0))?.or(general))
}

/// Cancels files that have not ended, all in one statement, and tells of each.
pub(super) fn cancel_files(
    tx: &mut Tx<'_>,
    job: &JobRow,
    files: &mut [FileRow],
    reason: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(files.len());
    for file in files.iter_mut() {
        let Some(state) = state::next(file.state, Trigger::Cancel) else { continue };
        file.state = state;
        file.reason = Some(reason.to_owned());
        file.finished = Some(now);
        rows.push(values![file.file_id, state.as_str(), reason, now]);
    }
    note_ended(tx, job, rows.len())?;
    tx.update_many("transfer_files", &["file_id"], &["state", "reason", "finished"], &rows)?;
    tx.emit_many(files.iter().map(|file| outcome::file_event(job, file)).collect())
}

/// The turn of the next replica has come.
pub(super) fn use_replica(tx: &mut Tx<'_>, job: &JobRow, index: i64) -> Result<(), Error> {
    use_next(tx, job, "file_index = ?2", index)
}

/// The turn of the next hop has come.
pub(super) fn use_hop(tx: &mut Tx<'_>, job: &JobRow, index: i64) -> Result<(), Error> {
    use_next(tx, job, "file_index > ?2", index)
}

/// The turn of the next waiting replica or hop has come.
fn use_next(tx: &mut Tx<'_>, job: &JobRow, which: &str, index: i64) -> Result<(), Error> {
    let next = tx.query_opt(
        &format!(
            "SELECT {} FROM transfer_files WHERE job_id = ?1 AND {which} AND state = ?3 AND finished IS NULL
             ORDER BY file_id LIMIT 1",
            row::FILE_COLUMNS
        ),
        &params![job.job_id, index, FileState::NotUsed.as_str()],
        row::read_file,
    )?;
    let Some(next) = next else { return Ok(()) };
    let Some(state) = state::next(next.state, Trigger::Use) else { return Ok(()) };
    tx.execute("UPDATE transfer_files SET state = ?2 WHERE file_id = ?1", &params![next.file_id, state.as_str()])?;
    enqueue_copy(tx, &next, job.priority)
}

/// Ends the job when none of its files can become anything more. Answers the state that it ended in.
pub(super) fn settle_job(tx: &mut Tx<'_>, job: &JobRow, now: Timestamp) -> Result<Option<JobState>, Error> {
    let open = tx.query_opt(
        "SELECT 1 FROM transfer_files WHERE job_id = ?1 AND finished IS NULL AND state <> ?2 LIMIT 1",
        &params![job.job_id, FileState::NotUsed.as_str()],
        |_| Ok(()),
    )?;
    if open.is_some() {
        return Ok(None);
    }
    let mut tally = Tally::default();
    let counts = tx.query(
        "SELECT state, COUNT(*) FROM transfer_files WHERE job_id = ?1 GROUP BY state",
        &params![job.job_id],
        |row| Ok((row.get::<String>(0)?, row.get::<u64>(1)?)),
    )?;
    for (state, count) in counts {
        let state = state.parse().map_err(|_| Error::Column { index: 0, wanted: "a file state" })?;
        tally.add(state, count);
    }
    let Some(state) = tally.outcome(job.job_type) else { return Ok(None) };
    let reason = why(tx, job, state)?;
    let reason = reason.as_deref();
    let ended = tx.execute(
        "UPDATE transfer_jobs SET state = ?2, reason = ?3, finished = ?4 WHERE job_id = ?1 AND finished IS NULL",
        &params![job.job_id, state.as_str(), reason, now],
    )?;
    if ended > 0 {
        tx.emit(outcome::job_event(job, state, tally, reason, now))?;
    }
    Ok(Some(state))
}
