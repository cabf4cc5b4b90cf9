//! `/autocomplete/{what}?term=`: names that begin with what was typed so far.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use dte_http::Query;
use http::StatusCode;
use serde::Deserialize;

use crate::api::error::FtsError;
use crate::shared::Shared;
use crate::store::list::{Known, beginning_with};

#[derive(Debug, Default, Deserialize)]
pub struct Typed {
    #[serde(default)]
    term: String,
}

pub async fn names(
    State(shared): State<Arc<Shared>>,
    Path(what): Path<String>,
    Query(typed): Query<Typed>,
) -> Result<Json<Vec<String>>, FtsError> {
    let what = match what.as_str() {
        "dn" => Known::User,
        "source" => Known::Source,
        "destination" => Known::Destination,
        "storage" => Known::Storage,
        "vo" => Known::Vo,
        other => return Err(FtsError::new(StatusCode::NOT_FOUND, format!("There is no list of {other}"))),
    };
    Ok(Json(shared.store.read(move |tx| beginning_with(tx, what, &typed.term)).await?))
}
