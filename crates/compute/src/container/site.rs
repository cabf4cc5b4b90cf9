//! The site itself, as the engine sees it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use nix::unistd::geteuid;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

use super::ContainerConfig;
use super::advance::View;
use super::arguments::is_image;
use super::folder::{self, Ending, Folder};
use super::follow::outcome;
use super::places::Places;
use super::program::{Program, name_of};
use crate::exec::{ExecOrder, ExecSession};
use crate::logs::{LogChunk, LogLine};
use crate::pod::{PodPlan, VolumeSource};
use crate::report::{Phase, PodReport, Usage};
use crate::site::{Answer, Cancellation, Capabilities, Capacity, Sandbox, Site, SiteContext, SiteError, Staging};

/// In [`Capabilities::images`]: every image that a registry or the machine has.
pub const ANY_IMAGE: &str = "*";
/// Ends that a slow receiver of [`Site::ended`] may have unread.
const UNREAD_ENDS: usize = 4_096;

/// Containers of this machine.
pub struct ContainerSite {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: ContainerConfig,
    pub(super) root: PathBuf,
    pub(super) pods: Mutex<HashMap<Uuid, Pod>>,
    pub(super) wake: Notify,
    pub(super) tasks: Tasks,
    /// How many programs are run beside each pod.
    pub(super) places: Arc<Places>,
    pub(super) ended: broadcast::Sender<Uuid>,
    slots: usize,
}

pub(super) struct Pod {
    pub(super) stage: Stage,
    pub(super) restarts: HashMap<String, u32>,
    /// How it went when last looked at.
    pub(super) last: Option<PodReport>,
    /// Steps of it are being taken.
    pub(super) is_busy: bool,
    pub(super) failures: u32,
    pub(super) trouble: Option<String>,
}

pub(super) enum Stage {
    Prepared,
    Running(Arc<PodPlan>),
    Ended(Box<PodReport>),
}

impl Pod {
    fn new(stage: Stage) -> Pod {
        Pod { stage, restarts: HashMap::new(), last: None, is_busy: false, failures: 0, trouble: None }
    }
}

impl ContainerSite {
    /// Opens the site and goes on with the pods that it had.
    pub async fn open(config: ContainerConfig, context: &SiteContext) -> Result<Arc<ContainerSite>, SiteError> {
        config.check()?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Arc::new(Inner {
            slots: config.slots.unwrap_or((cpus * 2).max(4)),
            root: context.data_dir.join("sites").join(&config.name),
            config,
            pods: Mutex::default(),
            places: Arc::default(),
            wake: Notify::new(),
            tasks: context.tasks.clone(),
            ended: broadcast::channel(UNREAD_ENDS).0,
        });
        let failed = || SiteError::io(format!("the folder of site {}", inner.config.name));
        for uid in folder::all(&inner.root).map_err(failed())? {
            let folder = Folder::of(&inner.root, uid);
            let stage = match (folder.exit().map_err(failed())?, folder.plan().map_err(failed())?) {
                (Some(report), _) => {
                    folder.forget_secrets().map_err(failed())?;
                    Stage::Ended(Box::new(report))
                }
                (None, Some(plan)) => Stage::Running(Arc::new(plan)),
                (None, None) => Stage::Prepared,
            };
            inner.pods().insert(uid, Pod::new(stage));
        }
        inner.start();
        Ok(Arc::new(ContainerSite { inner }))
    }
}

impl Inner {
    pub(super) fn pods(&self) -> MutexGuard<'_, HashMap<Uuid, Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn program(&self) -> Program<'_> {
        Program { config: &self.config }
    }

    fn prepare(&self, uid: Uuid) -> Result<Staging, SiteError> {
        let folder = Folder::of(&self.root, uid);
        folder.create().map_err(SiteError::io(format!("the folder of pod {uid}")))?;
        self.pods().entry(uid).or_insert_with(|| Pod::new(Stage::Prepared));
        Ok(Staging { inputs: folder.inputs(), outputs: folder.outputs() })
    }

    fn submit(&self, plan: &PodPlan) -> Result<(), SiteError> {
        let uid = plan.uid;
        let plan = self.fitting(plan).map_err(SiteError::Refused)?;
        self.prepare(uid)?;
        let failed = || SiteError::io(format!("the folder of pod {uid}"));
        let mut pods = self.pods();
        let running = pods.values().filter(|pod| matches!(pod.stage, Stage::Running(_))).count();
        let Some(pod) = pods.get_mut(&uid) else { return Err(SiteError::Unknown(uid)) };
        if !matches!(pod.stage, Stage::Prepared) {
            return Ok(());
        }
        if running >= self.slots {
            return Err(SiteError::Busy(self.config.name.clone()));
        }
        let folder = Folder::of(&self.root, uid);
        folder.fill_volumes(&plan).map_err(failed())?;
        folder.save_plan(&plan).map_err(failed())?;
        pod.stage = Stage::Running(Arc::new(plan));
        drop(pods);
        self.wake.notify_one();
        Ok(())
    }

