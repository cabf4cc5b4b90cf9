//! Accounts and scopes.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::Class;
use dte_protocol_rucio::date::account_date;
use dte_protocol_rucio::did::{is_account, is_scope};
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, Failure, PAGE, created, json, see_other, stream};
use super::request::{Asking, Call, invalid};
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::model::filter::like;
use crate::store::{accounts, people};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/accounts", READS, list)
        .get("/accounts/", READS, list)
        .get("/accounts/whoami", READS, whoami)
        .get("/accounts/{account}", READS, get)
        .post("/accounts/{account}", CHANGES, add)
        .get("/accounts/{account}/scopes/", READS, scopes_of)
        .get("/accounts/{account}/scopes", READS, scopes_of)
        .post("/accounts/{account}/scopes/{scope}", CHANGES, add_scope)
        .get("/accounts/{account}/rules", READS, super::rules::of_account)
        .get("/scopes/", READS, scopes)
        .get("/scopes", READS, scopes)
        .get("/scopes/owner/", READS, owners)
        .get("/scopes/owner", READS, owners)
        .post("/scopes/{account}/{scope}", CHANGES, add_scope)
        .get("/scopes/{account}/scopes", READS, scopes_of)
}

async fn whoami(Asking(caller, _): Asking) -> Answer {
    see_other(&caller.account)
}

async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let pattern = call.query("account").unwrap_or("*").to_owned();
    let kind = call.query("account_type").map(str::to_owned);
    let status = call.query("status").map(str::to_owned);
    let among = among(&lake, &call).await?;
    stream(String::new(), move |after| {
        let (lake, pattern, kind) = (lake.clone(), pattern.clone(), kind.clone());
        let (status, among) = (status.clone(), among.clone());
        async move {
            let page = lake.store.read(move |tx| accounts::page(tx, &after, PAGE)).await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|one| one.account.clone())).flatten();
            let values = page
                .iter()
                .filter(|one| like(&one.account, &pattern) && kind.as_ref().is_none_or(|kind| *kind == one.kind))
                .filter(|one| status.as_ref().is_none_or(|status| *status == one.status))
                .filter(|one| among.as_ref().is_none_or(|among| among.contains(&one.account)))
                .map(|one| json!({"account": one.account, "type": one.kind, "email": one.email}))
                .collect();
            Ok((values, next))
        }
    })
    .await
}

/// The accounts that an identity or attributes of the query leave; `None` is all.
async fn among(lake: &Lake, call: &Call) -> Result<Option<BTreeSet<String>>, Failure> {
    let known = ["account", "account_type", "status"];
    let wishes: Vec<(String, String)> =
        call.pairs().iter().filter(|(key, _)| !known.contains(&key.as_str())).cloned().collect();
    if wishes.is_empty() {
        return Ok(None);
    }
    let sets = lake
        .store
        .read(move |tx| {
            let mut sets: Vec<BTreeSet<String>> = Vec::new();
            for (key, value) in &wishes {
                sets.push(match key.as_str() {
                    "identity" => people::accounts_of(tx, value, "")?.into_iter().map(|(account, _)| account).collect(),
                    _ => people::with_attribute(tx, key, value)?.into_iter().collect(),
                });
            }
            Ok::<_, Error>(sets)
        })
        .await?;
    Ok(sets.into_iter().reduce(|a, b| a.intersection(&b).cloned().collect()))
}

async fn get(State(lake): State<Lake>, _: Asking, Path(account): Path<String>) -> Answer {
    let row = lake.store.read(move |tx| accounts::get(tx, &account)).await?;
    json(&json!({
        "account": row.account, "account_type": row.kind, "status": row.status, "email": row.email,
        "suspended_at": row.suspended_at.map(account_date), "deleted_at": row.deleted_at.map(account_date),
        "created_at": account_date(row.created_at), "updated_at": account_date(row.updated_at),
    }))
}

async fn add(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("add account")?;
    let fields = call.dictionary()?;
    let kind = fields.required_text("type")?;
    let email = fields.text("email")?;
    if !is_account(&account) {
        return Err(invalid(&format!("{account} is not an account name")));
    }
    if !["USER", "GROUP", "SERVICE"].contains(&kind.as_str()) {
        return Err(Failure::new(Class::InvalidAccountType, format!("'{kind}' is not a type of accounts")));
    }
    let now = Timestamp::now();
    lake.store.write(move |tx| accounts::add(tx, &account, &kind, email.as_deref(), now)).await?;
    created()
}

async fn scopes_of(State(lake): State<Lake>, _: Asking, Path(account): Path<String>) -> Answer {
    let name = account.clone();
    let found = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &name)?;
            accounts::scopes(tx, Some(&name))
        })
        .await?;
    if found.is_empty() {
        return Err(Failure::new(Class::ScopeNotFound, format!("no scopes found for account ID '{account}'")));
    }
    json(&found.into_iter().map(|(scope, _)| Value::String(scope)).collect())
}

async fn scopes(State(lake): State<Lake>, _: Asking) -> Answer {
    let found = lake.store.read(|tx| accounts::scopes(tx, None)).await?;
    json(&found.into_iter().map(|(scope, _)| Value::String(scope)).collect())
}

async fn owners(State(lake): State<Lake>, _: Asking) -> Answer {
    let found = lake.store.read(|tx| accounts::scopes(tx, None)).await?;
    json(&found.into_iter().map(|(scope, account)| json!({"scope": scope, "account": account})).collect())
}

async fn add_scope(State(lake): State<Lake>, asking: Asking, Path((account, scope)): Path<(String, String)>) -> Answer {
    if !is_scope(&scope) {
        return Err(invalid(&format!("{scope} is not a scope name")));
    }
    asking.0.may_make_scope(&scope, &account).map_err(|denied| denied.at(StatusCode::UNAUTHORIZED))?;
    let now = Timestamp::now();
    lake.store.write(move |tx| accounts::add_scope(tx, &scope, &account, now)).await?;
    created()
}
