//! What an engine needs to know of a `v1.Pod`, read and checked once, at the border.
//!
//! * [`container`]: what is known of one container;
//! * [`volume`], [`content`]: volumes resolved to files, and where containers see them;
//! * [`action`]: probes and life-cycle hooks;
//! * `read`: from the pod, and the ConfigMaps and Secrets that come with it, to the plan.

pub mod action;
pub mod container;
pub mod content;
mod read;
pub mod volume;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use action::{Action, Probe, Probes};
pub use container::{ContainerPlan, Interactive, Limits, Termination};
pub use content::Content;
pub use volume::{HostPathKind, Mount, Volume, VolumeFile, VolumeSource};

/// Containers that one pod may have, of both kinds together.
pub const MAX_CONTAINERS: usize = 100;

/// Why a pod cannot run, in words for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPod(pub String);

/// A pod with what its volumes hold, as a virtual node sends it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub pod: &'a Pod,
    pub config_maps: &'a [ConfigMap],
    pub secrets: &'a [Secret],
    /// The content of projected and downward volumes, named like the volume.
    pub projected: &'a [ConfigMap],
}

impl<'a> From<&'a Pod> for Request<'a> {
    fn from(pod: &'a Pod) -> Self {
        Request { pod, config_maps: &[], secrets: &[], projected: &[] }
    }
}

/// `restartPolicy`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Also where nothing is said: a pod that did not come through a Kubernetes API server is run once.
    #[default]
    Never,
    OnFailure,
    Always,
}

/// A pod, ready to be run by a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    pub uid: Uuid,
    pub namespace: String,
    pub name: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The Indexed Job that the pod is one of, if it is: namespace and UID.
    #[serde(default)]
    pub indexed_job: Option<String>,
    /// They run one after the other, before the others; sidecars go on.
    pub init_containers: Vec<ContainerPlan>,
    /// They run side by side.
    pub containers: Vec<ContainerPlan>,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    #[serde(default)]
    pub restart: RestartPolicy,
    /// `activeDeadlineSeconds`: how long the pod may run in all.
    pub deadline_seconds: Option<u64>,
    /// `terminationGracePeriodSeconds`, where given.
    pub grace_seconds: Option<u64>,
}

impl PodPlan {
    /// Reads a pod. What the engine would have to ignore to run it is an error here.
    pub fn read<'a>(request: impl Into<Request<'a>>) -> Result<PodPlan, BadPod> {
        read::plan(&request.into())
    }

    /// The plan without what may be secret: variables and files of volumes keep their names, what programs are called with is
    /// left out. Enough to tell of the pod, not to run it.
    pub fn without_secrets(&self) -> PodPlan {
        let mut plan = self.clone();
        plan.annotations.clear();
        for container in plan.init_containers.iter_mut().chain(&mut plan.containers) {
            container.argv.clear();
            container.env.iter_mut().for_each(|(_, value)| value.clear());
            container.probes = Probes::default();
            (container.post_start, container.pre_stop) = (None, None);
        }
        for volume in &mut plan.volumes {
            if let VolumeSource::Files { files } = &mut volume.source {
                files.iter_mut().for_each(|file| file.content = Content::default());
            }
        }
        plan
    }

    /// The plan for a site to which nobody can attach: its containers' input has ended when they start.
    pub fn unattended(&self) -> PodPlan {
        let mut plan = self.clone();
        for container in plan.init_containers.iter_mut().chain(&mut plan.containers) {
            container.interactive = Interactive::default();
        }
        plan
    }

    /// Init containers first.
    pub fn all_containers(&self) -> impl Iterator<Item = &ContainerPlan> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// Extended resources that the pod needs while it runs: of its containers and sidecars together, or of one init
    /// container that needs more.
    pub fn extended(&self) -> BTreeMap<&str, u64> {
        let mut needs: BTreeMap<&str, u64> = BTreeMap::new();
        let beside = self.all_containers().skip(self.init_containers.len());
        for container in beside.chain(self.init_containers.iter().filter(|init| init.sidecar)) {
            for (name, count) in &container.extended {
                let sum = needs.entry(name).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        for (name, count) in self.init_containers.iter().filter(|init| !init.sidecar).flat_map(|init| &init.extended) {
            let most = needs.entry(name).or_default();
            *most = (*most).max(*count);
        }
        needs
    }
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
                "volumeMounts[0].name",
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
