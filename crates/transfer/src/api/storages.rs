//! `/config/se`: what an administrator says of storages.
//!
//! Of what FTS keeps there, `tpc_support` can be set; what has no effect here is refused, so that nobody relies on it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use dte_http::Query;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::ban::{members, storage_element};
use crate::api::error::FtsError;
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
fn shown(support: TpcSupport) -> Value {
    json!({
        "se_info": {
            "inbound_max_active": null, "inbound_max_throughput": null,
            "outbound_max_active": null, "outbound_max_throughput": null,
            "udt": null, "ipv6": null, "se_metadata": null, "site": null, "debug_level": null,
            "skip_eviction": null, "overwrite_disk_enabled": null,
            "tpc_support": support.as_str(),
        },
        "operations": {},
    })
}

pub async fn list(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Result<Json<Map<String, Value>>, FtsError> {
    let wanted = which.se.filter(|se| !se.is_empty()).map(storage_element).transpose()?;
    let all = shared.store.read(storages::all).await?;
    let some = all.into_iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name));
    Ok(Json(some.map(|(name, support)| (name, shown(support))).collect()))
}

pub async fn set(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Map<String, Value>>, FtsError> {
    let members = members(&headers, &body)?;
    if members.len() > MOST_STORAGES {
        return Err(FtsError::bad(format!("At most {MOST_STORAGES} storages can be set at once")));
    }
    let wanted = members.iter().map(|(name, said)| Ok((storage_element(name.clone())?, read(said)?)));
    let wanted = wanted.collect::<Result<Vec<(String, TpcSupport)>, FtsError>>()?;
    let answer = wanted.iter().map(|(name, support)| (name.clone(), shown(*support))).collect();
    let write = shared.store.write(move |tx| {
        wanted.iter().try_for_each(|(name, support)| storages::set(tx, name, *support))?;
        Ok::<_, dte_store::Error>(())
    });
    write.await?;
    Ok(Json(answer))
}

fn read(said: &Value) -> Result<TpcSupport, FtsError> {
    let is_set = |value: &Value| !(value.is_null() || value.as_object().is_some_and(Map::is_empty));
    let Some(said) = said.as_object() else { return Err(FtsError::bad("Expecting a dictionary")) };
    let info = said.get("se_info").and_then(Value::as_object);
    let others = said.iter().filter(|(name, _)| *name != "se_info").chain(info.into_iter().flatten());
    if let Some((name, _)) = others.into_iter().find(|(name, value)| *name != "tpc_support" && is_set(value)) {
        return Err(FtsError::bad(format!("Field {name} is not supported here")));
    }
    match info.and_then(|info| info.get("tpc_support")).filter(|value| is_set(value)) {
        None => Ok(TpcSupport::default()),
        Some(word) => word
            .as_str()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| FtsError::bad("tpc_support can only be FULL, PULL, PUSH or NONE")),
    }
}

pub async fn forget(State(shared): State<Arc<Shared>>, Query(which): Query<Which>) -> Result<StatusCode, FtsError> {
    let storage = storage_element(which.se.ok_or_else(|| FtsError::bad("Missing se parameter"))?)?;
    shared.store.write(move |tx| storages::forget(tx, &storage)).await?;
    Ok(StatusCode::NO_CONTENT)
}
