//! Rules: reading.

use axum::extract::{Path, State};
use dte_identity::Routes;
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::{Did, RuleState};
use serde_json::{Map, Value, json};

use super::answer::{Answer, PAGE, json, lines, stream};
use super::dids::no_route;
use super::request::{Asking, Call, did};
use super::rules_change as change;
use super::rules_replace;
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::model::filter::like;
use crate::store::replace::{self, Past};
use crate::store::rules::{self, Rule, RuleFilter};
use crate::store::{accounts, dids, locks, requests, rses};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/rules/", READS, list)
        .get("/rules", READS, list)
        .post("/rules/", CHANGES, change::add)
        .post("/rules", CHANGES, change::add)
        .get("/rules/{id}", READS, get)
        .put("/rules/{id}", CHANGES, change::update)
        .delete("/rules/{id}", CHANGES, change::delete)
        .post("/rules/{id}/reduce", CHANGES, rules_replace::reduce)
        .post("/rules/{id}/move", CHANGES, rules_replace::move_rule)
        .get("/rules/{id}/{*end}", READS, more)
}

/// A rule with all its keys.
pub(super) fn render(rule: &Rule) -> Value {
    json!({
        "id": rule.id, "subscription_id": rule.subscription, "account": rule.account, "scope": rule.did.scope,
        "name": rule.did.name, "did_type": rule.kind.name(), "state": rule.state.name(), "error": rule.error,
        "rse_expression": rule.expression, "copies": rule.copies,
        "expires_at": rule.expires_at.map(rfc1123_utc), "weight": rule.weight, "locked": rule.locked,
        "locks_ok_cnt": rule.locks.ok, "locks_replicating_cnt": rule.locks.replicating,
        "locks_stuck_cnt": rule.locks.stuck, "source_replica_expression": rule.source_expression,
        "activity": rule.activity, "grouping": rule.grouping.name(), "notification": rule.notification.name(),
        "stuck_at": rule.stuck_at.map(rfc1123_utc), "purge_replicas": rule.purge_replicas,
        "ignore_availability": rule.ignore_availability, "ignore_account_limit": rule.ignore_account_limit, "priority": rule.priority,
        "comments": rule.comments, "child_rule_id": rule.child, "eol_at": rule.eol_at.map(rfc1123_utc), "split_container": false,
        "meta": rule.meta, "deleted_at": null, "created_at": rfc1123_utc(rule.created_at),
        "updated_at": rfc1123_utc(rule.updated_at),
    })
}

/// A rule in a list has the size of its DID as well.
fn with_bytes(rule: &Rule, bytes: Option<i64>) -> Value {
    let mut value = render(rule);
    value["bytes"] = json!(bytes);
    value
}

async fn get(State(lake): State<Lake>, _: Asking, Path(id): Path<String>) -> Answer {
    let rule = lake.store.read(move |tx| rules::get(tx, &id)).await?;
    json(&render(&rule))
}

pub(super) async fn of_did(lake: Lake, did: Did) -> Answer {
    let (row, found) =
        lake.store.read(move |tx| Ok::<_, Error>((dids::get(tx, &did)?, rules::of_did(tx, &did)?))).await?;
    lines(&found.iter().map(|rule| with_bytes(rule, row.bytes)).collect::<Vec<_>>())
}

pub(super) async fn holding(lake: Lake, did: Did) -> Answer {
    let (found, known) = lake
        .store
        .read(move |tx| {
            dids::get(tx, &did)?;
            let found = rules::holding(tx, &did)?;
            let names: Vec<Did> = found.iter().map(|rule| rule.did.clone()).collect();
            let known = dids::get_many(tx, &names)?;
            Ok::<_, Error>((found, known))
        })
        .await?;
    let size = |rule: &Rule| known.get(&rule.did).and_then(|row| row.bytes);
    lines(&found.iter().map(|rule| with_bytes(rule, size(rule))).collect::<Vec<_>>())
}

async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    listing(lake, &call, None).await
}

pub(super) async fn of_account(State(lake): State<Lake>, _: Asking, Path(account): Path<String>, call: Call) -> Answer {
    let name = account.clone();
    lake.store.read(move |tx| accounts::get(tx, &name)).await?;
    listing(lake, &call, Some(account)).await
}

