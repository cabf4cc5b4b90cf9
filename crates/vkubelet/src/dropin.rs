//! Upstream's `InterLinkConfig.yaml`, so that an existing installation starts with its own file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::server::serving::USUAL_SIGNER;
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
    #[serde(rename = "KubeletCSRSignerName")]
    csr_signer: Option<String>,
    #[serde(rename = "DisableCSR")]
    disable_csr: bool,
    resources: Amounts,
    node_labels: Vec<String>,
    node_taints: Vec<NodeTaint>,
    #[serde(rename = "TLS")]
    tls: SiteTls,
    #[serde(rename = "HTTP")]
    http: SiteHttp,
}

/// How the site is reached.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SiteTls {
    enabled: bool,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[serde(rename = "CACertFile")]
    ca_cert_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SiteHttp {
    insecure: bool,
    ca_cert: Option<PathBuf>,
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
    "KubeletCSRSignerName",
    "DisableCSR",
    "Resources",
    "NodeLabels",
    "NodeTaints",
    "TLS",
    "HTTP",
];
/// What upstream has and we do not, and what to do instead.
const INSTEAD: &[(&str, &str)] = &[
    ("VerboseLogging", "set RUST_LOG=debug"),
    ("ErrorsOnlyLogging", "set RUST_LOG=error"),
    ("KubernetesApiCaCrt", "pods get the authority in their service account's folder"),
    ("VKConfigPath", "this file is named with --drop-in or CONFIGPATH"),
    ("ServiceAccount", "what the virtual kubelet may do is its own account's: see conformance/kubernetes/rbac.yaml"),
    ("Namespace", "the virtual kubelet keeps nothing in the cluster"),
    ("PodCIDR", "pods have the address of the machine that runs them; reach their ports with kubectl port-forward"),
    ("Network", "there are no tunnels; reach ports of pods with kubectl port-forward"),
    ("KubeletHTTP", "callers must show a certificate of the cluster or a token; --client-ca names the authority"),
    ("SkipDownwardAPIResolution", "variables and volumes are always resolved before a pod is handed over"),
    ("Pprof", "there is no such profile"),
];
/// The label that says which accelerator a node has.
const MODEL_LABELS: &[(&str, &str)] = &[
    ("nvidia.com/gpu", "nvidia-gpu-type"),
    ("xilinx.com/fpga", "xilinx-fpga-type"),
    ("intel.com/fpga", "intel-fpga-type"),
];

/// What the command line says goes before the file.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub interlink: Option<Url>,
    pub token_file: Option<PathBuf>,
}

/// Reads `file` into `settings`, with what the command line said. What comes back are notes for the operator: keys that mean nothing
/// here, and what to do instead.
pub fn apply(file: &Path, settings: &mut Settings, said: Said) -> Result<Vec<String>, DropInError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| DropInError::Unreadable { file: file.to_owned(), source })?;
    apply_text(&text, settings, said).map_err(|message| DropInError::Malformed { file: file.to_owned(), message })
}

