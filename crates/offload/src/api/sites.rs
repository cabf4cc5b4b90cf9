//! `/sites`: the places of this engine, what they have and can, and how busy they are. Not of interLink.

use std::sync::Arc;

use axum::extract::State;
use dte_http::Json;
use dte_identity::Principal;
use serde_json::{Value, json};

use super::answer::Refusal;
use crate::shared::Shared;
use crate::store;
use crate::work::place;

/// A site that does not answer is there with its problem.
pub async fn sites(State(shared): State<Arc<Shared>>, _principal: Principal) -> Result<Json<Value>, Refusal> {
    let loads = store::placement::loads(&shared.store).await?;
    let mut items = Vec::with_capacity(shared.sites.len());
    for site in &shared.sites {
        let able = site.capabilities();
        let load = loads.get(site.name()).copied().unwrap_or_default();
        let (capacity, problem) = match place::capacity(site.as_ref()).await {
            Ok(capacity) => (Some(capacity), None),
            Err(problem) => (None, Some(problem)),
        };
        let free = capacity.as_ref().map(|capacity| capacity.pods.saturating_sub(capacity.pods_running));
        items.push(json!({
            "name": site.name(),
            "plugin": able.images.first(),
            "state": if problem.is_none() { "up" } else { "down" },
            "problem": problem,
            "capabilities": able,
            "sandbox": able.sandbox.to_string(),
            "capacity": capacity,
            "free_places": free,
            // Of this engine; a site may have other work besides.
            "running": load.running,
            "waiting": load.waiting,
            "mean_run_seconds": shared.run_times.mean(site.name()).map(|mean| mean.as_secs_f64()),
        }));
    }
    Ok(Json(json!({ "items": items })))
}
