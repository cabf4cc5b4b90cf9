//! Upstream's `InterLinkConfig.yaml`, so that an existing installation starts with its own file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::settings::{Settings, Taint};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DropInError {
    #[error("{file}: {source}")]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{file}: {message}")]
    Malformed { file: PathBuf, message: String },
}

/// The keys that mean something here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct File {
    #[serde(rename = "InterlinkURL")]
    interlink_url: Option<String>,
    interlink_port: Option<Value>,
    kubernetes_api_addr: Option<String>,
    kubernetes_api_port: Option<Value>,
    disable_projected_volumes: bool,
    #[serde(rename = "JobScriptBuilderURL")]
    job_script_builder_url: Option<String>,
    #[serde(rename = "VKTokenFile")]
    token_file: Option<PathBuf>,
    #[serde(rename = "PodIP")]
    pod_ip: Option<String>,
    kubelet_cert_file: Option<PathBuf>,
    kubelet_key_file: Option<PathBuf>,
    resources: Amounts,
    node_labels: Vec<String>,
    node_taints: Vec<NodeTaint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Amounts {
    #[serde(rename = "CPU")]
    cpu: Option<Value>,
    memory: Option<Value>,
    pods: Option<Value>,
    accelerators: Vec<Accelerator>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Accelerator {
    resource_type: String,
    #[serde(default)]
    model: String,
    available: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeTaint {
    key: String,
    #[serde(default)]
    value: String,
    effect: String,
}

/// What is understood, by its name in the file.
const KNOWN: &[&str] = &[
    "InterlinkURL",
    "InterlinkPort",
    "KubernetesApiAddr",
    "KubernetesApiPort",
    "DisableProjectedVolumes",
    "JobScriptBuilderURL",
    "VKTokenFile",
    "PodIP",
    "KubeletCertFile",
    "KubeletKeyFile",
    "Resources",
    "NodeLabels",
    "NodeTaints",
];
/// The label that says which accelerator a node has.
const MODEL_LABELS: &[(&str, &str)] = &[
    ("nvidia.com/gpu", "nvidia-gpu-type"),
    ("xilinx.com/fpga", "xilinx-fpga-type"),
    ("intel.com/fpga", "intel-fpga-type"),
];

/// Reads `file` into `settings`; the keys that it has and that mean nothing here.
pub fn apply(file: &Path, settings: &mut Settings) -> Result<Vec<String>, DropInError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| DropInError::Unreadable { file: file.to_owned(), source })?;
    apply_text(&text, settings).map_err(|message| DropInError::Malformed { file: file.to_owned(), message })
}

fn apply_text(text: &str, settings: &mut Settings) -> Result<Vec<String>, String> {
    let read: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let all: BTreeMap<String, Value> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if let Some(url) = &read.interlink_url {
        settings.interlink = address(url, read.interlink_port.as_ref())?;
    }
    if let (Some(host), Some(port)) = (&read.kubernetes_api_addr, &read.kubernetes_api_port)
        && !host.is_empty()
    {
        let port = plain(port).parse().map_err(|_| format!("KubernetesApiPort: {port} is not a port"))?;
        settings.kubernetes_api = Some((host.clone(), port));
    }
    settings.without_projected_volumes |= read.disable_projected_volumes;
    settings.job_script_url = read.job_script_builder_url.unwrap_or_default();
    settings.token_file = read.token_file.filter(|file| !file.as_os_str().is_empty()).or(settings.token_file.take());
    if let Some(ip) = read.pod_ip.filter(|ip| !ip.is_empty()) {
        settings.node_ip = ip.parse().map_err(|_| format!("PodIP: {ip:?} is not an IP address"))?;
    }
    if let (Some(cert), Some(key)) = (read.kubelet_cert_file, read.kubelet_key_file) {
        settings.certificate = Some((cert, key));
    }
    let resources = &mut settings.resources;
    for (wanted, given) in [
        (&mut resources.cpu, read.resources.cpu),
        (&mut resources.memory, read.resources.memory),
        (&mut resources.pods, read.resources.pods),
    ] {
        if let Some(given) = given {
            *wanted = plain(&given);
        }
    }
    for one in read.resources.accelerators {
        if let Some((_, label)) = MODEL_LABELS.iter().find(|(kind, _)| *kind == one.resource_type) {
            settings.labels.insert((*label).to_owned(), one.model);
        }
        resources.extended.insert(one.resource_type, plain(&one.available));
    }
    for label in read.node_labels {
        let (key, value) = label.split_once('=').ok_or_else(|| format!("NodeLabels: {label:?} is not key=value"))?;
        settings.labels.insert(key.to_owned(), value.to_owned());
    }
    let taints = read.node_taints.into_iter();
    settings.taints.extend(taints.map(|taint| Taint { key: taint.key, value: taint.value, effect: taint.effect }));
    Ok(all.into_keys().filter(|key| !KNOWN.contains(&key.as_str())).collect())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `InterlinkURL` and `InterlinkPort` are one address.
fn address(url: &str, port: Option<&Value>) -> Result<Url, String> {
    let mut parsed: Url = url.parse().map_err(|error| format!("InterlinkURL: {url:?}: {error}"))?;
    let port = port.map(plain).filter(|port| !port.is_empty());
    if let (Some(port), "http" | "https") = (port, parsed.scheme()) {
        let port = port.parse().map_err(|_| format!("InterlinkPort: {port:?} is not a port"))?;
        parsed.set_port(Some(port)).map_err(|()| format!("InterlinkURL: {url:?} cannot have a port"))?;
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_file() {
        let mut settings =
            Settings::of("n".into(), "http://localhost".parse().expect("a URL"), PathBuf::from("/tmp/none"));
        let text = "InterlinkURL: \"http://edge.example.org\"\nInterlinkPort: \"3000\"\nVKTokenFile: /opt/token\nVerboseLogging: true\n\
            Resources:\n  CPU: 100\n  Memory: \"3000G\"\n  Pods: \"100\"\n  Accelerators:\n    - ResourceType: nvidia.com/gpu\n      \
            Model: a100\n      Available: 2\nNodeLabels:\n  - \"tier=batch\"\nNodeTaints:\n  - Key: x\n    Value: y\n    Effect: NoSchedule\n";
        let ignored = apply_text(text, &mut settings).expect("a file");
        assert_eq!(ignored, ["VerboseLogging"]);
        assert_eq!(settings.interlink.as_str(), "http://edge.example.org:3000/");
        assert_eq!(settings.resources.cpu, "100");
        assert_eq!(settings.resources.extended["nvidia.com/gpu"], "2");
        assert_eq!((settings.labels["tier"].as_str(), settings.labels["nvidia-gpu-type"].as_str()), ("batch", "a100"));
        assert_eq!(settings.taints[0].effect, "NoSchedule");
        assert!(apply_text("NodeLabels: [\"x\"]\n", &mut settings).is_err());
    }
}