fn apply_text(text: &str, settings: &mut Settings, said: Said) -> Result<Vec<String>, String> {
    let read: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let all: BTreeMap<String, Value> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if let Some(url) = &read.interlink_url {
        settings.interlink = address(url, read.interlink_port.as_ref())?;
    }
    if let Some(url) = said.interlink {
        settings.interlink = url;
    }
    if let (Some(host), Some(port)) = (&read.kubernetes_api_addr, &read.kubernetes_api_port)
        && !host.is_empty()
    {
        let port = plain(port).parse().map_err(|_| format!("KubernetesApiPort: {port} is not a port"))?;
        settings.kubernetes_api = Some((host.clone(), port));
    }
    settings.without_projected_volumes |= read.disable_projected_volumes;
    settings.job_script_url = read.job_script_builder_url.unwrap_or_default();
    let token_file = read.token_file.filter(|file| !file.as_os_str().is_empty());
    settings.token_file = said.token_file.or(token_file).or(settings.token_file.take());
    if let Some(ip) = read.pod_ip.filter(|ip| !ip.is_empty()) {
        settings.node_ip = ip.parse().map_err(|_| format!("PodIP: {ip:?} is not an IP address"))?;
    }
    if let (Some(cert), Some(key)) = (read.kubelet_cert_file, read.kubelet_key_file) {
        settings.certificate = Some((cert, key));
    } else if !read.disable_csr {
        let signer = read.csr_signer.filter(|name| !name.is_empty());
        settings.serving_signer = Some(signer.unwrap_or_else(|| USUAL_SIGNER.to_owned()));
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
    let mut notes: Vec<String> =
        all.into_keys().filter(|key| !KNOWN.contains(&key.as_str())).map(|key| left_out(&key)).collect();
    notes.extend(site_tls(read.tls, read.http, settings)?);
    Ok(notes)
}

fn left_out(key: &str) -> String {
    match INSTEAD.iter().find(|(known, _)| *known == key) {
        Some((_, instead)) => format!("{key} is left out: {instead}"),
        None => format!("{key} is not known and left out"),
    }
}

/// `TLS` and `HTTP`; what is there and does not count is told.
fn site_tls(tls: SiteTls, http: SiteHttp, settings: &mut Settings) -> Result<Vec<String>, String> {
    let some = |file: Option<PathBuf>| file.filter(|file| !file.as_os_str().is_empty());
    let mut notes = Vec::new();
    let (mut root, cert, key) = (some(tls.ca_cert_file), some(tls.cert_file), some(tls.key_file));
    if !tls.enabled {
        if root.is_some() || cert.is_some() || key.is_some() {
            notes.push("the files in TLS are left out: TLS.Enabled is not true".to_owned());
        }
        root = None;
    } else if settings.interlink.scheme() != "https" {
        return Err(format!("TLS.Enabled: the site must be at https://…, not at {}", settings.interlink));
    } else {
        match (cert, key) {
            (Some(cert), Some(key)) => settings.site_tls.identity = Some((cert, key)),
            (None, None) => {}
            _ => return Err("TLS: CertFile and KeyFile go together".to_owned()),
        }
    }
    if let Some(root) = root.or(some(http.ca_cert)) {
        settings.site_tls.roots = Some(root);
    }
    if http.insecure && settings.interlink.scheme() == "https" && settings.site_tls.roots.is_none() {
        notes.push(
            "HTTP.Insecure is left out: certificates are always checked; name the authority in HTTP.CaCert".into(),
        );
    }
    Ok(notes)
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
        let notes = apply_text(text, &mut settings, Said::default()).expect("a file");
        assert_eq!(notes, ["VerboseLogging is left out: set RUST_LOG=debug"]);
        assert_eq!(settings.interlink.as_str(), "http://edge.example.org:3000/");
        assert_eq!(settings.resources.cpu, "100");
        assert_eq!(settings.resources.extended["nvidia.com/gpu"], "2");
        assert_eq!((settings.labels["tier"].as_str(), settings.labels["nvidia-gpu-type"].as_str()), ("batch", "a100"));
        assert_eq!(settings.taints[0].effect, "NoSchedule");
        assert_eq!(settings.serving_signer.as_deref(), Some(USUAL_SIGNER));
        assert!(apply_text("NodeLabels: [\"x\"]\n", &mut settings, Said::default()).is_err());
    }

    #[test]
    fn the_certificate_for_the_site() {
        let mut settings =
            Settings::of("n".into(), "http://localhost".parse().expect("a URL"), PathBuf::from("/tmp/none"));
        let url = "InterlinkURL: https://edge.example.org\nInterlinkPort: 443\n";
        let files = "CertFile: /c.pem\n  KeyFile: /k.pem\n  CACertFile: /ca.pem\n";
        let off = format!("{url}TLS:\n  {files}HTTP: {{Insecure: true}}\n");
        let notes = apply_text(&off, &mut settings, Said::default()).expect("a file");
        assert!(notes[0].contains("TLS.Enabled is not true") && notes[1].contains("HTTP.Insecure"), "{notes:?}");
        assert_eq!(settings.site_tls, dte_http::TlsFiles::default());
        let on = format!("{url}TLS:\n  Enabled: true\n  {files}Network: {{EnableTunnel: false}}\nSomething: 1\n");
        let notes = apply_text(&on, &mut settings, Said::default()).expect("a file");
        assert!(notes[0].contains("port-forward") && notes[1].contains("Something is not known"), "{notes:?}");
        assert_eq!(settings.site_tls.roots, Some("/ca.pem".into()));
        assert_eq!(settings.site_tls.identity, Some(("/c.pem".into(), "/k.pem".into())));
        // The command line says where the site is.
        let plain = on.replace("https", "http");
        let elsewhere = |url: &str| Said { interlink: Some(url.parse().expect("a URL")), token_file: None };
        apply_text(&plain, &mut settings, elsewhere("https://other.example.org/")).expect("a file");
        assert_eq!(settings.interlink.as_str(), "https://other.example.org/");
        assert!(apply_text(&on, &mut settings, elsewhere("http://other.example.org/")).is_err());
        assert!(apply_text(&plain, &mut settings, Said::default()).is_err());
        assert!(apply_text(&on.replace("  KeyFile: /k.pem\n", ""), &mut settings, Said::default()).is_err());
    }
}
