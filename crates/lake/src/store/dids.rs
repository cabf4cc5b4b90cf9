//! Data identifiers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType};
use dte_store::{Row, Tx, params, values};

use super::{letter, query_wanted};
use crate::error::{Error, Result};

/// A DID as stored.
#[derive(Clone, Debug)]
pub(crate) struct DidRow {
    pub did: Did,
    pub kind: DidType,
    pub account: String,
    /// Of an open collection unknown.
    pub bytes: Option<i64>,
    pub length: Option<i64>,
    pub adler32: Option<String>,
    pub md5: Option<String>,
    pub guid: Option<String>,
    pub open: bool,
    pub monotonic: bool,
    pub closed_at: Option<Timestamp>,
    pub ready_at: Option<Timestamp>,
    pub expired_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub accessed_at: Option<Timestamp>,
    pub access_cnt: i64,
    /// Has files inside of it.
    pub is_archive: bool,
    /// Is inside of an archive.
    pub constituent: bool,
    /// `AVAILABLE`, or `LOST` when the last copy is gone.
    pub availability: String,
}

pub(crate) const COLUMNS: &str = "d.scope, d.name, d.kind, d.account, d.bytes, d.length, d.adler32, d.md5, d.guid, \
    d.is_open, d.monotonic, d.closed_at, d.ready_at, d.expired_at, d.created_at, d.updated_at, d.accessed_at, \
    d.access_cnt, d.is_archive, d.constituent, d.availability";

pub(crate) fn read(row: &Row) -> Result<DidRow, dte_store::Error> {
    Ok(DidRow {
        did: super::did_at(row, 0)?,
        kind: letter(row, 2, DidType::parse)?,
        account: row.get(3)?,
        bytes: row.get(4)?,
        length: row.get(5)?,
        adler32: row.get(6)?,
        md5: row.get(7)?,
        guid: row.get(8)?,
        open: row.get(9)?,
        monotonic: row.get(10)?,
        closed_at: row.get(11)?,
        ready_at: row.get(12)?,
        expired_at: row.get(13)?,
        created_at: row.get(14)?,
        updated_at: row.get(15)?,
        accessed_at: row.get(16)?,
        access_cnt: row.get(17)?,
        is_archive: row.get(18)?,
        constituent: row.get(19)?,
        availability: row.get(20)?,
    })
}

pub(crate) fn not_found(did: &Did) -> Error {
    Error::new(Class::DataIdentifierNotFound, format!("Data identifier '{did}' not found"))
}

pub(crate) fn find(tx: &mut Tx<'_>, did: &Did) -> Result<Option<DidRow>> {
    let sql = format!("SELECT {COLUMNS} FROM lake_dids d WHERE d.scope = ?1 AND d.name = ?2");
    Ok(tx.query_opt(&sql, &params![&did.scope, &did.name], read)?)
}

pub(crate) fn get(tx: &mut Tx<'_>, did: &Did) -> Result<DidRow> {
    find(tx, did)?.ok_or_else(|| not_found(did))
}

/// Those of `dids` that exist.
pub(crate) fn get_many(tx: &mut Tx<'_>, dids: &[Did]) -> Result<HashMap<Did, DidRow>> {
    let sql =
        format!("SELECT {COLUMNS} FROM wanted JOIN lake_dids d ON d.scope = wanted.scope AND d.name = wanted.name");
    let rows = query_wanted(tx, &sql, &[], dids, read)?;
    Ok(rows.into_iter().map(|row| (row.did.clone(), row)).collect())
}

/// Adds collections and files; `AlreadyExists` when one is there.
pub(crate) fn insert(tx: &mut Tx<'_>, rows: &[DidRow]) -> Result<()> {
    let columns = [
        "scope",
        "name",
        "kind",
        "account",
        "bytes",
        "length",
        "adler32",
        "md5",
        "guid",
        "is_open",
        "monotonic",
        "expired_at",
        "created_at",
        "updated_at",
        "constituent",
    ];
    let rows: Vec<Vec<dte_store::Value>> = rows
        .iter()
        .map(|row| {
            values![
                &row.did.scope,
                &row.did.name,
                row.kind.letter(),
                &row.account,
                row.bytes,
                row.length,
                row.adler32.clone(),
                row.md5.clone(),
                row.guid.clone(),
                row.open,
                row.monotonic,
                row.expired_at,
                row.created_at,
                row.updated_at,
                row.constituent
            ]
        })
        .collect();
    tx.insert_many("lake_dids", &columns, &rows)?;
    Ok(())
}

