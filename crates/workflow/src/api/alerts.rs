//! Alerts of a twin: one row an episode.

use axum::extract::{Path, State};
use dte_http::{Json, Problem};
use dte_identity::Principal;
use serde_json::{Value, json};

use super::owned;
use crate::store::alerts;
use crate::work::engine::Engine;

/// All episodes, oldest first.
pub async fn list(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    owned(&engine, &principal, &name).await?;
    let raised = engine.store.read(move |tx| alerts::of(tx, &name)).await.map_err(Problem::from)?;
    Ok(Json(json!({ "items": raised })))
}
