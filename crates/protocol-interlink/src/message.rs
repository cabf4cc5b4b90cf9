//! What is asked and answered.

use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Secret};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::pod::RawPod;

/// Go's zero time, which stands for "no time".
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// `null` reads as the default: what Go writes for an empty list.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// North `/create`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PodCreateRequests {
    pub pod: RawPod,
    /// One for each configMap volume.
    #[serde(default, deserialize_with = "null_is_default")]
    pub configmaps: Vec<ConfigMap>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub secrets: Vec<Secret>,
    /// One for each projected or downwardAPI volume, named like the volume.
    #[serde(default, deserialize_with = "null_is_default")]
    pub projectedvolumesmaps: Vec<ConfigMap>,
    #[serde(default, rename = "jobscriptURL", deserialize_with = "null_is_default")]
    pub jobscript_url: String,
}

impl PodCreateRequests {
    /// A request to run a pod that needs no volumes.
    pub fn of(pod: Value) -> Self {
        PodCreateRequests { pod: RawPod(pod), ..PodCreateRequests::default() }
    }
}

/// South `/create`: a pod with everything that its containers mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RetrievedPodData {
    pub pod: RawPod,
    /// Init containers first. The name is singular.
    #[serde(default, deserialize_with = "null_is_default")]
    pub container: Vec<RetrievedContainer>,
    /// Always there, also when it is all zero; handed on as it is.
    #[serde(default, rename = "jobConfig")]
    pub job_config: Value,
    #[serde(
        default,
        rename = "jobScript",
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub job_script: String,
}

impl RetrievedPodData {
    /// What an API server sends to a plugin for this request: each container with the objects that its volumes come from.
    pub fn of(request: &PodCreateRequests) -> Self {
        let mut pod = request.pod.clone();
        if let Some(address) = pod.annotation(POD_IP_ANNOTATION).map(str::to_owned) {
            pod.set_status("podIP", &address);
        }
        let container = pod.containers().map(|one| join(request, one)).collect();
        RetrievedPodData { container, job_config: no_job_config(), pod, ..RetrievedPodData::default() }
    }

    /// The request that this came from, as far as its containers mount something.
    pub fn into_request(self) -> PodCreateRequests {
        let mut request = PodCreateRequests { pod: self.pod, ..PodCreateRequests::default() };
        for container in self.container {
            add(&mut request.configmaps, container.config_maps, |one| one.metadata.name.clone());
            add(&mut request.secrets, container.secrets, |one| one.metadata.name.clone());
            add(&mut request.projectedvolumesmaps, container.projected_volume_maps, |one| one.metadata.name.clone());
        }
        request
    }
}

/// The address that a virtual node found for the pod.
const POD_IP_ANNOTATION: &str = "interlink.eu/pod-ip";

/// Adds what is not there yet by name.
fn add<T>(list: &mut Vec<T>, more: Vec<T>, name: impl Fn(&T) -> Option<String>) {
    for one in more {
        if list.iter().all(|known| name(known) != name(&one)) {
            list.push(one);
        }
    }
}

/// The objects of the volumes that this container mounts. One that is missing is left out, as upstream does.
fn join(request: &PodCreateRequests, container: &Value) -> RetrievedContainer {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut joined = RetrievedContainer { name: text(container, "name"), ..RetrievedContainer::default() };
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    for mount in mounts.into_iter().flatten() {
        let name = text(mount, "name");
        let Some(volume) = request.pod.volumes().find(|volume| text(volume, "name") == name) else { continue };
        let is = |object: &Option<String>, wanted: &str| object.as_deref() == Some(wanted);
        if let Some(source) = volume.get("configMap") {
            let wanted = text(source, "name");
            let found = request.configmaps.iter().filter(|one| is(&one.metadata.name, &wanted));
            add(&mut joined.config_maps, found.cloned().collect(), |one| one.metadata.name.clone());
        } else if let Some(source) = volume.get("secret") {
            let wanted = text(source, "secretName");
            let found = request.secrets.iter().filter(|one| is(&one.metadata.name, &wanted));
            add(&mut joined.secrets, found.cloned().collect(), |one| one.metadata.name.clone());
        } else if volume.get("projected").is_some() || volume.get("downwardAPI").is_some() {
            let found = request.projectedvolumesmaps.iter().filter(|one| is(&one.metadata.name, &name));
            add(&mut joined.projected_volume_maps, found.cloned().collect(), |one| one.metadata.name.clone());
        }
    }
    joined
}

