//! Free metadata of DIDs: a key and a JSON value.

use std::collections::HashMap;

use dte_protocol_rucio::Did;
use dte_store::{Tx, params, values};
use serde_json::{Map, Value};

use super::{did_at, query_wanted};
use crate::error::Result;

pub(crate) fn set(tx: &mut Tx<'_>, did: &Did, meta: &Map<String, Value>) -> Result<()> {
    let rows: Vec<_> = meta.iter().map(|(key, value)| values![&did.scope, &did.name, key, value]).collect();
    let columns = ["scope", "name", "key", "value"];
    tx.upsert_many("lake_did_metadata", &columns, &["scope", "name", "key"], &rows)?;
    Ok(())
}

pub(crate) fn get(tx: &mut Tx<'_>, did: &Did) -> Result<Map<String, Value>> {
    Ok(get_many(tx, std::slice::from_ref(did))?.remove(did).unwrap_or_default())
}

pub(crate) fn get_many(tx: &mut Tx<'_>, dids: &[Did]) -> Result<HashMap<Did, Map<String, Value>>> {
    let sql = "SELECT m.scope, m.name, m.key, m.value FROM wanted
               JOIN lake_did_metadata m ON m.scope = wanted.scope AND m.name = wanted.name";
    let rows =
        query_wanted(tx, sql, &[], dids, |row| Ok((did_at(row, 0)?, row.get::<String>(2)?, row.get::<Value>(3)?)))?;
    let mut found: HashMap<Did, Map<String, Value>> = HashMap::new();
    for (did, key, value) in rows {
        found.entry(did).or_default().insert(key, value);
    }
    Ok(found)
}

/// Removes a key; `false` when it was not there.
pub(crate) fn delete(tx: &mut Tx<'_>, did: &Did, key: &str) -> Result<bool> {
    let sql = "DELETE FROM lake_did_metadata WHERE scope = ?1 AND name = ?2 AND key = ?3";
    Ok(tx.execute(sql, &params![&did.scope, &did.name, key])? > 0)
}
