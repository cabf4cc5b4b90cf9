//! A pod as it came, to be forwarded without loss, with a typed view beside it.

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The JSON of a `v1.Pod`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawPod(pub Value);

/// A client's copy of the whole pod, with all that is in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Fields of a container in which people write secrets besides its variables: arguments, and headers of probes and hooks.
const TELLING: [&str; 6] = ["command", "args", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];

/// JSON that is not a pod.
#[derive(Debug, thiserror::Error)]
#[error("this is not a pod: {0}")]
pub struct NotAPod(String);

impl RawPod {
    /// The typed view. Forms that the API server takes are taken: quantities as numbers, no `apiVersion` and `kind`.
    pub fn typed(&self) -> Result<Pod, NotAPod> {
        let mut value = self.0.clone();
        let Some(object) = value.as_object_mut() else {
            return Err(NotAPod(format!("{} where an object is expected", kind_of(&self.0))));
        };
        // Type information is left out by Go peers and checked by our types.
        for (name, expected) in [("apiVersion", "v1"), ("kind", "Pod")] {
            match object.remove(name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.is_empty() || text == expected => {}
                Some(other) => return Err(NotAPod(format!("{name} is {other}"))),
            }
        }
        if object.get("metadata").is_none_or(Value::is_null) {
            return Err(NotAPod("it has no metadata".to_owned()));
        }
        // What is observed of a pod is our answer, never its author's.
        object.remove("status");
        for list in ["containers", "initContainers"] {
            let containers = object.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                for kind in ["limits", "requests"] {
                    let amounts =
                        container.get_mut("resources").and_then(|r| r.get_mut(kind)).and_then(Value::as_object_mut);
                    for amount in amounts.into_iter().flat_map(|map| map.values_mut()) {
                        if let Value::Number(number) = amount {
                            *amount = Value::String(number.to_string());
                        }
                    }
                }
            }
        }
        object.insert("apiVersion".into(), "v1".into());
        object.insert("kind".into(), "Pod".into());
        serde_json::from_value(value).map_err(|error| NotAPod(error.to_string()))
    }

    /// `metadata.uid`, empty when there is none.
    pub fn uid(&self) -> &str {
        self.text("uid")
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// `metadata.namespace`
    pub fn namespace(&self) -> &str {
        self.text("namespace")
    }

    /// One of `metadata.annotations`.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }

    /// The containers as they came, init containers first.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        ["initContainers", "containers"].into_iter().flat_map(|list| self.of_spec(list))
    }

    /// The volumes as they came.
    pub fn volumes(&self) -> impl Iterator<Item = &Value> {
        self.of_spec("volumes")
    }

    fn of_spec(&self, list: &str) -> impl Iterator<Item = &Value> {
        self.0.get("spec").and_then(|spec| spec.get(list)).and_then(Value::as_array).into_iter().flatten()
    }

    /// Sets one text of `status`; an API server asks its plugin again only for pods that it is told are not over.
    pub fn set_status(&mut self, field: &str, text: &str) {
        let Some(pod) = self.0.as_object_mut() else { return };
        let status = pod.entry("status").or_insert_with(|| Value::Object(Map::new()));
        if !status.is_object() {
            *status = Value::Object(Map::new());
        }
        status[field] = Value::from(text);
    }

    /// The pod without what may be secret: variables keep their names and lose their values, and what programs are called with
    /// is left out. Enough to know the pod again, not to run it.
    pub fn without_secrets(&self) -> RawPod {
        let mut pod = self.0.clone();
        if let Some(annotations) = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                for field in TELLING {
                    container.remove(field);
                }
                let variables = container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten();
                for variable in variables.filter_map(Value::as_object_mut) {
                    variable.retain(|field, _| field == "name");
                }
            }
        }
        RawPod(pod)
    }

    fn text(&self, field: &str) -> &str {
        self.0.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or_default()
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn go_style() {
        let raw = RawPod(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u-1", "creationTimestamp": null, "annotations": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "command": ["sh"],
                     "resources": {"limits": {"cpu": 1, "memory": "2Gi"}}, "fromTheFuture": true}]},
            "status": {}
        }));
        let pod = raw.typed().expect("a pod");
        let spec = pod.spec.expect("a spec");
        let limits = spec.containers[0].resources.as_ref().and_then(|r| r.limits.as_ref()).expect("limits");
        assert_eq!(limits["cpu"].0, "1");
        assert_eq!((raw.uid(), raw.annotation("a")), ("u-1", Some("b")));
        assert!(serde_json::to_string(&raw).expect("json").contains("fromTheFuture"));
    }

    #[test]
    fn without_secrets_it_keeps_names() {
        let raw = RawPod(json!({
            "metadata": {"name": "p", "uid": "u-1", "annotations": {"a": "b", LAST_APPLIED: "s3cret"}},
            "spec": {"nodeSelector": {"dte.site": "x"}, "containers": [{"name": "c", "image": "i", "args": ["--password=s3cret"],
                     "env": [{"name": "KEY", "value": "s3cret"}], "resources": {"limits": {"cpu": 1}},
                     "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "a", "value": "s3cret"}]}}}]}
        }));
        let bare = raw.without_secrets();
        assert!(!bare.0.to_string().contains("s3cret"), "{}", bare.0);
        let expected =
            json!({"name": "c", "image": "i", "env": [{"name": "KEY"}], "resources": {"limits": {"cpu": 1}}});
        assert_eq!((bare.0.pointer("/spec/containers/0"), bare.annotation("a")), (Some(&expected), Some("b")));
        assert_eq!(bare.without_secrets(), bare);
    }

    #[test]
    fn not_pods() {
        for value in [json!(null), json!([]), json!("x"), json!({}), json!({"kind": "Job", "metadata": {}})] {
            assert!(RawPod(value.clone()).typed().is_err(), "{value}");
        }
    }
}
