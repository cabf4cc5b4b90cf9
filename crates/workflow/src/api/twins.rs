//! Twins as declared.

use axum::extract::{Path, State};
use dte_http::{Json, Page, PageOf, Problem};
use dte_identity::Principal;
use dte_store::Event;
use http::StatusCode;
use serde_json::{Value, json};

use super::owned;
use crate::store::twins::{self, State as TwinState};
use crate::store::{SOURCE, request_apply, troubles};
use crate::work::engine::{Engine, Loaded};

/// A twin with its document.
pub async fn view(engine: &Engine, loaded: &Loaded) -> Result<Value, Problem> {
    let name = loaded.twin.name.clone();
    let troubles = engine.store.read(move |tx| troubles::of(tx, &name)).await.map_err(Problem::from)?;
    let twin = &loaded.twin;
    let programs: serde_json::Map<String, Value> = twin
        .programs
        .iter()
        .map(|(model, program)| {
            (model.clone(), json!({ "did": program.did, "sha256": program.sha256, "bytes": program.bytes }))
        })
        .collect();
    Ok(json!({
        "twin": twin.name,
        "version": twin.version,
        "state": twin.state,
        "owner": twin.owner.name,
        "description": loaded.document.description,
        "created": twin.created,
        "applied": twin.applied,
        "base": twin.base,
        "programs": programs,
        "troubles": troubles,
        "document": twin.document,
    }))
}

/// One's own twins; all for administrators.
pub async fn list(
    State(engine): State<Engine>,
    principal: Principal,
    page: Page,
) -> Result<Json<PageOf<Value>>, Problem> {
    let owner = (!principal.is_admin()).then(|| principal.name().to_owned());
    let (after, most) = (page.after.clone().unwrap_or_default(), page.limit + 1);
    let found =
        engine.store.read(move |tx| twins::list(tx, owner.as_deref(), &after, most)).await.map_err(Problem::from)?;
    let rows: Vec<Value> = found
        .into_iter()
        .filter(|twin| principal.is_admin() || principal.is(&twin.owner))
        .map(|twin| {
            json!({
                "twin": twin.name, "version": twin.version, "state": twin.state, "owner": twin.owner.name,
                "applied": twin.applied,
            })
        })
        .collect();
    Ok(Json(PageOf::cut(rows, &page, |row| row["twin"].as_str().unwrap_or_default().to_owned())))
}

pub async fn get(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let loaded = owned(&engine, &principal, &name).await?;
    Ok(Json(view(&engine, &loaded).await?))
}

/// Ends a twin: nothing new is taken in or started; its data stay in the lake.
pub async fn delete(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let loaded = owned(&engine, &principal, &name).await?;
    let by = principal.name().to_owned();
    engine
        .store
        .write(move |tx| {
            twins::set_state(tx, &name, TwinState::Deleted)?;
            request_apply(tx, &name)?;
            let data = json!({ "twin": name, "version": loaded.twin.version, "by": by });
            tx.emit(Event::new("org.dte.workflow.twin.deleted", SOURCE, name.clone(), data))
        })
        .await
        .map_err(|error: dte_store::Error| Problem::from(error))?;
    Ok(StatusCode::NO_CONTENT)
}
