//! Rules that take the place of others, and the record of what rules were.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, RuleState};
use dte_store::{Row, Tx, params, values};

use super::collections::{RuleToMake, make_rule};
use super::rules::{self, Rule};
use super::{letter, remove};
use crate::error::{Error, Result};
use crate::model::rule::LockCounts;

/// What a rule was at a moment.
pub(crate) struct Past {
    pub rule_id: String,
    pub account: String,
    pub expression: String,
    pub state: RuleState,
    pub locks: LockCounts,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Notes what a rule is now.
pub(crate) fn note(tx: &mut Tx<'_>, rule: &Rule, now: Timestamp) -> Result<()> {
    let columns = [
        "rule_id",
        "scope",
        "name",
        "account",
        "rse_expression",
        "state",
        "locks_ok",
        "locks_replicating",
        "locks_stuck",
        "created_at",
        "updated_at",
    ];
    let row = values![
        &rule.id,
        &rule.did.scope,
        &rule.did.name,
        &rule.account,
        &rule.expression,
        rule.state.letter(),
        rule.locks.ok,
        rule.locks.replicating,
        rule.locks.stuck,
        rule.created_at,
        now
    ];
    tx.insert_many("lake_rule_history", &columns, &[row])?;
    Ok(())
}

const PAST: &str = "SELECT h.rule_id, h.scope, h.name, h.account, h.rse_expression, h.state, h.locks_ok,
    h.locks_replicating, h.locks_stuck, h.created_at, h.updated_at FROM lake_rule_history h";
/// Entries of a history that are told.
const MOST: i64 = 1000;

fn read(row: &Row) -> Result<Past, dte_store::Error> {
    Ok(Past {
        rule_id: row.get(0)?,
        account: row.get(3)?,
        expression: row.get(4)?,
        state: letter(row, 5, RuleState::parse)?,
        locks: LockCounts { ok: row.get(6)?, replicating: row.get(7)?, stuck: row.get(8)? },
        created_at: row.get(9)?,
        updated_at: row.get(10)?,
    })
}

pub(crate) fn history(tx: &mut Tx<'_>, rule: &str) -> Result<Vec<Past>> {
    let sql = format!("{PAST} WHERE h.rule_id = ?1 ORDER BY h.id LIMIT ?2");
    Ok(tx.query(&sql, &params![rule, MOST], read)?)
}

/// The last that is known of each rule that was ever on a DID.
pub(crate) fn history_of(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<Past>> {
    let sql = format!(
        "{PAST} WHERE h.scope = ?1 AND h.name = ?2 AND h.id = (SELECT max(l.id) FROM lake_rule_history l
            WHERE l.rule_id = h.rule_id) ORDER BY h.id LIMIT ?3"
    );
    Ok(tx.query(&sql, &params![&did.scope, &did.name, MOST], read)?)
}

/// The wish that would make the rule again, with what was allowed to it.
pub(crate) fn wish_of(rule: &Rule, now: Timestamp) -> RuleToMake {
    let left = |end: Timestamp| i64::try_from(end.since(now).as_secs()).unwrap_or(i64::MAX);
    RuleToMake {
        account: rule.account.clone(),
        principal: rule.principal.clone(),
        copies: rule.copies,
        expression: rule.expression.clone(),
        grouping: rule.grouping,
        weight: rule.weight.clone(),
        locked: rule.locked,
        lifetime: rule.expires_at.map(left),
        source_expression: rule.source_expression.clone(),
        activity: rule.activity.clone(),
        notification: rule.notification,
        purge_replicas: rule.purge_replicas,
        ignore_availability: rule.ignore_availability,
        priority: rule.priority,
        comments: rule.comments.clone(),
        meta: rule.meta.clone(),
        ignore_account_limit: rule.ignore_account_limit,
        ask_approval: false,
        subscription: rule.subscription.clone(),
    }
}

fn failed(message: String) -> Error {
    Error::new(Class::RuleReplaceFailed, message)
}

/// Makes a rule in the place of another, which stays until the new one is OK. Answers the new rule's id.
pub(crate) fn move_rule(tx: &mut Tx<'_>, old: Rule, wish: &RuleToMake, now: Timestamp) -> Result<String> {
    if let Some(child) = &old.child {
        return Err(failed(format!("The rule {} is replaced by {child} already", old.id)));
    }
    if wish.expression == old.expression && wish.copies == old.copies && wish.account == old.account {
        return Err(failed("The new rule would be the same".to_owned()));
    }
    let id = make_rule(tx, &old.did, wish, now)?;
    let new = rules::get(tx, &id)?;
    let child = (new.state != RuleState::Ok).then(|| id.clone());
    let waits = child.is_some();
    let old_id = old.id.clone();
    rules::update(tx, &Rule { child, locked: false, expires_at: Some(now), updated_at: now, ..old })?;
    if !waits {
        remove::request(tx, &old_id)?;
    }
    Ok(id)
}

/// Makes a rule with fewer copies in the place of one that is OK. Nothing may have to be brought for it.
pub(crate) fn reduce(tx: &mut Tx<'_>, old: Rule, copies: u32, exclude: Option<&str>, now: Timestamp) -> Result<String> {
    if old.state != RuleState::Ok {
        return Err(failed(format!("The rule {} is not OK", old.id)));
    }
    if copies >= old.copies {
        return Err(failed("Copies of the new rule must be smaller than those of the old one.".to_owned()));
    }
    let mut wish = RuleToMake { copies, ..wish_of(&old, now) };
    if let Some(exclude) = exclude {
        wish.expression = format!("({})\\({exclude})", old.expression);
    }
    let id = make_rule(tx, &old.did, &wish, now)?;
    if rules::get(tx, &id)?.state != RuleState::Ok {
        return Err(failed(format!("The replacement of the rule {} would not be OK at once", old.id)));
    }
    end_now(tx, old, now)?;
    Ok(id)
}

/// Ends a rule at once; of a large one the rest is left to the queue.
pub(crate) fn end_now(tx: &mut Tx<'_>, rule: Rule, now: Timestamp) -> Result<()> {
    let id = rule.id.clone();
    rules::update(tx, &Rule { locked: false, child: None, expires_at: Some(now), updated_at: now, ..rule })?;
    if remove::step(tx, &id, now)? {
        remove::request(tx, &id)?;
    }
    Ok(())
}

/// A rule is OK: those that waited for it may end.
pub(crate) fn release_parents(tx: &mut Tx<'_>, child: &str, now: Timestamp) -> Result<()> {
    let sql = "SELECT id FROM lake_rules WHERE child_rule = ?1";
    let waiting: Vec<String> = tx.query(sql, &params![child], |row| row.get(0))?;
    for id in waiting {
        tx.execute("UPDATE lake_rules SET child_rule = NULL, updated_at = ?2 WHERE id = ?1", &params![&id, now])?;
        remove::request(tx, &id)?;
    }
    Ok(())
}

/// Gives a rule to another account, with what it has locked.
pub(crate) fn give(tx: &mut Tx<'_>, rule: &mut Rule, account: &str, principal: String, now: Timestamp) -> Result<()> {
    let sums: Vec<(String, i64, i64)> = tx.query(
        "SELECT rse, CAST(count(*) AS BIGINT), CAST(sum(bytes) AS BIGINT) FROM lake_locks WHERE rule_id = ?1 GROUP BY rse",
        &params![&rule.id],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (rse, files, bytes) in sums {
        super::accounts::add_usage(tx, &rule.account, &rse, -files, -bytes, now)?;
        super::accounts::add_usage(tx, account, &rse, files, bytes, now)?;
    }
    for table in ["lake_locks", "lake_dataset_locks", "lake_requests"] {
        tx.execute(&format!("UPDATE {table} SET account = ?2 WHERE rule_id = ?1"), &params![&rule.id, account])?;
    }
    tx.execute("UPDATE lake_rules SET principal = ?2 WHERE id = ?1", &params![&rule.id, &principal])?;
    rule.account = account.to_owned();
    rule.principal = principal;
    Ok(())
}
