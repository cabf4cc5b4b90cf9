//! `/subscriptions`: rules for what does not exist yet. For administrators; everybody may read.

use std::time::Duration;

use axum::extract::{Path, State};
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::{Class, Exception, RuleState};
use serde_json::{Value, json};

use super::answer::{Answer, Failure, created, created_text, json, lines};
use super::dids::no_route;
use super::request::{Asking, Call, Fields, invalid};
use super::settings::quiet;
use super::{CHANGES, READS, rules};
use crate::Lake;
use crate::error::Error;
use crate::model::policy::Caller;
use crate::model::subscription::Filter;
use crate::store::subscriptions::{self, Subscription, not_found};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/subscriptions", READS, all)
        .get("/subscriptions/", READS, all)
        .get("/subscriptions/{*path}", READS, get)
        .post("/subscriptions/{*path}", CHANGES, add)
        .put("/subscriptions/{*path}", CHANGES, update)
}

fn state_name(letter: &str) -> &'static str {
    match letter {
        "A" => "ACTIVE",
        "I" => "INACTIVE",
        "N" => "NEW",
        "B" => "BROKEN",
        _ => "UPDATED",
    }
}

/// Filter and rules are JSON texts inside of the JSON: so clients want them.
fn render(one: &Subscription) -> Value {
    json!({
        "id": one.id, "name": one.name, "account": one.account, "filter": one.filter.to_string(),
        "replication_rules": one.rules.to_string(), "policyid": one.priority, "state": state_name(&one.state),
        "last_processed": one.last_processed.map(rfc1123_utc),
        "lifetime": one.lifetime.map(|days| rfc1123_utc(one.created_at + days_of(days))), "comments": one.comments,
        "retroactive": one.retroactive, "expired_at": one.expired_at.map(rfc1123_utc),
        "created_at": rfc1123_utc(one.created_at), "updated_at": rfc1123_utc(one.updated_at),
    })
}

fn days_of(days: i64) -> Duration {
    Duration::from_secs(u64::try_from(days).unwrap_or(0).saturating_mul(86_400))
}

async fn all(State(lake): State<Lake>, _: Asking) -> Answer {
    some(lake, None, None).await
}

async fn some(lake: Lake, account: Option<String>, name: Option<String>) -> Answer {
    let found = lake.store.read(move |tx| subscriptions::list(tx, account.as_deref(), name.as_deref())).await?;
    if found.is_empty() {
        return Err(not_found("of this kind").into());
    }
    lines(&found.iter().map(render).collect::<Vec<_>>())
}

async fn get(State(lake): State<Lake>, _: Asking, Path(path): Path<String>, call: Call) -> Answer {
    let parts: Vec<String> = path.trim_end_matches('/').split('/').map(str::to_owned).collect();
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["name", name] => some(lake, None, Some((*name).to_owned())).await,
        ["id", id] => {
            let id = (*id).to_owned();
            json(&render(&lake.store.read(move |tx| subscriptions::by_id(tx, &id)).await?))
        }
        [account] => some(lake, Some((*account).to_owned()), None).await,
        [account, "rules", "states"] => states(lake, account, None).await,
        [account, name, "rules", "states"] => states(lake, account, Some(name)).await,
        [account, name, "rules"] => rules_of(lake, account, name, call).await,
        [account, name] => some(lake, Some((*account).to_owned()), Some((*name).to_owned())).await,
        _ => Err(no_route()),
    }
}

async fn states(lake: Lake, account: &str, name: Option<&str>) -> Answer {
    let (account, name) = (account.to_owned(), name.map(str::to_owned));
    let rows = lake
        .store
        .read(move |tx| {
            let mut rows = Vec::new();
            for one in subscriptions::list(tx, Some(&account), name.as_deref())? {
                for (state, count) in subscriptions::rule_states(tx, &one.id)? {
                    let state = RuleState::parse(&state).map_or("", RuleState::name);
                    rows.push(json!([one.account, one.name, state, count]));
                }
            }
            Ok::<_, Error>(rows)
        })
        .await?;
    lines(&rows)
}

async fn rules_of(lake: Lake, account: &str, name: &str, call: Call) -> Answer {
    let (account, name) = (account.to_owned(), name.to_owned());
    let state = call.query("state").map(str::to_owned);
    let found = lake
        .store
        .read(move |tx| {
            let one = subscriptions::get(tx, &account, &name)?;
            subscriptions::rules_of(tx, &one.id)
        })
        .await?;
    let fits = |state: &Option<String>, rule: RuleState| {
        state.as_ref().is_none_or(|state| state == rule.letter() || state == rule.name())
    };
    let wanted = found.iter().filter(|rule| fits(&state, rule.state));
    lines(&wanted.map(rules::render).collect::<Vec<_>>())
}

