//! Metadata: the fixed columns of a DID, and free keys.

use std::collections::BTreeSet;

use axum::extract::State;
use dte_base::time::Timestamp;
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::{Class, Did, DidType};
use dte_store::{Tx, params};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, done, json, lines};
use super::request::{Asking, Call, Fields, check_bulk, dids as read_dids};
use crate::Lake;
use crate::error::{Error, Result};
use crate::model::policy::Caller;
use crate::store::dids::{self, DidRow};
use crate::store::{accounts, contents, metadata, subscriptions};

/// Columns that exist for every DID and that nothing here sets.
const EMPTY: [&str; 15] = [
    "events",
    "project",
    "datatype",
    "run_number",
    "stream_name",
    "prod_step",
    "version",
    "campaign",
    "task_id",
    "panda_id",
    "lumiblocknr",
    "provenance",
    "phys_group",
    "eol_at",
    "deleted_at",
];

/// Keys that cannot be set as metadata.
const RESERVED: [&str; 20] = [
    "scope",
    "name",
    "account",
    "did_type",
    "is_open",
    "monotonic",
    "obsolete",
    "complete",
    "availability",
    "suppressed",
    "bytes",
    "length",
    "md5",
    "adler32",
    "rule_evaluation_action",
    "rule_evaluation_required",
    "expired_at",
    "deleted_at",
    "created_at",
    "updated_at",
];

/// The columns of a DID as metadata.
pub(super) fn columns(row: &DidRow) -> Map<String, Value> {
    let collection = row.kind.is_collection();
    let mut map = Map::new();
    for (key, value) in [
        ("scope", json!(row.did.scope)),
        ("name", json!(row.did.name)),
        ("account", json!(row.account)),
        ("did_type", json!(row.kind.name())),
        ("is_open", if collection { json!(row.open) } else { Value::Null }),
        ("monotonic", json!(row.monotonic)),
        ("hidden", json!(false)),
        ("obsolete", json!(false)),
        ("complete", Value::Null),
        ("is_new", json!(true)),
        ("availability", json!(row.availability)),
        ("accessed_at", json!(row.accessed_at.map(rfc1123_utc))),
        ("access_cnt", if row.access_cnt == 0 { Value::Null } else { json!(row.access_cnt) }),
        ("suppressed", json!(false)),
        ("bytes", json!(row.bytes)),
        ("length", if row.kind == DidType::File { Value::Null } else { json!(row.length) }),
        ("md5", json!(row.md5)),
        ("adler32", json!(row.adler32)),
        ("guid", json!(row.guid)),
        ("expired_at", json!(row.expired_at.map(rfc1123_utc))),
        ("purge_replicas", json!(true)),
        ("transient", json!(false)),
        ("closed_at", json!(row.closed_at.map(rfc1123_utc))),
        ("is_archive", if row.is_archive { json!(true) } else { Value::Null }),
        ("constituent", if row.constituent { json!(true) } else { Value::Null }),
        ("created_at", json!(rfc1123_utc(row.created_at))),
        ("updated_at", json!(rfc1123_utc(row.updated_at))),
    ] {
        map.insert(key.to_owned(), value);
    }
    for key in EMPTY {
        map.insert(key.to_owned(), Value::Null);
    }
    map
}

/// Which metadata is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Columns,
    Free,
    All,
}

fn plugin(name: Option<&str>) -> Result<Plugin, Failure> {
    match name.unwrap_or("DID_COLUMN").to_ascii_uppercase().as_str() {
        "DID_COLUMN" => Ok(Plugin::Columns),
        "JSON" => Ok(Plugin::Free),
        "ALL" => Ok(Plugin::All),
        other => Err(Failure::new(Class::UnsupportedMetadataPlugin, format!("Metadata plugin {other} is not enabled"))),
    }
}

fn merged(row: &DidRow, free: Map<String, Value>, plugin: Plugin) -> Map<String, Value> {
    if plugin == Plugin::Free {
        return free;
    }
    let mut all = columns(row);
    for (key, value) in free {
        // A key of the fixed columns shows there even when only the columns are asked for.
        if plugin == Plugin::All || all.contains_key(&key) {
            all.insert(key, value);
        }
    }
    all
}

pub(super) async fn get(lake: Lake, did: Did, call: Call) -> Answer {
    let plugin = plugin(call.query("plugin"))?;
    let (row, free) =
        lake.store.read(move |tx| Ok::<_, Error>((dids::get(tx, &did)?, metadata::get(tx, &did)?))).await?;
    json(&Value::Object(merged(&row, free, plugin)))
}

pub(super) async fn bulk_get(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let wanted = read_dids(&fields.required_list("dids")?)?;
    let plugin = plugin(fields.text("plugin")?.as_deref())?;
    let inherit = fields.truth("inherit", false)?;
    let values = lake
        .store
        .read(move |tx| {
            let rows = dids::get_many(tx, &wanted)?;
            let mut free = metadata::get_many(tx, &wanted)?;
            if inherit {
                for did in rows.keys() {
                    let own = free.entry(did.clone()).or_default();
                    for (key, value) in inherited(tx, did)? {
                        own.entry(key).or_insert(value);
                    }
                }
            }
            let found = wanted.iter().filter_map(|did| rows.get(did));
            let values: Vec<Value> = found
                .map(|row| {
                    let mut all = merged(row, free.remove(&row.did).unwrap_or_default(), plugin);
                    all.insert("scope".to_owned(), json!(row.did.scope));
                    all.insert("name".to_owned(), json!(row.did.name));
                    Value::Object(all)
                })
                .collect();
            Ok::<_, Error>(values)
        })
        .await?;
    lines(&values)
}

