//! Rows of rules.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType, Grouping, Notification, RuleState};
use dte_store::{Row, Tx, Value, params, values};

use super::{did_at, letter};
use crate::error::{Error, Result};
use crate::model::rule::LockCounts;

/// A rule as stored.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub id: String,
    pub account: String,
    /// As whom its transfers are made, as JSON.
    pub principal: String,
    pub did: Did,
    pub kind: DidType,
    pub state: RuleState,
    pub error: Option<String>,
    pub expression: String,
    pub copies: u32,
    pub grouping: Grouping,
    pub weight: Option<String>,
    pub locked: bool,
    pub locks: LockCounts,
    pub source_expression: Option<String>,
    pub activity: String,
    pub notification: Notification,
    pub purge_replicas: bool,
    pub ignore_availability: bool,
    pub priority: i64,
    pub comments: Option<String>,
    pub meta: Option<String>,
    pub expires_at: Option<Timestamp>,
    pub stuck_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Limits of the account do not matter.
    pub ignore_account_limit: bool,
    /// The rule that takes its place: when that is OK, this one ends.
    pub child: Option<String>,
    pub subscription: Option<String>,
    pub eol_at: Option<Timestamp>,
}

const COLUMNS: [&str; 31] = [
    "id",
    "account",
    "principal",
    "scope",
    "name",
    "did_kind",
    "state",
    "error",
    "rse_expression",
    "copies",
    "grouping_mode",
    "weight",
    "locked",
    "locks_ok",
    "locks_replicating",
    "locks_stuck",
    "source_expression",
    "activity",
    "notification",
    "purge_replicas",
    "ignore_availability",
    "priority",
    "comments",
    "meta",
    "expires_at",
    "stuck_at",
    "created_at",
    "ignore_account_limit",
    "child_rule",
    "subscription",
    "eol_at",
];

/// The columns of a rule read from the table under the name `r`.
pub(crate) fn columns() -> String {
    let names: Vec<String> = COLUMNS.iter().chain(&["updated_at"]).map(|name| format!("r.{name}")).collect();
    names.join(", ")
}

pub(crate) fn read(row: &Row) -> Result<Rule, dte_store::Error> {
    Ok(Rule {
        id: row.get(0)?,
        account: row.get(1)?,
        principal: row.get(2)?,
        did: did_at(row, 3)?,
        kind: letter(row, 5, DidType::parse)?,
        state: letter(row, 6, RuleState::parse)?,
        error: row.get(7)?,
        expression: row.get(8)?,
        copies: row.get(9)?,
        grouping: letter(row, 10, Grouping::parse)?,
        weight: row.get(11)?,
        locked: row.get(12)?,
        locks: LockCounts { ok: row.get(13)?, replicating: row.get(14)?, stuck: row.get(15)? },
        source_expression: row.get(16)?,
        activity: row.get(17)?,
        notification: letter(row, 18, Notification::parse)?,
        purge_replicas: row.get(19)?,
        ignore_availability: row.get(20)?,
        priority: row.get(21)?,
        comments: row.get(22)?,
        meta: row.get(23)?,
        expires_at: row.get(24)?,
        stuck_at: row.get(25)?,
        created_at: row.get(26)?,
        ignore_account_limit: row.get(27)?,
        child: row.get(28)?,
        subscription: row.get(29)?,
        eol_at: row.get(30)?,
        updated_at: row.get(31)?,
    })
}

fn to_row(rule: &Rule) -> Vec<Value> {
    values![
        &rule.id,
        &rule.account,
        &rule.principal,
        &rule.did.scope,
        &rule.did.name,
        rule.kind.letter(),
        rule.state.letter(),
        rule.error.clone(),
        &rule.expression,
        rule.copies,
        rule.grouping.letter(),
        rule.weight.clone(),
        rule.locked,
        rule.locks.ok,
        rule.locks.replicating,
        rule.locks.stuck,
        rule.source_expression.clone(),
        &rule.activity,
        rule.notification.letter(),
        rule.purge_replicas,
        rule.ignore_availability,
        rule.priority,
        rule.comments.clone(),
        rule.meta.clone(),
        rule.expires_at,
        rule.stuck_at,
        rule.created_at,
        rule.ignore_account_limit,
        rule.child.clone(),
        rule.subscription.clone(),
        rule.eol_at,
        rule.updated_at
    ]
}

pub(crate) fn insert(tx: &mut Tx<'_>, rule: &Rule) -> Result<()> {
    let columns: Vec<&str> = COLUMNS.iter().copied().chain(["updated_at"]).collect();
    match tx.insert_new_many("lake_rules", &columns, &[to_row(rule)])? {
        0 => {
            let Rule { did, account, expression, copies, .. } = rule;
            let message =
                format!("A duplicate rule for {did}, {account}, {expression}, {copies} copies already exists");
            Err(Error::new(Class::DuplicateRule, message))
        }
        _ => super::replace::note(tx, rule, rule.created_at),
    }
}

