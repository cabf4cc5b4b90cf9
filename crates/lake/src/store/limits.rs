//! How much accounts may lock: at one storage element, and over all that an expression means.

use std::collections::{BTreeMap, BTreeSet};

use dte_protocol_rucio::Class;
use dte_store::{Tx, params, values};

use super::accounts::usage;
use super::rses::{self, Rses};
use crate::error::{Error, Result};

/// The number that stands for "as much as it likes".
pub(crate) const UNLIMITED: i64 = -1;

/// Limits of an account at storage elements.
pub(crate) fn local(tx: &mut Tx<'_>, account: &str) -> Result<BTreeMap<String, i64>> {
    let sql = "SELECT rse, bytes FROM lake_account_limits WHERE account = ?1 ORDER BY rse";
    Ok(tx.query(sql, &params![account], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

pub(crate) fn set_local(tx: &mut Tx<'_>, account: &str, rse: &str, bytes: i64) -> Result<()> {
    rses::get(tx, rse)?;
    super::accounts::get(tx, account)?;
    let columns = ["account", "rse", "bytes"];
    tx.upsert_many("lake_account_limits", &columns, &["account", "rse"], &[values![account, rse, bytes]])?;
    Ok(())
}

pub(crate) fn delete_local(tx: &mut Tx<'_>, account: &str, rse: &str) -> Result<()> {
    rses::get(tx, rse)?;
    super::accounts::get(tx, account)?;
    tx.execute("DELETE FROM lake_account_limits WHERE account = ?1 AND rse = ?2", &params![account, rse])?;
    Ok(())
}

/// Limits of an account over expressions.
pub(crate) fn global(tx: &mut Tx<'_>, account: &str) -> Result<BTreeMap<String, i64>> {
    let sql = "SELECT expression, bytes FROM lake_global_limits WHERE account = ?1 ORDER BY expression";
    Ok(tx.query(sql, &params![account], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

pub(crate) fn set_global(tx: &mut Tx<'_>, account: &str, expression: &str, bytes: i64) -> Result<()> {
    super::accounts::get(tx, account)?;
    rses::all(tx)?.select(expression)?;
    let columns = ["account", "expression", "bytes"];
    tx.upsert_many("lake_global_limits", &columns, &["account", "expression"], &[values![account, expression, bytes]])?;
    Ok(())
}

pub(crate) fn delete_global(tx: &mut Tx<'_>, account: &str, expression: &str) -> Result<()> {
    super::accounts::get(tx, account)?;
    tx.execute("DELETE FROM lake_global_limits WHERE account = ?1 AND expression = ?2", &params![account, expression])?;
    Ok(())
}

/// Limits of all accounts at one storage element.
pub(crate) fn at(tx: &mut Tx<'_>, rse: &str) -> Result<BTreeMap<String, i64>> {
    let sql = "SELECT account, bytes FROM lake_account_limits WHERE rse = ?1";
    Ok(tx.query(sql, &params![rse], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

/// What an account may still lock. Spent as places are chosen, so that one rule does not count the same room twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance {
    /// Bytes left where there is a limit; storage elements that are not named here take nothing if `strict`.
    local: BTreeMap<String, i64>,
    strict: bool,
    global: Vec<(BTreeSet<String>, i64)>,
    /// Bytes that a storage element still takes from anybody, where it has a limit of its own.
    space: BTreeMap<String, i64>,
}

/// Why a storage element takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Account,
    Storage,
}

impl Full {
    pub(crate) fn error(self, account: &str) -> Error {
        match self {
            Full::Account => Error::new(
                Class::InsufficientAccountLimit,
                format!("There is not enough quota left to fulfil the operation for the account {account}."),
            ),
            Full::Storage => Error::new(Class::RSEOverQuota, "There is not enough space left on the target RSEs."),
        }
    }
}

/// Reads what `account` may still lock at `names`. An account without any limit is free unless `[lake] require_limits`; one that has a
/// limit somewhere may lock nothing where it has none.
pub(crate) fn allowance(
    tx: &mut Tx<'_>,
    account: &str,
    names: &[String],
    all: &Rses,
    unlimited: bool,
) -> Result<Allowance> {
    let mut allowance = Allowance { space: space(tx, names)?, ..Allowance::default() };
    if unlimited {
        return Ok(allowance);
    }
    let limits = local(tx, account)?;
    let over = global(tx, account)?;
    allowance.strict = required(tx)? || !limits.is_empty();
    if !allowance.strict && over.is_empty() {
        return Ok(allowance);
    }
    let used: BTreeMap<String, i64> = usage(tx, account)?.into_iter().map(|row| (row.rse, row.bytes)).collect();
    for rse in names {
        let free = all.attribute(rse, "mock").is_some();
        match limits.get(rse) {
            _ if free => allowance.local.insert(rse.clone(), i64::MAX),
            Some(&UNLIMITED) => allowance.local.insert(rse.clone(), i64::MAX),
            Some(limit) => allowance.local.insert(rse.clone(), limit - used.get(rse).copied().unwrap_or(0)),
            None => None,
        };
    }
    for (expression, limit) in over.into_iter().filter(|(_, limit)| *limit != UNLIMITED) {
        // An expression that means nothing any more limits nothing.
        if let Ok(meant) = all.select(&expression) {
            let sum: i64 = meant.iter().filter_map(|rse| used.get(rse)).sum();
            allowance.global.push((meant.into_iter().collect(), limit - sum));
        }
    }
    Ok(allowance)
}

/// Whether this engine gives nothing to accounts without limits.
fn required(tx: &mut Tx<'_>) -> Result<bool> {
    Ok(tx.query_opt("SELECT 1 FROM lake_turn WHERE id = 1 AND require_limits = 1", &params![], |_| Ok(()))?.is_some())
}

/// Writes down at the start what the settings say, for every process of the engine.
pub(crate) fn require(tx: &mut Tx<'_>, required: bool) -> Result<()> {
    tx.execute("UPDATE lake_turn SET require_limits = ?1 WHERE id = 1 AND require_limits <> ?1", &params![required])?;
    Ok(())
}

fn space(tx: &mut Tx<'_>, names: &[String]) -> Result<BTreeMap<String, i64>> {
    let rows = tx.query(
        "SELECT l.rse, l.value - u.bytes FROM lake_rse_limits l JOIN lake_rse_usage u ON u.rse = l.rse
         WHERE l.name = 'MaxSpaceAvailable' AND l.value >= 0",
        &params![],
        |row| Ok((row.get::<String>(0)?, row.get::<i64>(1)?)),
    )?;
    Ok(rows.into_iter().filter(|(rse, _)| names.contains(rse)).collect())
}

impl Allowance {
    /// Whether `bytes` more may be locked, of which `fresh` are not there yet.
    pub(crate) fn refuses(&self, rse: &str, bytes: i64, fresh: i64) -> Option<Full> {
        let enough = |left: i64| left > 0 && left >= bytes;
        let own = match self.local.get(rse) {
            Some(left) => enough(*left),
            None => !self.strict,
        };
        if !own || self.global.iter().any(|(meant, left)| meant.contains(rse) && !enough(*left)) {
            return Some(Full::Account);
        }
        self.space.get(rse).is_some_and(|left| *left < fresh).then_some(Full::Storage)
    }

    /// Counts what was just locked.
    pub(crate) fn spend(&mut self, rse: &str, bytes: i64, fresh: i64) {
        if let Some(left) = self.local.get_mut(rse) {
            *left = left.saturating_sub(bytes);
        }
        for (_, left) in self.global.iter_mut().filter(|(meant, _)| meant.contains(rse)) {
            *left = left.saturating_sub(bytes);
        }
        if let Some(left) = self.space.get_mut(rse) {
            *left = left.saturating_sub(fresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_are_spent() {
        let mut allowance = Allowance {
            local: BTreeMap::from([("A".to_owned(), 100), ("B".to_owned(), i64::MAX)]),
            strict: true,
            global: vec![(BTreeSet::from(["A".to_owned(), "B".to_owned()]), 150)],
            space: BTreeMap::from([("B".to_owned(), 20)]),
        };
        assert_eq!(allowance.refuses("A", 100, 100), None);
        assert_eq!(allowance.refuses("A", 101, 0), Some(Full::Account));
        assert_eq!(allowance.refuses("C", 1, 0), Some(Full::Account), "no limit is no room");
        assert_eq!(allowance.refuses("B", 100, 21), Some(Full::Storage));
        assert_eq!(allowance.refuses("B", 100, 20), None);
        allowance.spend("A", 100, 100);
        assert_eq!(allowance.refuses("A", 0, 0), Some(Full::Account), "nothing left is nothing, even for empty files");
        assert_eq!(allowance.refuses("B", 51, 0), Some(Full::Account), "the sum counts");
        assert_eq!(allowance.refuses("B", 50, 0), None);
        assert_eq!(Allowance::default().refuses("A", i64::MAX, 0), None);
    }
}
