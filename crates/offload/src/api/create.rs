//! `/create`: accepts a pod. The same pod again gets the same answer and is not run again.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dte_base::time::Timestamp;
use dte_compute::Site;
use dte_compute::asked::{self, Asked};
use dte_compute::pod::{ContainerPlan, PodPlan};
use dte_http::Json;
use dte_identity::Principal;
use dte_protocol_interlink::{CreateStruct, PodCreateRequests, RawPod, RetrievedPodData, SITE_SELECTOR};
use http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Refusal, read};
use crate::model::order::Order;
use crate::model::placement::Needs;
use crate::model::quota::Amounts;
use crate::model::status::{Containers, Named};
use crate::model::volumes;
use crate::shared::Shared;
use crate::store::{self, Accepted, NewPod};
use crate::work::place;

pub async fn create(State(shared): State<Arc<Shared>>, principal: Principal, body: Bytes) -> Result<Response, Refusal> {
    // Releases before 0.2 sent lists of pods.
    let body: Value = read(&body)?;
    match body {
        Value::Array(list) => {
            let mut answers = Vec::with_capacity(list.len());
            for one in list {
                answers.push(accept(&shared, &principal, one).await?);
            }
            Ok(Json(answers).into_response())
        }
        one => Ok(Json(accept(&shared, &principal, one).await?).into_response()),
    }
}

/// The UUID version of identities that are computed from public names.
const DERIVED: usize = 5;
/// Annotations by which a service tells what a pod is for.
const CLAIMS: &[&str] = &["dte.io/twin", "dte.io/model", "dte.io/run", "dte.io/owner"];

async fn accept(shared: &Shared, principal: &Principal, body: Value) -> Result<CreateStruct, Refusal> {
    let request = read_request(body)?;
    if !request.jobscript_url.is_empty() {
        return Err(Refusal::bad_request("jobscriptURL: the sites of this engine make their job scripts themselves"));
    }
    let new = read_pod(shared, principal, request)?;
    if !names_site(&new.pod)
        && let Some(why) = place::hopeless(shared, &new.pod, new.trusted).await
    {
        return Err(Refusal::bad_request(why));
    }
    let (uid, named) = (new.uid.to_string(), new.uid);
    match keep(shared, new).await? {
        Accepted::New => {
            shared.tell(named);
            Ok(CreateStruct { pod_uid: uid.clone(), pod_jid: uid })
        }
        Accepted::Known => Ok(CreateStruct { pod_uid: uid.clone(), pod_jid: uid }),
        Accepted::Foreign => Err(Refusal::new(StatusCode::CONFLICT, format!("the pod UID {uid} is taken"))),
        Accepted::Ending => {
            let text = format!("the pod {uid} was deleted and is still ending; create it again when it has ended");
            Err(Refusal::new(StatusCode::CONFLICT, text))
        }
    }
}

/// Accepts the pod if its owner may have one more.
async fn keep(shared: &Shared, mut new: NewPod) -> Result<Accepted, Refusal> {
    let most = (!new.trusted).then(|| shared.settings.quota());
    let coming = match shared.tally.take(&new.owner, new.amounts, most) {
        Ok(coming) => coming,
        // One that is there already costs nothing.
        Err(why) => match store::heads(&shared.store, vec![new.uid]).await?.pop() {
            Some(head) if head.owner == new.owner => return Ok(Accepted::Known),
            _ => return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)),
        },
    };
    // The first pods of somebody come before the many of somebody else.
    new.priority = -i64::from(coming.before.checked_ilog2().map_or(0, |log| log + 1));
    let (node, queues) = (shared.node.clone(), shared.queues);
    let accepted = shared.store.write(move |tx| store::accept(tx, &new, &node, queues, Timestamp::now())).await?;
    if accepted == Accepted::New {
        coming.keep();
    }
    Ok(accepted)
}

/// The three forms of the body: what a virtual node sends, what an API server sends to its plugin, and a bare pod.
fn read_request(body: Value) -> Result<PodCreateRequests, Refusal> {
    let bad = |error: serde_json::Error| Refusal::bad_request(format!("invalid request body: {error}"));
    if body.get("pod").is_none() {
        return Ok(PodCreateRequests::of(body));
    }
    if body.get("container").is_none() && body.get("jobConfig").is_none() {
        return serde_json::from_value(body).map_err(bad);
    }
    let data: RetrievedPodData = serde_json::from_value(body).map_err(bad)?;
    if !data.job_script.is_empty() {
        return Err(Refusal::bad_request("jobScript: the sites of this engine make their job scripts themselves"));
    }
    Ok(data.into_request())
}