    /// What this site would have to ignore of a pod is refused. Places of the machine are named by their real paths.
    fn fitting(&self, plan: &PodPlan) -> Result<PodPlan, String> {
        let site = &self.config.name;
        for container in plan.all_containers() {
            let refuse = |why: String| Err(format!("container {}: {why}", container.name));
            let image = &container.image;
            if !is_image(image) {
                return refuse(format!("{image:?} is not the name of an image"));
            }
            if crate::image::allowed(&self.config.images, image).is_none() {
                return refuse(format!(
                    "site {site} lets pods use images of {} and not {image:?}",
                    self.config.images.join(", ")
                ));
            }
            if container.sidecar {
                return refuse(format!("sidecar containers (restartPolicy) cannot run at site {site}"));
            }
            if container.probes.startup.is_some()
                || container.probes.liveness.is_some()
                || container.probes.readiness.is_some()
            {
                return refuse(format!("site {site} has no probes"));
            }
            if container.post_start.is_some() || container.pre_stop.is_some() {
                return refuse(format!("site {site} has no life-cycle hooks"));
            }
            if let Some(name) = container.extended.keys().next() {
                return refuse(format!("site {site} has no resource {name}"));
            }
        }
        let mut plan = plan.clone();
        for container in plan.init_containers.iter_mut().chain(&mut plan.containers) {
            if let Some(full) = crate::image::allowed(&self.config.images, &container.image) {
                container.image = full;
            }
        }
        for volume in &mut plan.volumes {
            let name = &volume.name;
            match &mut volume.source {
                VolumeSource::HostPath { path, .. } => {
                    let real =
                        fs::canonicalize(&*path).map_err(|error| format!("volume {name}: hostPath {path}: {error}"))?;
                    let roots = self.config.host_paths.iter().filter_map(|root| fs::canonicalize(root).ok());
                    if !roots.into_iter().any(|root| real.starts_with(root)) {
                        return Err(format!("volume {name}: site {site} does not let pods mount hostPath {path}"));
                    }
                    *path = real
                        .into_os_string()
                        .into_string()
                        .map_err(|_| format!("volume {name}: hostPath is not text"))?;
                }
                VolumeSource::EmptyDir { in_memory: true, .. } => {
                    return Err(format!("volume {name}: site {site} has no emptyDir in memory"));
                }
                VolumeSource::EmptyDir { .. } | VolumeSource::Files { .. } => {}
            }
        }
        Ok(plan)
    }

    pub(super) fn report(&self, uid: Uuid) -> Option<PodReport> {
        let pods = self.pods();
        let pod = pods.get(&uid)?;
        let pending = |plan: &PodPlan| {
            let (seen, restarts) = (BTreeMap::new(), HashMap::new());
            let (restart_wait, now) = (self.config.restart_wait.0, Timestamp::now());
            View { plan, seen: &seen, restarts: &restarts, is_ending: false, restart_wait, now }.report()
        };
        Some(match &pod.stage {
            Stage::Ended(report) => (**report).clone(),
            Stage::Running(plan) => pod.last.clone().unwrap_or_else(|| pending(plan)),
            Stage::Prepared => PodReport {
                uid,
                phase: Phase::Pending,
                reason: None,
                message: None,
                started: None,
                finished: None,
                init_containers: Vec::new(),
                containers: Vec::new(),
                usage: Usage::default(),
            },
        })
    }

    async fn log(&self, uid: Uuid, container: Option<&str>, from: u64) -> Result<LogChunk, SiteError> {
        let report = self.report(uid).ok_or(SiteError::Unknown(uid))?;
        let ended = report.phase.is_terminal();
        let mut all = report.init_containers.iter().chain(&report.containers);
        let found = match container {
            Some(name) => all.find(|known| known.name == name),
            None => report.containers.first(),
        };
        let Some(found) = found else {
            if report.containers.is_empty() {
                return Ok(LogChunk::default());
            }
            return Err(SiteError::Refused(format!("pod {uid} has no container {}", container.unwrap_or_default())));
        };
        let lines = match self.program().logs(&name_of(uid, &found.name)).await {
            Ok(lines) => lines,
            // It was not made yet, or never will be.
            Err(why) if why.contains("no such container") || why.contains("No such container") => Vec::new(),
            Err(why) => {
                return Err(SiteError::Io {
                    what: format!("the log of pod {uid}"),
                    source: std::io::Error::other(why),
                });
            }
        };
        Ok(after(lines, from, ended))
    }

