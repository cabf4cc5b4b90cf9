//! The pod as the cluster gets it: made from what was read and checked, and nothing else. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

use super::KubernetesConfig;
use crate::container::is_image;
use crate::pod::{ContainerPlan, Limits, Mount, PodPlan, RestartPolicy, VolumeSource};

/// Labels of what is ours in the cluster.
pub const SITE: &str = "dte.site";
pub const POD: &str = "dte.pod-uid";
/// Keeps what is left of a pod until its outcome is on our disk.
pub const FINALIZER: &str = "dte.site/outcome";
const MANAGED: &str = "app.kubernetes.io/managed-by";
/// What people called it.
const CALLED: &str = "dte.site/pod";
/// A Secret holds at most so much.
const MAX_SECRET: usize = 1 << 20;

/// What a pod is called in the cluster.
pub fn name_of(uid: Uuid) -> String {
    format!("dte-{uid}")
}

/// The UID of a pod of ours.
pub fn uid_of(object: &core::Pod) -> Option<Uuid> {
    object.metadata.labels.as_ref()?.get(POD)?.parse().ok()
}

/// A pod, and what its volumes hold.
#[derive(Debug)]
pub struct Made {
    pub pod: core::Pod,
    pub files: Option<core::Secret>,
}

/// `given`: the pod as it came, for what the plan keeps in words of its own (probes, hooks).
pub fn make(config: &KubernetesConfig, given: &core::Pod, plan: &PodPlan) -> Result<Made, String> {
    let labels = BTreeMap::from([
        (SITE.to_owned(), config.name.clone()),
        (POD.to_owned(), plan.uid.to_string()),
        (MANAGED.to_owned(), "dte".to_owned()),
    ]);
    let meta = ObjectMeta {
        name: Some(name_of(plan.uid)),
        namespace: Some(config.namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let (volumes, files) = volumes(plan)?;
    let given_spec = given.spec.as_ref().ok_or("the pod has no spec")?;
    let made = |plans: &[ContainerPlan], given: &[core::Container]| -> Result<Vec<core::Container>, String> {
        plans.iter().map(|plan| container(config, plan, given.iter().find(|one| one.name == plan.name))).collect()
    };
    let inits = made(&plan.init_containers, given_spec.init_containers.as_deref().unwrap_or_default())?;
    let toleration = |key: &String| core::Toleration {
        key: Some(key.clone()),
        operator: Some("Exists".to_owned()),
        ..core::Toleration::default()
    };
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let seconds = |value: Option<u64>| value.and_then(|seconds| i64::try_from(seconds).ok());
    let spec = core::PodSpec {
        containers: made(&plan.containers, &given_spec.containers)?,
        init_containers: (!inits.is_empty()).then_some(inits),
        volumes: (!volumes.is_empty()).then_some(volumes),
        restart_policy: Some(word_of(plan.restart).to_owned()),
        active_deadline_seconds: seconds(plan.deadline_seconds),
        termination_grace_period_seconds: seconds(plan.grace_seconds),
        node_selector: some(&config.node_selector),
        tolerations: Some(config.tolerations.iter().map(toleration).collect()),
        service_account_name: config.service_account.clone(),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: Some(
            config.image_pull_secrets.iter().map(|name| core::LocalObjectReference { name: name.clone() }).collect(),
        ),
        runtime_class_name: config.runtime_class.clone(),
        ..core::PodSpec::default()
    };
    let called = BTreeMap::from([(CALLED.to_owned(), format!("{}/{}", plan.namespace, plan.name))]);
    let files = (!files.is_empty()).then(|| core::Secret {
        metadata: meta.clone(),
        data: Some(files),
        ..core::Secret::default()
    });
    let metadata = ObjectMeta { annotations: Some(called), finalizers: Some(vec![FINALIZER.to_owned()]), ..meta };
    Ok(Made { pod: core::Pod { metadata, spec: Some(spec), status: None }, files })
}

fn word_of(restart: RestartPolicy) -> &'static str {
    match restart {
        RestartPolicy::Never => "Never",
        RestartPolicy::OnFailure => "OnFailure",
        RestartPolicy::Always => "Always",
    }
}

fn container(
    config: &KubernetesConfig,
    plan: &ContainerPlan,
    given: Option<&core::Container>,
) -> Result<core::Container, String> {
    let Some(image) = crate::image::allowed(&config.images, &plan.image).filter(|image| is_image(image)) else {
        return Err(format!("container {}: site {} runs no image {:?}", plan.name, config.name, plan.image));
    };
    let (command, args) = match plan.keeps_entrypoint {
        true => (None, Some(plan.argv.clone())),
        false => (Some(plan.argv.iter().take(1).cloned().collect()), Some(plan.argv.iter().skip(1).cloned().collect())),
    };
    let variable = |(name, value): &(String, String)| core::EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        value_from: None,
    };
    let mounts = plan.mounts.iter().map(|one| mount(plan, one)).collect::<Result<Vec<_>, _>>()?;
    Ok(core::Container {
        name: plan.name.clone(),
        image: Some(image),
        command,
        args: args.filter(|args: &Vec<String>| !args.is_empty()),
        working_dir: plan.working_dir.clone(),
        env: Some(plan.env.iter().map(variable).collect()),
        resources: Some(resources(plan)),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        restart_policy: plan.sidecar.then(|| "Always".to_owned()),
        security_context: Some(core::SecurityContext {
            allow_privilege_escalation: Some(false),
            ..core::SecurityContext::default()
        }),
        liveness_probe: given.and_then(|given| given.liveness_probe.clone()).map(of_the_pod),
        readiness_probe: given.and_then(|given| given.readiness_probe.clone()).map(of_the_pod),
        startup_probe: given.and_then(|given| given.startup_probe.clone()).map(of_the_pod),
        lifecycle: given.and_then(|given| given.lifecycle.clone()).map(hooks_of_the_pod),
        ports: given.and_then(|given| given.ports.clone()).map(without_host_ports),
        termination_message_path: plan.termination.path.clone(),
        termination_message_policy: plan.termination.from_log.then(|| "FallbackToLogsOnError".to_owned()),
        ..core::Container::default()
    })
}

