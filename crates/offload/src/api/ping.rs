//! `/pinglink`: whether the engine is well, and what its sites have; and what releases before 0.1.2 asked instead.

use std::sync::Arc;

use axum::extract::State;
use dte_http::Json;
use dte_identity::Principal;
use dte_protocol_interlink::{PingResources, PingResponse};

use super::answer::Refusal;
use crate::shared::Shared;

pub async fn pinglink(State(shared): State<Arc<Shared>>, _principal: Principal) -> Result<Json<PingResponse>, Refusal> {
    let (mut cpu_millis, mut memory, mut pods) = (0u64, 0u64, 0u64);
    for site in &shared.sites {
        let capacity = site.capacity().await?;
        cpu_millis = cpu_millis.saturating_add(capacity.cpu_millis);
        memory = memory.saturating_add(capacity.memory_bytes);
        pods = pods.saturating_add(capacity.pods);
    }
    let resources = PingResources {
        cpu: Some(format!("{cpu_millis}m")),
        memory: Some(memory.to_string()),
        pods: Some(pods.to_string()),
    };
    Ok(Json(PingResponse { status: "ok".to_owned(), resources: Some(resources) }))
}

/// Early virtual kubelets read the answer as a number: no credentials are wanted.
pub async fn ping(_principal: Principal) -> &'static str {
    "0"
}

/// Early virtual kubelets sent their cluster's credentials here. They are not wanted and not kept.
pub async fn set_kubeconfig(_principal: Principal) -> &'static str {
    "OK"
}
