//! Rules: making, changing, ending.

use std::time::Duration;

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_protocol_rucio::date;
use dte_protocol_rucio::{Class, Did, Grouping, Notification, RuleState};
use dte_store::Tx;
use http::StatusCode;
use serde_json::Value;

use super::answer::{Answer, Failure, created_with, done};
use super::request::{Asking, Call, Fields, dids as read_dids, invalid};
use crate::Lake;
use crate::error::{Error, Result};
use crate::model::policy::Caller;
use crate::store::collections::{RuleToMake, make_rule};
use crate::store::place::ground;
use crate::store::{accounts, approval, evaluate, inject, ready, remove, replace, requests, rses, rules};

/// A rule that is deleted lives this much longer, so that people can change their mind.
const GRACE: Duration = Duration::from_secs(3600);
/// Failed transfers that one request tries again.
const BOOST: usize = 1000;

/// A rule as a client declares it.
#[derive(Clone, Debug)]
pub(super) struct RuleWish {
    account: Option<String>,
    rule: RuleToMake,
}

fn choice<T>(fields: &Fields, key: &str, default: T, parse: fn(&str) -> Option<T>) -> Result<T, Failure> {
    match fields.text(key)? {
        None => Ok(default),
        Some(text) => parse(&text).ok_or_else(|| invalid(&format!("'{text}' is not a {key}"))),
    }
}

impl RuleWish {
    /// Reads a rule of a body; the DIDs are read elsewhere.
    pub(super) fn read(fields: &Fields) -> Result<RuleWish, Failure> {
        let copies = fields.integer("copies")?.ok_or_else(|| Failure::new(Class::KeyError, "'copies' not defined"))?;
        let copies = u32::try_from(copies).map_err(|_| invalid("copies"))?;
        let comments = fields.text("comment")?.or(fields.text("comments")?);
        if comments.as_ref().is_some_and(|text| text.chars().count() > 250) {
            return Err(invalid("the comment is longer than 250 characters"));
        }
        // A text is stored as JSON once more.
        let meta = fields.get("meta").map(ToString::to_string);
        let rule = RuleToMake {
            account: String::new(),
            principal: String::new(),
            copies,
            expression: fields.required_text("rse_expression")?,
            grouping: choice(fields, "grouping", Grouping::Dataset, Grouping::parse)?,
            weight: fields.text("weight")?,
            locked: fields.truth("locked", false)?,
            lifetime: fields.integer("lifetime")?,
            source_expression: fields.text("source_replica_expression")?.filter(|text| !text.is_empty()),
            activity: fields.text("activity")?.unwrap_or_else(|| "User Subscriptions".to_owned()),
            notification: choice(fields, "notify", Notification::No, Notification::parse)?,
            purge_replicas: fields.truth("purge_replicas", false)?,
            ignore_availability: fields.truth("ignore_availability", false)?,
            priority: fields.integer("priority")?.unwrap_or(3).clamp(1, 5),
            comments,
            meta,
            ignore_account_limit: false,
            ask_approval: fields.truth("ask_approval", false)?,
            subscription: None,
        };
        Ok(RuleWish { account: fields.text("account")?, rule })
    }
}

/// Makes the rule on each DID; answers the ids.
pub(super) fn make(
    tx: &mut Tx<'_>,
    wish: &RuleWish,
    dids: &[Did],
    caller: &Caller,
    principal: &str,
    now: Timestamp,
) -> Result<Vec<String>> {
    let mut rule = wish.rule.clone();
    rule.account = wish.account.clone().unwrap_or_else(|| caller.account.clone());
    caller.acts_as(&rule.account, "add replication rule of another account")?;
    if rule.locked {
        caller.needs_admin("add locked replication rule")?;
    }
    rule.principal = if rule.account == caller.account {
        principal.to_owned()
    } else {
        accounts::get(tx, &rule.account)?;
        accounts::principal(tx, &rule.account)?.ok_or_else(|| {
            let message = format!("Account {} has never logged in, so nobody can act for it", rule.account);
            Error::new(Class::InvalidReplicationRule, message)
        })?
    };
    rule.ignore_account_limit = caller.admin && rule.account == caller.account;
    dids.iter().map(|did| make_rule(tx, did, &rule, now)).collect()
}

/// Denials of rules are not 401: clients would log in anew.
pub(super) fn not_401(error: Error) -> Failure {
    Failure::from(error).with_status(Class::AccessDenied, StatusCode::FORBIDDEN)
}

