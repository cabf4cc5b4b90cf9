//! What came with a pod for its volumes, and the plan that follows from both.

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

/// What has to be kept besides the pod; none if no objects came along.
pub fn content(request: &PodCreateRequests) -> Option<PodCreateRequests> {
    let is_empty =
        request.configmaps.is_empty() && request.secrets.is_empty() && request.projectedvolumesmaps.is_empty();
    (!is_empty).then(|| PodCreateRequests { pod: RawPod::default(), ..request.clone() })
}

/// The name under which the content of a pod's volumes is sealed.
pub fn seal_name(uid: uuid::Uuid) -> String {
    format!("offload volumes {uid}")
}
