//! How copies ended: several at once, in one transaction of [`dte_store::Store::claim`].

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobType};
use dte_store::{Claim, Error, Event, Tx, Value, values};
use uuid::Uuid;

use crate::model::failure::Failure;
use crate::model::state::{self, Trigger};
use crate::store::advance::{note_ended, settle_job, use_hop, use_replica};
use crate::store::begin::Assignment;
use crate::store::outcome;
use crate::store::row::{self, FileRow, JobRow};

/// The end of a try.
#[derive(Clone, Debug)]
pub struct Ended {
    pub claim: Claim,
    pub assignment: Assignment,
    pub how: How,
}

#[derive(Clone, Debug)]
pub enum How {
    /// The copy is there: so many bytes with this checksum.
    Arrived { bytes: u64, adler32: String },
    /// It failed and will not be tried again.
    FailedForGood(Failure),
    /// It failed and will be tried again: the work goes on.
    FailedForNow(Failure),
}

/// Notes the ends. `true` for those whose work goes on.
pub fn finish(tx: &mut Tx<'_>, ended: &[Ended], host: &str, now: Timestamp) -> Result<Vec<bool>, Error> {
    let ids: Vec<i64> = ended.iter().map(|ended| ended.assignment.file.file_id).collect();
    let jobs = row::jobs_of_files(tx, &ids)?;
    let mut files: HashMap<i64, FileRow> =
        row::files_by_id(tx, &ids)?.into_iter().map(|file| (file.file_id, file)).collect();
    // Files that ended in another way meanwhile stay as they are.
    files.retain(|_, file| file.state == FileState::Active);
    // Another mover that took a file over records how it ends, maybe in this very batch.
    let held = tx.still_ours(&ended.iter().map(|ended| &ended.claim).collect::<Vec<_>>())?;
    let goes_on = |(ended, is_ours): (&Ended, &bool)| {
        *is_ours && matches!(ended.how, How::FailedForNow(_)) && files.contains_key(&ended.assignment.file.file_id)
    };
    let again: Vec<bool> = ended.iter().zip(&held).map(goes_on).collect();
    let over: Vec<&Ended> = ended
        .iter()
        .zip(held.iter().zip(&again))
        .filter(|(_, (held, again))| **held && !**again)
        .map(|(e, _)| e)
        .collect();
    let ours = tx.finished_many(&over.iter().map(|ended| &ended.claim).collect::<Vec<_>>())?;
    let mut batch = Batch::default();
    for (ended, is_ours) in over.into_iter().zip(ours) {
        if is_ours
            && let Some(file) = files.remove(&ended.assignment.file.file_id)
            && let Some(job) = jobs.get(&file.job_id)
        {
            batch.end(job, file, &ended.how, now);
        }
    }
    batch.write(tx, now)?;
    let (mut waiting, mut retries) = (Vec::new(), Vec::new());
    for (ended, _) in ended.iter().zip(&again).filter(|(_, again)| **again) {
        let (How::FailedForNow(failure), Some(file)) = (&ended.how, files.get(&ended.assignment.file.file_id)) else {
            continue;
        };
        let (attempt, reason) = (file.retries + 1, failure.to_string());
        waiting.push(values![file.file_id, FileState::Submitted.as_str(), attempt, &reason, true]);
        retries.push(values![file.file_id, attempt, now, &reason, host]);
    }
    tx.update_many("transfer_files", &["file_id"], &["state", "retries", "reason", "recoverable"], &waiting)?;
    tx.insert_new_many("transfer_retries", &["file_id", "attempt", "time", "reason", "host"], &retries)?;
    Ok(again)
}

/// Files that end together.
#[derive(Default)]
struct Batch<'a> {
    rows: Vec<Vec<Value>>,
    events: Vec<Event>,
    /// How many files of each job end, and whose place another takes.
    jobs: Vec<(&'a JobRow, usize)>,
    places: HashMap<Uuid, usize>,
    next: Vec<(&'a JobRow, i64)>,
}

impl<'a> Batch<'a> {
    fn end(&mut self, job: &'a JobRow, mut file: FileRow, how: &How, now: Timestamp) {
        let (trigger, another_follows) = match how {
            How::Arrived { bytes, adler32 } => {
                file.bytes = i64::try_from(*bytes).ok();
                file.adler32 = Some(adler32.clone());
                file.reason = None;
                (Trigger::Succeed, job.job_type == JobType::MultiHop)
            }
            How::FailedForGood(failure) | How::FailedForNow(failure) => {
                file.recoverable = Some(failure.recoverable);
                file.reason = Some(failure.to_string());
                (Trigger::FailForGood, job.job_type == JobType::MultipleReplica)
            }
        };
        let Some(state) = state::next(file.state, trigger) else { return };
        file.state = state;
        file.finished = Some(now);
        if another_follows {
            self.next.push((job, file.file_index));
        }
        let place = *self.places.entry(job.job_id).or_insert(self.jobs.len());
        match self.jobs.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => self.jobs.push((job, 1)),
        }
        self.rows.push(values![
            file.file_id,
            state.as_str(),
            file.reason.as_ref(),
            now,
            file.bytes,
            file.adler32.as_ref(),
            file.recoverable
        ]);
        self.events.push(outcome::file_event(job, &file));
    }

    fn write(self, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
        let columns = ["state", "reason", "finished", "bytes", "adler32", "recoverable"];
        tx.update_many("transfer_files", &["file_id"], &columns, &self.rows)?;
        tx.emit_many(self.events)?;
        for (job, index) in self.next {
            match job.job_type {
                JobType::MultiHop => use_hop(tx, job, index)?,
                _ => use_replica(tx, job, index)?,
            }
        }
        for (job, files) in self.jobs {
            let is_open = note_ended(tx, job, files)?;
            if !(is_open && job.job_type == JobType::Normal) {
                settle_job(tx, job, now)?;
            }
        }
        Ok(())
    }
}