/// The node asks from its own network, so a probe asks the pod itself and nobody else.
fn of_the_pod(mut probe: core::Probe) -> core::Probe {
    let (get, socket) = (probe.http_get.as_mut(), probe.tcp_socket.as_mut());
    ask_nobody_else(get, socket);
    probe
}

fn hooks_of_the_pod(mut hooks: core::Lifecycle) -> core::Lifecycle {
    for hook in [hooks.post_start.as_mut(), hooks.pre_stop.as_mut()].into_iter().flatten() {
        ask_nobody_else(hook.http_get.as_mut(), hook.tcp_socket.as_mut());
    }
    hooks
}

fn ask_nobody_else(get: Option<&mut core::HTTPGetAction>, socket: Option<&mut core::TCPSocketAction>) {
    if let Some(get) = get {
        get.host = None;
    }
    if let Some(socket) = socket {
        socket.host = None;
    }
}

/// A port of the node is nothing that a pod could ask for.
fn without_host_ports(ports: Vec<core::ContainerPort>) -> Vec<core::ContainerPort> {
    let bare = |port| core::ContainerPort { host_port: None, host_ip: None, ..port };
    ports.into_iter().map(bare).collect()
}

fn mount(plan: &ContainerPlan, mount: &Mount) -> Result<core::VolumeMount, String> {
    if !mount.path.starts_with('/') {
        let (name, path) = (&plan.name, &mount.path);
        return Err(format!("container {name}: volumeMounts {path:?}: it must be an absolute path at this site"));
    }
    Ok(core::VolumeMount {
        name: mount.volume.clone(),
        mount_path: mount.path.clone(),
        sub_path: mount.sub_path.clone(),
        read_only: Some(mount.read_only),
        ..core::VolumeMount::default()
    })
}

fn resources(plan: &ContainerPlan) -> core::ResourceRequirements {
    let amounts = |limits: &Limits| {
        let named = [
            ("cpu", limits.cpu_millis.map(|millis| format!("{millis}m"))),
            ("memory", limits.memory_bytes.map(|bytes| bytes.to_string())),
            ("ephemeral-storage", limits.storage_bytes.map(|bytes| bytes.to_string())),
        ];
        let given = named.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount?))));
        given.collect::<BTreeMap<_, _>>()
    };
    let mut limits = amounts(&plan.limits);
    limits.extend(plan.extended.iter().map(|(name, count)| (name.clone(), Quantity(count.to_string()))));
    core::ResourceRequirements {
        limits: Some(limits),
        requests: Some(amounts(&plan.requests)),
        ..core::ResourceRequirements::default()
    }
}

