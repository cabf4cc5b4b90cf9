//! The trait [`Site`]: anything that can run a pod.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_protocol_interlink::PodCreateRequests;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::exec::{AttachOrder, ExecOrder, ExecSession};
use crate::logs::LogChunk;
use crate::pod::PodPlan;
use crate::report::PodReport;

/// A site's answer; boxed, so that sites of several kinds stand in one list.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SiteError>> + Send + 'a>>;

/// Why a site did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The pod can never run here; the text says why.
    #[error("{0}")]
    Refused(String),
    /// No room now; ask again when another pod has ended.
    #[error("the site {0} has no free place now")]
    Busy(String),
    /// It does not have now, and perhaps never, what the pod asks for; ask again later.
    #[error("the site {site} has {free} of {total} {resource} free, and the pod asks for {asked}")]
    Lacks { site: String, resource: String, asked: u64, free: u64, total: u64 },
    /// The site has no pod of this UID.
    #[error("no pod {0} at this site")]
    Unknown(Uuid),
    #[error("configuration of sites: {0}")]
    Configuration(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl SiteError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> SiteError {
        let what = what.into();
        move |source| SiteError::Io { what, source }
    }
}

/// What the composition root lends to sites.
#[derive(Clone)]
pub struct SiteContext {
    /// The engine's data directory: run folders lie beneath it, and pods must not see it.
    pub data_dir: PathBuf,
    /// Sockets on which whoever reaches them is believed: pods must not see them either.
    pub sockets: Vec<PathBuf>,
    pub tasks: Tasks,
}

/// How pods are kept from the engine's data and from each other.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Sandbox {
    /// Another user id for each pod, own mounts and process tree.
    OtherUser { landlock: bool },
    /// A user namespace, own mounts and process tree, no privileges.
    UserNamespace { landlock: bool },
    /// Another party runs the pods, and the operator trusts it to keep them apart.
    Elsewhere { who: String },
    /// Nothing: only pods of trusted people may run.
    None { why: String },
}

impl Sandbox {
    /// Whether a pod of an untrusted person may run.
    pub fn holds(&self) -> bool {
        !matches!(self, Sandbox::None { .. })
    }
}

impl std::fmt::Display for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let landlock = |has: &bool| if *has { ", landlock" } else { ", no landlock" };
        match self {
            Sandbox::OtherUser { landlock: has } => {
                write!(f, "another user id for each pod, own namespaces{}", landlock(has))
            }
            Sandbox::UserNamespace { landlock: has } => write!(f, "user namespaces{}", landlock(has)),
            Sandbox::Elsewhere { who } => write!(f, "that of {who}"),
            Sandbox::None { why } => write!(f, "none: {why}"),
        }
    }
}

/// What a site can do.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Capabilities {
    pub sandbox: Sandbox,
    /// Whether a running pod can be stopped and continued.
    pub suspend: bool,
    /// What may be had in a pod that runs: `exec`, `attach`, `portForward`.
    pub sessions: &'static [&'static str],
    /// Images that the site runs; `host` means programs of the machine and staged ones, `*` any image.
    pub images: &'static [&'static str],
}

impl Capabilities {
    pub fn runs_image(&self, image: &str) -> bool {
        self.images.iter().any(|known| *known == "*" || *known == image)
    }
}

/// How much of a site is there and free.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// Pods that may run at once, and how many do.
    pub pods: u64,
    pub pods_running: u64,
    /// Extended resources, such as `nvidia.com/gpu`: how many there are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extended: BTreeMap<String, u64>,
    /// How many of them no running pod has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extended_free: BTreeMap<String, u64>,
}

/// Where a pod's files are put before it starts and found after it ended.
#[derive(Clone, Debug)]
pub struct Staging {
    pub inputs: PathBuf,
    pub outputs: PathBuf,
}

/// Why and how a pod is ended before its time.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Cancellation {
    /// The reason that its status will show: `Cancelled`, `Suspended`, `Preempted`.
    pub reason: String,
    /// Time between asking (SIGTERM) and ending (SIGKILL); none: the pod's own grace.
    pub grace: Option<Duration>,
}

/// A place that runs pods.
///
/// All methods may be repeated: after a crash the caller does not know which of them took effect.
pub trait Site: Send + Sync {
    /// The name that pods ask for with `nodeSelector: {dte.site: NAME}`.
    fn name(&self) -> &str;

    fn capabilities(&self) -> Capabilities;

    fn capacity(&self) -> Answer<'_, Capacity>;

    /// Makes the pod's folder if it is not there, and says where its inputs go.
    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging>;

    /// Starts the prepared pod. Once it was started, a second call does nothing, however the first ended.
    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()>;

    /// The same with the request that the plan was read from, for sites that hand it on.
    fn submit_request<'a>(&'a self, request: &'a PodCreateRequests, plan: &'a PodPlan) -> Answer<'a, ()> {
        let _ = request;
        self.submit(plan)
    }

    /// Whether pods here see [`Site::prepare`]'s folders, so that data can be staged in and collected.
    fn stages_data(&self) -> bool {
        true
    }

    /// How these pods go. Pods that the site does not know are left out.
    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>>;

    /// UIDs of pods that have just ended, a few milliseconds after they did. A receiver that lags asks [`Site::status`].
    fn ended(&self) -> broadcast::Receiver<Uuid>;

    /// The log of one container from byte `from` of what it wrote; none: the pod's only or first container.
    fn log<'a>(&'a self, uid: Uuid, container: Option<&'a str>, from: u64) -> Answer<'a, LogChunk>;

    /// Ends the pod; it will report [`Phase::Failed`](crate::Phase::Failed) with the reason given. A pod that ended is left alone.
    fn cancel<'a>(&'a self, uid: Uuid, how: &'a Cancellation) -> Answer<'a, ()>;

    /// Stops a running pod where it is: none of its processes goes on, and its time limit stands still, until
    /// [`Site::resume`]. It keeps its memory but not its place. Sites that cannot refuse.
    fn suspend(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(async move { Err(SiteError::Refused(format!("this site cannot suspend pod {uid}"))) })
    }

    /// Lets a suspended pod go on. One that was not suspended, or has ended, is left alone.
    fn resume(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(async move { Err(SiteError::Refused(format!("this site cannot resume pod {uid}"))) })
    }

    /// Runs a program in a container that runs, as that container would. It is no part of the pod: how it ends says nothing of
    /// the pod. Sites that cannot refuse.
    fn exec<'a>(&'a self, order: &'a ExecOrder) -> Answer<'a, ExecSession> {
        Box::pin(async move { Err(SiteError::Refused(format!("this site cannot run programs in pod {}", order.uid))) })
    }

    /// Joins those who see what a container's own program writes from now on, and who type what it reads. Letting go leaves it
    /// running. Sites that cannot refuse.
    fn attach<'a>(&'a self, order: &'a AttachOrder) -> Answer<'a, ExecSession> {
        Box::pin(
            async move { Err(SiteError::Refused(format!("this site cannot attach anybody to pod {}", order.uid))) },
        )
    }

    /// A connection to a port on which a process of this pod listens, at the pod's own loopback address. Only what the pod itself
    /// listens on is reached, never another service of the site. Sites that cannot refuse.
    fn forward(&self, uid: Uuid, port: u16) -> Answer<'_, ExecSession> {
        Box::pin(async move {
            Err(SiteError::Refused(format!(
                "this site cannot forward port {port} of pod {uid}: it has no way into its network"
            )))
        })
    }

    /// Forgets an ended pod and frees its place. Unknown pods are fine.
    fn remove(&self, uid: Uuid) -> Answer<'_, ()>;
}