/// Everything that can be wrong with a pod is found before it is accepted.
fn read_pod(shared: &Shared, principal: &Principal, request: PodCreateRequests) -> Result<NewPod, Refusal> {
    let plan = volumes::plan(&request).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let order = Order::read(&request.pod).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let site = match shared.site(order.site.as_deref()) {
        None if order.site.is_some() => {
            let known: Vec<&str> = shared.sites.iter().map(|site| site.name()).collect();
            let wanted = order.site.unwrap_or_default();
            return Err(Refusal::bad_request(format!("there is no site {wanted:?}; there is {}", known.join(", "))));
        }
        // It names none and there is a choice: it is placed when one takes it.
        found => found,
    };
    let trusted = principal.is_admin() || shared.acts_for_administrator(principal);
    if let Some(site) = site {
        check_at(site.as_ref(), &plan, &order, trusted)?;
    }
    if !trusted && plan.uid.get_version_num() == DERIVED {
        let text =
            "metadata.uid: UIDs of version 5 are derived by services for their own pods; use a random one (version 4)";
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    let request = if trusted || principal.acting.is_some() { request } else { without_claims(request) };
    let named = |list: &[ContainerPlan]| -> Vec<Named> {
        list.iter().map(|c| Named { name: c.name.clone(), image: c.image.clone() }).collect()
    };
    // A person's token that is confined to some capabilities confines the pod too. A service that acts for the owner shows a
    // token for this call only, which says nothing about the pod.
    let confined = principal.acting.is_none() && principal.scopes.have_capabilities();
    Ok(NewPod {
        uid: plan.uid,
        namespace: plan.namespace.clone(),
        name: plan.name.clone(),
        owner: principal.user_ref(),
        scopes: confined.then(|| principal.scopes.names().to_vec()),
        trusted,
        site: site.map(|site| site.name().to_owned()).unwrap_or_default(),
        containers: Containers { init: named(&plan.init_containers), main: named(&plan.containers) },
        sealed: seal(shared, plan.uid, &request)?,
        amounts: amounts(&plan, &request.pod, trusted)?,
        priority: 0,
        is_derived: plan.uid.get_version_num() == DERIVED,
        pod: request.pod.without_secrets(),
    })
}

/// What the pod takes of its owner's quota: what its containers ask for, or what its annotations ask of a batch system.
fn amounts(plan: &PodPlan, pod: &RawPod, trusted: bool) -> Result<Amounts, Refusal> {
    let needs = Needs::at_most(pod);
    let of_containers = Asked { cpu_millis: needs.cpu_millis, memory_bytes: needs.memory_bytes };
    let asked = match asked::at_most(&plan.annotations, of_containers) {
        // Nobody limits them; the site still judges what it says.
        Err(_) if trusted => of_containers,
        asked => asked.map_err(Refusal::bad_request)?,
    };
    Ok(Amounts { pods: 1, cpu_millis: asked.cpu_millis, memory_bytes: asked.memory_bytes })
}

/// Secrets are among a pod's variables, arguments and volumes: they are never written as they are.
fn seal(shared: &Shared, uid: Uuid, request: &PodCreateRequests) -> Result<Vec<u8>, Refusal> {
    let failed = |error: String| {
        tracing::error!(error, "a pod cannot be sealed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the pod cannot be kept")
    };
    let text = serde_json::to_vec(request).map_err(|error| failed(error.to_string()))?;
    shared.identity.seal(&volumes::seal_name(uid), &text).map_err(|error| failed(error.to_string()))
}

fn names_site(pod: &RawPod) -> bool {
    let selector = pod.0.pointer("/spec/nodeSelector").and_then(|selector| selector.get(SITE_SELECTOR));
    selector.and_then(Value::as_str).is_some_and(|site| !site.is_empty())
}

/// Whether the site is one for such pods.
fn check_at(site: &dyn Site, plan: &PodPlan, order: &Order, trusted: bool) -> Result<(), Refusal> {
    let able = site.capabilities();
    if let dte_compute::Sandbox::None { why } = &able.sandbox
        && !trusted
    {
        let text = format!("site {} has no sandbox ({why}): it takes pods of administrators only", site.name());
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    if let Some(container) = plan.all_containers().find(|container| !able.runs_image(&container.image)) {
        return Err(Refusal::bad_request(format!(
            "container {}: site {} runs the images {} and not {:?}",
            container.name,
            site.name(),
            able.images.join(", "),
            container.image
        )));
    }
    if !site.stages_data() && (!order.inputs.is_empty() || !order.outputs.is_empty() || order.code.is_some()) {
        return Err(Refusal::bad_request(format!(
            "annotations dte.io/inputs, dte.io/outputs, dte.io/code: site {} sees no folder of this engine, so it takes no pods with data",
            site.name()
        )));
    }
    Ok(())
}

/// A person's pod cannot say that it belongs to a twin: it would be charged there.
fn without_claims(mut request: PodCreateRequests) -> PodCreateRequests {
    if let Some(annotations) = request.pod.0.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !CLAIMS.contains(&name.as_str()));
    }
    request
}
