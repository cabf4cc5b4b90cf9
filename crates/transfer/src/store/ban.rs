//! Storages and submitters that an administrator keeps out of transfers.
//!
//! Who or what is banned is one row; what it means for the files that wait is done in pieces afterwards, as durable work. A file
//! whose turn comes asks again, so nothing slips through between the two.

use std::collections::{BTreeSet, HashMap, HashSet};

use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobType};
use dte_store::{Error, NewWork, Row, Tx, params};
use serde_json::json;
use uuid::Uuid;

use crate::model::ban::BanStatus;
use crate::model::state::{self, Trigger};
use crate::store::advance::{end_file, settle_job, use_replica};
use crate::store::outcome::{STORAGE_BANNED, USER_BANNED};
use crate::store::row::{self, FileRow, JobRow};
use crate::store::submit::enqueue_copy;
use crate::store::{BAN_QUEUE, cancel};

/// Files that one transaction holds, releases or cancels at most.
const PIECE: usize = 200;
/// Jobs that are told at most.
const MOST_NAMED: usize = 10_000;
/// Storages that one statement names at most.
const NAMES_AT_ONCE: usize = 500;

/// A banned storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageBan {
    pub storage: String,
    pub status: BanStatus,
    pub message: Option<String>,
    pub added: Timestamp,
    pub admin: String,
}

/// A banned submitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserBan {
    pub user_dn: String,
    pub message: Option<String>,
    pub added: Timestamp,
    pub admin: String,
}

/// What work on bans is about; its text is the identifier of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Storage(String),
    User(String),
}

impl Subject {
    pub fn id(&self) -> String {
        match self {
            Subject::Storage(name) => format!("storage {name}"),
            Subject::User(name) => format!("user {name}"),
        }
    }

    pub fn parse(id: &str) -> Option<Subject> {
        match id.split_once(' ')? {
            ("storage", name) => Some(Subject::Storage(name.to_owned())),
            ("user", name) => Some(Subject::User(name.to_owned())),
            _ => None,
        }
    }
}

/// What a piece of work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    All,
    /// There is more: call again. If nobody does, the work that was declared will.
    More,
}

impl Enforced {
    fn after(files: usize) -> Enforced {
        if files >= PIECE { Enforced::More } else { Enforced::All }
    }
}

/// Bans, and tells which jobs that touches.
pub fn ban_storage(tx: &mut Tx<'_>, ban: &StorageBan) -> Result<BTreeSet<Uuid>, Error> {
    tx.execute(
        "INSERT INTO transfer_banned_storages (storage, status, message, added, admin) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (storage) DO UPDATE SET status = excluded.status, message = excluded.message, admin = excluded.admin",
        &params![&ban.storage, ban.status.as_str(), ban.message.as_ref(), ban.added, &ban.admin],
    )?;
    let subject = Subject::Storage(ban.storage.clone());
    declare(tx, &subject)?;
    affected(tx, &subject)
}

/// Bans, and tells which jobs that touches.
pub fn ban_user(tx: &mut Tx<'_>, ban: &UserBan) -> Result<BTreeSet<Uuid>, Error> {
    tx.execute(
        "INSERT INTO transfer_banned_users (user_dn, message, added, admin) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (user_dn) DO UPDATE SET message = excluded.message, admin = excluded.admin",
        &params![&ban.user_dn, ban.message.as_ref(), ban.added, &ban.admin],
    )?;
    let subject = Subject::User(ban.user_dn.clone());
    declare(tx, &subject)?;
    affected(tx, &subject)
}

/// Lifts a ban. One that there is not is fine.
pub fn lift(tx: &mut Tx<'_>, subject: &Subject) -> Result<(), Error> {
    let (sql, name) = match subject {
        Subject::Storage(name) => ("DELETE FROM transfer_banned_storages WHERE storage = ?1", name),
        Subject::User(name) => ("DELETE FROM transfer_banned_users WHERE user_dn = ?1", name),
    };
    tx.execute(sql, &params![name])?;
    declare(tx, subject)
}

pub(super) fn declare(tx: &mut Tx<'_>, subject: &Subject) -> Result<(), Error> {
    tx.request(NewWork::new(BAN_QUEUE, subject.id(), json!({}))).map(|_| ())
}