    async fn cancel(&self, uid: Uuid, how: &Cancellation) -> Result<(), SiteError> {
        let failed = || SiteError::io(format!("ending pod {uid}"));
        let (plan, never_looked) = match self.pods().get(&uid) {
            None => return Err(SiteError::Unknown(uid)),
            Some(Pod { stage: Stage::Running(plan), last, is_busy, .. }) => (plan.clone(), last.is_none() && !is_busy),
            Some(_) => return Ok(()),
        };
        let folder = Folder::of(&self.root, uid);
        // The first reason counts; a shorter grace counts too.
        let reason = folder.ending().map_err(failed())?.map_or(how.reason.clone(), |ending| ending.how.reason);
        let how = Cancellation { reason, grace: how.grace };
        folder.save_ending(&Ending { how: how.clone(), since: Timestamp::now() }).map_err(failed())?;
        let nothing_made =
            never_looked && self.program().all().await.is_ok_and(|all| !all.iter().any(|known| known.pod == uid));
        let is_untouched = self.pods().get(&uid).is_some_and(|pod| pod.last.is_none() && !pod.is_busy);
        if nothing_made && is_untouched {
            let report = self.report(uid).ok_or(SiteError::Unknown(uid))?;
            return self.settle(uid, outcome(&plan, report, Some(&how.reason))).map_err(failed());
        }
        self.wake.notify_one();
        Ok(())
    }

    async fn set_suspended(&self, uid: Uuid, wanted: bool) -> Result<(), SiteError> {
        let report = self.report(uid).ok_or(SiteError::Unknown(uid))?;
        if report.phase.is_terminal() {
            return Ok(());
        }
        let all = report.init_containers.iter().chain(&report.containers);
        let verb = if wanted { "pause" } else { "unpause" };
        for container in all.filter(|c| matches!(c.state, crate::report::ContainerState::Running { .. })) {
            let told = self.program().tell(verb, &name_of(uid, &container.name)).await;
            told.map_err(|why| SiteError::Refused(format!("pod {uid} cannot be suspended or resumed: {why}")))?;
        }
        Ok(())
    }

    async fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        let failed =
            |what: String| SiteError::Io { what: format!("removing pod {uid}"), source: std::io::Error::other(what) };
        match self.pods().get(&uid).map(|pod| &pod.stage) {
            None => return Ok(()),
            Some(Stage::Running(_)) => return Err(SiteError::Refused(format!("pod {uid} still runs"))),
            Some(_) => {}
        }
        let all = self.program().all().await.map_err(failed)?;
        let ours = all.iter().filter(|known| known.pod == uid).map(|known| name_of(uid, &known.container));
        self.program().remove(&ours.collect::<Vec<_>>()).await.map_err(failed)?;
        Folder::of(&self.root, uid).remove().map_err(|error| failed(error.to_string()))?;
        self.pods().remove(&uid);
        Ok(())
    }
}

/// What was written after the first `from` bytes.
fn after(lines: Vec<LogLine>, from: u64, complete: bool) -> LogChunk {
    let mut chunk = LogChunk { lines: Vec::new(), next: 0, complete };
    for mut line in lines {
        let begin = chunk.next;
        chunk.next += line.text.len() as u64;
        if chunk.next > from {
            let known = usize::try_from(from.saturating_sub(begin)).unwrap_or(0);
            line.text.drain(..known.min(line.text.len()));
            chunk.lines.push(line);
        }
    }
    chunk.next = chunk.next.max(from);
    chunk
}

impl Site for ContainerSite {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn capabilities(&self) -> Capabilities {
        // Root's containers are held by too little to let strangers in.
        let sandbox = if geteuid().is_root() || self.inner.config.is_docker() {
            Sandbox::None { why: "its containers belong to root".into() }
        } else {
            Sandbox::UserNamespace { landlock: false }
        };
        Capabilities { sandbox, suspend: true, sessions: &["exec"], images: &[ANY_IMAGE] }
    }

    fn capacity(&self) -> Answer<'_, Capacity> {
        Box::pin(async {
            let running = self.inner.pods().values().filter(|pod| matches!(pod.stage, Stage::Running(_))).count();
            Ok(Capacity {
                cpu_millis: std::thread::available_parallelism().map_or(1, usize::from) as u64 * 1_000,
                memory_bytes: crate::host::memory_bytes(),
                pods: self.inner.slots as u64,
                pods_running: running as u64,
                ..Capacity::default()
            })
        })
    }

    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging> {
        Box::pin(async move { self.inner.prepare(uid) })
    }

    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(async move { self.inner.submit(plan) })
    }

    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>> {
        Box::pin(async move { Ok(uids.iter().filter_map(|uid| self.inner.report(*uid)).collect()) })
    }

    fn ended(&self) -> broadcast::Receiver<Uuid> {
        self.inner.ended.subscribe()
    }

    fn log<'a>(&'a self, uid: Uuid, container: Option<&'a str>, from: u64) -> Answer<'a, LogChunk> {
        Box::pin(self.inner.log(uid, container, from))
    }

    fn cancel<'a>(&'a self, uid: Uuid, how: &'a Cancellation) -> Answer<'a, ()> {
        Box::pin(self.inner.cancel(uid, how))
    }

    fn suspend(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(self.inner.set_suspended(uid, true))
    }

    fn resume(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(self.inner.set_suspended(uid, false))
    }

    fn exec<'a>(&'a self, order: &'a ExecOrder) -> Answer<'a, ExecSession> {
        Box::pin(self.inner.exec(order))
    }

    fn remove(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(self.inner.remove(uid))
    }
}
