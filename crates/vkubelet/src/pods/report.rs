//! Writes a pod's status to the cluster, if there is something new in it.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::controller::Controller;
use crate::Error;
use crate::cluster::refused_with;

/// Tells the cluster. A pod that it has no more, or has anew under the same name, is left alone.
pub async fn tell(controller: &Controller, uid: &str, pod: &Pod, status: PodStatus) -> Result<(), Error> {
    if !differs(pod.status.as_ref(), &status) {
        return Ok(());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(controller.cluster.client.clone(), namespace);
    let patch = json!({ "metadata": { "uid": uid }, "status": written(&status) });
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(answer) => {
            controller.table.told(uid, status, answer.metadata.resource_version);
            Ok(())
        }
        Err(error) if matches!(refused_with(&error), Some(404 | 409)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The status as a patch: conditions are merged by the server, so what they no longer say is taken out by name.
fn written(status: &PodStatus) -> Value {
    let mut value = json!(status);
    for condition in value["conditions"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for field in ["reason", "message"] {
            condition.entry(field).or_insert(Value::Null);
        }
    }
    value
}

/// Whether `new` says something that `old` does not.
fn differs(old: Option<&PodStatus>, new: &PodStatus) -> bool {
    let Some(old) = old else { return true };
    let (old, new) = (plain(old), plain(new));
    let same = new.iter().filter(|(key, _)| *key != "conditions").all(|(key, value)| old.get(key) == Some(value));
    let conditions =
        |map: &Map<String, Value>| map.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let had = conditions(&old);
    let is = |condition: &Value| {
        let of = |known: &&Value| known["type"] == condition["type"];
        had.iter().find(of).is_some_and(|known| {
            ["status", "reason", "message"].into_iter().all(|field| known.get(field) == condition.get(field))
        })
    };
    !(same && conditions(&new).iter().all(is))
}

/// Without empty objects, which the API server adds.
fn plain(status: &PodStatus) -> Map<String, Value> {
    fn prune(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.values_mut().for_each(prune);
                map.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
            }
            Value::Array(list) => list.iter_mut().for_each(prune),
            _ => {}
        }
    }
    let mut value = json!(status);
    prune(&mut value);
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn only_news_is_written() {
        let had = status(json!({"phase": "Running", "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "True"}],
            "containerStatuses": [{"name": "c", "state": {}, "lastState": {}, "ready": true, "restartCount": 0, "image": "i", "imageID": ""}]}));
        let same = status(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "image": "i", "imageID": ""}]}),
        );
        assert!(!differs(Some(&had), &same));
        assert!(differs(None, &same));
        assert!(differs(Some(&had), &status(json!({"phase": "Failed"}))));
        assert!(differs(Some(&had), &status(json!({"conditions": [{"type": "Ready", "status": "False"}]}))));
        assert_eq!(written(&same)["conditions"][0]["reason"], Value::Null);
    }
}
