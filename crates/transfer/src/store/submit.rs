//! Writes a new job, and hands its files to the movers.

use std::collections::{BTreeMap, BTreeSet};

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_fts::{FileState, JobState};
use dte_store::{Error, NewWork, Row, Tx, params, values};
use serde_json::json;
use uuid::Uuid;

use crate::model::ban::BanStatus;
use crate::model::lane::Lane;
use crate::model::rules::{DEFAULT_ACTIVITY, named_activity};
use crate::model::submission::{NewFile, NewJob};
use crate::store::row::FileRow;
use crate::store::{COPY_QUEUE, DISPATCH_QUEUE, ban, rules};

/// Jobs up to this size are handed over with their submission, larger ones in pieces of this size afterwards, so that no
/// transaction holds the database for long and small jobs need not queue behind all of a large one.
pub const PIECE: usize = 200;

/// Who submits.
#[derive(Clone, Debug)]
pub struct Submitter {
    pub owner: UserRef,
    pub user_dn: String,
    pub cred_id: String,
    pub vo: String,
}

/// How a submission ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// There is a job of this identifier.
    Exists,
    /// The submitter, or this storage, is kept out.
    Banned(String),
}

/// Writes the job, its files and the work that they are.
pub fn insert(tx: &mut Tx<'_>, job_id: Uuid, job: &NewJob, by: &Submitter, now: Timestamp) -> Result<Inserted, Error> {
    if ban::is_user_banned(tx, &by.user_dn)? {
        return Ok(Inserted::Banned(by.user_dn.clone()));
    }
    let ends = job.files.iter().flat_map(|file| [file.source.storage_element(), file.destination.storage_element()]);
    let ends: BTreeSet<String> = ends.collect();
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    if let Some((storage, BanStatus::Cancel | BanStatus::Wait)) = ban::first_banned(tx, &ends)? {
        return Ok(Inserted::Banned(storage));
    }
    let owner = serde_json::to_string(&by.owner).map_err(|error| Error::Invalid(error.to_string()))?;
    let job_params = serde_json::to_string(&job.params).map_err(|error| Error::Invalid(error.to_string()))?;
    let new = tx.execute(
        "INSERT INTO transfer_jobs (job_id, state, job_type, owner, user_dn, cred_id, vo, source_se, dest_se, priority, params,
           cancelled, submitted, dispatched, files)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?12, 0, ?13) ON CONFLICT (job_id) DO NOTHING",
        &params![
            job_id,
            JobState::Submitted.as_str(),
            job.job_type.as_str(),
            owner,
            &by.user_dn,
            &by.cred_id,
            &by.vo,
            common(&job.files, |file| file.source.storage_as_written()),
            common(&job.files, |file| file.destination.storage_as_written()),
            job.params.priority,
            job_params,
            now,
            job.files.len()
        ],
    )?;
    if new == 0 {
        return Ok(Inserted::Exists);
    }
    let rows: Vec<Vec<dte_store::Value>> =
        job.files.iter().map(|file| file_values(job_id, file, &by.vo, job.params.priority)).collect();
    tx.insert_many("transfer_files", FILE_INSERT_COLUMNS, &rows)?;
    if dispatch(tx, job_id)? == Dispatched::More {
        tx.enqueue(NewWork::new(DISPATCH_QUEUE, job_id.to_string(), json!({})))?;
    }
    Ok(Inserted::New)
}

/// The value that is the same for all files, if it is.
fn common(files: &[NewFile], of: impl Fn(&NewFile) -> String) -> Option<String> {
    let first = files.first().map(&of)?;
    files.iter().all(|file| of(file) == first).then_some(first)
}

const FILE_INSERT_COLUMNS: &[&str] = &[
    "job_id",
    "file_index",
    "state",
    "initial_state",
    "source",
    "destination",
    "source_se",
    "dest_se",
    "lane",
    "activity",
    "strategy",
    "checksum",
    "user_filesize",
    "metadata",
    "staging_metadata",
    "archive_metadata",
    "scitag",
    "hashed_id",
    "retries",
];

