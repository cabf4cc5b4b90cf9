//! `/config/se`: what an administrator says of storages.
//!
//! Of what FTS keeps there, `tpc_support` and limits of copies at once and of throughput can be set, also of `*` for all that have
//! none of their own; what has no effect here is refused, so that nobody relies on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::audit::noted;
use crate::api::ban::{members, storage_element};
use crate::api::error::FtsError;
use crate::model::rules::{ANY, StorageRule};
use crate::model::support::TpcSupport;
use crate::shared::Shared;
use crate::store::storages;

/// Storages of one request.
const MOST_STORAGES: usize = 200;

#[derive(Debug, Deserialize)]
pub struct Which {
    se: Option<String>,
}

/// The shape that clients know; what cannot be set is null.
fn shown(support: TpcSupport, rule: &StorageRule) -> Value {
    json!({
        "se_info": {
            "inbound_max_active": rule.inbound_max_active, "inbound_max_throughput": rule.inbound_max_throughput,
            "outbound_max_active": rule.outbound_max_active, "outbound_max_throughput": rule.outbound_max_throughput,
            "udt": null, "ipv6": null, "se_metadata": null, "site": null, "debug_level": null,
            "skip_eviction": null, "overwrite_disk_enabled": null,
            "tpc_support": support.as_str(),
        },
        "operations": {},
    })
}

/// A storage, or all.
fn named(name: String) -> Result<String, FtsError> {
    if name == ANY { Ok(name) } else { storage_element(name) }
}

pub async fn list(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Result<Json<Map<String, Value>>, FtsError> {
    let wanted = which.se.filter(|se| !se.is_empty()).map(named).transpose()?;
    let all = shared.store.read(storages::all).await?;
    let some = all.into_iter().filter(|(name, ..)| wanted.as_ref().is_none_or(|wanted| wanted == name));
    Ok(Json(some.map(|(name, support, rule)| (name, shown(support, &rule))).collect()))
}

pub async fn set(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Map<String, Value>>, FtsError> {
    let members = members(&headers, &body)?;
    if members.len() > MOST_STORAGES {
        return Err(FtsError::bad(format!("At most {MOST_STORAGES} storages can be set at once")));
    }
    let wanted = members.iter().map(|(name, said)| Ok((named(name.clone())?, read(said)?)));
    let wanted = wanted.collect::<Result<Vec<(String, Said)>, FtsError>>()?;
    let what = Value::Object(members).to_string();
    let changed = noted(&shared, &principal, "se-config", what, move |tx| {
        let known = storages::all(tx)?;
        let mut answer = Map::new();
        for (name, said) in &wanted {
            let before = known.iter().find(|(known, ..)| known == name);
            let (support, rule) = said.over(before.map(|(_, support, rule)| (*support, *rule)).unwrap_or_default());
            storages::set(tx, name, support, &rule)?;
            answer.insert(name.clone(), shown(support, &rule));
        }
        Ok(answer)
    });
    Ok(Json(changed.await?))
}

/// What a request says of a storage: for each member nothing, that it is not limited, or a number.
#[derive(Clone, Default)]
struct Said {
    support: Option<TpcSupport>,
    limits: BTreeMap<&'static str, Option<u32>>,
}

/// What can be set, beside `tpc_support`.
const LIMITS: [&str; 4] =
    ["inbound_max_active", "outbound_max_active", "inbound_max_throughput", "outbound_max_throughput"];

impl Said {
    /// What is known with this request on top.
    fn over(&self, (support, mut rule): (TpcSupport, StorageRule)) -> (TpcSupport, StorageRule) {
        let places = [
            &mut rule.inbound_max_active,
            &mut rule.outbound_max_active,
            &mut rule.inbound_max_throughput,
            &mut rule.outbound_max_throughput,
        ];
        for (name, place) in LIMITS.into_iter().zip(places) {
            if let Some(limit) = self.limits.get(name) {
                *place = *limit;
            }
        }
        (self.support.unwrap_or(support), rule)
    }
}

fn read(said: &Value) -> Result<Said, FtsError> {
    let is_set = |value: &Value| !(value.is_null() || value.as_object().is_some_and(Map::is_empty));
    let Some(said) = said.as_object() else { return Err(FtsError::bad("Expecting a dictionary")) };
    let info = said.get("se_info").and_then(Value::as_object);
    let others = said.iter().filter(|(name, _)| *name != "se_info");
    let mut found = Said::default();
    for (name, value) in others.chain(info.into_iter().flatten()) {
        if let Some(limit) = LIMITS.into_iter().find(|limit| limit == name) {
            found.limits.insert(limit, number(name, value)?);
        } else if name == "tpc_support" && is_set(value) {
            let word = value.as_str().and_then(|word| word.parse().ok());
            let bad = || FtsError::bad("tpc_support can only be FULL, PULL, PUSH or NONE");
            found.support = Some(word.ok_or_else(bad)?);
        } else if name != "tpc_support" && is_set(value) {
            return Err(FtsError::bad(format!("Field {name} is not supported here")));
        }
    }
    Ok(found)
}

/// A limit; null and nothing lift it.
fn number(name: &str, value: &Value) -> Result<Option<u32>, FtsError> {
    let bad = || FtsError::bad(format!("Field {name} is expected to be int"));
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => text.trim().parse().map(Some).map_err(|_| bad()),
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()).map(Some).ok_or_else(bad),
    }
}

pub async fn forget(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Query(which): Query<Which>,
) -> Result<StatusCode, FtsError> {
    let storage = named(which.se.ok_or_else(|| FtsError::bad("Missing se parameter"))?)?;
    let what = format!("delete {storage}");
    noted(&shared, &principal, "se-config", what, move |tx| Ok(storages::forget(tx, &storage)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
