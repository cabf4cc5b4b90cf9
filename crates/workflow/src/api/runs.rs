//! Runs of a twin.

use axum::extract::{Path, State};
use dte_http::{Json, Page, PageOf, Problem, Query};
use dte_identity::Principal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::owned;
use crate::model::run::State as RunState;
use crate::store::runs::{self, Run};
use crate::work::engine::Engine;

/// A run for people and programs.
pub fn view(run: &Run) -> Value {
    json!({
        "id": run.uid,
        "model": run.model,
        "arrival": run.arrival,
        "issue_month": run.issue,
        "attempt": run.attempt,
        "version": run.version,
        "state": run.state.as_str(),
        "reason": run.reason,
        "exit_code": run.exit_code,
        "site": run.site,
        "why": run.why,
        "started": run.started,
        "submitted": run.submitted,
        "ended": run.ended,
        "cpu_seconds": run.cpu as f64 / 1e6,
        "wall_seconds": run.wall as f64 / 1e6,
    })
}

/// Which runs.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    state: Option<String>,
}

/// A page of runs, newest first.
pub async fn list(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
    page: Page,
    Query(wanted): Query<Wanted>,
) -> Result<Json<PageOf<Value>>, Problem> {
    owned(&engine, &principal, &name).await?;
    if let Some(state) = &wanted.state
        && RunState::parse(state).is_none()
    {
        return Err(Problem::bad_request(format!("{state:?} is not a state of a run")));
    }
    let before = page.after.as_deref().map(place).transpose()?;
    let most = page.limit + 1;
    let found = engine
        .store
        .read(move |tx| runs::page(tx, &name, wanted.state.as_deref(), before.clone(), most))
        .await
        .map_err(Problem::from)?;
    let cut = PageOf::cut(found, &page, |run| format!("{}-{}", run.arrival, run.model));
    Ok(Json(PageOf { items: cut.items.iter().map(view).collect(), next: cut.next }))
}

/// Reads `372-regression`.
fn place(after: &str) -> Result<(u64, String), Problem> {
    let read = after.split_once('-').and_then(|(arrival, model)| Some((arrival.parse().ok()?, model.to_owned())));
    read.ok_or_else(|| Problem::bad_request("after is the next of the page before"))
}

/// One run with its products and, if it failed, the end of its log.
pub async fn get(
    State(engine): State<Engine>,
    principal: Principal,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    owned(&engine, &principal, &name).await?;
    let found = engine
        .store
        .read(move |tx| {
            let Some(run) = runs::get(tx, &id)?.filter(|run| run.twin == name) else { return Ok(None) };
            let products = runs::products_of(tx, &run.uid)?;
            Ok::<_, dte_store::Error>(Some((run, products)))
        })
        .await
        .map_err(Problem::from)?;
    let (run, products) = found.ok_or_else(|| Problem::not_found("the twin has no such run"))?;
    let mut shown = view(&run);
    shown["products"] = products
        .iter()
        .map(|one| {
            json!({
                "name": one.product, "did": one.file.did, "dataset": one.dataset, "bytes": one.file.bytes,
                "adler32": one.file.adler32,
            })
        })
        .collect();
    shown["log"] = run.log.clone().into();
    Ok(Json(shown))
}
