//! Subscriptions: rules for datasets and containers that do not exist yet. They are looked at in the transaction in which one
//! is made, so a new dataset has its rules from its first moment.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType, Grouping, Notification};
use dte_store::{Row, Tx, params, values};
use serde_json::{Map, Value};

use super::collections::{RuleToMake, make_rule_or_nothing};
use super::dids::DidRow;
use super::{accounts, filters, rses};
use crate::error::{Error, Result};

/// A subscription as stored.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub id: String,
    pub name: String,
    pub account: String,
    pub filter: Value,
    pub rules: Value,
    pub comments: Option<String>,
    pub priority: i64,
    /// A, I, N, U or B.
    pub state: String,
    pub retroactive: bool,
    /// Days.
    pub lifetime: Option<i64>,
    pub expired_at: Option<Timestamp>,
    pub last_processed: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "id, name, account, filter, rules, comments, priority, state, retroactive, lifetime, expired_at,
    last_processed, created_at, updated_at";

fn read(row: &Row) -> Result<Subscription, dte_store::Error> {
    Ok(Subscription {
        id: row.get(0)?,
        name: row.get(1)?,
        account: row.get(2)?,
        filter: row.get(3)?,
        rules: row.get(4)?,
        comments: row.get(5)?,
        priority: row.get(6)?,
        state: row.get(7)?,
        retroactive: row.get(8)?,
        lifetime: row.get(9)?,
        expired_at: row.get(10)?,
        last_processed: row.get(11)?,
        created_at: row.get(12)?,
        updated_at: row.get(13)?,
    })
}

pub(crate) fn not_found(what: &str) -> Error {
    Error::new(Class::SubscriptionNotFound, format!("No subscription {what} found"))
}

/// Subscriptions of an account, with a name; all where one is not given.
pub(crate) fn list(tx: &mut Tx<'_>, account: Option<&str>, name: Option<&str>) -> Result<Vec<Subscription>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_subscriptions WHERE (?1 = '' OR account = ?1) AND (?2 = '' OR name = ?2)
         ORDER BY priority, account, name"
    );
    Ok(tx.query(&sql, &params![account.unwrap_or_default(), name.unwrap_or_default()], read)?)
}

pub(crate) fn get(tx: &mut Tx<'_>, account: &str, name: &str) -> Result<Subscription> {
    list(tx, Some(account), Some(name))?.pop().ok_or_else(|| not_found(&format!("{name} of {account}")))
}

pub(crate) fn by_id(tx: &mut Tx<'_>, id: &str) -> Result<Subscription> {
    let sql = format!("SELECT {COLUMNS} FROM lake_subscriptions WHERE id = ?1");
    tx.query_opt(&sql, &params![id], read)?.ok_or_else(|| not_found(&format!("with the id {id}")))
}

pub(crate) fn add(tx: &mut Tx<'_>, one: &Subscription) -> Result<()> {
    accounts::get(tx, &one.account)?;
    let columns: Vec<&str> = COLUMNS.split(',').map(str::trim).collect();
    match tx.insert_new_many("lake_subscriptions", &columns, &[to_row(one)])? {
        0 => {
            let message = format!("Subscription '{}' owned by '{}' already exists!", one.name, one.account);
            Err(Error::new(Class::SubscriptionDuplicate, message))
        }
        _ => Ok(()),
    }
}

fn to_row(one: &Subscription) -> Vec<dte_store::Value> {
    values![
        &one.id,
        &one.name,
        &one.account,
        one.filter.clone(),
        one.rules.clone(),
        one.comments.clone(),
        one.priority,
        &one.state,
        one.retroactive,
        one.lifetime,
        one.expired_at,
        one.last_processed,
        one.created_at,
        one.updated_at
    ]
}

pub(crate) fn update(tx: &mut Tx<'_>, one: &Subscription) -> Result<()> {
    let columns: Vec<&str> = COLUMNS.split(',').map(str::trim).collect();
    tx.upsert_many("lake_subscriptions", &columns, &["id"], &[to_row(one)])?;
    Ok(())
}

