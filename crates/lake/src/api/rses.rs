//! Storage elements: reading.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use dte_identity::Routes;
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::rse::Operation;
use dte_protocol_rucio::{Class, Did, Protocol};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, json, lines};
use super::request::{Asking, Call, did};
use super::rses_change as change;
use super::{CHANGES, READS};
use crate::Lake;
use crate::store::rses::{self, DELETE, READ, Rse, WRITE};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/rses/", READS, list)
        .get("/rses", READS, list)
        .get("/rses/{rse}", READS, get)
        .post("/rses/{rse}", CHANGES, change::add)
        .put("/rses/{rse}", CHANGES, change::update)
        .delete("/rses/{rse}", CHANGES, change::delete)
        .get("/rses/{rse}/attr/", READS, attributes)
        .get("/rses/{rse}/attr", READS, attributes)
        .post("/rses/{rse}/attr/{key}", CHANGES, change::add_attribute)
        .delete("/rses/{rse}/attr/{key}", CHANGES, change::delete_attribute)
        .get("/rses/{rse}/protocols", READS, protocols)
        .get("/rses/{rse}/protocols/{scheme}", READS, get_by_scheme)
        .post("/rses/{rse}/protocols/{scheme}", CHANGES, change::add_protocol)
        .delete("/rses/{rse}/protocols/{scheme}", CHANGES, change::delete_scheme)
        .delete("/rses/{rse}/protocols/{scheme}/{hostname}", CHANGES, change::delete_host)
        .delete("/rses/{rse}/protocols/{scheme}/{hostname}/{port}", CHANGES, change::delete_port)
        .get("/rses/{rse}/lfns2pfns", READS, lfns2pfns)
}

/// What every form of a storage element has.
fn common(rse: &Rse) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in [
        ("id", json!(rse.id)),
        ("rse", json!(rse.rse)),
        ("rse_type", json!(rse.rse_type)),
        ("deterministic", json!(rse.deterministic)),
        ("volatile", json!(rse.volatile)),
        ("staging_area", json!(rse.staging_area)),
        ("availability", json!(rse.availability)),
        ("availability_read", json!(rse.may(READ))),
        ("availability_write", json!(rse.may(WRITE))),
        ("availability_delete", json!(rse.may(DELETE))),
        ("qos_class", rse.details.get("qos_class").cloned().unwrap_or(Value::Null)),
    ] {
        map.insert(key.to_owned(), value);
    }
    map
}

/// Columns that are told as they were given.
pub(super) const DETAILS: [&str; 9] =
    ["city", "region_code", "country_name", "continent", "time_zone", "ISP", "ASN", "latitude", "longitude"];

pub(super) fn row(rse: &Rse) -> Value {
    let mut map = common(rse);
    map.insert("vo".to_owned(), json!("def"));
    for key in DETAILS {
        map.insert(key.to_owned(), rse.details.get(key).cloned().unwrap_or(Value::Null));
    }
    map.insert("deleted".to_owned(), json!(false));
    map.insert("deleted_at".to_owned(), Value::Null);
    map.insert("created_at".to_owned(), json!(rfc1123_utc(rse.created_at)));
    map.insert("updated_at".to_owned(), json!(rfc1123_utc(rse.updated_at)));
    Value::Object(map)
}

async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let all = lake.store.read(rses::all).await?;
    let values: Vec<Value> = match call.query("expression") {
        None => all.rows.values().map(row).collect(),
        Some(expression) => {
            let found = all.select(expression).map_err(|error| {
                Failure::from(error).with_status(Class::InvalidRSEExpression, http::StatusCode::BAD_REQUEST)
            })?;
            found.into_iter().map(|rse| json!({"rse": rse})).collect()
        }
    };
    lines(&values)
}

/// An attribute as clients see it: truth values as such, everything else as text.
pub(super) fn attribute(text: &str) -> Value {
    match text {
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        other => Value::String(other.to_owned()),
    }
}

