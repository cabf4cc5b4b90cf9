//! From a request to the plan.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use uuid::Uuid;

use super::action::{Probes, read_hook};
use super::volume::{Volume, is_clean_absolute, read_mounts, read_volumes};
use super::{
    BadPod, ContainerPlan, Interactive, Limits, MAX_CONTAINERS, PodPlan, Request, RestartPolicy, Termination,
    is_dns_label,
};
use crate::quantity::Quantity;

/// What the controller of Indexed Jobs writes on their pods.
const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The image that means programs of the machine: it has no entry point of its own.
const NO_IMAGE: [&str; 2] = ["", "host"];

pub(super) fn plan(request: &Request<'_>) -> Result<PodPlan, BadPod> {
    let pod = request.pod;
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
    let volumes = read_volumes(request, spec).map_err(BadPod)?;
    let read_all = |list: &[Container], is_init: bool| {
        let read = |container| {
            read_container(pod, container, &volumes, is_init)
                .map_err(|text| BadPod(format!("container {}: {text}", container.name)))
        };
        list.iter().map(read).collect::<Result<Vec<_>, _>>()
    };
    let plan = PodPlan {
        uid,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        indexed_job: indexed_job(pod, &namespace),
        init_containers: read_all(inits, true)?,
        containers: read_all(&spec.containers, false)?,
        restart: restart_policy(spec).map_err(BadPod)?,
        deadline_seconds: seconds("spec.activeDeadlineSeconds", spec.active_deadline_seconds).map_err(BadPod)?,
        grace_seconds: seconds("spec.terminationGracePeriodSeconds", spec.termination_grace_period_seconds)
            .map_err(BadPod)?,
        volumes,
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

fn indexed_job(pod: &Pod, namespace: &str) -> Option<String> {
    let meta = &pod.metadata;
    let has_index =
        [&meta.annotations, &meta.labels].into_iter().flatten().any(|map| map.contains_key(COMPLETION_INDEX));
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.kind == "Job" && has_index)?;
    Some(format!("{namespace}/{}", owner.uid))
}

fn seconds(field: &str, value: Option<i64>) -> Result<Option<u64>, String> {
    value.map(|value| u64::try_from(value).map_err(|_| format!("{field} is negative"))).transpose()
}

fn restart_policy(spec: &PodSpec) -> Result<RestartPolicy, String> {
    match spec.restart_policy.as_deref() {
        None | Some("" | "Never") => Ok(RestartPolicy::Never),
        Some("OnFailure") => Ok(RestartPolicy::OnFailure),
        Some("Always") => Ok(RestartPolicy::Always),
        Some(other) => Err(format!("spec.restartPolicy {other:?} is not known here")),
    }
}

fn read_container(
    pod: &Pod,
    container: &Container,
    volumes: &[Volume],
    is_init: bool,
) -> Result<ContainerPlan, String> {
    let name = &container.name;
    if !is_dns_label(name) {
        return Err("its name is not a DNS label".into());
    }
    let sidecar = match container.restart_policy.as_deref() {
        None | Some("") => false,
        Some("Always") if is_init => true,
        Some(other) => return Err(format!("restartPolicy {other:?} is not known here")),
    };
    if container.security_context.as_ref().and_then(|c| c.privileged).unwrap_or(false) {
        return Err("privileged containers are not allowed (securityContext.privileged)".into());
    }
    if container.env_from.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err("envFrom must be resolved before the pod is sent".into());
    }
    let image = container.image.clone().unwrap_or_default();
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let argv = [words(&container.command), words(&container.args)].concat();
    let keeps_entrypoint = container.command.as_ref().is_none_or(Vec::is_empty);
    if keeps_entrypoint && NO_IMAGE.contains(&image.as_str()) {
        return Err("it has no command".into());
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err("a word of its command contains a NUL".into());
    }
    let working_dir = container.working_dir.clone().filter(|dir| !dir.is_empty());
    if working_dir.as_ref().is_some_and(|dir| dir.contains('\0')) {
        return Err("workingDir contains a NUL".into());
    }
    let env = container.env.iter().flatten();
    let env = env.map(|variable| Ok((variable.name.clone(), env_value(pod, variable)?)));
    let probes = Probes::read(container)?;
    if is_init && !sidecar && probes != Probes::default() {
        return Err("an init container that ends has no probes".into());
    }
    let lifecycle = container.lifecycle.as_ref();
    let (limits, extended) = amounts(container.resources.as_ref(), "limits", |r| r.limits.as_ref())?;
    let (requests, _) = amounts(container.resources.as_ref(), "requests", |r| r.requests.as_ref())?;
    Ok(ContainerPlan {
        name: name.clone(),
        image,
        argv,
        keeps_entrypoint,
        env: env.collect::<Result<_, String>>()?,
        working_dir,
        limits,
        requests: Limits {
            cpu_millis: requests.cpu_millis.or(limits.cpu_millis),
            memory_bytes: requests.memory_bytes.or(limits.memory_bytes),
            storage_bytes: requests.storage_bytes.or(limits.storage_bytes),
        },
        extended,
        mounts: read_mounts(container, volumes)?,
        sidecar,
        probes,
        post_start: read_hook(container, "lifecycle.postStart", lifecycle.and_then(|l| l.post_start.as_ref()))?,
        pre_stop: read_hook(container, "lifecycle.preStop", lifecycle.and_then(|l| l.pre_stop.as_ref()))?,
        termination: read_termination(container)?,
        interactive: Interactive {
            stdin: container.stdin.unwrap_or(false),
            stdin_once: container.stdin_once.unwrap_or(false),
            tty: container.tty.unwrap_or(false),
        },
    })
}

