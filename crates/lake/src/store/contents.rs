//! What is in a collection, and where a DID is: edges between parents and children.

use std::collections::BTreeSet;

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, DidType};
use dte_store::{Row, Tx, Value, params, values};

use super::{did_at, letter, query_wanted};
use crate::error::Result;

/// A child with what was known of it when it was attached.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub did: Did,
    pub kind: DidType,
    pub bytes: Option<i64>,
    pub adler32: Option<String>,
    pub md5: Option<String>,
}

const CHILD: &str = "c.child_scope, c.child_name, c.child_kind, c.bytes, c.adler32, c.md5";

fn read_child(row: &Row) -> Result<Child, dte_store::Error> {
    Ok(Child {
        did: did_at(row, 0)?,
        kind: letter(row, 2, DidType::parse)?,
        bytes: row.get(3)?,
        adler32: row.get(4)?,
        md5: row.get(5)?,
    })
}

/// Attaches what is not attached yet.
pub(crate) fn insert(tx: &mut Tx<'_>, parent: &Did, children: &[Child], now: Timestamp) -> Result<()> {
    let columns = ["scope", "name", "child_scope", "child_name", "child_kind", "bytes", "adler32", "md5", "created_at"];
    let rows: Vec<Vec<Value>> = children
        .iter()
        .map(|child| {
            values![
                &parent.scope,
                &parent.name,
                &child.did.scope,
                &child.did.name,
                child.kind.letter(),
                child.bytes,
                child.adler32.clone(),
                child.md5.clone(),
                now
            ]
        })
        .collect();
    tx.insert_new_many("lake_contents", &columns, &rows)?;
    Ok(())
}

/// Those of `children` that are attached to `parent`.
pub(crate) fn attached(tx: &mut Tx<'_>, parent: &Did, children: &[Did]) -> Result<Vec<Child>> {
    let sql = format!(
        "SELECT {CHILD} FROM wanted JOIN lake_contents c ON c.scope = ?1 AND c.name = ?2
         AND c.child_scope = wanted.scope AND c.child_name = wanted.name"
    );
    Ok(query_wanted(tx, &sql, &params![&parent.scope, &parent.name], children, read_child)?)
}

/// Removes children and keeps a record of it.
pub(crate) fn delete(tx: &mut Tx<'_>, parent: &Did, children: &[Did], now: Timestamp) -> Result<()> {
    for child in children {
        let key = params![&parent.scope, &parent.name, &child.scope, &child.name, now];
        tx.execute(
            "INSERT INTO lake_contents_history
                (scope, name, child_scope, child_name, child_kind, bytes, adler32, md5, created_at, deleted_at)
             SELECT scope, name, child_scope, child_name, child_kind, bytes, adler32, md5, created_at, ?5
             FROM lake_contents WHERE scope = ?1 AND name = ?2 AND child_scope = ?3 AND child_name = ?4",
            &key,
        )?;
        tx.execute(
            "DELETE FROM lake_contents WHERE scope = ?1 AND name = ?2 AND child_scope = ?3 AND child_name = ?4",
            &key[..4],
        )?;
    }
    Ok(())
}

/// Direct children after a key, in order.
pub(crate) fn page(tx: &mut Tx<'_>, parent: &Did, after: &Did, limit: usize) -> Result<Vec<Child>> {
    let sql = format!(
        "SELECT {CHILD} FROM lake_contents c WHERE c.scope = ?1 AND c.name = ?2
         AND (c.child_scope, c.child_name) > (?3, ?4) ORDER BY c.child_scope, c.child_name LIMIT ?5"
    );
    Ok(tx.query(&sql, &params![&parent.scope, &parent.name, &after.scope, &after.name, limit], read_child)?)
}

/// What was detached, oldest first: the child, when it was attached, when detached, and the key of the next page.
pub(crate) fn history_page(
    tx: &mut Tx<'_>,
    parent: &Did,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, Child, Timestamp, Timestamp)>> {
    let sql = format!(
        "SELECT {CHILD}, c.id, c.created_at, c.deleted_at FROM lake_contents_history c
         WHERE c.scope = ?1 AND c.name = ?2 AND c.id > ?3 ORDER BY c.id LIMIT ?4"
    );
    Ok(tx.query(&sql, &params![&parent.scope, &parent.name, after, limit], |row| {
        Ok((row.get(6)?, read_child(row)?, row.get(7)?, row.get(8)?))
    })?)
}

/// Direct parents.
pub(crate) fn parents(tx: &mut Tx<'_>, child: &Did) -> Result<Vec<(Did, DidType)>> {
    Ok(tx.query(
        "SELECT d.scope, d.name, d.kind FROM lake_contents c JOIN lake_dids d ON d.scope = c.scope AND d.name = c.name
         WHERE c.child_scope = ?1 AND c.child_name = ?2 ORDER BY d.scope, d.name",
        &params![&child.scope, &child.name],
        |row| Ok((did_at(row, 0)?, letter(row, 2, DidType::parse)?)),
    )?)
}

/// Direct parents of several files, without repetition.
pub(crate) fn parents_of_many(tx: &mut Tx<'_>, children: &[Did]) -> Result<BTreeSet<Did>> {
    let sql = "SELECT DISTINCT c.scope, c.name FROM wanted
               JOIN lake_contents c ON c.child_scope = wanted.scope AND c.child_name = wanted.name";
    Ok(query_wanted(tx, sql, &[], children, |row| did_at(row, 0))?.into_iter().collect())
}

/// The DID itself and all collections above it.
pub(crate) fn ancestors(tx: &mut Tx<'_>, did: &Did) -> Result<BTreeSet<Did>> {
    let rows = tx.query(
        "WITH RECURSIVE up (scope, name) AS (
            SELECT scope, name FROM lake_dids WHERE scope = ?1 AND name = ?2
            UNION SELECT c.scope, c.name FROM up
              JOIN lake_contents c ON c.child_scope = up.scope AND c.child_name = up.name)
         SELECT scope, name FROM up",
        &params![&did.scope, &did.name],
        |row| did_at(row, 0),
    )?;
    Ok(rows.into_iter().collect())
}

/// The collection itself and all collections below it that are datasets.
pub(crate) fn datasets_below(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<Did>> {
    Ok(tx.query(
        "WITH RECURSIVE tree (scope, name, kind) AS (
            SELECT scope, name, kind FROM lake_dids WHERE scope = ?1 AND name = ?2
            UNION SELECT c.child_scope, c.child_name, c.child_kind FROM tree
              JOIN lake_contents c ON c.scope = tree.scope AND c.name = tree.name WHERE c.child_kind <> 'F')
         SELECT scope, name FROM tree WHERE kind = 'D' ORDER BY scope, name",
        &params![&did.scope, &did.name],
        |row| did_at(row, 0),
    )?)
}
