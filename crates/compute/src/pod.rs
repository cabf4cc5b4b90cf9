//! What an engine needs to know of a `v1.Pod`, read and checked once, at the border.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, ResourceRequirements};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::quantity::Quantity;

/// Containers that one pod may have, of both kinds together.
pub const MAX_CONTAINERS: usize = 100;

/// Why a pod cannot run, in words for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPod(pub String);

/// A pod, ready to be run by a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    pub uid: Uuid,
    pub namespace: String,
    pub name: String,
    /// They run one after the other, before the others.
    pub init_containers: Vec<ContainerPlan>,
    /// They run side by side.
    pub containers: Vec<ContainerPlan>,
    /// `activeDeadlineSeconds`: how long the pod may run in all.
    pub deadline_seconds: Option<u64>,
    /// `terminationGracePeriodSeconds`, where given.
    pub grace_seconds: Option<u64>,
}

/// One container: what to run, before `$(VAR)` was expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    pub name: String,
    pub image: String,
    /// `command` and `args` together; never empty.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub limits: Limits,
}

/// `resources.limits` (or, where there is no limit, nothing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// `ephemeral-storage`
    pub storage_bytes: Option<u64>,
}

impl PodPlan {
    /// Reads a pod. What the engine would have to ignore to run it is an error here.
    pub fn read(pod: &Pod) -> Result<PodPlan, BadPod> {
        let bad = |text: String| Err(BadPod(text));
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let Ok(uid) = uid.parse::<Uuid>() else {
            return bad(format!("metadata.uid {uid:?} is not a UUID"));
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        if name.is_empty() || name.len() > 253 || !name.split('.').all(is_dns_label) {
            return bad(format!("metadata.name {name:?} is not a DNS name"));
        }
        let namespace = pod.metadata.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into());
        if !is_dns_label(&namespace) {
            return bad(format!("metadata.namespace {namespace:?} is not a DNS label"));
        }
        let Some(spec) = &pod.spec else {
            return bad("the pod has no spec".into());
        };
        let inits = spec.init_containers.as_deref().unwrap_or_default();
        if spec.containers.is_empty() {
            return bad("the pod has no containers".into());
        }
        if spec.containers.len() + inits.len() > MAX_CONTAINERS {
            return bad(format!("the pod has more than {MAX_CONTAINERS} containers"));
        }
        if spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()) {
            return bad("ephemeral containers cannot run here".into());
        }
        let read_all = |list: &[Container]| list.iter().map(|c| read_container(pod, c)).collect::<Result<Vec<_>, _>>();
        let plan = PodPlan {
            uid,
            init_containers: read_all(inits)?,
            containers: read_all(&spec.containers)?,
            deadline_seconds: spec.active_deadline_seconds.map(|s| u64::try_from(s).unwrap_or(0)),
            grace_seconds: spec.termination_grace_period_seconds.map(|s| u64::try_from(s).unwrap_or(0)),
            namespace,
            name,
        };
        let mut names: Vec<&str> = plan.all_containers().map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => bad(format!("two containers are called {:?}", pair[0])),
            None => Ok(plan),
        }
    }

    /// Init containers first.
    pub fn all_containers(&self) -> impl Iterator<Item = &ContainerPlan> {
        self.init_containers.iter().chain(&self.containers)
    }
}

fn read_container(pod: &Pod, container: &Container) -> Result<ContainerPlan, BadPod> {
    let name = &container.name;
    let bad = |text: String| Err(BadPod(format!("container {name}: {text}")));
    if !is_dns_label(name) {
        return bad("its name is not a DNS label".into());
    }
    if container.restart_policy.is_some() {
        return bad("sidecar containers (restartPolicy) cannot run here".into());
    }
    let privileged = container.security_context.as_ref().and_then(|c| c.privileged).unwrap_or(false);
    if privileged {
        return bad("privileged containers are not allowed".into());
    }
    // Every pod of a Kubernetes cluster has this mount, used or not; the others were asked for.
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    if let Some(mount) = mounts.iter().find(|mount| !mount.name.starts_with("kube-api-access-")) {
        return bad(format!("volume {:?} cannot be mounted here", mount.name));
    }
    if container.env_from.as_ref().is_some_and(|list| !list.is_empty()) {
        return bad("envFrom must be resolved before the pod is sent".into());
    }
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let argv = [words(&container.command), words(&container.args)].concat();
    if container.command.as_ref().is_none_or(Vec::is_empty) {
        return bad("it has no command".into());
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return bad("a word of its command contains a NUL".into());
    }
    let mut env = Vec::new();
    for variable in container.env.as_deref().unwrap_or_default() {
        let value = env_value(pod, variable).map_err(|text| BadPod(format!("container {name}: {text}")))?;
        env.push((variable.name.clone(), value));
    }
    Ok(ContainerPlan {
        name: name.clone(),
        image: container.image.clone().unwrap_or_default(),
        argv,
        env,
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        limits: read_limits(container.resources.as_ref())
            .map_err(|text| BadPod(format!("container {name}: {text}")))?,
    })
}

