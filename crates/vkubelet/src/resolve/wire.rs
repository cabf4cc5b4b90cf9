//! The interLink request for a pod. Pure.

use std::collections::BTreeMap;

use dte_protocol_interlink::{PodCreateRequests, RawPod, SITE_SELECTOR};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use super::claims::Claimed;
use super::environment::{self, Environment};
use super::sources::{Sources, containers};
use super::{Remark, Unresolved, volumes};
use crate::settings::Settings;

/// Whose pod it is, for people who look at the site.
pub const CLUSTER_ANNOTATION: &str = "dte.io/cluster";
pub const NODE_ANNOTATION: &str = "dte.io/node";
/// `kubectl` keeps the whole manifest here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How a pod is to be sent.
pub struct Manner<'a> {
    pub settings: &'a Settings,
    pub cluster: &'a str,
    /// The site expands `$(NAME)` itself: dollars are doubled, so that nothing is expanded twice.
    pub site_expands: bool,
}

/// The request that runs `pod` at the site, and what was left out of it.
pub fn request(
    raw: &RawPod,
    pod: &Pod,
    sources: &Sources,
    manner: &Manner<'_>,
) -> Result<(PodCreateRequests, Vec<Remark>), Unresolved> {
    let mut contents = volumes::resolve(pod, sources, manner.settings.without_projected_volumes)?;
    volumes::pull_secrets(pod, sources, &mut contents.secrets);
    let mut remarks = contents.remarks;
    let mut sent = tidy(raw);
    mount_claimed(&mut sent, &contents.claimed);
    for container in containers(pod) {
        let (environment, more) =
            environment::resolve(pod, container, sources).map_err(|error| in_container(&container.name, error))?;
        remarks.extend(more);
        if let Some(written) = container_of(&mut sent, &container.name) {
            write(written, &environment, manner.site_expands);
        }
    }
    address(&mut sent, manner);
    let request = PodCreateRequests {
        pod: RawPod(sent),
        configmaps: contents.config_maps,
        secrets: contents.secrets,
        projectedvolumesmaps: contents.projected,
        jobscript_url: manner.settings.job_script_url.clone(),
    };
    Ok((request, remarks))
}

fn in_container(name: &str, error: Unresolved) -> Unresolved {
    match error {
        Unresolved::Missing { reason, message } => {
            Unresolved::Missing { reason, message: format!("container {name}: {message}") }
        }
        Unresolved::Nonsense(message) => Unresolved::Nonsense(format!("container {name}: {message}")),
        other => other,
    }
}

/// The pod without what only the cluster needs.
pub fn tidy(raw: &RawPod) -> Value {
    let mut pod = raw.0.clone();
    if let Some(meta) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.shift_remove("managedFields");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(LAST_APPLIED);
        }
    }
    pod
}

/// Claimed volumes become folders of the site.
fn mount_claimed(pod: &mut Value, claimed: &BTreeMap<String, Claimed>) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let name_of = |one: &Value| one.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = name_of(volume);
        if let Some(place) = claimed.get(&name) {
            *volume = json!({ "name": name, "hostPath": { "path": place.path, "type": "Directory" } });
        }
    }
    let lists = spec.iter_mut().filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"));
    for container in lists.filter_map(|(_, list)| list.as_array_mut()).flatten() {
        for mount in container.get_mut("volumeMounts").and_then(Value::as_array_mut).into_iter().flatten() {
            if claimed.get(&name_of(mount)).is_some_and(|place| place.read_only) {
                mount["readOnly"] = json!(true);
            }
        }
    }
}

fn container_of<'a>(pod: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let spec = pod.get_mut("spec")?.as_object_mut()?;
    let lists = spec.iter_mut().filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"));
    let all = lists.filter_map(|(_, list)| list.as_array_mut()).flatten().filter_map(Value::as_object_mut);
    all.into_iter().find(|container| container.get("name").and_then(Value::as_str) == Some(name))
}