/// Rules by their columns. Scope and account may be patterns; those are compared here.
async fn listing(lake: Lake, call: &Call, account: Option<String>) -> Answer {
    let wish = |key: &str| call.query(key).map(str::to_owned);
    let account = account.or(wish("account"));
    let is_pattern = |text: &String| text.contains(['*', '%']);
    let patterns = (wish("scope").filter(is_pattern), account.clone().filter(is_pattern));
    let state = match call.query("state") {
        None => None,
        Some(text) => {
            let known = RuleState::parse(text);
            Some(known.ok_or_else(|| super::request::invalid(&format!("state {text}")))?.letter().to_owned())
        }
    };
    let filter = RuleFilter {
        scope: wish("scope").filter(|text| !is_pattern(text)),
        name: wish("name"),
        account: account.filter(|text| !is_pattern(text)),
        state,
    };
    let activity = wish("activity");
    stream(String::new(), move |after| {
        let (lake, filter, patterns, activity) = (lake.clone(), filter.clone(), patterns.clone(), activity.clone());
        async move {
            let (page, known) = lake
                .store
                .read(move |tx| {
                    let page = rules::page(tx, &filter, &after, PAGE)?;
                    let names: Vec<Did> = page.iter().map(|rule| rule.did.clone()).collect();
                    Ok::<_, Error>((page, dids::get_many(tx, &names)?))
                })
                .await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|rule| rule.id.clone())).flatten();
            let fits =
                |text: &str, pattern: &Option<String>| pattern.as_ref().is_none_or(|pattern| like(text, pattern));
            let values = page
                .iter()
                .filter(|rule| fits(&rule.did.scope, &patterns.0) && fits(&rule.account, &patterns.1))
                .filter(|rule| activity.as_ref().is_none_or(|activity| *activity == rule.activity))
                .map(|rule| with_bytes(rule, known.get(&rule.did).and_then(|row| row.bytes)))
                .collect();
            Ok((values, next))
        }
    })
    .await
}

async fn locks_of(State(lake): State<Lake>, _: Asking, Path(id): Path<String>) -> Answer {
    let rule = id.clone();
    let all = lake
        .store
        .read(move |tx| {
            rules::get(tx, &rule)?;
            rses::all(tx)
        })
        .await?;
    let all = std::sync::Arc::new(all);
    stream((Did::new("", ""), String::new()), move |after| {
        let (lake, id, all) = (lake.clone(), id.clone(), all.clone());
        async move {
            let page = lake.store.read(move |tx| locks::page(tx, &id, &after, PAGE)).await?;
            let last = page.last().map(|lock| (lock.did.clone(), lock.rse.clone()));
            let next = last.filter(|_| page.len() == PAGE);
            let values = page
                .iter()
                .map(|lock| {
                    let rse_id = all.rows.get(&lock.rse).map(|rse| rse.id.as_str());
                    json!({"scope": lock.did.scope, "name": lock.did.name, "rse_id": rse_id, "rse": lock.rse,
                        "state": lock.state.name(), "rule_id": lock.rule_id})
                })
                .collect();
            Ok((values, next))
        }
    })
    .await
}

fn counts(past: &Past) -> Map<String, Value> {
    let value = json!({"updated_at": rfc1123_utc(past.updated_at), "state": past.state.name(),
        "locks_ok_cnt": past.locks.ok, "locks_stuck_cnt": past.locks.stuck,
        "locks_replicating_cnt": past.locks.replicating});
    value.as_object().cloned().unwrap_or_default()
}

/// What a rule was, oldest first.
async fn history(lake: Lake, id: String) -> Answer {
    let found = lake.store.read(move |tx| replace::history(tx, &id)).await?;
    lines(&found.iter().map(|past| Value::Object(counts(past))).collect::<Vec<_>>())
}

/// `GET /rules/ID/END`, and the rules that ever were on a DID: `GET /rules/SCOPE/NAME…/history`.
async fn more(state: State<Lake>, asking: Asking, Path((id, end)): Path<(String, String)>) -> Answer {
    match end.as_str() {
        "locks" => locks_of(state, asking, Path(id)).await,
        "history" => history(state.0, id).await,
        "analysis" => analysis(state, asking, Path(id)).await,
        _ => {
            let name = end.strip_suffix("/history").ok_or_else(no_route)?;
            full_history(state.0, did(&id, name)?).await
        }
    }
}

async fn full_history(lake: Lake, did: Did) -> Answer {
    let found = lake.store.read(move |tx| replace::history_of(tx, &did)).await?;
    let values = found.iter().map(|past| {
        let mut map = counts(past);
        map.insert("rule_id".to_owned(), json!(past.rule_id));
        map.insert("account".to_owned(), json!(past.account));
        map.insert("rse_expression".to_owned(), json!(past.expression));
        map.insert("created_at".to_owned(), json!(rfc1123_utc(past.created_at)));
        Value::Object(map)
    });
    lines(&values.collect::<Vec<_>>())
}

/// Why a rule is not OK: its transfers that failed.
async fn analysis(State(lake): State<Lake>, _: Asking, Path(id): Path<String>) -> Answer {
    const MOST: usize = 1000;
    let (rule, failed, all) = lake
        .store
        .read(move |tx| {
            let rule = rules::get(tx, &id)?;
            Ok::<_, Error>((rule, requests::failed_of_rule(tx, &id, MOST)?, rses::all(tx)?))
        })
        .await?;
    let transfers: Vec<Value> = failed
        .iter()
        .map(|request| {
            json!({"scope": request.did.scope, "name": request.did.name,
                "rse_id": all.rows.get(&request.rse).map(|rse| rse.id.as_str()), "rse": request.rse,
                "attempts": request.attempt, "last_error": request.error, "last_source": request.source_rse,
                "sources": [], "last_time": rfc1123_utc(request.submitted_at.unwrap_or(request.requested_at))})
        })
        .collect();
    json(&json!({"rule_error": rule.error, "transfers": transfers}))
}
