//! How much accounts may lock and have locked.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::date::account_date;
use dte_protocol_rucio::{Class, Exception};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, done, json, json_text, lines_text};
use super::request::{Asking, Call, invalid};
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::limits::UNLIMITED;
use crate::store::{accounts, limits, rses};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    let routes = routes
        .get("/accounts/{account}/limits", READS, list_local)
        .get("/accounts/{account}/limits/local", READS, list_local)
        .get("/accounts/{account}/limits/local/{rse}", READS, get_local)
        .post("/accounts/{account}/limits/local/{rse}", CHANGES, set_local)
        .delete("/accounts/{account}/limits/local/{rse}", CHANGES, delete_local)
        .get("/accounts/{account}/limits/global", READS, list_global)
        .get("/accounts/{account}/limits/global/{expression}", READS, get_global)
        .post("/accounts/{account}/limits/global/{expression}", CHANGES, set_global)
        .delete("/accounts/{account}/limits/global/{expression}", CHANGES, delete_global)
        .get("/accounts/{account}/limits/{rse}", READS, get_local);
    // As clients up to 38 say it.
    let routes = routes
        .post("/accountlimits/local/{account}/{rse}", CHANGES, set_local)
        .delete("/accountlimits/local/{account}/{rse}", CHANGES, delete_local)
        .post("/accountlimits/global/{account}/{expression}", CHANGES, set_global)
        .delete("/accountlimits/global/{account}/{expression}", CHANGES, delete_global)
        .post("/accountlimits/{account}/{rse}", CHANGES, set_local)
        .delete("/accountlimits/{account}/{rse}", CHANGES, delete_local);
    routes
        .get("/accounts/{account}/usage", READS, usage)
        .get("/accounts/{account}/usage/", READS, usage)
        .get("/accounts/{account}/usage/local", READS, usage)
        .get("/accounts/{account}/usage/local/{rse}", READS, usage_at)
        .get("/accounts/{account}/usage/global", READS, usage_over)
        .get("/accounts/{account}/usage/global/{expression}", READS, usage_over_one)
        .get("/accounts/{account}/usage/history/{rse}", READS, usage_history)
        .get("/accounts/{account}/usage/{rse}", READS, usage_at)
}

/// What stands for "unlimited" until the text is written: JSON has no word for it, Python's has.
const INFINITE: &str = "\u{1}Infinity\u{1}";

fn limit(bytes: i64) -> Value {
    if bytes == UNLIMITED { json!(INFINITE) } else { json!(bytes) }
}

fn remaining(limit: i64, used: i64) -> Value {
    if limit == UNLIMITED { json!(INFINITE) } else { json!(limit - used) }
}

/// The text of a value, with Python's word for what is unlimited.
fn text(value: &Value) -> String {
    value.to_string().replace(&Value::from(INFINITE).to_string(), "Infinity")
}

fn rendered(value: &Value) -> Answer {
    json_text(text(value))
}

async fn list_local(State(lake): State<Lake>, _: Asking, Path(account): Path<String>) -> Answer {
    let found = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            limits::local(tx, &account)
        })
        .await?;
    rendered(&Value::Object(found.into_iter().map(|(rse, bytes)| (rse, limit(bytes))).collect()))
}

async fn get_local(State(lake): State<Lake>, _: Asking, Path((account, rse)): Path<(String, String)>) -> Answer {
    let name = rse.clone();
    let found = lake
        .store
        .read(move |tx| {
            rses::get(tx, &name)?;
            accounts::get(tx, &account)?;
            Ok::<_, Error>(limits::local(tx, &account)?.remove(&name))
        })
        .await?;
    rendered(&Value::Object(Map::from_iter([(rse, found.map_or(Value::Null, limit))])))
}

/// Bytes of a body; what is below zero, or infinite, is unlimited.
fn bytes(call: &Call) -> Result<i64, Failure> {
    let fields = call.dictionary()?;
    if !fields.0.contains_key("bytes") {
        return Err(Failure::new(Class::KeyError, "'bytes' not defined"));
    }
    let bytes = fields.integer("bytes").map_err(|_| invalid("'bytes' must be a number"))?;
    Ok(bytes.filter(|bytes| *bytes >= 0).unwrap_or(UNLIMITED))
}

async fn set_local(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, rse)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("set account limits")?;
    let bytes = bytes(&call)?;
    lake.change(move |tx| limits::set_local(tx, &account, &rse, bytes)).await?;
    created()
}

async fn delete_local(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, rse)): Path<(String, String)>,
) -> Answer {
    asking.0.needs_admin("delete account limits")?;
    lake.change(move |tx| limits::delete_local(tx, &account, &rse)).await?;
    done()
}

