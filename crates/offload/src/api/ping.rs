//! `/pinglink`: whether the engine is well, and what its sites have; and what others call the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use dte_base::time::Timestamp;
use dte_http::{Json, Query};
use dte_identity::Principal;
use dte_protocol_interlink::{Accelerator, PingResources, PingResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Refusal;
use crate::shared::Shared;

/// What a node of one site asks: `/pinglink?site=NAME`. A virtual kubelet that knows no sites gets the sum of all.
#[derive(Deserialize)]
pub struct Asked {
    site: Option<String>,
}

pub async fn pinglink(
    State(shared): State<Arc<Shared>>,
    _principal: Principal,
    Query(asked): Query<Asked>,
) -> Result<Json<PingResponse>, Refusal> {
    Ok(Json(answer(&shared, asked.site.as_deref()).await?))
}

/// The resources of one site, or of all together.
pub async fn answer(shared: &Shared, site: Option<&str>) -> Result<PingResponse, Refusal> {
    if let Some(name) = site
        && shared.sites.iter().all(|site| site.name() != name)
    {
        return Err(Refusal::bad_request(format!("there is no site {name:?}")));
    }
    let (mut cpu_millis, mut memory, mut pods) = (0u64, 0u64, 0u64);
    let mut extended = BTreeMap::new();
    for one in shared.sites.iter().filter(|one| site.is_none_or(|name| name == one.name())) {
        let capacity = one.capacity().await?;
        cpu_millis = cpu_millis.saturating_add(capacity.cpu_millis);
        memory = memory.saturating_add(capacity.memory_bytes);
        pods = pods.saturating_add(capacity.pods);
        for (name, count) in capacity.extended {
            let sum = extended.entry(name).or_insert(0u64);
            *sum = sum.saturating_add(count);
        }
    }
    let resources = PingResources {
        cpu: Some(format!("{cpu_millis}m")),
        memory: Some(memory.to_string()),
        pods: Some(pods.to_string()),
        accelerators: extended
            .into_iter()
            .map(|(resource_type, count)| Accelerator { resource_type, available: count.to_string() })
            .collect(),
    };
    Ok(PingResponse { status: "ok".to_owned(), resources: Some(resources), taints: None })
}

/// What the Slurm plugin answers to whoever looks after it.
pub async fn system_info(State(shared): State<Arc<Shared>>, _principal: Principal) -> Json<Value> {
    let names: Vec<&str> = shared.sites.iter().map(|site| site.name()).collect();
    Json(json!({ "status": "ok", "timestamp": Timestamp::now(), "slurm_connected": false, "sites": names }))
}

/// Virtual kubelets before 0.1.2 read the answer as a number: no credentials are wanted.
pub async fn ping(_principal: Principal) -> &'static str {
    "0"
}

/// Early virtual kubelets sent their cluster's credentials here. They are not wanted and not kept: a virtual kubelet of today
/// sends with each pod what the pod needs.
pub async fn set_kubeconfig(_principal: Principal) -> &'static str {
    "OK"
}
