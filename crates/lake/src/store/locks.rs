//! Locks: one for each file and storage element of a rule; and the record of where groups were placed.

use std::collections::{BTreeSet, HashMap};

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, LockState};
use dte_store::{Row, Tx, params, values};

use super::{did_at, letter, query_wanted};
use crate::error::Result;

/// A lock as stored.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub rule_id: String,
    pub did: Did,
    pub rse: String,
    pub account: String,
    pub state: LockState,
    pub bytes: i64,
}

const COLUMNS: &str = "l.rule_id, l.scope, l.name, l.rse, l.account, l.state, l.bytes";

fn read(row: &Row) -> Result<Lock, dte_store::Error> {
    Ok(Lock {
        rule_id: row.get(0)?,
        did: did_at(row, 1)?,
        rse: row.get(3)?,
        account: row.get(4)?,
        state: letter(row, 5, LockState::parse)?,
        bytes: row.get(6)?,
    })
}

pub(crate) fn insert(tx: &mut Tx<'_>, locks: &[Lock], now: Timestamp) -> Result<()> {
    let columns = ["rule_id", "scope", "name", "rse", "account", "state", "bytes", "created_at"];
    let rows: Vec<_> = locks
        .iter()
        .map(|lock| {
            values![
                &lock.rule_id,
                &lock.did.scope,
                &lock.did.name,
                &lock.rse,
                &lock.account,
                lock.state.letter(),
                lock.bytes,
                now
            ]
        })
        .collect();
    tx.insert_many("lake_locks", &columns, &rows)?;
    Ok(())
}

/// Where a rule has locks on these files.
pub(crate) fn places(tx: &mut Tx<'_>, rule: &str, files: &[Did]) -> Result<HashMap<Did, BTreeSet<String>>> {
    let sql = "SELECT l.scope, l.name, l.rse FROM wanted
               JOIN lake_locks l ON l.rule_id = ?1 AND l.scope = wanted.scope AND l.name = wanted.name";
    let mut places: HashMap<Did, BTreeSet<String>> = HashMap::new();
    let rows = query_wanted(tx, sql, &params![rule], files, |row| Ok((did_at(row, 0)?, row.get::<String>(2)?)))?;
    for (did, rse) in rows {
        places.entry(did).or_default().insert(rse);
    }
    Ok(places)
}

/// All locks on copies of these files.
pub(crate) fn on_files(tx: &mut Tx<'_>, files: &[Did]) -> Result<Vec<Lock>> {
    let sql =
        format!("SELECT {COLUMNS} FROM wanted JOIN lake_locks l ON l.scope = wanted.scope AND l.name = wanted.name");
    Ok(query_wanted(tx, &sql, &[], files, read)?)
}

/// Locks of one rule on these files.
pub(crate) fn of_rule(tx: &mut Tx<'_>, rule: &str, files: &[Did]) -> Result<Vec<Lock>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM wanted
         JOIN lake_locks l ON l.rule_id = ?1 AND l.scope = wanted.scope AND l.name = wanted.name"
    );
    Ok(query_wanted(tx, &sql, &params![rule], files, read)?)
}

/// Locks of a rule after a key, in order.
pub(crate) fn page(tx: &mut Tx<'_>, rule: &str, after: &(Did, String), limit: usize) -> Result<Vec<Lock>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_locks l WHERE l.rule_id = ?1 AND (l.scope, l.name, l.rse) > (?2, ?3, ?4)
         ORDER BY l.scope, l.name, l.rse LIMIT ?5"
    );
    Ok(tx.query(&sql, &params![rule, &after.0.scope, &after.0.name, &after.1, limit], read)?)
}

pub(crate) fn set_state(tx: &mut Tx<'_>, locks: &[&Lock], state: LockState) -> Result<()> {
    let rows: Vec<_> = locks
        .iter()
        .map(|lock| values![&lock.rule_id, &lock.did.scope, &lock.did.name, &lock.rse, state.letter()])
        .collect();
    tx.update_many("lake_locks", &["rule_id", "scope", "name", "rse"], &["state"], &rows)?;
    Ok(())
}

pub(crate) fn delete(tx: &mut Tx<'_>, locks: &[Lock]) -> Result<()> {
    for lock in locks {
        tx.execute(
            "DELETE FROM lake_locks WHERE rule_id = ?1 AND scope = ?2 AND name = ?3 AND rse = ?4",
            &params![&lock.rule_id, &lock.did.scope, &lock.did.name, &lock.rse],
        )?;
    }
    Ok(())
}