fn protocol(protocol: &Protocol) -> Value {
    json!({
        "scheme": protocol.scheme, "hostname": protocol.hostname, "port": protocol.port, "prefix": protocol.prefix,
        "impl": protocol.implementation, "domains": protocol.domains,
        "extended_attributes": protocol.extended_attributes,
    })
}

async fn full(lake: &Lake, rse: String) -> Answer {
    let (row, attributes, protocols) = lake
        .store
        .read(move |tx| {
            let row = rses::get(tx, &rse)?;
            Ok::<_, crate::error::Error>((row, rses::attributes(tx, &rse)?, rses::protocols(tx, &rse)?))
        })
        .await?;
    json(&full_of(&row, &attributes, &protocols))
}

/// A storage element with all that clients need to reach it.
pub(super) fn full_of(row: &Rse, attributes: &BTreeMap<String, String>, protocols: &[Protocol]) -> Value {
    let text = |key: &str| attributes.get(key).map(|value| attribute(value));
    let mut map = common(row);
    map.insert("credentials".to_owned(), Value::Null);
    map.insert("domain".to_owned(), json!(["lan", "wan"]));
    map.insert("lfn2pfn_algorithm".to_owned(), text("lfn2pfn_algorithm").unwrap_or(json!("hash")));
    map.insert("protocols".to_owned(), protocols.iter().map(protocol).collect());
    map.insert("sign_url".to_owned(), text("sign_url").unwrap_or(Value::Null));
    map.insert("verify_checksum".to_owned(), text("verify_checksum").unwrap_or(json!(true)));
    Value::Object(map)
}

async fn get(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    full(&lake, rse).await
}

async fn get_by_scheme(State(lake): State<Lake>, _: Asking, Path((rse, _)): Path<(String, String)>) -> Answer {
    full(&lake, rse).await
}

async fn attributes(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    let found = lake
        .store
        .read(move |tx| {
            rses::get(tx, &rse)?;
            rses::attributes(tx, &rse)
        })
        .await?;
    json(&Value::Object(found.iter().map(|(key, value)| (key.clone(), attribute(value))).collect()))
}

async fn protocols(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    let found = lake
        .store
        .read(move |tx| {
            rses::get(tx, &rse)?;
            rses::protocols(tx, &rse)
        })
        .await?;
    json(&found.iter().map(protocol).collect())
}

/// Where files would lie at a deterministic storage element.
async fn lfns2pfns(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    let wanted: Vec<Did> = call
        .query_all("lfn")
        .map(|lfn| {
            let (scope, name) = lfn
                .split_once(':')
                .ok_or_else(|| Failure::new(Class::InvalidPath, format!("'{lfn}' is not scope:name")))?;
            did(scope, name)
        })
        .collect::<Result<_, Failure>>()?;
    let domain = call.query("domain").unwrap_or("wan").to_owned();
    let operation = call.query("operation").and_then(Operation::parse).unwrap_or(Operation::Write);
    let scheme = call.query("scheme").map(str::to_owned);
    let name = rse.clone();
    let (row, all, protocols) = lake
        .store
        .read(move |tx| {
            let row = rses::get(tx, &rse)?;
            Ok::<_, crate::error::Error>((row, rses::all(tx)?, rses::protocols(tx, &rse)?))
        })
        .await?;
    if !row.deterministic {
        return Err(Failure::new(Class::InvalidPath, format!("RSE '{name}' is not deterministic")));
    }
    let offered = protocols.iter().filter(|one| scheme.as_ref().is_none_or(|scheme| *scheme == one.scheme));
    let best = offered.filter_map(|one| Some((one.priority(&domain, operation)?, one))).min_by_key(|(rank, _)| *rank);
    let Some((_, best)) = best else {
        let message = format!("RSE '{name}' offers no {} in the domain {domain}", operation.name());
        return Err(Failure::new(Class::RSEProtocolNotSupported, message));
    };
    let formula = all.formula(&name);
    let pfns =
        wanted.iter().map(|did| (did.to_string(), Value::String(best.pfn(&formula.path(&did.scope, &did.name)))));
    json(&Value::Object(pfns.collect()))
}
