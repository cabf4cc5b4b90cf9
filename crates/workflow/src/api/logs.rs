//! The log of a run, from whoever runs it.

use axum::extract::{Path, State};
use dte_http::{Problem, Query};
use dte_identity::Principal;
use serde::Deserialize;

use super::owned;
use crate::store::runs;
use crate::work::conclude::fetch_log;
use crate::work::engine::Engine;

/// Which log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The newest run if not said.
    run: Option<String>,
    /// Lines from the end; all if not said.
    tail: Option<u32>,
}

pub async fn get(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<String, Problem> {
    let loaded = owned(&engine, &principal, &name).await?;
    let id = wanted.run.clone();
    let run = engine
        .store
        .read(move |tx| match &id {
            Some(id) => Ok::<_, dte_store::Error>(runs::get(tx, id)?.filter(|run| run.twin == name)),
            None => runs::last_of_twin(tx, &name),
        })
        .await
        .map_err(Problem::from)?
        .ok_or_else(|| Problem::not_found("the twin has no such run"))?;
    match fetch_log(&engine, &loaded.twin.owner, &run, wanted.tail.unwrap_or(0)).await {
        Ok(text) => Ok(text),
        // The run's folder may be gone; what was kept with a failed run is not.
        Err(_) if run.log.is_some() => Ok(run.log.unwrap_or_default()),
        Err(failure) => Err(super::problem(failure)),
    }
}