impl DidRow {
    /// A new DID; a collection is open, a file has a length of one.
    pub(crate) fn new(did: Did, kind: DidType, account: &str, now: Timestamp) -> Self {
        DidRow {
            did,
            kind,
            account: account.to_owned(),
            bytes: None,
            length: (kind == DidType::File).then_some(1),
            adler32: None,
            md5: None,
            guid: None,
            open: kind.is_collection(),
            monotonic: false,
            closed_at: None,
            ready_at: None,
            expired_at: None,
            created_at: now,
            updated_at: now,
            accessed_at: None,
            access_cnt: 0,
            is_archive: false,
            constituent: false,
            availability: "AVAILABLE".to_owned(),
        }
    }
}

/// Files and bytes below a collection, each file as often as it is attached.
pub(crate) fn sums(tx: &mut Tx<'_>, did: &Did) -> Result<(i64, i64)> {
    Ok(tx.query_one(
        "WITH RECURSIVE tree (scope, name) AS (
            SELECT scope, name FROM lake_dids WHERE scope = ?1 AND name = ?2
            UNION SELECT c.child_scope, c.child_name FROM tree
              JOIN lake_contents c ON c.scope = tree.scope AND c.name = tree.name WHERE c.child_kind <> 'F')
         SELECT CAST(count(*) AS BIGINT), CAST(COALESCE(sum(c.bytes), 0) AS BIGINT) FROM tree
           JOIN lake_contents c ON c.scope = tree.scope AND c.name = tree.name WHERE c.child_kind = 'F'",
        &params![&did.scope, &did.name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?)
}

/// Closes an open collection and freezes its size; answers files and bytes.
pub(crate) fn close(tx: &mut Tx<'_>, did: &Did, now: Timestamp) -> Result<(i64, i64)> {
    let row = get(tx, did)?;
    if !row.kind.is_collection() || !row.open {
        let message = format!("The status of the data identifier '{did}' cannot be changed");
        return Err(Error::new(Class::UnsupportedOperation, message));
    }
    let (files, bytes) = sums(tx, did)?;
    tx.execute(
        "UPDATE lake_dids SET is_open = 0, closed_at = ?3, length = ?4, bytes = ?5, updated_at = ?3
         WHERE scope = ?1 AND name = ?2",
        &params![&did.scope, &did.name, now, files, bytes],
    )?;
    Ok((files, bytes))
}

/// Opens a closed collection again; its size stays until the next close.
pub(crate) fn reopen(tx: &mut Tx<'_>, did: &Did, now: Timestamp) -> Result<()> {
    let row = get(tx, did)?;
    if !row.kind.is_collection() || row.open {
        let message = format!("The status of the data identifier '{did}' cannot be changed");
        return Err(Error::new(Class::UnsupportedOperation, message));
    }
    tx.execute(
        "UPDATE lake_dids SET is_open = 1, updated_at = ?3 WHERE scope = ?1 AND name = ?2",
        &params![&did.scope, &did.name, now],
    )?;
    Ok(())
}

/// The owners of the scopes of `dids`; `ScopeNotFound` when one is not there.
pub(crate) fn scope_owners(tx: &mut Tx<'_>, dids: impl Iterator<Item = String>) -> Result<BTreeMap<String, String>> {
    let mut owners = BTreeMap::new();
    for scope in dids {
        if let Entry::Vacant(vacant) = owners.entry(scope) {
            let owner = super::accounts::owner(tx, vacant.key())?;
            vacant.insert(owner);
        }
    }
    Ok(owners)
}