pub(super) async fn add(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    if !fields.0.contains_key("account") {
        return Err(Failure::new(Class::KeyError, "'account' not defined"));
    }
    let conflict = |failure: Failure| failure.with_status(Class::InvalidObject, StatusCode::CONFLICT);
    let wanted = read_dids(&fields.required_list("dids")?).map_err(conflict)?;
    let wish = RuleWish::read(&fields).map_err(conflict)?;
    let principal = asking.principal_text()?;
    let now = Timestamp::now();
    let ids = lake.change(move |tx| make(tx, &wish, &wanted, &asking.0, &principal, now)).await.map_err(not_401)?;
    created_with(&Value::from(ids))
}

pub(super) async fn delete(State(lake): State<Lake>, asking: Asking, Path(id): Path<String>, call: Call) -> Answer {
    let fields = call.optional_dictionary()?;
    let purge = fields.truth("purge_replicas", false)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        let mut rule = rules::get(tx, &id)?;
        asking.0.needs_account(&rule.account, "delete replication rule")?;
        if rule.locked {
            let message = format!("The replication rule {id} is locked and cannot be deleted");
            return Err(Error::Exception(
                dte_protocol_rucio::Exception::new(Class::UnsupportedOperation, message).at(StatusCode::UNAUTHORIZED),
            ));
        }
        if let Some(child) = &rule.child {
            let message = format!("The replication rule {id} is replaced by {child} and cannot be deleted");
            return Err(Error::Exception(
                dte_protocol_rucio::Exception::new(Class::UnsupportedOperation, message).at(StatusCode::UNAUTHORIZED),
            ));
        }
        let end = now + GRACE;
        rule.expires_at = Some(rule.expires_at.map_or(end, |old| old.min(end)));
        rule.purge_replicas |= purge;
        rule.updated_at = now;
        rules::update(tx, &rule)
    })
    .await?;
    done()
}

pub(super) async fn update(State(lake): State<Lake>, asking: Asking, Path(id): Path<String>, call: Call) -> Answer {
    let options = Fields(call.dictionary()?.dictionary("options")?);
    let changes = Changes::read(&options)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        let rule = rules::get(tx, &id)?;
        if let Some(yes) = changes.approve {
            needs_approver(tx, &asking.0, &rule)?;
            return match yes {
                true => approval::approve(tx, rule, now),
                false => approval::deny(tx, rule, now),
            };
        }
        asking.0.needs_account(&rule.account, "update replication rule")?;
        if changes.locked.is_some() {
            asking.0.needs_admin("lock replication rule")?;
        }
        if changes.account.is_some() {
            asking.0.needs_engine_admin("give a replication rule to another account")?;
        }
        changes.apply(tx, rule, now)
    })
    .await
    .map_err(not_401)?;
    done()
}

/// Administrators approve, and those whom the storage element names (`rule_approvers`).
fn needs_approver(tx: &mut Tx<'_>, caller: &Caller, rule: &rules::Rule) -> Result<()> {
    let all = rses::all(tx)?;
    let names = all.select(&rule.expression).unwrap_or_default();
    let named = |rse: &String| {
        all.attribute(rse, "rule_approvers").is_some_and(|text| text.split(',').any(|one| one.trim() == caller.account))
    };
    if !names.is_empty() && names.iter().all(named) {
        return Ok(());
    }
    Ok(caller.needs_admin("approve or deny replication rule")?)
}

/// What can be changed.
#[derive(Clone, Debug)]
struct Changes {
    comments: Option<String>,
    locked: Option<bool>,
    /// Outer: given at all. Inner: seconds, or never.
    lifetime: Option<Option<i64>>,
    activity: Option<String>,
    source_expression: Option<String>,
    priority: Option<i64>,
    purge_replicas: Option<bool>,
    meta: Option<String>,
    suspend: bool,
    stuck: bool,
    boost: bool,
    approve: Option<bool>,
    account: Option<String>,
    /// Outer: given at all.
    eol_at: Option<Option<Timestamp>>,
    /// Outer: given at all.
    child: Option<Option<String>>,
}