/// Free metadata of the collections above a DID, the nearest first.
fn inherited(tx: &mut Tx<'_>, did: &Did) -> Result<Map<String, Value>> {
    const LEVELS: usize = 20;
    let mut found = Map::new();
    let (mut level, mut seen) = (BTreeSet::from([did.clone()]), BTreeSet::new());
    for _ in 0..LEVELS {
        let names: Vec<Did> = level.iter().cloned().collect();
        level = contents::parents_of_many(tx, &names)?.difference(&seen).cloned().collect();
        if level.is_empty() {
            break;
        }
        seen.extend(level.iter().cloned());
        let names: Vec<Did> = level.iter().cloned().collect();
        let mut all = metadata::get_many(tx, &names)?;
        for name in names {
            for (key, value) in all.remove(&name).unwrap_or_default() {
                found.entry(key).or_insert(value);
            }
        }
    }
    Ok(found)
}

/// Direct children of a DID as well, where that is wished.
fn with_children(tx: &mut Tx<'_>, did: &Did, recursive: bool) -> Result<Vec<Did>> {
    let mut all = vec![did.clone()];
    if !recursive {
        return Ok(all);
    }
    let mut after = Did::new("", "");
    loop {
        let page = contents::page(tx, did, &after, CHILDREN)?;
        all.extend(page.iter().map(|child| child.did.clone()));
        match page.last().filter(|_| page.len() == CHILDREN) {
            Some(last) => after = last.did.clone(),
            None => return Ok(all),
        }
    }
}

/// Children that are read at once.
const CHILDREN: usize = 1000;

/// Sets metadata of one DID in its scope's owner's name.
fn set_owned(tx: &mut Tx<'_>, caller: &Caller, did: &Did, meta: &Map<String, Value>, now: Timestamp) -> Result<()> {
    dids::get(tx, did)?;
    let owner = accounts::owner(tx, &did.scope)?;
    caller.needs_scope(&did.scope, &owner, &format!("add metadata to data identifier {did}"))?;
    let mut free = meta.clone();
    for (key, value) in meta {
        if RESERVED.contains(&key.as_str()) {
            return Err(Error::new(Class::AccessDenied, format!("The metadata key {key} cannot be set")));
        }
        match key.as_str() {
            "lifetime" => {
                free.remove(key);
                let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
                let at = seconds.map(|seconds| now + std::time::Duration::from_secs_f64(seconds.min(1e10)));
                let sql = "UPDATE lake_dids SET expired_at = ?3 WHERE scope = ?1 AND name = ?2";
                tx.execute(sql, &params![&did.scope, &did.name, at])?;
            }
            // To subscriptions it shall be as if it had just been made.
            "is_new" => {
                free.remove(key);
                if value.as_bool() == Some(true) {
                    let row = dids::get(tx, did)?;
                    let known = metadata::get(tx, did)?;
                    subscriptions::apply(tx, &row, &known, now)?;
                }
            }
            "guid" => {
                free.remove(key);
                let sql = "UPDATE lake_dids SET guid = ?3 WHERE scope = ?1 AND name = ?2 AND kind = 'F'";
                tx.execute(sql, &params![&did.scope, &did.name, value.as_str()])?;
            }
            _ => {}
        }
    }
    metadata::set(tx, did, &free)
}

async fn set_all(
    lake: Lake,
    asking: Asking,
    all: Vec<(Did, Map<String, Value>)>,
    recursive: bool,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let set = move |tx: &mut Tx<'_>| -> Result<()> {
        for (did, meta) in &all {
            for one in with_children(tx, did, recursive)? {
                set_owned(tx, &asking.0, &one, meta, now)?;
            }
        }
        Ok(())
    };
    let outcome = lake.change(set).await;
    // Not 401: clients would log in anew.
    outcome.map_err(|error| Failure::from(error).with_status(Class::AccessDenied, StatusCode::FORBIDDEN))
}

pub(super) async fn set(lake: Lake, asking: Asking, did: Did, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let meta = fields.dictionary("meta")?;
    set_all(lake, asking, vec![(did, meta)], fields.truth("recursive", false)?).await?;
    created()
}

pub(super) async fn set_one(lake: Lake, asking: Asking, did: Did, key: String, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let value = fields.0.get("value").cloned();
    let value = value.ok_or_else(|| Failure::new(Class::KeyError, "'value' not defined"))?;
    let recursive = fields.truth("recursive", false)?;
    set_all(lake, asking, vec![(did, Map::from_iter([(key, value)]))], recursive).await?;
    created()
}

pub(super) async fn bulk_set(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let list = fields.required_list("dids")?;
    check_bulk(list.len())?;
    let all = list
        .iter()
        .map(|item| {
            let fields = Fields::of(item)?;
            Ok((fields.did()?, fields.dictionary("meta")?))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    set_all(lake, asking, all, fields.truth("recursive", false)?).await?;
    created()
}

pub(super) async fn delete(lake: Lake, asking: Asking, did: Did, call: Call) -> Answer {
    let key = call.query("key").map(str::to_owned);
    let key = key.ok_or_else(|| Failure::new(Class::KeyError, "'key' not defined"))?;
    lake.change(move |tx| {
        dids::get(tx, &did)?;
        let owner = accounts::owner(tx, &did.scope)?;
        asking.0.needs_scope(&did.scope, &owner, &format!("delete metadata of {did}"))?;
        if metadata::delete(tx, &did, &key)? {
            return Ok(());
        }
        let message = format!("Key not found for data identifier '{did}'");
        Err(Error::new(Class::DataIdentifierNotFound, message))
    })
    .await?;
    done()
}
