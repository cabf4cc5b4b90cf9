//! Moves files and jobs from state to state. Each change, the event that tells of it and the end of the work that led to it
//! are one transaction.

use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobState, JobType};
use dte_store::{Claim, Error, Tx, params, values};

use crate::model::ban::BanStatus;
use crate::model::failure::Failure;

use crate::model::state::{self, Tally, Trigger};
use crate::store::ban;
use crate::store::outcome;
use crate::store::row::{self, FileRow, JobRow};
use crate::store::submit::enqueue_copy;

/// A copy to be made now.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub job: JobRow,
    pub file: FileRow,
    /// An earlier try may have brought the file without our knowing.
    pub is_again: bool,
    pub is_last_hop: bool,
}

/// Marks the file as being copied. None when there is nothing to do (any more): then the work is over as well.
pub fn begin(
    tx: &mut Tx<'_>,
    claim: &Claim,
    file_id: i64,
    host: &str,
    now: Timestamp,
) -> Result<Option<Assignment>, Error> {
    let Some(mut file) = row::file(tx, file_id)? else { return over(tx, claim) };
    let Some(job) = row::job(tx, file.job_id)? else { return over(tx, claim) };
    if state::next(file.state, Trigger::Start).is_none() {
        return over(tx, claim);
    }
    if job.cancelled {
        end_file(tx, &job, &mut file, Trigger::Cancel, Some(outcome::CANCELED_BY_USER), now)?;
        settle_job(tx, &job, now)?;
        return over(tx, claim);
    }
    let expires = job.params.max_time_in_queue.map(Timestamp::from_seconds);
    if file.state == FileState::Submitted && expires.is_some_and(|expires| expires < now) {
        end_file(tx, &job, &mut file, Trigger::Expire, Some(outcome::WAITED_TOO_LONG), now)?;
        settle_job(tx, &job, now)?;
        return over(tx, claim);
    }
    if ban::is_user_banned(tx, &job.user_dn)? {
        end_file(tx, &job, &mut file, Trigger::Cancel, Some(outcome::USER_BANNED), now)?;
        settle_job(tx, &job, now)?;
        return over(tx, claim);
    }
    match ban::first_banned(tx, &[&file.source_se, &file.dest_se])? {
        Some((_, BanStatus::Cancel)) => {
            ban::cancel_file(tx, &job, &mut file, now)?;
            return over(tx, claim);
        }
        Some((_, BanStatus::Wait | BanStatus::WaitAs)) => {
            // A copy that was under way goes on.
            if let Some(held) = state::next(file.state, Trigger::Hold) {
                ban::set_state(tx, file_id, held)?;
                return over(tx, claim);
            }
        }
        None => {}
    }
    let is_again = file.state == FileState::Active || file.retries > 0;
    tx.execute(
        "UPDATE transfer_files SET state = ?2, host = ?3, started = COALESCE(started, ?4) WHERE file_id = ?1",
        &params![file_id, FileState::Active.as_str(), host, now],
    )?;
    if job.state == JobState::Submitted {
        tx.execute(
            "UPDATE transfer_jobs SET state = ?2 WHERE job_id = ?1 AND state = ?3",
            &params![job.job_id, JobState::Active.as_str(), JobState::Submitted.as_str()],
        )?;
    }
    let is_last_hop = job.job_type != JobType::MultiHop
        || tx
            .query_opt(
                "SELECT 1 FROM transfer_files WHERE job_id = ?1 AND file_index > ?2 LIMIT 1",
                &params![job.job_id, file.file_index],
                |_| Ok(()),
            )?
            .is_none();
    file.state = FileState::Active;
    file.started = file.started.or(Some(now));
    Ok(Some(Assignment { job, file, is_again, is_last_hop }))
}

fn over<T>(tx: &mut Tx<'_>, claim: &Claim) -> Result<Option<T>, Error> {
    tx.finished(claim)?;
    Ok(None)
}

/// The copy is there: `bytes` with this checksum.
pub fn succeed(
    tx: &mut Tx<'_>,
    claim: &Claim,
    assignment: &Assignment,
    bytes: u64,
    adler32: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let Assignment { job, file, .. } = assignment;
    if let Some(mut file) = still_active(tx, file.file_id)? {
        file.bytes = i64::try_from(bytes).ok();
        file.adler32 = Some(adler32.to_owned());
        end_file(tx, job, &mut file, Trigger::Succeed, None, now)?;
        if job.job_type == JobType::MultiHop {
            use_next(tx, job, "file_index > ?2", file.file_index)?;
        }
        settle_job(tx, job, now)?;
    }
    tx.finished(claim)
}

/// The copy failed and will not be tried again.
pub fn fail_for_good(
    tx: &mut Tx<'_>,
    claim: &Claim,
    assignment: &Assignment,
    failure: &Failure,
    now: Timestamp,
) -> Result<(), Error> {
    let Assignment { job, file, .. } = assignment;
    if let Some(mut file) = still_active(tx, file.file_id)? {
        file.recoverable = Some(failure.recoverable);
        end_file(tx, job, &mut file, Trigger::FailForGood, Some(&failure.to_string()), now)?;
        if job.job_type == JobType::MultipleReplica {
            use_replica(tx, job, file.file_index)?;
        }
        settle_job(tx, job, now)?;
    }
    tx.finished(claim)
}

/// The copy failed and will be tried again. `false` when the file ended meanwhile: then the work is over.
pub fn fail_for_now(
    tx: &mut Tx<'_>,
    claim: &Claim,
    assignment: &Assignment,
    failure: &Failure,
    host: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(file) = still_active(tx, assignment.file.file_id)? else {
        tx.finished(claim)?;
        return Ok(false);
    };
    let attempt = file.retries + 1;
    let reason = failure.to_string();
    tx.execute(
        "UPDATE transfer_files SET state = ?2, retries = ?3, reason = ?4, recoverable = 1 WHERE file_id = ?1",
        &params![file.file_id, FileState::Submitted.as_str(), attempt, &reason],
    )?;
    tx.execute(
        "INSERT INTO transfer_retries (file_id, attempt, time, reason, host) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
        &params![file.file_id, attempt, now, &reason, host],
    )?;
    Ok(true)
}

fn still_active(tx: &mut Tx<'_>, file_id: i64) -> Result<Option<FileRow>, Error> {
    Ok(row::file(tx, file_id)?.filter(|file| file.state == FileState::Active))
}

/// Writes the end of a file and tells of it. `file` carries what the end found out.
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
    tx.update_many("transfer_files", &["file_id"], &["state", "reason", "finished"], &rows)?;
    files.iter().try_for_each(|file| tx.emit(outcome::file_event(job, file)))
}

/// The turn of the next replica has come.
pub(super) fn use_replica(tx: &mut Tx<'_>, job: &JobRow, index: i64) -> Result<(), Error> {
    use_next(tx, job, "file_index = ?2", index)
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