/// Puts plain values into a container.
fn write(container: &mut Map<String, Value>, environment: &Environment, site_expands: bool) {
    let guard = |text: &str| if site_expands { text.replace('$', "$$") } else { text.to_owned() };
    let env: Vec<Value> =
        environment.iter().map(|(name, value)| json!({ "name": name, "value": guard(value) })).collect();
    container.shift_remove("envFrom");
    container.insert("env".to_owned(), Value::Array(env));
    for list in ["command", "args"] {
        for word in container.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::String(text) = word {
                *text = guard(&environment.expand(text));
            }
        }
    }
}

/// Says where the pod comes from and at which site it shall run.
fn address(pod: &mut Value, manner: &Manner<'_>) {
    let Some(pod) = pod.as_object_mut() else { return };
    let mut put = |room: &str, map: &str, key: &str, value: &str| {
        let room = pod.entry(room).or_insert_with(|| json!({}));
        if let Some(room) = room.as_object_mut() {
            let map = room.entry(map).or_insert_with(|| json!({}));
            if let Some(map) = map.as_object_mut() {
                map.insert(key.to_owned(), json!(value));
            }
        }
    };
    put("metadata", "annotations", CLUSTER_ANNOTATION, manner.cluster);
    put("metadata", "annotations", NODE_ANNOTATION, &manner.settings.node_name);
    if let Some(site) = &manner.settings.site {
        put("spec", "nodeSelector", SITE_SELECTOR, site);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Facts;

    fn send(site_expands: bool) -> Value {
        let raw = RawPod(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "managedFields": [{}], "annotations": {LAST_APPLIED: "{}"}},
            "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data", "readOnly": true}}],
                "containers": [{"name": "c", "image": "host", "volumeMounts": [{"name": "v", "mountPath": "/v"}], "command": ["sh", "-c", "$(A) $$(A)"],
                "envFrom": [{"configMapRef": {"name": "none", "optional": true}}],
                "env": [{"name": "A", "value": "1$"}], "fromTheFuture": true}]}
        }));
        let mut settings = Settings::of("n1".into(), "http://localhost:1".parse().expect("a URL"), "/tmp/none".into());
        settings.site = Some("slurm".into());
        let sources = Sources {
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            claims: BTreeMap::from([("data".to_owned(), Ok(Claimed { path: "/data".into(), read_only: false }))]),
            services: Vec::new(),
            api_service: None,
            tokens: BTreeMap::new(),
            node: Facts { name: "n1".into(), ip: [127, 0, 0, 1].into(), allocatable: BTreeMap::new() },
            kubernetes_api: None,
        };
        let manner = Manner { settings: &settings, cluster: "cluster-1", site_expands };
        let (request, remarks) = request(&raw, &raw.typed().expect("a pod"), &sources, &manner).expect("a request");
        assert_eq!(remarks.len(), 1);
        request.pod.0
    }

    #[test]
    fn plain_values_go_out() {
        let pod = send(false);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["sh", "-c", "1$ $(A)"]));
        assert_eq!(container["env"], json!([{"name": "A", "value": "1$"}]));
        assert_eq!((container.get("envFrom"), &container["fromTheFuture"]), (None, &json!(true)));
        assert_eq!(pod["metadata"]["annotations"], json!({CLUSTER_ANNOTATION: "cluster-1", NODE_ANNOTATION: "n1"}));
        assert_eq!(pod["spec"]["nodeSelector"][SITE_SELECTOR], "slurm");
        assert_eq!(pod["metadata"].get("managedFields"), None);
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "hostPath": {"path": "/data", "type": "Directory"}}]));
        assert_eq!(container["volumeMounts"], json!([{"name": "v", "mountPath": "/v", "readOnly": true}]));
    }

    #[test]
    fn nothing_is_expanded_twice() {
        let pod = send(true);
        let container = &pod["spec"]["containers"][0];
        let word = container["command"][2].as_str().expect("text");
        assert_eq!(dte_compute::pod::expand(word, |_| Some("wrong".into())), "1$ $(A)");
        assert_eq!(container["env"][0]["value"], "1$$");
    }
}