pub fn storages(tx: &mut Tx<'_>) -> Result<Vec<StorageBan>, Error> {
    let sql = "SELECT storage, status, message, added, admin FROM transfer_banned_storages ORDER BY storage";
    tx.query(sql, &[], |row| {
        Ok(StorageBan {
            storage: row.get(0)?,
            status: row.get::<String>(1)?.parse().map_err(|_| Error::Column { index: 1, wanted: "a ban's status" })?,
            message: row.get(2)?,
            added: row.get(3)?,
            admin: row.get(4)?,
        })
    })
}

pub fn users(tx: &mut Tx<'_>) -> Result<Vec<UserBan>, Error> {
    let sql = "SELECT user_dn, message, added, admin FROM transfer_banned_users ORDER BY user_dn";
    tx.query(sql, &[], |row| {
        Ok(UserBan { user_dn: row.get(0)?, message: row.get(1)?, added: row.get(2)?, admin: row.get(3)? })
    })
}

pub fn is_user_banned(tx: &mut Tx<'_>, user_dn: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM transfer_banned_users WHERE user_dn = ?1";
    Ok(tx.query_opt(sql, &params![user_dn], |_| Ok(()))?.is_some())
}

/// Those of these submitters who are banned.
pub(super) fn banned_users(tx: &mut Tx<'_>, names: &[&str]) -> Result<HashSet<String>, Error> {
    let sql = |marks: &str| format!("SELECT user_dn FROM transfer_banned_users WHERE user_dn IN ({marks})");
    Ok(by_names(tx, names, sql, |row| row.get::<String>(0))?.into_iter().collect())
}

/// Those of these storages that are banned, and how.
pub(super) fn banned_storages(tx: &mut Tx<'_>, names: &[&str]) -> Result<HashMap<String, BanStatus>, Error> {
    let sql = |marks: &str| format!("SELECT storage, status FROM transfer_banned_storages WHERE storage IN ({marks})");
    let read = |row: &Row| {
        let status = row.get::<String>(1)?;
        let status = status.parse().map_err(|_| Error::Column { index: 1, wanted: "a ban's status" })?;
        Ok((row.get::<String>(0)?, status))
    };
    Ok(by_names(tx, names, sql, read)?.into_iter().collect())
}

fn by_names<T>(
    tx: &mut Tx<'_>,
    names: &[&str],
    sql: impl Fn(&str) -> String,
    read: fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    for chunk in names.chunks(NAMES_AT_ONCE) {
        let marks: Vec<String> = (1..=chunk.len()).map(|n| format!("?{n}")).collect();
        let values: Vec<dte_store::Value> = chunk.iter().map(|name| (*name).into()).collect();
        found.extend(tx.query(&sql(&marks.join(", ")), &values, read)?);
    }
    Ok(found)
}

/// The first of these storages that is banned, and how.
pub fn first_banned(tx: &mut Tx<'_>, names: &[&str]) -> Result<Option<(String, BanStatus)>, Error> {
    let found = banned_storages(tx, names)?;
    // CANCEL weighs more than WAIT, and that more than WAIT_AS, which takes new jobs.
    Ok(found.into_iter().min_by(|(a, x), (b, y)| (x, a).cmp(&(y, b))))
}

/// The jobs that a ban is about to touch, told before any of its work is done.
pub fn affected(tx: &mut Tx<'_>, subject: &Subject) -> Result<BTreeSet<Uuid>, Error> {
    let mut found = BTreeSet::new();
    let mut add = |tx: &mut Tx<'_>, sql: &str, name: &str, state: Option<&str>| {
        found.extend(tx.query(sql, &params![name, state, MOST_NAMED], |row| row.get::<Uuid>(0))?);
        Ok::<_, Error>(())
    };
    let any = "(CAST(?2 AS TEXT) IS NULL OR state = ?2)";
    match subject {
        Subject::User(user_dn) => {
            let sql =
                format!("SELECT job_id FROM transfer_jobs WHERE user_dn = ?1 AND finished IS NULL AND {any} LIMIT ?3");
            add(tx, &sql, user_dn, None)?;
        }
        Subject::Storage(storage) => {
            let status = first_banned(tx, &[storage])?.map(|(_, status)| status);
            let state = (status != Some(BanStatus::Cancel)).then_some(FileState::Submitted.as_str());
            for column in ["source_se", "dest_se"] {
                let sql = format!(
                    "SELECT DISTINCT job_id FROM transfer_files WHERE {column} = ?1 AND finished IS NULL AND {any} LIMIT ?3"
                );
                add(tx, &sql, storage, state)?;
            }
        }
    }
    Ok(found)
}