impl Changes {
    fn read(options: &Fields) -> Result<Changes, Failure> {
        let known = [
            "comment",
            "locked",
            "lifetime",
            "activity",
            "source_replica_expression",
            "priority",
            "purge_replicas",
            "meta",
            "state",
            "boost_rule",
            "cancel_requests",
            "approve",
            "account",
            "eol_at",
            "child_rule_id",
        ];
        if let Some(other) = options.0.keys().find(|key| !known.contains(&key.as_str())) {
            let message = format!("The option {other} of rules cannot be changed");
            return Err(Failure::new(Class::UnsupportedOperation, message));
        }
        let state = options.text("state")?.map(|state| state.to_ascii_lowercase());
        if let Some(other) = state.as_deref().filter(|state| !["suspended", "stuck"].contains(state)) {
            return Err(Failure::new(Class::UnsupportedOperation, format!("The state {other} cannot be set")));
        }
        let given = |key: &str| options.get(key).is_some();
        Ok(Changes {
            comments: options.text("comment")?,
            locked: if given("locked") { Some(options.truth("locked", false)?) } else { None },
            lifetime: if options.0.contains_key("lifetime") { Some(options.integer("lifetime")?) } else { None },
            activity: options.text("activity")?,
            source_expression: options.text("source_replica_expression")?,
            priority: options.integer("priority")?,
            purge_replicas: if given("purge_replicas") { Some(options.truth("purge_replicas", false)?) } else { None },
            meta: options.get("meta").map(ToString::to_string),
            suspend: state.as_deref() == Some("suspended"),
            stuck: state.as_deref() == Some("stuck"),
            boost: options.truth("boost_rule", false)?,
            approve: if given("approve") { Some(options.truth("approve", false)?) } else { None },
            account: options.text("account")?,
            eol_at: match options.text("eol_at")? {
                None => options.0.contains_key("eol_at").then_some(None),
                Some(text) => Some(Some(date::parse(&text).ok_or_else(|| invalid("'eol_at' is not a date"))?)),
            },
            child: if options.0.contains_key("child_rule_id") { Some(options.text("child_rule_id")?) } else { None },
        })
    }

    /// The rule that shall take the place of `rule`: one on the same DID.
    fn adopt(&self, tx: &mut Tx<'_>, rule: &rules::Rule, child: Option<&str>) -> Result<Option<String>> {
        let Some(child) = child else { return Ok(None) };
        let found = rules::get(tx, child)?;
        if found.did != rule.did || found.id == rule.id || found.child.is_some() {
            let message = "A child rule is another rule on the same data identifier, without a child of its own";
            return Err(Error::new(Class::InputValidationError, message));
        }
        Ok((found.state != RuleState::Ok).then(|| child.to_owned()))
    }

    fn apply(&self, tx: &mut Tx<'_>, mut rule: rules::Rule, now: Timestamp) -> Result<()> {
        rule.comments = self.comments.clone().or(rule.comments);
        rule.locked = self.locked.unwrap_or(rule.locked);
        rule.activity = self.activity.clone().unwrap_or(rule.activity);
        rule.source_expression = match &self.source_expression {
            None => rule.source_expression,
            Some(text) if text.is_empty() => None,
            Some(text) => Some(text.clone()),
        };
        rule.priority = self.priority.unwrap_or(rule.priority).clamp(1, 5);
        rule.purge_replicas = self.purge_replicas.unwrap_or(rule.purge_replicas);
        rule.meta = self.meta.clone().or(rule.meta);
        if let Some(lifetime) = self.lifetime {
            let seconds = |life: i64| now + Duration::from_secs(u64::try_from(life).unwrap_or(0));
            rule.expires_at = lifetime.map(seconds);
        }
        if rule.state == RuleState::WaitingApproval && (self.suspend || self.stuck || self.boost) {
            let message = format!("The rule {} waits for approval: it can be approved or denied", rule.id);
            return Err(Error::new(Class::UnsupportedOperation, message));
        }
        let resumed = rule.state == RuleState::Suspended && (self.stuck || self.boost);
        if self.suspend {
            rule.state = RuleState::Suspended;
        } else if resumed {
            rule.state = RuleState::Replicating;
        }
        if let Some(account) = self.account.as_ref().filter(|account| **account != rule.account) {
            accounts::get(tx, account)?;
            let principal = accounts::principal(tx, account)?.ok_or_else(|| {
                let message = format!("Account {account} has never logged in, so nobody can act for it");
                Error::new(Class::InputValidationError, message)
            })?;
            replace::give(tx, &mut rule, account, principal, now)?;
        }
        rule.eol_at = self.eol_at.unwrap_or(rule.eol_at);
        if let Some(child) = &self.child {
            rule.child = self.adopt(tx, &rule, child.as_deref())?;
        }
        rule.updated_at = now;
        rules::update(tx, &rule)?;
        if self.priority.is_some() {
            requests::set_priority(tx, &rule.id, rule.priority)?;
        }
        if self.lifetime.is_some() && rule.expires_at.is_some_and(|at| at <= now) && !rule.locked {
            remove::request(tx, &rule.id)?;
        }
        if self.boost || self.stuck {
            for request in requests::failed_of_rule(tx, &rule.id, BOOST)? {
                evaluate::revive(tx, &request, now)?;
            }
        }
        if resumed {
            // What was attached in the meantime has no locks yet.
            let ground = ground(tx, &rule)?;
            inject::apply(tx, &rule, &ground, &rule.did, now)?;
            evaluate::settle(tx, &rule.id, None, now)?;
            ready::check_below(tx, &rule.did, now)?;
        }
        Ok(())
    }
}
