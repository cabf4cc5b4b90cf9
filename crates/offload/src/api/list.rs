//! `/pods`: for people and pages. Not of interLink.

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
use crate::store::{self, PodHead};

const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Which page: `after` is the `next` of the page before.
#[derive(Deserialize)]
pub struct Page {
    limit: Option<usize>,
    after: Option<String>,
    /// Only pods of this name, on one page.
    name: Option<String>,
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
    let pods = match page.name {
        None => store::newest(&shared.store, visible(&principal), before, limit).await?,
        Some(name) => {
            let uids = store::placement::named(&shared.store, name, visible(&principal)).await?;
            let mut found = store::heads(&shared.store, uids).await?;
            found.sort_by_key(|pod| std::cmp::Reverse(pod.created));
            found
        }
    };
    let live = live_reports(&shared, &pods).await?;
    let items: Vec<Value> = pods.iter().map(|pod| line(pod, pod.report.as_ref().or(live.get(&pod.uid)))).collect();
    let next = (items.len() == limit).then(|| pods.last().map(|pod| pod.created)).flatten();
    Ok(Json(json!({ "items": items, "next": next })))
}

/// A pod in one line. A site that is not decided yet is null.
pub fn line(pod: &PodHead, report: Option<&PodReport>) -> Value {
    json!({
        "uid": pod.uid,
        "name": pod.name,
        "namespace": pod.namespace,
        "user": pod.owner.name,
        "site": Some(&pod.site).filter(|site| !site.is_empty()),
        "phase": pod.state.phase(),
        "state": pod.state.as_str(),
        // A pod that stands still shows why.
        "reason": pod.reason.as_ref().or(report.and_then(|report| report.reason.as_ref())),
        "message": pod.message.as_ref().or(report.and_then(|report| report.message.as_ref())),
        "exit_code": report.and_then(PodReport::exit_code),
        "created": pod.created,
        "started": report.and_then(|report| report.started),
        "finished": pod.finished,
        "usage": report.map(|report| report.usage),
    })
}
