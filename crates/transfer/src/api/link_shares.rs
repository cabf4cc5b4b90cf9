//! `/config/shares`: how much of a link each VO has.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::audit::noted;
use crate::api::ban::{members, storage_element};
use crate::api::error::FtsError;
use crate::api::links::{end, vo};
use crate::model::reader::Reader;
use crate::model::rules::{ANY, VoShare};
use crate::shared::Shared;
use crate::store::rules;

fn shown(share: &VoShare) -> Value {
    json!({ "source": share.source, "destination": share.destination, "vo": share.vo, "share": share.share })
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
    let share = reader.integer("share").ok().flatten().and_then(|share| u32::try_from(share).ok());
    let share = share.ok_or_else(|| FtsError::bad("Bad share value"))?;
    let share = VoShare { source: end(&reader, "source")?, destination: end(&reader, "destination")?, vo, share };
    let answer = shown(&share);
    noted(&shared, &principal, "share", answer.to_string(), move |tx| match rules::set_vo_share(tx, &share)? {
        true => Ok(()),
        false => Err(FtsError::bad("The link between these storages has to be configured first (/config/links)")),
    })
    .await?;
    Ok(Json(answer))
}

pub async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let shares = shared.store.read(rules::vo_shares).await?;
    Ok(Json(shares.iter().map(shown).collect()))
}

#[derive(Debug, Deserialize)]
pub struct Share {
    source: Option<String>,
    destination: Option<String>,
    vo: Option<String>,
}

pub async fn forget(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Query(which): Query<Share>,
) -> Result<StatusCode, FtsError> {
    let missing = |name| FtsError::bad(format!("Missing {name} parameter"));
    let end = |text: Option<String>, name| match text {
        None => Err(missing(name)),
        Some(any) if any == ANY => Ok(any),
        Some(storage) => storage_element(storage),
    };
    let (source, destination) = (end(which.source, "source")?, end(which.destination, "destination")?);
    let vo = which.vo.ok_or_else(|| missing("vo"))?;
    let what = format!("delete {source} {destination} {vo}");
    noted(&shared, &principal, "share", what, move |tx| Ok(rules::forget_vo_share(tx, &source, &destination, &vo)?))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