/// Does what a ban, or its end, means for files that wait: a piece of it.
pub fn enforce(tx: &mut Tx<'_>, subject: &Subject, now: Timestamp) -> Result<Enforced, Error> {
    match subject {
        Subject::User(user_dn) => enforce_user(tx, user_dn, now),
        Subject::Storage(storage) => match first_banned(tx, &[storage])? {
            Some((_, BanStatus::Cancel)) => cancel_some(tx, storage, now),
            Some((_, BanStatus::Wait | BanStatus::WaitAs)) => turn(tx, storage, Trigger::Hold),
            None => turn(tx, storage, Trigger::Release),
        },
    }
}

fn touching(tx: &mut Tx<'_>, storage: &str, state: Option<FileState>) -> Result<Vec<FileRow>, Error> {
    let state = state.map(FileState::as_str);
    let mut found: Vec<FileRow> = Vec::new();
    for column in ["source_se", "dest_se"] {
        let sql = format!(
            "SELECT {} FROM transfer_files WHERE {column} = ?1 AND finished IS NULL AND (CAST(?2 AS TEXT) IS NULL OR state = ?2)
             ORDER BY file_id LIMIT ?3",
            row::FILE_COLUMNS
        );
        for file in tx.query(&sql, &params![storage, state, PIECE], row::read_file)? {
            if found.len() < PIECE && found.iter().all(|known| known.file_id != file.file_id) {
                found.push(file);
            }
        }
    }
    Ok(found)
}

fn cancel_some(tx: &mut Tx<'_>, storage: &str, now: Timestamp) -> Result<Enforced, Error> {
    let files = touching(tx, storage, None)?;
    let done = Enforced::after(files.len());
    for mut file in files {
        if let Some(job) = row::job(tx, file.job_id)? {
            cancel_file(tx, &job, &mut file, now)?;
        }
    }
    Ok(done)
}

/// Ends a file whose storage is banned; the next replica's turn comes.
pub(super) fn cancel_file(tx: &mut Tx<'_>, job: &JobRow, file: &mut FileRow, now: Timestamp) -> Result<(), Error> {
    let was_waiting_for_others = file.state == FileState::NotUsed;
    end_file(tx, job, file, Trigger::Cancel, Some(STORAGE_BANNED), now)?;
    if job.job_type == JobType::MultipleReplica && !was_waiting_for_others {
        use_replica(tx, job, file.file_index)?;
    }
    settle_job(tx, job, now).map(|_| ())
}

/// Holds files that wait for their turn, or lets those go on that were held.
fn turn(tx: &mut Tx<'_>, storage: &str, trigger: Trigger) -> Result<Enforced, Error> {
    let from = if trigger == Trigger::Hold { FileState::Submitted } else { FileState::OnHold };
    let files = touching(tx, storage, Some(from))?;
    let done = Enforced::after(files.len());
    for file in files {
        let Some(state) = state::next(file.state, trigger) else { continue };
        set_state(tx, file.file_id, state)?;
        if trigger == Trigger::Release
            && let Some(job) = row::job(tx, file.job_id)?
        {
            enqueue_copy(tx, &file, job.priority)?;
        }
    }
    Ok(done)
}

pub(super) fn set_state(tx: &mut Tx<'_>, file_id: i64, state: FileState) -> Result<(), Error> {
    let sql = "UPDATE transfer_files SET state = ?2 WHERE file_id = ?1 AND finished IS NULL";
    tx.execute(sql, &params![file_id, state.as_str()]).map(|_| ())
}

fn enforce_user(tx: &mut Tx<'_>, user_dn: &str, now: Timestamp) -> Result<Enforced, Error> {
    if !is_user_banned(tx, user_dn)? {
        return Ok(Enforced::All);
    }
    let next = tx.query_opt(
        "SELECT job_id FROM transfer_jobs WHERE user_dn = ?1 AND finished IS NULL LIMIT 1",
        &params![user_dn],
        |row| row.get::<Uuid>(0),
    )?;
    let Some(job) = next.map(|job_id| row::job(tx, job_id)).transpose()?.flatten() else {
        return Ok(Enforced::All);
    };
    cancel::job_because(tx, &job, USER_BANNED, now)?;
    Ok(Enforced::More)
}