fn env_value(pod: &Pod, variable: &EnvVar) -> Result<String, String> {
    let name = &variable.name;
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} is not the name of an environment variable"));
    }
    let Some(from) = &variable.value_from else {
        let value = variable.value.clone().unwrap_or_default();
        return if value.contains('\0') { Err(format!("the value of {name} contains a NUL")) } else { Ok(value) };
    };
    let Some(field) = &from.field_ref else {
        return Err(format!("the value of {name} must be resolved before the pod is sent"));
    };
    let meta = &pod.metadata;
    let keyed = |prefix: &str| field.field_path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
    let text = match field.field_path.as_str() {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        _ => match (keyed("metadata.labels['"), keyed("metadata.annotations['")) {
            (Some(key), _) => meta.labels.as_ref().and_then(|map| map.get(key)).cloned(),
            (_, Some(key)) => meta.annotations.as_ref().and_then(|map| map.get(key)).cloned(),
            _ => return Err(format!("{name} refers to {:?}, which is not known here", field.field_path)),
        },
    };
    Ok(text.unwrap_or_default())
}

fn read_limits(resources: Option<&ResourceRequirements>) -> Result<Limits, String> {
    let Some(limits) = resources.and_then(|r| r.limits.as_ref()) else {
        return Ok(Limits::default());
    };
    let mut read = Limits::default();
    for (resource, quantity) in limits {
        let Some(value) = Quantity::parse(&quantity.0) else {
            return Err(format!("limit {resource}: {:?} is not a quantity", quantity.0));
        };
        match resource.as_str() {
            "cpu" => read.cpu_millis = Some(value.millis()),
            "memory" => read.memory_bytes = Some(value.units()),
            "ephemeral-storage" => read.storage_bytes = Some(value.units()),
            _ if value.units() == 0 => {}
            other => return Err(format!("there is no resource {other} here")),
        }
    }
    Ok(read)
}

/// RFC 1123 label: lower-case letters, digits and inner hyphens, at most 63.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Replaces `$(NAME)` by what `lookup` knows. `$$` is a dollar, and what is not known stays as it is (Kubernetes' rules).
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "0190b0a0-0000-7000-8000-000000000001",
                         "creationTimestamp": null, "labels": {"a": "b"}},
            "spec": spec, "status": {}
        }))
        .expect("a pod")
    }

    #[test]
    fn reads_a_pod() {
        let plan = PodPlan::read(&pod(serde_json::json!({
            "activeDeadlineSeconds": 60,
            "containers": [{"name": "c", "image": "host", "command": ["m"], "args": ["1"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}],
                "resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}}}]
        })))
        .expect("a plan");
        let container = &plan.containers[0];
        assert_eq!(container.argv, ["m", "1"]);
        assert_eq!(container.env, [("A".into(), "1".into()), ("B".into(), "b".to_owned())]);
        assert_eq!(container.limits.memory_bytes, Some(2 << 30));
        assert_eq!(plan.deadline_seconds, Some(60));
    }

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        for (spec, word) in [
            (serde_json::json!({"containers": []}), "no containers"),
            (serde_json::json!({"containers": [{"name": "c"}]}), "no command"),
            (serde_json::json!({"containers": [{"name": "C", "command": ["m"]}]}), "DNS label"),
            (
                serde_json::json!({"containers": [{"name": "c", "command": ["m"], "volumeMounts": [{"name": "v", "mountPath": "/x"}]}]}),
                "volume",
            ),
            (
                serde_json::json!({"containers": [{"name": "c", "command": ["m"], "securityContext": {"privileged": true}}]}),
                "privileged",
            ),
            (
                serde_json::json!({"containers": [{"name": "c", "command": ["m"], "resources": {"limits": {"memory": "much"}}}]}),
                "quantity",
            ),
            (
                serde_json::json!({"containers": [{"name": "c", "command": ["m"]}, {"name": "c", "command": ["m"]}]}),
                "two containers",
            ),
        ] {
            let error = PodPlan::read(&pod(spec)).expect_err(word);
            assert!(error.0.contains(word), "{error}");
        }
    }

    #[test]
    fn expands_like_kubernetes() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand("$(A) $$(A) $(B) $A $", lookup), "1 $(A) $(B) $A $");
    }
}