async fn list_global(State(lake): State<Lake>, _: Asking, Path(account): Path<String>) -> Answer {
    let (found, all) = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            Ok::<_, Error>((limits::global(tx, &account)?, rses::all(tx)?))
        })
        .await?;
    let rows = found.into_iter().map(|(expression, bytes)| {
        let meant = all.select(&expression).unwrap_or_default();
        let ids: Vec<&str> = meant.iter().filter_map(|rse| Some(all.rows.get(rse)?.id.as_str())).collect();
        let row = json!({"resolved_rses": meant, "resolved_rse_ids": ids, "limit": limit(bytes)});
        (expression, row)
    });
    rendered(&Value::Object(rows.collect()))
}

async fn get_global(
    State(lake): State<Lake>,
    _: Asking,
    Path((account, expression)): Path<(String, String)>,
) -> Answer {
    let wanted = expression.clone();
    let found = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            Ok::<_, Error>(limits::global(tx, &account)?.remove(&wanted))
        })
        .await?;
    rendered(&Value::Object(Map::from_iter([(expression, found.map_or(Value::Null, limit))])))
}

async fn set_global(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, expression)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("set account limits")?;
    let bytes = bytes(&call)?;
    lake.change(move |tx| limits::set_global(tx, &account, &expression, bytes)).await?;
    created()
}

async fn delete_global(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, expression)): Path<(String, String)>,
) -> Answer {
    asking.0.needs_admin("delete account limits")?;
    lake.change(move |tx| limits::delete_global(tx, &account, &expression)).await?;
    done()
}

async fn usage(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>) -> Answer {
    usage_of(lake, asking, account, None).await
}

async fn usage_at(State(lake): State<Lake>, asking: Asking, Path((account, rse)): Path<(String, String)>) -> Answer {
    usage_of(lake, asking, account, Some(rse)).await
}

/// Storage elements where the account has locked something or may.
async fn usage_of(lake: Lake, Asking(caller, _): Asking, account: String, only: Option<String>) -> Answer {
    caller.needs_account(&account, "get account usage")?;
    let wanted = only.clone();
    let (rows, limits, all) = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            if let Some(rse) = &wanted {
                rses::get(tx, rse)?;
            }
            Ok::<_, Error>((accounts::usage(tx, &account)?, limits::local(tx, &account)?, rses::all(tx)?))
        })
        .await?;
    let names: BTreeSet<&str> =
        rows.iter().map(|row| row.rse.as_str()).chain(limits.keys().map(String::as_str)).collect();
    let wanted = names.into_iter().filter(|name| only.as_deref().is_none_or(|only| only == *name));
    let values = wanted.filter_map(|name| {
        let used = rows.iter().find(|row| row.rse == name);
        let (files, bytes) = used.map_or((0, 0), |row| (row.files, row.bytes));
        let own = limits.get(name).copied();
        Some(json!({"rse_id": all.rows.get(name)?.id, "rse": name, "bytes": bytes, "files": files,
            "bytes_limit": own.map_or(json!(0), limit),
            "bytes_remaining": own.map_or(json!(0), |own| remaining(own, bytes))}))
    });
    lines_text(values.map(|value| text(&value) + "\n").collect())
}

async fn usage_over(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>) -> Answer {
    usage_over_of(lake, asking, account, None).await
}

async fn usage_over_one(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, expression)): Path<(String, String)>,
) -> Answer {
    usage_over_of(lake, asking, account, Some(expression)).await
}

async fn usage_over_of(lake: Lake, Asking(caller, _): Asking, account: String, only: Option<String>) -> Answer {
    caller.needs_account(&account, "get account usage")?;
    let (rows, limits, all) = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            Ok::<_, Error>((accounts::usage(tx, &account)?, limits::global(tx, &account)?, rses::all(tx)?))
        })
        .await?;
    let wanted = limits.iter().filter(|(expression, _)| only.as_ref().is_none_or(|only| only == *expression));
    let values = wanted.map(|(expression, own)| {
        let meant = all.select(expression).unwrap_or_default();
        let inside = rows.iter().filter(|row| meant.contains(&row.rse));
        let (files, bytes) = inside.fold((0, 0), |sum, row| (sum.0 + row.files, sum.1 + row.bytes));
        json!({"rse_expression": expression, "bytes": bytes, "files": files, "bytes_limit": limit(*own),
            "bytes_remaining": remaining(*own, bytes)})
    });
    lines_text(values.map(|value| text(&value) + "\n").collect())
}

/// Usage is exact at every moment; no older numbers are kept.
async fn usage_history(
    State(lake): State<Lake>,
    Asking(caller, _): Asking,
    Path((account, rse)): Path<(String, String)>,
) -> Answer {
    caller.needs_account(&account, "get account usage")?;
    let name = rse.clone();
    let rows = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            rses::get(tx, &name)?;
            accounts::usage(tx, &account)
        })
        .await?;
    let found = rows.iter().find(|row| row.rse == rse);
    let row = found
        .ok_or_else(|| Exception::new(Class::CounterNotFound, format!("The account has locked nothing at {rse}")))?;
    let updated: Timestamp = row.updated_at;
    json(&json!([{"bytes": row.bytes, "files": row.files, "updated_at": account_date(updated)}]))
}
