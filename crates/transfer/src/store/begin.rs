//! Files whose turn has come: several at once, in one transaction of [`dte_store::Store::claim`].

use std::collections::{BTreeSet, HashMap, HashSet};

use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobState, JobType};
use dte_store::{Claim, Error, Tx, Value, values};
use uuid::Uuid;

use crate::model::ban::BanStatus;
use crate::model::state::{self, Trigger};
use crate::store::advance::{end_file, settle_job};
use crate::store::row::{self, FileRow, JobRow};
use crate::store::{ban, outcome};

/// A copy to be made now.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub job: JobRow,
    pub file: FileRow,
    /// An earlier try may have brought the file without our knowing.
    pub is_again: bool,
    pub is_last_hop: bool,
}

/// A file that a mover was given.
#[derive(Clone, Debug)]
pub struct Taken {
    pub claim: Claim,
    pub file_id: i64,
}

/// What is to be done with a file whose turn has come.
enum Turn {
    Copy,
    /// Nothing (any more).
    Over,
    /// Its storage is to wait.
    Hold(FileState),
    /// It ends without a copy.
    End(Trigger, &'static str),
    /// Its storage is banned.
    Banned,
}

/// Marks the files as being copied. None for those of which there is nothing to do (any more): their work is over as well.
pub fn begin(tx: &mut Tx<'_>, taken: &[Taken], host: &str, now: Timestamp) -> Result<Vec<Option<Assignment>>, Error> {
    let ids: Vec<i64> = taken.iter().map(|taken| taken.file_id).collect();
    let jobs = row::jobs_of_files(tx, &ids)?;
    let files: HashMap<i64, FileRow> =
        row::files_by_id(tx, &ids)?.into_iter().map(|file| (file.file_id, file)).collect();
    // Whoever lost a claim begins nothing, and the file's own claim may be in the same batch.
    let held = tx.still_ours(&taken.iter().map(|taken| &taken.claim).collect::<Vec<_>>())?;
    let bans = Bans::of(tx, &jobs, &files)?;
    let mut held_back = BTreeSet::new();
    let (mut answers, mut rows, mut over) = (Vec::with_capacity(taken.len()), Vec::new(), Vec::new());
    for (Taken { claim, file_id }, is_ours) in taken.iter().zip(held) {
        if !is_ours {
            answers.push(None);
            continue;
        }
        let known = files.get(file_id).and_then(|file| Some((file, jobs.get(&file.job_id)?)));
        let turn = known.map_or(Turn::Over, |(file, job)| bans.turn(file, job, now));
        let (Some((file, job)), Turn::Copy) = (known, &turn) else {
            if let Some((file, job)) = known {
                put_aside(tx, job, file.clone(), &turn, now)?;
                if matches!(turn, Turn::Hold(_)) {
                    held_back.extend(bans.waiting_for(file).map(str::to_owned));
                }
            }
            over.push(claim);
            answers.push(None);
            continue;
        };
        rows.push(values![*file_id, FileState::Active.as_str(), host, file.started.unwrap_or(now)]);
        let is_last_hop = job.job_type != JobType::MultiHop || row::is_last(tx, file)?;
        let mut active = file.clone();
        active.state = FileState::Active;
        active.started = file.started.or(Some(now));
        answers.push(Some(Assignment {
            job: job.clone(),
            is_again: file.state == FileState::Active || file.retries > 0,
            file: active,
            is_last_hop,
        }));
    }
    tx.update_many("transfer_files", &["file_id"], &["state", "host", "started"], &rows)?;
    let begun: HashSet<Uuid> = answers.iter().flatten().map(|assignment| assignment.job.job_id).collect();
    let waiting = jobs.values().filter(|job| job.state == JobState::Submitted && begun.contains(&job.job_id));
    let waiting: Vec<Vec<Value>> =
        waiting.map(|job| values![job.job_id, JobState::Submitted.as_str(), JobState::Active.as_str()]).collect();
    for row in &waiting {
        tx.execute("UPDATE transfer_jobs SET state = ?3 WHERE job_id = ?1 AND state = ?2", row)?;
    }
    // A ban may have been lifted since it was read, and what it held released before this file was held: looked at once more.
    for storage in held_back {
        ban::declare(tx, &ban::Subject::Storage(storage))?;
    }
    tx.finished_many(&over)?;
    Ok(answers)
}

/// What becomes of a file that is not copied now.
fn put_aside(tx: &mut Tx<'_>, job: &JobRow, mut file: FileRow, turn: &Turn, now: Timestamp) -> Result<(), Error> {
    match turn {
        Turn::Copy | Turn::Over => Ok(()),
        Turn::Hold(held) => ban::set_state(tx, file.file_id, *held),
        Turn::End(trigger, reason) => {
            end_file(tx, job, &mut file, *trigger, Some(reason), now)?;
            settle_job(tx, job, now).map(|_| ())
        }
        Turn::Banned => ban::cancel_file(tx, job, &mut file, now),
    }
}

/// Who and what is banned among those that these files are about.
struct Bans {
    users: HashSet<String>,
    storages: HashMap<String, BanStatus>,
}

impl Bans {
    fn of(tx: &mut Tx<'_>, jobs: &HashMap<Uuid, JobRow>, files: &HashMap<i64, FileRow>) -> Result<Bans, Error> {
        let users: HashSet<&str> = jobs.values().map(|job| job.user_dn.as_str()).collect();
        let storages: HashSet<&str> =
            files.values().flat_map(|file| [file.source_se.as_str(), file.dest_se.as_str()]).collect();
        Ok(Bans {
            users: ban::banned_users(tx, &Vec::from_iter(users))?,
            storages: ban::banned_storages(tx, &Vec::from_iter(storages))?,
        })
    }

    /// The banned storages of a file.
    fn waiting_for<'a>(&'a self, file: &'a FileRow) -> impl Iterator<Item = &'a str> {
        [&file.source_se, &file.dest_se]
            .into_iter()
            .filter(|name| self.storages.contains_key(*name))
            .map(String::as_str)
    }

    fn turn(&self, file: &FileRow, job: &JobRow, now: Timestamp) -> Turn {
        if state::next(file.state, Trigger::Start).is_none() {
            return Turn::Over;
        }
        if job.cancelled {
            return Turn::End(Trigger::Cancel, outcome::CANCELED_BY_USER);
        }
        let expires = job.params.max_time_in_queue.map(Timestamp::from_seconds);
        if file.state == FileState::Submitted && expires.is_some_and(|expires| expires < now) {
            return Turn::End(Trigger::Expire, outcome::WAITED_TOO_LONG);
        }
        if self.users.contains(&job.user_dn) {
            return Turn::End(Trigger::Cancel, outcome::USER_BANNED);
        }
        let ends = [&file.source_se, &file.dest_se];
        match ends.into_iter().filter_map(|name| self.storages.get(name)).min() {
            Some(BanStatus::Cancel) => Turn::Banned,
            // A copy that was under way goes on.
            Some(BanStatus::Wait | BanStatus::WaitAs) => {
                state::next(file.state, Trigger::Hold).map_or(Turn::Copy, Turn::Hold)
            }
            None => Turn::Copy,
        }
    }
}