fn file_values(job_id: Uuid, file: &NewFile, vo: &str, priority: i64) -> Vec<dte_store::Value> {
    let hashed = i64::from(job_id.as_bytes()[14]) << 8 | i64::from(job_id.as_bytes()[15]);
    let lane = Lane {
        from: file.source.link_end(),
        to: file.destination.link_end(),
        source: file.source.storage_element(),
        destination: file.destination.storage_element(),
        vo: vo.to_owned(),
        activity: file.activity.clone(),
        priority,
    };
    values![
        job_id,
        file.index,
        file.state.as_str(),
        FileState::Submitted.as_str(),
        file.source.as_str(),
        file.destination.as_str(),
        file.source.storage_element(),
        file.destination.storage_element(),
        lane.name(),
        &file.activity,
        file.strategy.as_str(),
        &file.checksum,
        file.user_filesize,
        file.metadata.as_ref(),
        file.staging_metadata.as_ref(),
        file.archive_metadata.as_ref(),
        file.scitag,
        hashed,
        0
    ]
}

/// Whether all of a job is with the movers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatched {
    All,
    /// A piece was handed over, and there is more.
    More,
    /// The movers still have enough of this job; jobs that came later shall not stand behind all of it.
    Enough,
}

/// Hands the next piece of a job to the movers. In a transaction of its own this is one of [`dte_store::Store::claim`].
pub fn dispatch(tx: &mut Tx<'_>, job_id: Uuid) -> Result<Dispatched, Error> {
    // Movers count what ended in the same row.
    let lock = tx.for_update();
    let sql = format!(
        "SELECT dispatched, priority, vo FROM transfer_jobs WHERE job_id = ?1 AND finished IS NULL AND cancelled = 0{lock}"
    );
    let read = |row: &Row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<String>(2)?));
    let Some((done, priority, vo)) = tx.query_opt(&sql, &params![job_id], read)? else {
        return Ok(Dispatched::All);
    };
    if done > 0 && waiting(tx, job_id, done)? >= PIECE {
        return Ok(Dispatched::Enough);
    }
    let next = tx.query(
        "SELECT file_id, lane, state FROM transfer_files WHERE job_id = ?1 AND file_id > ?2 ORDER BY file_id LIMIT ?3",
        &params![job_id, done, PIECE],
        |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?, row.get::<String>(2)?)),
    )?;
    let weights = rules::weights_of(tx, &vo)?;
    let waiting = next.iter().filter(|(.., state)| state == FileState::Submitted.as_str());
    let work: Vec<NewWork> =
        waiting.map(|(file_id, lane, _)| copy_work(*file_id, lane, priority, weights.as_ref())).collect();
    tx.enqueue_many(&work)?;
    let Some((last, ..)) = next.last() else { return Ok(Dispatched::All) };
    tx.execute("UPDATE transfer_jobs SET dispatched = ?2 WHERE job_id = ?1", &params![job_id, *last])?;
    Ok(if next.len() < PIECE { Dispatched::All } else { Dispatched::More })
}

/// How many files up to `last` the movers still have, counted up to a piece.
fn waiting(tx: &mut Tx<'_>, job_id: Uuid, last: i64) -> Result<usize, Error> {
    tx.query_one(
        "SELECT COUNT(*) FROM (SELECT 1 FROM transfer_files WHERE job_id = ?1 AND finished IS NULL AND state = ?2
           AND file_id <= ?3 LIMIT ?4) AS waiting",
        &params![job_id, FileState::Submitted.as_str(), last, PIECE],
        |row| row.get(0),
    )
}

/// Declares the copy of a file whose turn has come.
pub(super) fn enqueue_copy(tx: &mut Tx<'_>, file: &FileRow, priority: i64) -> Result<(), Error> {
    let weights = rules::weights_of(tx, &Lane::read(&file.lane).vo)?;
    tx.enqueue(copy_work(file.file_id, &file.lane, priority, weights.as_ref())).map(|_| ())
}

fn copy_work(file_id: i64, lane: &str, priority: i64, weights: Option<&BTreeMap<String, f64>>) -> NewWork {
    let said = Lane::read(lane);
    // Submitters say any activity that they like: only those that have a share have a line of their own.
    let share = weights.and_then(|weights| named_activity(weights, &said.activity));
    let activity = share.map_or(DEFAULT_ACTIVITY, |(name, _)| name).to_owned();
    // The job may have been given another priority since.
    let lane = Lane { priority, activity, ..said };
    NewWork::new(COPY_QUEUE, file_id.to_string(), json!({})).lane(lane.name()).priority(priority)
}
