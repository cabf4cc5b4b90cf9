//! `/optimizer`: how many files each link is given at once, and why.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use dte_base::time::Timestamp;
use dte_http::Query;
use dte_identity::Principal;
use dte_protocol_fts::FtsTime;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::audit::noted;
use crate::api::ban::{members, storage_element};
use crate::api::error::FtsError;
use crate::model::reader::Reader;
use crate::shared::Shared;
use crate::store::optimum::{self, Current};
use crate::store::rules;
use crate::work::optimise::is_wanted;

/// More files at once than any link is given.
const MOST_ACTIVE: i64 = 100_000;

#[derive(Debug, Default, Deserialize)]
pub struct Which {
    source_se: Option<String>,
    dest_se: Option<String>,
}

impl Which {
    fn link(self) -> Result<(Option<String>, Option<String>), FtsError> {
        let end = |text: Option<String>| text.filter(|text| !text.is_empty()).map(storage_element).transpose();
        Ok((end(self.source_se)?, end(self.dest_se)?))
    }
}

/// Whether any link is optimised.
pub async fn enabled(State(shared): State<Arc<Shared>>) -> Result<Json<bool>, FtsError> {
    let per_area = shared.settings.per_link;
    let rules = shared.store.read(move |tx| rules::all(tx, per_area)).await?;
    Ok(Json(is_wanted(&rules)))
}

pub async fn evolution(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Value>>, FtsError> {
    let (source, destination) = which.link()?;
    let read = shared.store.read(move |tx| optimum::steps(tx, source.as_deref(), destination.as_deref()));
    let shown = read.await?.into_iter().map(|((source, destination), time, told)| {
        json!({
            "datetime": FtsTime::from(time), "source_se": source, "dest_se": destination, "active": told.active,
            "throughput": told.throughput, "success": told.success, "rationale": told.rationale, "diff": told.diff,
            "actual_active": told.actual_active, "queue_size": told.queue_size, "ema": told.ema,
            "filesize_avg": told.filesize_avg, "filesize_stddev": null,
        })
    });
    Ok(Json(shown.collect()))
}

fn shown(((source, destination), memory, time): Current) -> Value {
    json!({
        "source_se": source, "dest_se": destination, "ema": memory.ema, "active": memory.active,
        "datetime": FtsTime::from(time), "nostreams": 1,
    })
}

pub async fn current(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Value>>, FtsError> {
    let (source, destination) = which.link()?;
    let read = shared.store.read(move |tx| optimum::current(tx, source.as_deref(), destination.as_deref()));
    Ok(Json(read.await?.into_iter().map(shown).collect()))
}

/// Sets from where the optimiser goes on with a link.
pub async fn set(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<[Value; 2]>, FtsError> {
    let members = members(&headers, &body)?;
    let reader = Reader::new(&members);
    let end = |name: &str| {
        let text = reader.text(name)?.filter(|text| !text.is_empty());
        storage_element(text.ok_or_else(|| FtsError::bad(format!("Missing {name}")))?.to_owned())
    };
    let link = (end("source_se")?, end("dest_se")?);
    let active = reader.integer("active").ok().flatten().filter(|active| (1..=MOST_ACTIVE).contains(active));
    let active = active.and_then(|active| u32::try_from(active).ok());
    let active = active.ok_or_else(|| FtsError::bad("Active must be a positive number"))?;
    let what = Value::Object(members).to_string();
    let changed = noted(&shared, &principal, "optimizer", what, move |tx| {
        let now = Timestamp::now();
        let mut memory = optimum::memories(tx)?.remove(&link).unwrap_or_default();
        memory.active = active;
        optimum::keep(tx, &link, &memory, None, now)?;
        Ok((link.clone(), memory, now))
    });
    let set = shown(changed.await?);
    Ok(Json([set.clone(), set]))
}