/// The volumes, and the bytes of all their files under names of ours.
fn volumes(plan: &PodPlan) -> Result<(Vec<core::Volume>, BTreeMap<String, ByteString>), String> {
    let (mut made, mut data, mut total) = (Vec::new(), BTreeMap::new(), 0_usize);
    for (number, volume) in plan.volumes.iter().enumerate() {
        let mut one = core::Volume { name: volume.name.clone(), ..core::Volume::default() };
        match &volume.source {
            VolumeSource::HostPath { path, .. } => {
                return Err(format!(
                    "volume {}: this site lets pods mount no hostPath, not even {path:?}",
                    volume.name
                ));
            }
            VolumeSource::EmptyDir { in_memory, size_limit } => {
                one.empty_dir = Some(core::EmptyDirVolumeSource {
                    medium: in_memory.then(|| "Memory".to_owned()),
                    size_limit: size_limit.map(|bytes| Quantity(bytes.to_string())),
                });
            }
            // Nothing to mount, but it has to be there.
            VolumeSource::Files { files } if files.is_empty() => {
                one.empty_dir = Some(core::EmptyDirVolumeSource::default());
            }
            VolumeSource::Files { files } => {
                let mut items = Vec::with_capacity(files.len());
                for (place, file) in files.iter().enumerate() {
                    let key = format!("v{number}-{place}");
                    total += file.content.0.len();
                    data.insert(key.clone(), ByteString(file.content.0.clone()));
                    let mode = i32::try_from(file.mode).ok();
                    items.push(core::KeyToPath { key, path: file.path.clone(), mode });
                }
                one.secret = Some(core::SecretVolumeSource {
                    secret_name: Some(name_of(plan.uid)),
                    items: Some(items),
                    ..core::SecretVolumeSource::default()
                });
            }
        }
        made.push(one);
    }
    if total > MAX_SECRET {
        return Err(format!("the files of its volumes have {total} bytes together; this site takes {MAX_SECRET}"));
    }
    Ok((made, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Request;

    fn made(spec: serde_json::Value) -> Result<serde_json::Value, String> {
        let pod: core::Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "0190b0a0-0000-7000-8000-000000000001"}, "spec": spec
        }))
        .expect("a pod");
        let secret: core::Secret =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "s"}, "data": {"k": "AAE="}}))
                .expect("a secret");
        let request = Request { secrets: &[secret], ..Request::from(&pod) };
        let plan = PodPlan::read(request).map_err(|error| error.0)?;
        let config = KubernetesConfig {
            node_selector: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            images: vec!["registry.example.org/".to_owned()],
            ..KubernetesConfig::default()
        };
        let made = make(&config, &pod, &plan)?;
        Ok(serde_json::json!({"pod": made.pod, "files": made.files}))
    }

    #[test]
    fn golden() {
        let made = made(serde_json::json!({
            "nodeName": "stolen", "serviceAccountName": "admin", "nodeSelector": {"dte.site": "kubernetes"},
            "activeDeadlineSeconds": 60,
            "volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 256}}, {"name": "e", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "Registry.example.org/a:1", "command": ["sh", "-c"], "args": ["echo $(id) `id`"],
                "env": [{"name": "A", "value": "it's \"$(B)\"\nand more"}],
                "ports": [{"containerPort": 80, "hostPort": 80}],
                "resources": {"limits": {"cpu": "1500m", "memory": "1Mi", "nvidia.com/gpu": 1}},
                "readinessProbe": {"exec": {"command": ["true"]}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "e", "mountPath": "/e", "subPath": "x"}]}]
        }))
        .expect("made");
        let pod = &made["pod"];
        assert_eq!(pod["metadata"]["name"], "dte-0190b0a0-0000-7000-8000-000000000001");
        assert_eq!(pod["metadata"]["finalizers"], serde_json::json!([FINALIZER]));
        assert_eq!(pod["metadata"]["labels"][POD], "0190b0a0-0000-7000-8000-000000000001");
        let spec = &pod["spec"];
        assert_eq!(
            (&spec["nodeName"], &spec["serviceAccountName"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(spec["nodeSelector"], serde_json::json!({"zone": "a"}));
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!((&spec["restartPolicy"], &spec["activeDeadlineSeconds"]), (&"Never".into(), &60.into()));
        let one = &spec["containers"][0];
        assert_eq!(
            (&one["command"], &one["args"]),
            (&serde_json::json!(["sh"]), &serde_json::json!(["-c", "echo $(id) `id`"]))
        );
        assert_eq!(one["env"], serde_json::json!([{"name": "A", "value": "it's \"$(B)\"\nand more"}]));
        assert_eq!(one["image"], "registry.example.org/a:1");
        assert_eq!(one["ports"], serde_json::json!([{"containerPort": 80}]));
        assert_eq!(
            one["resources"]["limits"],
            serde_json::json!({"cpu": "1500m", "memory": "1048576", "nvidia.com/gpu": "1"})
        );
        assert_eq!(one["readinessProbe"]["exec"]["command"], serde_json::json!(["true"]));
        let mounts = one["volumeMounts"].as_array().expect("mounts");
        assert!(mounts.iter().any(|mount| mount["name"] == "e" && mount["subPath"] == "x"), "{mounts:?}");
        assert_eq!(
            spec["volumes"][0]["secret"]["items"],
            serde_json::json!([{"key": "v0-0", "mode": 256, "path": "k"}])
        );
        assert_eq!(made["files"]["data"], serde_json::json!({"v0-0": "AAE="}));
        assert_eq!(made["files"]["metadata"]["finalizers"], serde_json::Value::Null);
    }

    #[test]
    fn refuses_what_the_cluster_must_not_get() {
        let one = |image: &str| serde_json::json!({"containers": [{"name": "c", "image": image, "command": ["m"]}]});
        for image in [
            "docker.io/x",
            "--privileged",
            "registry.example.org/$(id)",
            "registry.example.org/a b",
            "registry.example.org/a\nb",
        ] {
            assert!(made(one(image)).expect_err(image).contains("image"), "{image}");
        }
        let host = serde_json::json!({"containers": [{"name": "c", "image": "registry.example.org/a", "command": ["m"]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]});
        assert!(made(host).expect_err("refused").contains("hostPath"));
    }
}