fn read_termination(container: &Container) -> Result<Termination, String> {
    let path = container.termination_message_path.clone().filter(|path| !path.is_empty());
    if let Some(path) = &path
        && !is_clean_absolute(path)
    {
        return Err(format!("terminationMessagePath {path:?} is not an absolute path without `..`"));
    }
    let from_log = match container.termination_message_policy.as_deref() {
        None | Some("" | "File") => false,
        Some("FallbackToLogsOnError") => true,
        Some(other) => return Err(format!("terminationMessagePolicy {other:?} is not known here")),
    };
    Ok(Termination { path, from_log })
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
    let text = Request::from(pod).field(&field.field_path, false);
    text.ok_or_else(|| format!("{name} refers to {:?}, which is not known here", field.field_path))
}

impl Request<'_> {
    /// The content that was sent for a projected or downward volume.
    pub(super) fn projected(&self, volume: &str) -> Option<&k8s_openapi::api::core::v1::ConfigMap> {
        self.projected.iter().find(|map| map.metadata.name.as_deref() == Some(volume))
    }

    /// A field of the pod by its path (`fieldRef`); `None`: the path is not known. Whole maps are for volumes only.
    pub(super) fn field(&self, path: &str, with_maps: bool) -> Option<String> {
        let meta = &self.pod.metadata;
        let keyed = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
        let text = match path {
            "metadata.name" => meta.name.clone(),
            "metadata.namespace" => meta.namespace.clone(),
            "metadata.uid" => meta.uid.clone(),
            "metadata.labels" if with_maps => meta.labels.as_ref().map(lines),
            "metadata.annotations" if with_maps => meta.annotations.as_ref().map(lines),
            _ => match (keyed("metadata.labels['"), keyed("metadata.annotations['")) {
                (Some(key), _) => meta.labels.as_ref().and_then(|map| map.get(key)).cloned(),
                (_, Some(key)) => meta.annotations.as_ref().and_then(|map| map.get(key)).cloned(),
                _ => return None,
            },
        };
        Some(text.unwrap_or_default())
    }
}

/// `key="escaped value"`, a line each, as downward volumes have labels.
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// Limits or requests, and extended resources among them.
fn amounts(
    resources: Option<&ResourceRequirements>,
    field: &str,
    of: fn(&ResourceRequirements) -> Option<&BTreeMap<String, Written>>,
) -> Result<(Limits, BTreeMap<String, u64>), String> {
    let mut read = Limits::default();
    let mut extended = BTreeMap::new();
    for (resource, quantity) in resources.and_then(of).into_iter().flatten() {
        let Some(value) = Quantity::parse(&quantity.0) else {
            return Err(format!("resources.{field}.{resource}: {:?} is not a quantity", quantity.0));
        };
        match resource.as_str() {
            "cpu" => read.cpu_millis = Some(value.millis()),
            "memory" => read.memory_bytes = Some(value.units()),
            "ephemeral-storage" => read.storage_bytes = Some(value.units()),
            _ if value.units() == 0 => {}
            // `hugepages-…` and names without a domain are Kubernetes' own.
            extra if extra.contains('/') => {
                extended.insert(extra.to_owned(), value.units());
            }
            other => return Err(format!("resources.{field}.{other}: there is no such resource here")),
        }
    }
    Ok((read, extended))
}
