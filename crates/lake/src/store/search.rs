//! Reading DIDs of a scope, page by page.

use dte_protocol_rucio::{Did, DidType};
use dte_store::{Tx, params};

use super::did_at;
use super::dids::{COLUMNS, DidRow, read};
use crate::error::Result;
use crate::model::filter::NameHint;

/// DIDs of a scope after a name, in order of name.
pub(crate) fn page(
    tx: &mut Tx<'_>,
    scope: &str,
    kinds: &[DidType],
    hint: &NameHint,
    after: &str,
    limit: usize,
) -> Result<Vec<DidRow>> {
    let mut bound = params![scope, after, limit].to_vec();
    let letters: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.letter())).collect();
    let mut sql = format!(
        "SELECT {COLUMNS} FROM lake_dids d WHERE d.scope = ?1 AND d.name > ?2 AND d.kind IN ({})",
        letters.join(", ")
    );
    match hint {
        NameHint::Any => {}
        NameHint::Exactly(name) => {
            bound.push(name.into());
            sql.push_str(" AND d.name = ?4");
        }
        NameHint::Beginning(text) => {
            bound.push(text.into());
            // Characters of names are ASCII. The order of texts is the database's affair, so no upper bound is set.
            sql.push_str(&format!(" AND d.name >= ?4 AND substr(d.name, 1, {}) = ?4", text.len()));
        }
    }
    sql.push_str(" ORDER BY d.name LIMIT ?3");
    Ok(tx.query(&sql, &bound, read)?)
}

/// DIDs of a scope that are no child of a DID of the same scope.
pub(crate) fn top_page(tx: &mut Tx<'_>, scope: &str, after: &str, limit: usize) -> Result<Vec<DidRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_dids d WHERE d.scope = ?1 AND d.name > ?2 AND NOT EXISTS (
            SELECT 1 FROM lake_contents c WHERE c.child_scope = d.scope AND c.child_name = d.name AND c.scope = d.scope)
         ORDER BY d.name LIMIT ?3"
    );
    Ok(tx.query(&sql, &params![scope, after, limit], read)?)
}

/// Datasets that are at a storage element, at least in part, after a key.
pub(crate) fn datasets_at(tx: &mut Tx<'_>, rse: &str, after: &Did, limit: usize) -> Result<Vec<Did>> {
    Ok(tx.query(
        "SELECT d.scope, d.name FROM lake_dids d WHERE d.kind = 'D' AND (d.scope, d.name) > (?2, ?3) AND EXISTS (
            SELECT 1 FROM lake_contents c JOIN lake_replicas r
              ON r.scope = c.child_scope AND r.name = c.child_name AND r.rse = ?1
            WHERE c.scope = d.scope AND c.name = d.name)
         ORDER BY d.scope, d.name LIMIT ?4",
        &params![rse, &after.scope, &after.name, limit],
        |row| did_at(row, 0),
    )?)
}
