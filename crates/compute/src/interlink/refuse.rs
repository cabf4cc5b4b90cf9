//! What a pod must not say to a place that may write it into scripts.

use dte_protocol_interlink::RawPod;
use serde_json::Value;

/// Annotations that plugins read as flags of the batch system, as options of the container runtime, or as shell.
const TRUSTED_PREFIXES: &[&str] = &["slurm-job.vk.io/", "htcondor-job.knoc.io/", "arc-job.knoc.io/", "job.vk.io/"];
/// Commands that a virtual node writes for reverse access; plugins run them.
const TRUSTED: &[&str] = &["interlink.eu/wstunnel-client-commands"];

/// Why this pod does not go there, if it does not; `permitted` are annotations that the operator lets pods have.
pub fn objection(pod: &RawPod, permitted: &[String]) -> Option<String> {
    let annotations = pod.0.pointer("/metadata/annotations").and_then(Value::as_object);
    for (name, value) in annotations.into_iter().flatten() {
        let is_trusted =
            TRUSTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || TRUSTED.contains(&name.as_str());
        if !is_trusted {
            continue;
        }
        if !permitted.contains(name) {
            return Some(format!(
                "annotation {name}: this site's jobs would take it as a command, and it is not permitted here"
            ));
        }
        if value.as_str().is_none_or(|text| text.contains(char::is_control)) {
            return Some(format!("annotation {name}: it must be one line of text"));
        }
    }
    for container in pod.containers() {
        let name = text(container, "name");
        let image = text(container, "image");
        if !image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte)) {
            return Some(format!("container {name}: image {image:?} is not the name of an image"));
        }
        for mount in container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten() {
            for field in ["mountPath", "subPath", "subPathExpr"] {
                let path = text(mount, field);
                if !is_plain_path(path) {
                    return Some(format!("container {name}: {field} {path:?} is not a plain path"));
                }
            }
        }
        let environment = container.get("env").and_then(Value::as_array).into_iter().flatten();
        for variable in environment.map(|variable| text(variable, "name")) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            if variable.is_empty() || !variable.bytes().all(plain) {
                return Some(format!("container {name}: {variable:?} is not the name of an environment variable"));
            }
        }
    }
    let host_path = pod.volumes().find(|volume| volume.get("hostPath").is_some_and(|source| !source.is_null()));
    host_path.map(|volume| format!("volume {}: hostPath is not permitted at this site", text(volume, "name")))
}

/// A path without anything that means something to a shell, and without a way up.
fn is_plain_path(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/+@".contains(&byte))
        && !path.split('/').any(|part| part == "..")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(annotations: Value, container: Value) -> RawPod {
        RawPod(json!({"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}))
    }

    #[test]
    fn hostile_pods() {
        let good = json!({"name": "c", "image": "docker://library/busybox:1.36@sha256:00", "env": [{"name": "A_b", "value": "$(x); rm"}],
            "volumeMounts": [{"name": "v", "mountPath": "/data/x", "subPath": "a/b.txt"}]});
        assert_eq!(objection(&pod(json!({"team": "x\ny"}), good.clone()), &[]), None);
        for (annotations, container, word) in [
            (json!({"slurm-job.vk.io/pre-exec": "id"}), good.clone(), "slurm-job.vk.io/pre-exec"),
            (json!({"interlink.eu/wstunnel-client-commands": "id"}), good.clone(), "wstunnel-client-commands"),
            (json!({}), json!({"name": "c", "image": "a;reboot"}), "image"),
            (json!({}), json!({"name": "c", "image": "a\nb"}), "image"),
            (json!({}), json!({"name": "c", "env": [{"name": "A=$(id)"}]}), "environment variable"),
            (json!({}), json!({"name": "c", "volumeMounts": [{"mountPath": "/a`id`"}]}), "mountPath"),
            (json!({}), json!({"name": "c", "volumeMounts": [{"mountPath": "/a", "subPath": "../../etc"}]}), "subPath"),
        ] {
            let said = objection(&pod(annotations, container), &[]).expect(word);
            assert!(said.contains(word), "{said}");
        }
        let flags = ["slurm-job.vk.io/flags".to_owned()];
        assert_eq!(objection(&pod(json!({"slurm-job.vk.io/flags": "--time=5"}), good.clone()), &flags), None);
        let two_lines = pod(json!({"slurm-job.vk.io/flags": "--time=5\n#SBATCH --uid=0"}), good);
        assert!(objection(&two_lines, &flags).expect("refused").contains("one line"));
        let mut host = pod(json!({}), json!({"name": "c"}));
        host.0["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": "/etc"}}]);
        assert!(objection(&host, &[]).expect("refused").contains("hostPath"));
    }
}
