//! Wishes that data live longer.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType};
use dte_store::{Tx, params, values};

use super::{did_at, letter};
use crate::error::{Error, Result};

/// One DID of a wish.
#[derive(Clone, Debug)]
pub(crate) struct LifetimeException {
    pub id: String,
    pub did: Did,
    pub kind: DidType,
    pub account: String,
    pub pattern: Option<String>,
    pub comments: Option<String>,
    /// W, A or R.
    pub state: String,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Wishes, all or one.
pub(crate) fn list(tx: &mut Tx<'_>, id: Option<&str>) -> Result<Vec<LifetimeException>> {
    let sql = "SELECT id, scope, name, did_type, account, pattern, comments, state, expires_at, created_at, updated_at
               FROM lake_lifetime_exceptions WHERE (?1 = '' OR id = ?1) ORDER BY created_at, id, scope, name LIMIT 10000";
    Ok(tx.query(sql, &params![id.unwrap_or_default()], |row| {
        Ok(LifetimeException {
            id: row.get(0)?,
            did: did_at(row, 1)?,
            kind: letter(row, 3, DidType::parse)?,
            account: row.get(4)?,
            pattern: row.get(5)?,
            comments: row.get(6)?,
            state: row.get(7)?,
            expires_at: row.get(8)?,
            created_at: row.get(9)?,
            updated_at: row.get(10)?,
        })
    })?)
}

pub(crate) fn add(tx: &mut Tx<'_>, all: &[LifetimeException]) -> Result<()> {
    let columns = [
        "id",
        "scope",
        "name",
        "did_type",
        "account",
        "pattern",
        "comments",
        "state",
        "expires_at",
        "created_at",
        "updated_at",
    ];
    let rows: Vec<_> = all
        .iter()
        .map(|one| {
            values![
                &one.id,
                &one.did.scope,
                &one.did.name,
                one.kind.letter(),
                &one.account,
                one.pattern.clone(),
                one.comments.clone(),
                &one.state,
                one.expires_at,
                one.created_at,
                one.updated_at
            ]
        })
        .collect();
    tx.insert_new_many("lake_lifetime_exceptions", &columns, &rows)?;
    Ok(())
}

/// Notes what was decided.
pub(crate) fn decide(tx: &mut Tx<'_>, id: &str, state: &str, now: Timestamp) -> Result<()> {
    let sql = "UPDATE lake_lifetime_exceptions SET state = ?2, updated_at = ?3 WHERE id = ?1";
    match tx.execute(sql, &params![id, state, now])? {
        0 => Err(Error::new(Class::LifetimeExceptionNotFound, format!("No exception with the id {id}"))),
        _ => Ok(()),
    }
}
