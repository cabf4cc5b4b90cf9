//! Collections for everybody.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, Exception};
use dte_store::{Row, Tx, params, values};
use serde_json::Value;

use super::{did_at, dids};
use crate::error::{Error, Result};

/// A collection for everybody, as stored.
#[derive(Clone, Debug)]
pub(crate) struct OpenData {
    pub did: Did,
    /// D draft, P public, S suspended.
    pub state: String,
    pub meta: Option<Value>,
    pub doi: Option<String>,
    pub record_id: Option<i64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn read(row: &Row) -> Result<OpenData, dte_store::Error> {
    Ok(OpenData {
        did: did_at(row, 0)?,
        state: row.get(2)?,
        meta: row.get(3)?,
        doi: row.get(4)?,
        record_id: row.get(5)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
    })
}

const SELECT: &str = "SELECT scope, name, state, meta, doi, record_id, created_at, updated_at FROM lake_opendata";

/// All in a state, in order.
pub(crate) fn list(tx: &mut Tx<'_>, state: Option<&str>) -> Result<Vec<OpenData>> {
    let sql = format!("{SELECT} WHERE (?1 = '' OR state = ?1) ORDER BY scope, name LIMIT 10000");
    Ok(tx.query(&sql, &params![state.unwrap_or_default()], read)?)
}

pub(crate) fn get(tx: &mut Tx<'_>, did: &Did) -> Result<OpenData> {
    let sql = format!("{SELECT} WHERE scope = ?1 AND name = ?2");
    tx.query_opt(&sql, &params![&did.scope, &did.name], read)?.ok_or_else(|| {
        Error::new(Class::OpenDataDataIdentifierNotFound, format!("Open data identifier '{did}' not found"))
    })
}

pub(crate) fn add(tx: &mut Tx<'_>, did: &Did, now: Timestamp) -> Result<()> {
    dids::get(tx, did)?;
    let row = values![&did.scope, &did.name, "D", now, now];
    match tx.insert_new_many("lake_opendata", &["scope", "name", "state", "created_at", "updated_at"], &[row])? {
        0 => {
            let message = format!("Open data identifier '{did}' already exists!");
            Err(Error::new(Class::OpenDataDataIdentifierAlreadyExists, message))
        }
        _ => Ok(()),
    }
}

/// Takes a collection back; a public one is suspended first.
pub(crate) fn delete(tx: &mut Tx<'_>, did: &Did) -> Result<()> {
    if get(tx, did)?.state == "P" {
        let message = format!("'{did}' is public: suspend it first");
        return Err(Error::new(Class::OpenDataInvalidState, message));
    }
    tx.execute("DELETE FROM lake_opendata WHERE scope = ?1 AND name = ?2", &params![&did.scope, &did.name])?;
    Ok(())
}

/// Writes what was changed. A draft may become public when its collection is closed; what was public never is a draft again.
pub(crate) fn update(tx: &mut Tx<'_>, one: &OpenData) -> Result<()> {
    let old = get(tx, &one.did)?;
    let allowed = old.state == one.state
        || matches!((old.state.as_str(), one.state.as_str()), ("D", "P") | ("P", "S") | ("S", "P"));
    if !allowed {
        let message = format!("'{}' cannot go from {} to {}", one.did, old.state, one.state);
        return Err(Error::new(Class::OpenDataInvalidStateUpdate, message));
    }
    let row = dids::get(tx, &one.did)?;
    if one.state == "P" && row.kind.is_collection() && row.open {
        let message = format!("'{}' is still open and cannot be public", one.did);
        return Err(Error::new(Class::OpenDataInvalidStateUpdate, message));
    }
    if let Some(doi) = &one.doi {
        let sql = "SELECT 1 FROM lake_opendata WHERE doi = ?1 AND NOT (scope = ?2 AND name = ?3)";
        if tx.query_opt(sql, &params![doi, &one.did.scope, &one.did.name], |_| Ok(()))?.is_some() {
            let taken = Exception::new(Class::OpenDataDuplicateDOI, format!("The DOI '{doi}' is taken"));
            return Err(taken.into());
        }
    }
    tx.execute(
        "UPDATE lake_opendata SET state = ?3, meta = ?4, doi = ?5, record_id = ?6, updated_at = ?7
         WHERE scope = ?1 AND name = ?2",
        &params![
            &one.did.scope,
            &one.did.name,
            &one.state,
            one.meta.clone(),
            one.doi.clone(),
            one.record_id,
            one.updated_at
        ],
    )?;
    Ok(())
}
