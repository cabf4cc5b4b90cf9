//! What the virtual kubelet is told: which cluster, which site, as which node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dte_http::TlsFiles;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where upstream's virtual kubelet serves logs, and so do we.
pub const DEFAULT_PORT: u16 = 5820;

/// One node.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node_name: String,
    /// `None`: as a pod of the cluster, or what `KUBECONFIG` names.
    pub kubeconfig: Option<PathBuf>,
    /// Where the site's interLink API begins.
    pub interlink: Url,
    /// One site of an engine that has several.
    pub site: Option<String>,
    /// Read anew for each call.
    pub token_file: Option<PathBuf>,
    /// The authority of the site's certificate, and ours to show there; read anew when they change.
    pub site_tls: TlsFiles,
    /// The address at which the API server reaches this kubelet.
    pub node_ip: IpAddr,
    pub listen: SocketAddr,
    /// Certificate chain and key, PEM; else self-signed.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who is asked in the cluster to sign one; until then it is self-signed.
    pub serving_signer: Option<String>,
    /// Who may call the kubelet; else what the cluster publishes.
    pub client_ca: Option<PathBuf>,
    /// Here is kept which pods were handed to the site.
    pub state_dir: PathBuf,
    /// What the node has where the site does not say.
    pub resources: Resources,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// `kubernetes.io/os` and `kubernetes.io/arch` as on a real node, for workloads that select by them.
    pub real_platform_labels: bool,
    /// How pods reach the cluster's API server from the site.
    pub kubernetes_api: Option<(String, u16)>,
    /// Pods get no projected volumes.
    pub without_projected_volumes: bool,
    pub job_script_url: String,
    /// Let the cluster evict pods from a node whose site is away, as it does by default.
    pub evict_when_away: bool,
    pub ping_every: Duration,
    pub status_every: Duration,
}

impl Settings {
    /// Settings of a node with everything else at its default.
    pub fn of(node_name: String, interlink: Url, state_dir: PathBuf) -> Self {
        let node_ip = IpAddr::from([127, 0, 0, 1]);
        Settings {
            node_name,
            kubeconfig: None,
            interlink,
            site: None,
            token_file: None,
            site_tls: TlsFiles::default(),
            node_ip,
            listen: SocketAddr::new(node_ip, DEFAULT_PORT),
            certificate: None,
            serving_signer: None,
            client_ca: None,
            state_dir,
            resources: Resources::default(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            real_platform_labels: false,
            kubernetes_api: None,
            without_projected_volumes: false,
            job_script_url: String::new(),
            evict_when_away: false,
            ping_every: Duration::from_secs(10),
            status_every: Duration::from_secs(1),
        }
    }
}

/// Quantities as Kubernetes writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    pub cpu: String,
    pub memory: String,
    pub pods: String,
    /// `nvidia.com/gpu` and the like.
    pub extended: BTreeMap<String, String>,
}

impl Default for Resources {
    /// Nothing, until the site or its operator says what there is.
    fn default() -> Self {
        Resources { cpu: "0".into(), memory: "0".into(), pods: "0".into(), extended: BTreeMap::new() }
    }
}

/// A taint of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: String,
}
