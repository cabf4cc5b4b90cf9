//! Rules on large collections get their locks in steps: a list of datasets still to do, and how far each has come.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, DidType};
use dte_store::{NewWork, Tx, params, values};
use serde_json::json;

use super::place::{FileToPlace, Ground, place};
use super::rules::Rule;
use super::{contents, did_at, dids};
use crate::error::Result;

/// The queue that continues; the work's id is the rule's.
pub(crate) const QUEUE: &str = "lake.inject";
/// Files that get their locks in one transaction.
pub(crate) const STEP: usize = 500;

/// Whether a rule has datasets to do.
pub(crate) fn any(tx: &mut Tx<'_>, rule: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM lake_injections WHERE rule_id = ?1 LIMIT 1";
    Ok(tx.query_opt(sql, &params![rule], |_| Ok(()))?.is_some())
}

/// Whether a rule has this dataset to do.
pub(crate) fn is_pending(tx: &mut Tx<'_>, rule: &str, dataset: &Did) -> Result<bool> {
    let sql = "SELECT 1 FROM lake_injections WHERE rule_id = ?1 AND scope = ?2 AND name = ?3";
    Ok(tx.query_opt(sql, &params![rule, &dataset.scope, &dataset.name], |_| Ok(()))?.is_some())
}

/// Notes datasets to do, from the file after the cursor, and sees to it that they are done.
pub(crate) fn add(tx: &mut Tx<'_>, rule: &str, datasets: &[(Did, Did)]) -> Result<()> {
    if datasets.is_empty() {
        return Ok(());
    }
    let columns = ["rule_id", "scope", "name", "after_scope", "after_name"];
    let rows: Vec<_> = datasets
        .iter()
        .map(|(dataset, after)| values![rule, &dataset.scope, &dataset.name, &after.scope, &after.name])
        .collect();
    tx.upsert_many("lake_injections", &columns, &["rule_id", "scope", "name"], &rows)?;
    tx.request(NewWork::new(QUEUE, rule, json!({})))?;
    Ok(())
}

fn next(tx: &mut Tx<'_>, rule: &str) -> Result<Option<(Did, Did)>> {
    Ok(tx.query_opt(
        "SELECT scope, name, after_scope, after_name FROM lake_injections WHERE rule_id = ?1
         ORDER BY scope, name LIMIT 1",
        &params![rule],
        |row| Ok((did_at(row, 0)?, did_at(row, 2)?)),
    )?)
}

fn done(tx: &mut Tx<'_>, rule: &str, dataset: &Did) -> Result<()> {
    tx.execute(
        "DELETE FROM lake_injections WHERE rule_id = ?1 AND scope = ?2 AND name = ?3",
        &params![rule, &dataset.scope, &dataset.name],
    )?;
    Ok(())
}

pub(crate) fn forget(tx: &mut Tx<'_>, rule: &str) -> Result<()> {
    tx.execute("DELETE FROM lake_injections WHERE rule_id = ?1", &params![rule])?;
    tx.forget_work(QUEUE, rule)?;
    Ok(())
}

fn page(tx: &mut Tx<'_>, dataset: &Did, after: &Did, limit: usize) -> Result<Vec<FileToPlace>> {
    Ok(contents::page(tx, dataset, after, limit)?.iter().map(FileToPlace::from).collect())
}

/// Gives the files of a DID their locks: at once when they are few, else the rest is left to the queue.
pub(crate) fn apply(tx: &mut Tx<'_>, rule: &Rule, ground: &Ground, did: &Did, now: Timestamp) -> Result<()> {
    let row = dids::get(tx, did)?;
    if row.kind == DidType::File {
        let file = FileToPlace { did: row.did, bytes: row.bytes.unwrap_or(0), adler32: row.adler32 };
        place(tx, rule, ground, did, &[file], now)?;
        return Ok(());
    }
    let mut budget = STEP;
    let mut later = Vec::new();
    for dataset in contents::datasets_below(tx, did)? {
        let start = Did::new("", "");
        if budget == 0 {
            later.push((dataset, start));
            continue;
        }
        let files = page(tx, &dataset, &start, budget + 1)?;
        let now_placed = &files[..files.len().min(budget)];
        place(tx, rule, ground, &dataset, now_placed, now)?;
        if let (true, Some(last)) = (files.len() > budget, now_placed.last()) {
            later.push((dataset, last.did.clone()));
        }
        budget -= now_placed.len();
    }
    add(tx, &rule.id, &later)
}

/// One step of a rule that has datasets to do; answers a dataset that is complete by it, and whether there is more.
pub(crate) fn step(tx: &mut Tx<'_>, rule: &Rule, ground: &Ground, now: Timestamp) -> Result<(Option<Did>, bool)> {
    let Some((dataset, after)) = next(tx, &rule.id)? else { return Ok((None, false)) };
    let files = page(tx, &dataset, &after, STEP)?;
    place(tx, rule, ground, &dataset, &files, now)?;
    if let (true, Some(last)) = (files.len() == STEP, files.last()) {
        tx.execute(
            "UPDATE lake_injections SET after_scope = ?4, after_name = ?5
             WHERE rule_id = ?1 AND scope = ?2 AND name = ?3",
            &params![&rule.id, &dataset.scope, &dataset.name, &last.did.scope, &last.did.name],
        )?;
        return Ok((None, true));
    }
    done(tx, &rule.id, &dataset)?;
    let more = any(tx, &rule.id)?;
    Ok((Some(dataset), more))
}