/// The configuration of a builder of job scripts when there is none: Go peers always send it.
fn no_job_config() -> Value {
    serde_json::json!({
        "SingularityHubProxy": {"server": "", "master_token": "", "cache_validity_seconds": 0},
        "ApptainerOptions": {
            "executable": "", "fakeroot": false, "containall": false, "fuseMode": "", "noInit": false, "noHome": false,
            "noPrivs": false, "nvidiaSupport": false, "cleanenv": false, "unsquash": false
        },
        "Volumes": {
            "scratch_area": "", "apptainer_cachedir": "", "image_dir": "", "additional_directories_in_path": null,
            "fuse_sleep_seconds": 0
        }
    })
}

/// What one container mounts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RetrievedContainer {
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(default, rename = "configMaps", deserialize_with = "null_is_default")]
    pub config_maps: Vec<ConfigMap>,
    #[serde(default, rename = "projectedvolumemaps", deserialize_with = "null_is_default")]
    pub projected_volume_maps: Vec<ConfigMap>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub secrets: Vec<Secret>,
    #[serde(default, rename = "emptyDirs", deserialize_with = "null_is_default")]
    pub empty_dirs: Vec<String>,
}

/// The answer to `/create`. Both are text: Go peers refuse anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateStruct {
    #[serde(rename = "PodUID")]
    pub pod_uid: String,
    #[serde(rename = "PodJID")]
    pub pod_jid: String,
}

/// How one pod goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PodStatus {
    /// Never empty: a virtual node ignores a status without a name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(default, rename = "UID", alias = "uid", deserialize_with = "null_is_default")]
    pub uid: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(default, rename = "JID", alias = "jid", deserialize_with = "null_is_default")]
    pub jid: String,
    /// Never empty: no containers look like all containers ended well.
    #[serde(default, deserialize_with = "null_is_default")]
    pub containers: Vec<ContainerStatus>,
    #[serde(default, rename = "initContainers", deserialize_with = "null_is_default")]
    pub init_containers: Vec<ContainerStatus>,
}

/// `/getLogs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogStruct {
    #[serde(default, rename = "Namespace", deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(default, rename = "PodUID", deserialize_with = "null_is_default")]
    pub pod_uid: String,
    #[serde(default, rename = "PodName", deserialize_with = "null_is_default")]
    pub pod_name: String,
    #[serde(default, rename = "ContainerName", deserialize_with = "null_is_default")]
    pub container_name: String,
    #[serde(default, rename = "Opts", deserialize_with = "null_is_default")]
    pub options: LogOptions,
}

/// Which part of a log. Zero means no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    #[serde(rename = "Tail", deserialize_with = "null_is_default")]
    pub tail: i64,
    #[serde(rename = "Bytes", deserialize_with = "null_is_default")]
    pub bytes: i64,
    #[serde(rename = "Timestamps", deserialize_with = "null_is_default")]
    pub timestamps: bool,
    #[serde(rename = "Follow", deserialize_with = "null_is_default")]
    pub follow: bool,
    #[serde(rename = "Previous", deserialize_with = "null_is_default")]
    pub previous: bool,
    #[serde(rename = "SinceSeconds", deserialize_with = "null_is_default")]
    pub since_seconds: i64,
    /// RFC 3339; the year 1 means none.
    #[serde(rename = "SinceTime", deserialize_with = "null_is_default")]
    pub since_time: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            tail: 0,
            bytes: 0,
            timestamps: false,
            follow: false,
            previous: false,
            since_seconds: 0,
            since_time: ZERO_TIME.to_owned(),
        }
    }
}

impl LogOptions {
    /// The time since when, if one is asked for.
    pub fn since(&self) -> Option<&str> {
        Some(self.since_time.as_str()).filter(|time| !time.is_empty() && !time.starts_with("0001-01-01T00:00:00"))
    }
}

/// The JSON answer to a ping; others are plain text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PingResponse {
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<PingResources>,
    /// `None` changes nothing at the node, an empty list removes what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<Taint>>,
}

/// What a node has; quantities as text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PingResources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<Accelerator>,
}