/// Whether a rule has a lock that is not OK on a file of the dataset.
pub(crate) fn any_open_in(tx: &mut Tx<'_>, rule: &str, dataset: &Did) -> Result<bool> {
    Ok(tx
        .query_opt(
            "SELECT 1 FROM lake_contents c
             JOIN lake_locks l ON l.rule_id = ?3 AND l.scope = c.child_scope AND l.name = c.child_name
             WHERE c.scope = ?1 AND c.name = ?2 AND l.state <> 'O' LIMIT 1",
            &params![&dataset.scope, &dataset.name, rule],
            |_| Ok(()),
        )?
        .is_some())
}

/// Where a rule has placed the group `key`.
pub(crate) fn placed(tx: &mut Tx<'_>, rule: &str, key: &Did) -> Result<BTreeSet<String>> {
    let rows = tx.query(
        "SELECT rse FROM lake_dataset_locks WHERE rule_id = ?1 AND scope = ?2 AND name = ?3",
        &params![rule, &key.scope, &key.name],
        |row| row.get(0),
    )?;
    Ok(rows.into_iter().collect())
}

/// Notes where groups were placed.
pub(crate) fn note_placed(
    tx: &mut Tx<'_>,
    rule: &str,
    account: &str,
    places: &[(Did, String)],
    now: Timestamp,
) -> Result<()> {
    let columns = ["rule_id", "scope", "name", "rse", "account", "created_at"];
    let rows: Vec<_> =
        places.iter().map(|(key, rse)| values![rule, &key.scope, &key.name, rse, account, now]).collect();
    tx.insert_new_many("lake_dataset_locks", &columns, &rows)?;
    Ok(())
}

pub(crate) fn forget_placed(tx: &mut Tx<'_>, rule: &str) -> Result<()> {
    tx.execute("DELETE FROM lake_dataset_locks WHERE rule_id = ?1", &params![rule])?;
    Ok(())
}

/// A dataset lock with what clients are told of it.
pub(crate) struct DatasetLock {
    pub rule_id: String,
    pub did: Did,
    pub rse: String,
    pub rse_id: String,
    pub account: String,
    pub state: LockState,
    pub length: Option<i64>,
    pub bytes: Option<i64>,
}

const DATASET_LOCK: &str = "l.rule_id, l.scope, l.name, l.rse, s.id, l.account, r.state, d.length, d.bytes
    FROM lake_dataset_locks l JOIN lake_rses s ON s.rse = l.rse JOIN lake_rules r ON r.id = l.rule_id
    JOIN lake_dids d ON d.scope = l.scope AND d.name = l.name";

fn read_dataset_lock(row: &Row) -> Result<DatasetLock, dte_store::Error> {
    let rule_state: String = row.get(6)?;
    Ok(DatasetLock {
        rule_id: row.get(0)?,
        did: did_at(row, 1)?,
        rse: row.get(3)?,
        rse_id: row.get(4)?,
        account: row.get(5)?,
        // A rule that is OK has all its locks OK; of others the caller asks further.
        state: if rule_state == "O" { LockState::Ok } else { LockState::Replicating },
        length: row.get(7)?,
        bytes: row.get(8)?,
    })
}

/// Dataset locks on a dataset.
pub(crate) fn dataset_locks_of(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<DatasetLock>> {
    let sql = format!("SELECT {DATASET_LOCK} WHERE l.scope = ?1 AND l.name = ?2 ORDER BY l.rule_id, l.rse");
    let mut found = tx.query(&sql, &params![&did.scope, &did.name], read_dataset_lock)?;
    for lock in &mut found {
        if lock.state != LockState::Ok && !any_open_in(tx, &lock.rule_id, &lock.did)? {
            lock.state = LockState::Ok;
        }
    }
    Ok(found)
}

/// Dataset locks at a storage element after a key, in order.
pub(crate) fn dataset_locks_at(
    tx: &mut Tx<'_>,
    rse: &str,
    after: &(Did, String),
    limit: usize,
) -> Result<Vec<DatasetLock>> {
    let sql = format!(
        "SELECT {DATASET_LOCK} WHERE l.rse = ?1 AND (l.scope, l.name, l.rule_id) > (?2, ?3, ?4)
         ORDER BY l.scope, l.name, l.rule_id LIMIT ?5"
    );
    Ok(tx.query(&sql, &params![rse, &after.0.scope, &after.0.name, &after.1, limit], read_dataset_lock)?)
}
