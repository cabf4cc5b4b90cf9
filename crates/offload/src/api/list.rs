//! `/pods` and `/sites`: for people and pages. Not of interLink.

use std::sync::Arc;

use axum::extract::State;
use dte_base::time::Timestamp;
use dte_compute::PodReport;
use dte_http::{Json, Query};
use dte_identity::Principal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Refusal, visible};
use super::status::live_reports;
use crate::shared::Shared;
use crate::store;

const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Which page: `after` is the `next` of the page before.
#[derive(Deserialize)]
pub struct Page {
    limit: Option<usize>,
    after: Option<String>,
}

/// Pods, newest first.
pub async fn pods(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Refusal> {
    let limit = page.limit.unwrap_or(USUAL).clamp(1, MOST);
    let before = match page.after.as_deref() {
        Some(text) => Some(text.parse::<Timestamp>().map_err(|error| Refusal::bad_request(error.to_string()))?),
        None => None,
    };
    let pods = store::newest(&shared.store, visible(&principal), before, limit).await?;
    let live = live_reports(&shared, &pods).await?;
    let items = pods.iter().map(|pod| {
        let report = pod.report.as_ref().or(live.get(&pod.uid));
        json!({
            "uid": pod.uid,
            "name": pod.name,
            "namespace": pod.namespace,
            "user": pod.owner.name,
            "site": pod.site,
            "phase": pod.state.phase(),
            "state": pod.state.as_str(),
            // A pod that stands still shows why.
            "reason": pod.reason.as_ref().or(report.and_then(|report| report.reason.as_ref())),
            "message": pod.message,
            "exit_code": report.and_then(PodReport::exit_code),
            "created": pod.created,
            "started": report.and_then(|report| report.started),
            "finished": pod.finished,
            "usage": report.map(|report| report.usage),
        })
    });
    let items: Vec<Value> = items.collect();
    let next = (items.len() == limit).then(|| pods.last().map(|pod| pod.created)).flatten();
    Ok(Json(json!({ "items": items, "next": next })))
}

/// The sites and what they can do.
pub async fn sites(State(shared): State<Arc<Shared>>, _principal: Principal) -> Result<Json<Value>, Refusal> {
    let mut items = Vec::with_capacity(shared.sites.len());
    for site in &shared.sites {
        let (able, capacity) = (site.capabilities(), site.capacity().await?);
        items.push(json!({ "name": site.name(), "plugin": able.images.first(), "state": "up", "capabilities": able, "capacity": capacity }));
    }
    Ok(Json(json!({ "items": items })))
}