/// An extended resource of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    #[serde(rename = "resourceType")]
    pub resource_type: String,
    /// A whole number, as text.
    pub available: String,
}

/// What keeps pods away from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_are_empty() {
        let request: PodCreateRequests = serde_json::from_value(json!({
            "pod": {"metadata": {"uid": "u"}}, "configmaps": null, "secrets": null, "projectedvolumesmaps": null, "jobscriptURL": ""
        }))
        .expect("a request");
        assert!(request.configmaps.is_empty() && request.secrets.is_empty());
        let status: PodStatus = serde_json::from_value(json!({
            "name": "p", "UID": "u", "namespace": "n", "JID": "1", "initContainers": null,
            "containers": [{"name": "c", "state": {"terminated": {"exitCode": 3, "startedAt": null, "finishedAt": "2026-01-02T03:04:05Z"}},
                            "lastState": {}, "ready": false, "restartCount": 0, "image": "", "imageID": ""}]
        }))
        .expect("a status");
        let state = status.containers[0].state.as_ref().and_then(|s| s.terminated.as_ref()).expect("ended");
        assert_eq!(state.exit_code, 3);
    }

    #[test]
    fn south_and_back() {
        let request: PodCreateRequests = serde_json::from_value(json!({
            "pod": {
                "metadata": {"name": "p", "uid": "u", "annotations": {"interlink.eu/pod-ip": "10.1.2.3"}},
                "spec": {
                    "initContainers": [{"name": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                    "containers": [
                        {"name": "c", "volumeMounts": [
                            {"name": "v", "mountPath": "/v"}, {"name": "s", "mountPath": "/s"}, {"name": "t", "mountPath": "/t"},
                            {"name": "v", "mountPath": "/w"}, {"name": "none", "mountPath": "/n"}]},
                        {"name": "d"}],
                    "volumes": [{"name": "v", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "sec"}},
                                {"name": "t", "projected": {"sources": []}}]}},
            "configmaps": [{"metadata": {"name": "cm"}, "data": {"a": "1"}}],
            "secrets": [{"metadata": {"name": "sec"}, "data": {"k": "dg=="}}],
            "projectedvolumesmaps": [{"metadata": {"name": "t"}, "data": {"token": "x"}}]
        }))
        .expect("a request");
        let south = RetrievedPodData::of(&request);
        let names: Vec<&str> = south.container.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["i", "c", "d"]);
        let counts =
            |one: &RetrievedContainer| (one.config_maps.len(), one.secrets.len(), one.projected_volume_maps.len());
        assert_eq!(south.container.iter().map(counts).collect::<Vec<_>>(), [(1, 0, 0), (1, 1, 1), (0, 0, 0)]);
        assert_eq!(south.pod.0["status"]["podIP"], "10.1.2.3");
        let wire = serde_json::to_value(&south).expect("json");
        assert!(wire["jobConfig"]["Volumes"].is_object() && wire.get("jobScript").is_none());
        let read: RetrievedPodData = serde_json::from_value(wire).expect("south");
        let back = read.into_request();
        assert_eq!((back.configmaps.len(), back.secrets.len(), back.projectedvolumesmaps.len()), (1, 1, 1));
    }

    #[test]
    fn names_on_the_wire() {
        let text = serde_json::to_string(&PodStatus::default()).expect("json");
        assert_eq!(text, r#"{"name":"","UID":"","namespace":"","JID":"","containers":[],"initContainers":[]}"#);
        let answer = CreateStruct { pod_uid: "u".into(), pod_jid: "j".into() };
        assert_eq!(serde_json::to_string(&answer).expect("json"), r#"{"PodUID":"u","PodJID":"j"}"#);
        let text = serde_json::to_string(&LogStruct::default()).expect("json");
        assert_eq!(
            text,
            concat!(
                r#"{"Namespace":"","PodUID":"","PodName":"","ContainerName":"","Opts":{"Tail":0,"Bytes":0,"Timestamps":false,"#,
                r#""Follow":false,"Previous":false,"SinceSeconds":0,"SinceTime":"0001-01-01T00:00:00Z"}}"#
            )
        );
        let read: LogStruct = serde_json::from_str(r#"{"PodUID":"u","Opts":null}"#).expect("logs");
        assert_eq!((read.options.since(), read.options.tail), (None, 0));
    }
}
