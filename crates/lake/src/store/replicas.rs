//! Rows of replicas.

use std::collections::{BTreeMap, HashMap};

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, ReplicaState};
use dte_store::{Row, Tx, params, values};

use super::{did_at, letter, query_wanted};
use crate::error::Result;

/// A copy as stored.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub did: Did,
    pub rse: String,
    pub state: ReplicaState,
    pub bytes: i64,
    /// Below the prefix; only where the storage element is not deterministic.
    pub path: Option<String>,
    pub lock_cnt: i64,
    pub tombstone: Option<Timestamp>,
    pub account: String,
    pub created_at: Timestamp,
}

const COLUMNS: &str =
    "r.scope, r.name, r.rse, r.state, r.bytes, r.path, r.lock_cnt, r.tombstone, r.account, r.created_at";

fn read(row: &Row) -> Result<Replica, dte_store::Error> {
    Ok(Replica {
        did: did_at(row, 0)?,
        rse: row.get(2)?,
        state: letter(row, 3, ReplicaState::parse)?,
        bytes: row.get(4)?,
        path: row.get(5)?,
        lock_cnt: row.get(6)?,
        tombstone: row.get(7)?,
        account: row.get(8)?,
        created_at: row.get(9)?,
    })
}

/// Adds copies that are not there and counts them at their storage elements.
pub(crate) fn insert(tx: &mut Tx<'_>, replicas: &[Replica]) -> Result<()> {
    let columns = [
        "scope",
        "name",
        "rse",
        "state",
        "bytes",
        "path",
        "lock_cnt",
        "tombstone",
        "account",
        "created_at",
        "updated_at",
    ];
    let mut usage: BTreeMap<&str, (i64, i64, Timestamp)> = BTreeMap::new();
    let mut rows = Vec::with_capacity(replicas.len());
    for replica in replicas {
        let sum = usage.entry(&replica.rse).or_insert((0, 0, replica.created_at));
        sum.0 += 1;
        sum.1 += replica.bytes;
        rows.push(values![
            &replica.did.scope,
            &replica.did.name,
            &replica.rse,
            replica.state.letter(),
            replica.bytes,
            replica.path.clone(),
            replica.lock_cnt,
            replica.tombstone,
            &replica.account,
            replica.created_at,
            replica.created_at
        ]);
    }
    tx.insert_many("lake_replicas", &columns, &rows)?;
    for (rse, (files, bytes, now)) in usage {
        super::rses::add_usage(tx, rse, files, bytes, now)?;
    }
    Ok(())
}

/// All copies of these files.
pub(crate) fn of_files(tx: &mut Tx<'_>, files: &[Did]) -> Result<HashMap<Did, Vec<Replica>>> {
    let sql =
        format!("SELECT {COLUMNS} FROM wanted JOIN lake_replicas r ON r.scope = wanted.scope AND r.name = wanted.name");
    let mut found: HashMap<Did, Vec<Replica>> = HashMap::new();
    for replica in query_wanted(tx, &sql, &[], files, read)? {
        found.entry(replica.did.clone()).or_default().push(replica);
    }
    for replicas in found.values_mut() {
        replicas.sort_by(|a, b| a.rse.cmp(&b.rse));
    }
    Ok(found)
}

/// The copies of these files at one storage element.
pub(crate) fn at(tx: &mut Tx<'_>, rse: &str, files: &[Did]) -> Result<HashMap<Did, Replica>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM wanted
         JOIN lake_replicas r ON r.scope = wanted.scope AND r.name = wanted.name AND r.rse = ?1"
    );
    let rows = query_wanted(tx, &sql, &params![rse], files, read)?;
    Ok(rows.into_iter().map(|replica| (replica.did.clone(), replica)).collect())
}

/// Writes state, lock count and tombstone.
pub(crate) fn update(tx: &mut Tx<'_>, replicas: &[Replica], now: Timestamp) -> Result<()> {
    let rows: Vec<_> = replicas
        .iter()
        .map(|r| values![&r.did.scope, &r.did.name, &r.rse, r.state.letter(), r.lock_cnt, r.tombstone, now])
        .collect();
    let sets = ["state", "lock_cnt", "tombstone", "updated_at"];
    tx.update_many("lake_replicas", &["scope", "name", "rse"], &sets, &rows)?;
    Ok(())
}

/// Removes copies from the catalogue and from the counters.
pub(crate) fn delete(tx: &mut Tx<'_>, replicas: &[Replica], now: Timestamp) -> Result<()> {
    for replica in replicas {
        tx.execute(
            "DELETE FROM lake_replicas WHERE scope = ?1 AND name = ?2 AND rse = ?3",
            &params![&replica.did.scope, &replica.did.name, &replica.rse],
        )?;
        super::rses::add_usage(tx, &replica.rse, -1, -replica.bytes, now)?;
    }
    Ok(())
}

/// How much of a dataset is at each storage element.
pub(crate) struct DatasetReplica {
    pub rse: String,
    pub rse_id: String,
    pub available_length: i64,
    pub available_bytes: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub(crate) fn of_dataset(tx: &mut Tx<'_>, dataset: &Did) -> Result<Vec<DatasetReplica>> {
    Ok(tx.query(
        "SELECT r.rse, s.id, CAST(sum(CASE WHEN r.state = 'A' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN r.state = 'A' THEN r.bytes ELSE 0 END) AS BIGINT), min(r.created_at), max(r.updated_at)
         FROM lake_contents c
         JOIN lake_replicas r ON r.scope = c.child_scope AND r.name = c.child_name
         JOIN lake_rses s ON s.rse = r.rse
         WHERE c.scope = ?1 AND c.name = ?2 GROUP BY r.rse, s.id ORDER BY r.rse",
        &params![&dataset.scope, &dataset.name],
        |row| {
            Ok(DatasetReplica {
                rse: row.get(0)?,
                rse_id: row.get(1)?,
                available_length: row.get(2)?,
                available_bytes: row.get(3)?,
                created_at: row.get(4)?,
                updated_at: row.get(5)?,
            })
        },
    )?)
}

/// Which file lies at a path of a storage element that is not deterministic.
pub(crate) fn at_path(tx: &mut Tx<'_>, rse: &str, path: &str) -> Result<Option<Did>> {
    Ok(tx.query_opt(
        "SELECT scope, name FROM lake_replicas WHERE rse = ?1 AND path = ?2",
        &params![rse, path],
        |row| did_at(row, 0),
    )?)
}
