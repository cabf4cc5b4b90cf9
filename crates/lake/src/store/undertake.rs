//! The end of DIDs whose lifetime is over: their rules go, collections go with their content, files only lose the date, as they
//! may be wanted elsewhere.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, DidType};
use dte_store::{Tx, params};

use super::dids::{self, DidRow};
use super::{collections, contents, did_at, events, remove, rules};
use crate::error::Result;

/// Children that are detached in one step.
const STEP: usize = 200;

/// DIDs whose time is over, the oldest first, from the one after `skip` others. Those with a locked rule stay.
pub(crate) fn due(tx: &mut Tx<'_>, now: Timestamp, skip: usize, limit: usize) -> Result<Vec<Did>> {
    Ok(tx.query(
        "SELECT d.scope, d.name FROM lake_dids d WHERE d.expired_at IS NOT NULL AND d.expired_at < ?1
         AND NOT EXISTS (SELECT 1 FROM lake_rules r WHERE r.scope = d.scope AND r.name = d.name AND r.locked = 1)
         ORDER BY d.expired_at, d.scope, d.name LIMIT ?2 OFFSET ?3",
        &params![now, limit, skip],
        |row| did_at(row, 0),
    )?)
}

/// One step; answers whether there is more to do. A DID whose life was prolonged in the meantime stays.
pub(crate) fn step(tx: &mut Tx<'_>, did: &Did, now: Timestamp) -> Result<bool> {
    let Some(row) = dids::find(tx, did)?.filter(|row| row.expired_at.is_some_and(|at| at < now)) else {
        return Ok(false);
    };
    let own = rules::of_did(tx, did)?;
    if own.iter().any(|rule| rule.locked) {
        return Ok(false);
    }
    for rule in own {
        let id = rule.id.clone();
        let ended = rules::Rule { expires_at: Some(now), child: None, purge_replicas: true, updated_at: now, ..rule };
        rules::update(tx, &ended)?;
        if remove::step(tx, &id, now)? {
            return Ok(true);
        }
    }
    if row.kind == DidType::File {
        tx.execute(
            "UPDATE lake_dids SET expired_at = NULL WHERE scope = ?1 AND name = ?2",
            &params![&did.scope, &did.name],
        )?;
        return Ok(false);
    }
    let page = contents::page(tx, did, &Did::new("", ""), STEP)?;
    if !page.is_empty() {
        let children: Vec<Did> = page.into_iter().map(|child| child.did).collect();
        collections::detach(tx, did, &children, now)?;
        return Ok(true);
    }
    erase(tx, &row, now)?;
    Ok(false)
}

/// Takes an empty collection away, out of all collections above it.
fn erase(tx: &mut Tx<'_>, row: &DidRow, now: Timestamp) -> Result<()> {
    for (parent, _) in contents::parents(tx, &row.did)? {
        collections::detach(tx, &parent, std::slice::from_ref(&row.did), now)?;
    }
    for table in ["lake_did_metadata", "lake_followers", "lake_lifetime_exceptions", "lake_opendata", "lake_dids"] {
        let sql = format!("DELETE FROM {table} WHERE scope = ?1 AND name = ?2");
        tx.execute(&sql, &params![&row.did.scope, &row.did.name])?;
    }
    events::erased(tx, row)
}
