//! A pod as it came, with what its volumes hold: how it is kept, and the plan that follows from it.

use dte_compute::pod::{BadPod, PodPlan, Request};
use dte_protocol_interlink::{PodCreateRequests, RawPod};

/// The plan of a pod with what its volumes hold.
pub fn plan(request: &PodCreateRequests) -> Result<PodPlan, BadPod> {
    let pod = request.pod.typed().map_err(|error| BadPod(error.to_string()))?;
    PodPlan::read(Request {
        pod: &pod,
        config_maps: &request.configmaps,
        secrets: &request.secrets,
        projected: &request.projectedvolumesmaps,
    })
}

/// The request as it was sealed; older engines sealed what came with the pod only.
pub fn unsealed(sealed: PodCreateRequests, stored: &RawPod) -> PodCreateRequests {
    if sealed.pod.0.is_null() { PodCreateRequests { pod: stored.clone(), ..sealed } } else { sealed }
}

/// The name under which a request is sealed.
pub fn seal_name(uid: uuid::Uuid) -> String {
    format!("offload volumes {uid}")
}
