//! `/status`: how pods go. Unknown pods are left out; no pods asked for means all.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dte_compute::PodReport;
use dte_http::Json;
use dte_identity::Principal;
use dte_protocol_interlink::{PodStatus, RawPod};
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Refusal, may_see, read, visible};
use super::ping;
use crate::model::state;
use crate::model::status;
use crate::shared::Shared;
use crate::store::{self, PodHead};

/// Pods in the answer to "all".
const MOST: usize = 10_000;

pub async fn status(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    body: Bytes,
) -> Result<Json<Vec<PodStatus>>, Refusal> {
    let asked = pods_in(&body)?;
    if asked.is_empty() {
        let pods = store::newest(&shared.store, visible(&principal), None, MOST).await?;
        return Ok(Json(render(&shared, &pods).await?));
    }
    Ok(Json(of_pods(&shared, &principal, &asked).await?))
}

/// South: an API server asks for no pods when it wants to know whether its plugin is well, and tells its virtual node what
/// the plugin answers.
pub async fn plugin_status(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    body: Bytes,
) -> Result<Response, Refusal> {
    let asked = pods_in(&body)?;
    if asked.is_empty() {
        return Ok(Json(ping::answer(&shared, None).await?).into_response());
    }
    Ok(Json(of_pods(&shared, &principal, &asked).await?).into_response())
}

fn pods_in(body: &Bytes) -> Result<Vec<RawPod>, Refusal> {
    match read::<Value>(body)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list.into_iter().map(RawPod).collect()),
        one @ Value::Object(_) => Ok(vec![RawPod(one)]),
        _ => Err(Refusal::bad_request("invalid request body: an array of pods is expected")),
    }
}

async fn of_pods(shared: &Shared, principal: &Principal, asked: &[RawPod]) -> Result<Vec<PodStatus>, Refusal> {
    let uids: Vec<Uuid> = asked.iter().filter_map(|pod| pod.uid().parse().ok()).collect();
    let mut found: HashMap<Uuid, PodHead> = HashMap::new();
    for head in store::heads(&shared.store, uids.clone()).await? {
        if may_see(principal, &head.owner) {
            found.insert(head.uid, head);
        }
    }
    // In the order of the question.
    let pods: Vec<PodHead> = uids.iter().filter_map(|uid| found.get(uid).cloned()).collect();
    render(shared, &pods).await
}

async fn render(shared: &Shared, pods: &[PodHead]) -> Result<Vec<PodStatus>, Refusal> {
    let live = live_reports(shared, pods).await?;
    Ok(pods.iter().map(|pod| status::status(pod, live.get(&pod.uid))).collect())
}

/// What the sites say of pods that run in this process.
pub async fn live_reports(shared: &Shared, pods: &[PodHead]) -> Result<HashMap<Uuid, PodReport>, Refusal> {
    let mut live = HashMap::new();
    for site in &shared.sites {
        let here =
            pods.iter().filter(|p| p.state == state::State::Running && p.node == shared.node && p.site == site.name());
        let uids: Vec<Uuid> = here.map(|pod| pod.uid).collect();
        if !uids.is_empty() {
            live.extend(site.status(&uids).await?.into_iter().map(|report| (report.uid, report)));
        }
    }
    Ok(live)
}

/// A virtual kubelet tells that a pod is no longer its own. What is kept here is no cache, so nothing is to be done; both a
/// bare UID and a whole pod are understood.
pub async fn update_cache(_principal: Principal, body: Bytes) -> Result<&'static str, Refusal> {
    let text = String::from_utf8_lossy(&body);
    let bare = text.trim().trim_matches('"').parse::<Uuid>().is_ok();
    if !bare {
        RawPod(read::<Value>(&body)?).typed().map_err(|error| Refusal::bad_request(error.to_string()))?;
    }
    Ok("Updated cache")
}