pub(crate) fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<Rule>> {
    let sql = format!("SELECT {} FROM lake_rules r WHERE r.id = ?1", columns());
    Ok(tx.query_opt(&sql, &params![id], read)?)
}

pub(crate) fn get(tx: &mut Tx<'_>, id: &str) -> Result<Rule> {
    find(tx, id)?.ok_or_else(|| Error::new(Class::RuleNotFound, format!("No rule with the id {id} found")))
}

/// Rules on the DID itself.
pub(crate) fn of_did(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<Rule>> {
    let sql = format!("SELECT {} FROM lake_rules r WHERE r.scope = ?1 AND r.name = ?2 ORDER BY r.id", columns());
    Ok(tx.query(&sql, &params![&did.scope, &did.name], read)?)
}

/// Rules on the DID and on all collections above it.
pub(crate) fn covering(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<Rule>> {
    let sql = format!(
        "WITH RECURSIVE up (scope, name) AS (
            SELECT scope, name FROM lake_dids WHERE scope = ?1 AND name = ?2
            UNION SELECT c.scope, c.name FROM up
              JOIN lake_contents c ON c.child_scope = up.scope AND c.child_name = up.name)
         SELECT {} FROM up JOIN lake_rules r ON r.scope = up.scope AND r.name = up.name ORDER BY r.id",
        columns()
    );
    Ok(tx.query(&sql, &params![&did.scope, &did.name], read)?)
}

/// Rules that hold a lock on a file.
pub(crate) fn holding(tx: &mut Tx<'_>, file: &Did) -> Result<Vec<Rule>> {
    let sql = format!(
        "SELECT DISTINCT {} FROM lake_locks l JOIN lake_rules r ON r.id = l.rule_id
         WHERE l.scope = ?1 AND l.name = ?2 ORDER BY r.id",
        columns()
    );
    Ok(tx.query(&sql, &params![&file.scope, &file.name], read)?)
}

/// What a listing of rules is narrowed by; exact values. Patterns are left to the caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleFilter {
    pub scope: Option<String>,
    pub name: Option<String>,
    pub account: Option<String>,
    pub state: Option<String>,
}

/// Rules after an id, in order.
pub(crate) fn page(tx: &mut Tx<'_>, filter: &RuleFilter, after: &str, limit: usize) -> Result<Vec<Rule>> {
    let mut sql = format!("SELECT {} FROM lake_rules r WHERE r.id > ?1", columns());
    let mut bound = params![after, limit].to_vec();
    let wishes =
        [("scope", &filter.scope), ("name", &filter.name), ("account", &filter.account), ("state", &filter.state)];
    for (column, wish) in wishes {
        if let Some(wish) = wish {
            bound.push(wish.into());
            sql.push_str(&format!(" AND r.{column} = ?{}", bound.len()));
        }
    }
    sql.push_str(" ORDER BY r.id LIMIT ?2");
    Ok(tx.query(&sql, &bound, read)?)
}

/// Writes what can be changed from outside.
pub(crate) fn update(tx: &mut Tx<'_>, rule: &Rule) -> Result<()> {
    tx.execute(
        "UPDATE lake_rules SET comments = ?2, locked = ?3, expires_at = ?4, activity = ?5, source_expression = ?6,
            priority = ?7, meta = ?8, purge_replicas = ?9, state = ?10, updated_at = ?11, account = ?12,
            child_rule = ?13, eol_at = ?14, ignore_account_limit = ?15 WHERE id = ?1",
        &params![
            &rule.id,
            rule.comments.clone(),
            rule.locked,
            rule.expires_at,
            &rule.activity,
            rule.source_expression.clone(),
            rule.priority,
            rule.meta.clone(),
            rule.purge_replicas,
            rule.state.letter(),
            rule.updated_at,
            &rule.account,
            rule.child.clone(),
            rule.eol_at,
            rule.ignore_account_limit
        ],
    )?;
    Ok(())
}

/// Adds to the lock counters.
pub(crate) fn count(tx: &mut Tx<'_>, id: &str, delta: LockCounts, now: Timestamp) -> Result<()> {
    if delta.is_zero() {
        return Ok(());
    }
    tx.execute(
        "UPDATE lake_rules SET locks_ok = locks_ok + ?2, locks_replicating = locks_replicating + ?3,
            locks_stuck = locks_stuck + ?4, updated_at = ?5 WHERE id = ?1",
        &params![id, delta.ok, delta.replicating, delta.stuck, now],
    )?;
    Ok(())
}

/// Rules whose time is over.
pub(crate) fn expired(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<Vec<String>> {
    Ok(tx.query(
        "SELECT id FROM lake_rules WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND locked = 0 AND child_rule IS NULL
         ORDER BY expires_at LIMIT ?2",
        &params![now, limit],
        |row| row.get(0),
    )?)
}
