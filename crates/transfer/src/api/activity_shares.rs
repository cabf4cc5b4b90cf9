//! `/config/activity_shares`: how a VO divides what it has among its activities.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::api::audit::noted;
use crate::api::ban::members;
use crate::api::error::FtsError;
use crate::api::links::{LONGEST_NAME, vo};
use crate::model::reader::Reader;
use crate::shared::Shared;
use crate::store::rules::{self, ActivityShares};

const MOST_ACTIVITIES: usize = 200;

/// `{"A": 0.7}`, or `[{"A": 0.7}, {"B": 0.3}]`.
fn weights(share: &Value) -> Result<BTreeMap<String, f64>, FtsError> {
    let one = std::slice::from_ref(share);
    let parts = share.as_array().map_or(one, Vec::as_slice);
    let mut weights = BTreeMap::new();
    for part in parts {
        let part = part.as_object().ok_or_else(|| FtsError::bad("The share has to be a dictionary"))?;
        for (activity, weight) in part {
            if activity.chars().count() > LONGEST_NAME {
                return Err(FtsError::bad(format!("An activity is longer than {LONGEST_NAME} characters")));
            }
            let weight = weight.as_f64().filter(|weight| weight.is_finite() && *weight >= 0.0);
            weights.insert(activity.clone(), weight.ok_or_else(|| FtsError::bad("Bad share value"))?);
        }
    }
    if weights.is_empty() || weights.len() > MOST_ACTIVITIES {
        return Err(FtsError::bad(format!("1 to {MOST_ACTIVITIES} activities have shares")));
    }
    Ok(weights)
}

fn shown(shares: &ActivityShares) -> Value {
    json!({ "vo": shares.vo, "active": shares.active, "share": shares.weights })
}

pub async fn set(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, FtsError> {
    let members = members(&headers, &body)?;
    let reader = Reader::new(&members);
    let vo = vo(&reader)?;
    let share = reader.get("share").ok_or_else(|| FtsError::bad("Missing share"))?;
    let active = reader.get("active").is_none() || reader.flag("active");
    let shares = ActivityShares { vo, active, weights: weights(share)? };
    let answer = shown(&shares);
    noted(&shared, &principal, "activity-share", answer.to_string(), move |tx| {
        Ok(rules::set_activity_shares(tx, &shares)?)
    })
    .await?;
    Ok(Json(answer))
}

pub async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Map<String, Value>>, FtsError> {
    let all = shared.store.read(rules::activity_shares).await?;
    let each = all.into_iter().map(|s| (s.vo.clone(), json!({ "active": s.active, "share": s.weights })));
    Ok(Json(each.collect()))
}

pub async fn one(State(shared): State<Arc<Shared>>, Path(vo): Path<String>) -> Result<Json<Value>, FtsError> {
    let all = shared.store.read(rules::activity_shares).await?;
    let missing = || FtsError::new(StatusCode::NOT_FOUND, format!("VO {vo} has no shares of activities"));
    all.iter().find(|shares| shares.vo == vo).map(|shares| Json(shown(shares))).ok_or_else(missing)
}

pub async fn forget(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(vo): Path<String>,
) -> Result<StatusCode, FtsError> {
    let what = format!("delete {vo}");
    noted(&shared, &principal, "activity-share", what, move |tx| Ok(rules::forget_activity_shares(tx, &vo)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