/// The states of a subscription's rules: DID kind is not told apart, as upstream.
pub(crate) fn rule_states(tx: &mut Tx<'_>, subscription: &str) -> Result<Vec<(String, i64)>> {
    let sql =
        "SELECT state, CAST(count(*) AS BIGINT) FROM lake_rules WHERE subscription = ?1 GROUP BY state ORDER BY state";
    Ok(tx.query(sql, &params![subscription], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

pub(crate) fn rules_of(tx: &mut Tx<'_>, subscription: &str) -> Result<Vec<super::rules::Rule>> {
    let columns = super::rules::columns();
    let sql = format!("SELECT {columns} FROM lake_rules r WHERE r.subscription = ?1 ORDER BY r.id LIMIT 10000");
    Ok(tx.query(&sql, &params![subscription], super::rules::read)?)
}

/// Makes the rules that subscriptions want for a new collection. What cannot be made is left out, as nobody is there who
/// could be told; the collection itself stands.
pub(crate) fn apply(tx: &mut Tx<'_>, did: &DidRow, meta: &Map<String, Value>, now: Timestamp) -> Result<()> {
    if did.kind == DidType::File {
        return Ok(());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_subscriptions WHERE state IN ('A', 'N', 'U')
         AND (expired_at IS NULL OR expired_at > ?1) ORDER BY priority, account, name"
    );
    for one in tx.query(&sql, &params![now], read)? {
        let Some(filter) = filters::of(&one.id, &one.filter) else { continue };
        if !filter.matches(&did.did.scope, &did.did.name, &did.account, did.kind.name(), meta) {
            continue;
        }
        for wish in one.rules.as_array().into_iter().flatten() {
            place(tx, &one, &did.did, wish, filter.split, now)?;
        }
        let sql = "UPDATE lake_subscriptions SET last_processed = ?2 WHERE id = ?1";
        tx.execute(sql, &params![&one.id, now])?;
    }
    Ok(())
}

/// Refusals that say only that this rule cannot be.
fn skips(outcome: Result<String>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Error::Exception(exception)) => {
            tracing::info!(%exception, "a subscription's rule could not be made");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn place(tx: &mut Tx<'_>, one: &Subscription, did: &Did, wish: &Value, split: bool, now: Timestamp) -> Result<()> {
    let account = wish["account"].as_str().unwrap_or(&one.account).to_owned();
    let Some(principal) = accounts::principal(tx, &account)? else {
        tracing::info!(account, subscription = one.name, "nobody can act for the account of a subscription");
        return Ok(());
    };
    let expression = wish["rse_expression"].as_str().unwrap_or_default().to_owned();
    let Ok(names) = rses::all(tx)?.select(&expression) else {
        tracing::info!(expression, subscription = one.name, "a subscription's expression means nothing");
        return Ok(());
    };
    let copies = match &wish["copies"] {
        Value::String(text) if text == "*" => names.len(),
        value => value.as_u64().and_then(|copies| usize::try_from(copies).ok()).unwrap_or(1),
    };
    let text = |key: &str| wish[key].as_str().map(str::to_owned);
    let truth = |key: &str| wish[key].as_bool().unwrap_or(false);
    let rule = RuleToMake {
        account,
        principal,
        copies: u32::try_from(copies).unwrap_or(u32::MAX),
        expression,
        grouping: text("grouping").and_then(|text| Grouping::parse(&text)).unwrap_or(Grouping::Dataset),
        weight: text("weight"),
        locked: truth("locked"),
        lifetime: wish["lifetime"].as_i64(),
        source_expression: text("source_replica_expression").filter(|text| !text.is_empty()),
        activity: text("activity").unwrap_or_else(|| "User Subscriptions".to_owned()),
        notification: text("notify").and_then(|text| Notification::parse(&text)).unwrap_or(Notification::No),
        purge_replicas: truth("purge_replicas"),
        ignore_availability: truth("ignore_availability"),
        priority: wish["priority"].as_i64().unwrap_or(3).clamp(1, 5),
        comments: text("comments").or(text("comment")),
        meta: None,
        ignore_account_limit: false,
        ask_approval: false,
        subscription: Some(one.id.clone()),
    };
    if !split {
        return skips(make_rule_or_nothing(tx, did, &rule, now));
    }
    // One rule for each storage element, so that each goes its own way.
    for rse in names.into_iter().take(copies) {
        let own = RuleToMake { copies: 1, expression: rse, ..rule.clone() };
        skips(make_rule_or_nothing(tx, did, &own, now))?;
    }
    Ok(())
}
