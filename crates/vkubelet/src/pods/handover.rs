//! Hands a pod to the site, once.

use std::sync::Arc;
use std::time::Duration;

use dte_protocol_interlink::{InterlinkError, JOB_ID_ANNOTATION};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::controller::{Controller, Next, on_disk, pause_after};
use super::report;
use super::status::{self, Now};
use super::table::{Entry, Stage};
use crate::Error;
use crate::cluster::refused_with;
use crate::events::Kind;
use crate::resolve::wire::{self, Manner};
use crate::resolve::{Unresolved, sources};

/// How often a site that fails (and does not refuse) is tried before a pod that may not be restarted has failed.
const MOST_FAILURES: u32 = 5;
/// A refusal that an operator may lift is looked at again after this long.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Taints that a node gets whose site is away.
const AWAY: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub async fn hand_over(controller: &Arc<Controller>, uid: &str, entry: &Entry) -> Result<Next, Error> {
    if entry.job().is_some() {
        let (ledger, bare) = (controller.ledger.clone(), crate::ledger::bare(&entry.raw));
        on_disk(move || ledger.note(&bare)).await?;
        controller.table.with(uid, |entry| entry.stage = Stage::Handed);
        return Ok(Next::Rest);
    }
    // An earlier call may have come through although its answer was lost; not every site notices the second.
    if controller.ledger.has(uid) {
        let known = controller.site.status(std::slice::from_ref(&*entry.raw)).await?;
        if let Some(known) = known.into_iter().next() {
            return accepted(controller, uid, entry, if known.jid.is_empty() { uid } else { &known.jid }).await;
        }
    }
    let request = match build(controller, entry).await {
        Ok((request, remarks)) => {
            for remark in remarks {
                controller.say(uid, &entry.pod, Kind::Warning, remark.reason, &remark.message).await;
            }
            request
        }
        Err(Error::Unresolved(why)) => return unresolved(controller, uid, entry, &why).await,
        Err(error) => return Err(error),
    };
    let (ledger, bare) = (controller.ledger.clone(), crate::ledger::bare(&request.pod));
    on_disk(move || ledger.note(&bare)).await?;
    match controller.site.create(&request).await {
        Ok(answer) => accepted(controller, uid, entry, &answer.pod_jid).await,
        Err(error) => refused(controller, uid, entry, error).await,
    }
}

async fn build(
    controller: &Controller,
    entry: &Entry,
) -> Result<(dte_protocol_interlink::PodCreateRequests, Vec<crate::resolve::Remark>), Error> {
    let settings = &controller.settings;
    let sources =
        sources::fetch(&controller.cluster, &entry.pod, controller.node.facts(), settings.kubernetes_api.clone())
            .await?;
    let manner = Manner { settings, cluster: &controller.cluster.id, site_expands: controller.site.is_engine() };
    Ok(wire::request(&entry.raw, &entry.pod, &sources, &manner)?)
}

/// The site has the pod. The cluster remembers it, so that a later run of this process does too.
async fn accepted(controller: &Arc<Controller>, uid: &str, entry: &Entry, job: &str) -> Result<Next, Error> {
    controller.table.with(uid, |entry| entry.stage = Stage::Handed);
    let mut patch = json!({ "metadata": { "uid": uid, "annotations": { JOB_ID_ANNOTATION: job } } });
    if !controller.settings.evict_when_away {
        patch["spec"] = json!({ "tolerations": patient(entry.raw.0.pointer("/spec/tolerations")) });
    }
    let pods: Api<Pod> = Api::namespaced(controller.cluster.client.clone(), entry.raw.namespace());
    match pods.patch(entry.raw.name(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => {}
        // It was deleted meanwhile, and the watch tells so.
        Err(error) if matches!(refused_with(&error), Some(404 | 409)) => {}
        // The note on disk is enough for now.
        Err(error) => tracing::warn!(%uid, %error, "the job's identifier could not be noted in the cluster"),
    }
    let text = format!("The site accepted the pod as job {job}");
    controller.say(uid, &entry.pod, Kind::Normal, "ProviderCreateSuccess", &text).await;
    Ok(Next::Rest)
}

/// Tolerations with which a pod stays while the site is away: work goes on there, and evicting would kill it.
fn patient(present: Option<&Value>) -> Vec<Value> {
    let mut all: Vec<Value> = present.and_then(Value::as_array).cloned().unwrap_or_default();
    for key in AWAY {
        let mut found = false;
        for toleration in &mut all {
            if toleration["key"] == *key && toleration["effect"] == "NoExecute" {
                found = true;
                if let Some(fields) = toleration.as_object_mut() {
                    fields.shift_remove("tolerationSeconds");
                }
            }
        }
        if !found {
            all.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute" }));
        }
    }
    all
}

/// Something that the pod refers to is not there: it waits, and says for what.
async fn unresolved(controller: &Controller, uid: &str, entry: &Entry, why: &Unresolved) -> Result<Next, Error> {
    let text = why.to_string();
    let waits = status::waiting(&entry.pod, &controller.node.facts(), why.waiting(), Some(&text), Now::get());
    report::tell(controller, uid, &entry.pod, waits).await?;
    controller.say(uid, &entry.pod, Kind::Warning, why.event(), &text).await;
    Ok(Next::Later(match why {
        Unresolved::Missing { .. } => Duration::from_secs(2),
        _ => REFUSED_PAUSE,
    }))
}

/// The site did not take the pod.
async fn refused(controller: &Controller, uid: &str, entry: &Entry, error: Error) -> Result<Next, Error> {
    let status = match &error {
        Error::Site(InterlinkError::Refused { status, .. }) => Some(*status),
        _ => None,
    };
    let text = error.to_string();
    let once = entry.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("Never");
    let (is_final, pause) = match status {
        // The site cannot be reached, or our token is not good: the pod is not to blame.
        None | Some(StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => {
            (false, pause_after(entry.attempts.saturating_add(1)))
        }
        Some(StatusCode::FORBIDDEN) => (false, REFUSED_PAUSE),
        Some(status) if status.is_client_error() => (true, REFUSED_PAUSE),
        Some(StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
            (false, pause_after(entry.attempts.saturating_add(1)))
        }
        Some(_) => (entry.attempts >= MOST_FAILURES, pause_after(entry.attempts.saturating_add(1))),
    };
    if status.is_some_and(|status| status.is_client_error()) {
        let (ledger, gone) = (controller.ledger.clone(), uid.to_owned());
        on_disk(move || ledger.forget(&gone)).await?;
    }
    if is_final && once {
        return controller.fail(uid, entry, "ProviderFailed", &text).await;
    }
    let waits = status::waiting(&entry.pod, &controller.node.facts(), "ProviderFailed", Some(&text), Now::get());
    report::tell(controller, uid, &entry.pod, waits).await?;
    controller.say(uid, &entry.pod, Kind::Warning, "ProviderCreateFailed", &text).await;
    controller.table.with(uid, |entry| entry.attempts = entry.attempts.saturating_add(1));
    Ok(Next::Again(pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_stay_while_the_site_is_away() {
        let present = json!([{"key": AWAY[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}, {"key": "x"}]);
        let all = patient(Some(&present));
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].get("tolerationSeconds"), None);
        assert_eq!(all[2]["key"], AWAY[1]);
        assert_eq!(patient(None).len(), 2);
    }
}