/// The filter and the rules of a body, where they are given.
fn parts(options: &Fields) -> Result<(Option<Value>, Option<Value>), Failure> {
    let filter = options.get("filter").cloned();
    if let Some(filter) = &filter {
        Filter::parse(filter).map_err(|error| invalid(&error.to_string()))?;
    }
    let rules = options.get("replication_rules").cloned();
    for rule in rules.iter().flat_map(|rules| rules.as_array().into_iter().flatten()) {
        if rule["rse_expression"].as_str().is_none_or(str::is_empty) || rule["copies"].is_null() {
            return Err(invalid("each rule has 'copies' and 'rse_expression'"));
        }
    }
    if rules.as_ref().is_some_and(|rules| rules.as_array().is_none_or(Vec::is_empty)) {
        return Err(invalid("'replication_rules' is a list of rules"));
    }
    Ok((filter, rules))
}

/// Days; `false` is no end.
fn lifetime(options: &Fields) -> Result<Option<i64>, Failure> {
    match options.get("lifetime") {
        Some(Value::Bool(false)) => Ok(None),
        _ => options.integer("lifetime"),
    }
}

/// `ACCOUNT/NAME`.
fn key(path: &str) -> Result<(String, String), Failure> {
    let parts = path.trim_end_matches('/').split_once('/').filter(|(_, name)| !name.contains('/'));
    parts.map(|(account, name)| (account.to_owned(), name.to_owned())).ok_or_else(no_route)
}

/// Rules of subscriptions are made with the rights of the accounts that they are for.
fn acts_for(caller: &Caller, one: &Subscription) -> Result<(), Exception> {
    let named = one.rules.as_array().into_iter().flatten().filter_map(|rule| rule["account"].as_str());
    [one.account.as_str()]
        .into_iter()
        .chain(named)
        .try_for_each(|account| caller.acts_as(account, &format!("have a subscription make rules of {account}")))
}

async fn add(State(lake): State<Lake>, asking: Asking, Path(path): Path<String>, call: Call) -> Answer {
    let (account, name) = key(&path)?;
    asking.0.needs_admin("add subscription").map_err(quiet)?;
    let options = Fields(call.dictionary()?.dictionary("options")?);
    let (filter, rules) = parts(&options)?;
    let missing = |key: &str| Failure::new(Class::KeyError, format!("'{key}' not defined"));
    let days = lifetime(&options)?;
    let now = Timestamp::now();
    let one = Subscription {
        id: new_id().simple().to_string(),
        name,
        account,
        filter: filter.ok_or_else(|| missing("filter"))?,
        rules: rules.ok_or_else(|| missing("replication_rules"))?,
        comments: options.text("comments")?,
        priority: options.integer("priority")?.unwrap_or(3),
        state: "A".to_owned(),
        retroactive: options.truth("retroactive", false)?,
        lifetime: days,
        expired_at: days.map(|days| now + days_of(days)),
        last_processed: None,
        created_at: now,
        updated_at: now,
    };
    acts_for(&asking.0, &one).map_err(quiet)?;
    let id = one.id.clone();
    if !options.truth("dry_run", false)? {
        lake.change(move |tx| subscriptions::add(tx, &one)).await?;
    }
    created_text(id)
}

async fn update(State(lake): State<Lake>, asking: Asking, Path(path): Path<String>, call: Call) -> Answer {
    let (account, name) = key(&path)?;
    asking.0.needs_admin("update subscription").map_err(quiet)?;
    let options = Fields(call.dictionary()?.dictionary("options")?);
    let (filter, rules) = parts(&options)?;
    let (comments, priority, days) = (options.text("comments")?, options.integer("priority")?, lifetime(&options)?);
    let state = match options.text("state")?.as_deref() {
        None => "U",
        Some("A" | "ACTIVE") => "A",
        Some("I" | "INACTIVE") => "I",
        Some(other) => return Err(invalid(&format!("state {other}"))),
    };
    let now = Timestamp::now();
    lake.change(move |tx| {
        let old = subscriptions::get(tx, &account, &name)?;
        let one = Subscription {
            filter: filter.clone().unwrap_or(old.filter),
            rules: rules.clone().unwrap_or(old.rules),
            comments: comments.clone().or(old.comments),
            priority: priority.unwrap_or(old.priority),
            lifetime: days.or(old.lifetime),
            expired_at: days.map(|days| now + days_of(days)).or(old.expired_at),
            state: state.to_owned(),
            updated_at: now,
            ..old
        };
        acts_for(&asking.0, &one)?;
        subscriptions::update(tx, &one)
    })
    .await?;
    created()
}
