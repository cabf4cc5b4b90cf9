//! The site itself, as the engine sees it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dte_base::tasks::Tasks;
use tokio::sync::{Notify, Semaphore, broadcast};
use uuid::Uuid;

use super::array::Gathering;
use super::index::Index;
use super::jobs::{Job, Jobs, Stage};
use super::runtime::HOST;
use super::system::BatchSystem;
use super::{Settings, WallsSetting};
use crate::exec::{ExecOrder, ExecSession};
use crate::host::folder::{INPUTS, OUTPUTS};
use crate::logs::{LogChunk, LogLine};
use crate::place::{LocalPlace, Order, Place, PlaceError, Reply, unexpected};
use crate::pod::PodPlan;
use crate::report::PodReport;
use crate::site::{Answer, Cancellation, Capabilities, Capacity, Sandbox, Site, SiteContext, SiteError, Staging};
use crate::ssh::SshPlace;

/// Jobs that are handed over at the same time.
const SUBMISSIONS: usize = 4;
/// Ends that a slow receiver of [`Site::ended`] may have unread.
const UNREAD_ENDS: usize = 16_384;

/// A batch system as a site.
pub struct BatchSite {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) system: Box<dyn BatchSystem>,
    pub(super) data_dir: PathBuf,
    pub(super) place: Arc<dyn Place>,
    pub(super) index: Index,
    pub(super) jobs: Mutex<Jobs>,
    /// Pods that are being handed over right now.
    pub(super) handing_over: Mutex<HashSet<Uuid>>,
    pub(super) submissions: Semaphore,
    pub(super) gathering: Gathering,
    pub(super) wake: Notify,
    pub(super) nodes: Mutex<(u64, u64)>,
    pub(super) tasks: Tasks,
    pub(super) ended: broadcast::Sender<Uuid>,
}

impl BatchSite {
    /// Opens the site and goes on with the pods that it had. A site that cannot be reached now is opened too.
    /// `system` is made for the place that the settings name.
    pub async fn open(
        config: Settings,
        context: &SiteContext,
        system: impl FnOnce(Arc<dyn Place>) -> Result<Box<dyn BatchSystem>, SiteError>,
    ) -> Result<Arc<BatchSite>, SiteError> {
        config.check()?;
        let place: Arc<dyn Place> = match config.ssh.clone() {
            Some(ssh) => {
                let runner = config.runner.clone();
                SshPlace::open(ssh, &config.folder, runner, &context.data_dir, &config.name, &context.tasks).await?
            }
            None => {
                let (tasks, settings) = (context.tasks.clone(), config.clone());
                let runtime = tokio::runtime::Handle::current();
                let open = move || {
                    // The watch of folders belongs to the runtime.
                    let _entered = runtime.enter();
                    LocalPlace::open(&settings.folder, settings.runner.as_deref(), settings.look.0, &tasks)
                };
                let opened = tokio::task::spawn_blocking(open)
                    .await
                    .map_err(|error| SiteError::Configuration(error.to_string()))?;
                Arc::new(opened.map_err(|error| SiteError::Configuration(format!("site {}: {error}", config.name)))?)
            }
        };
        let index = Index::open(context.data_dir.join("sites").join(&config.name))
            .map_err(SiteError::io(format!("the folder of site {}", config.name)))?;
        let inner = Arc::new(Inner {
            data_dir: context.data_dir.clone(),
            settings: config,
            system: system(place.clone())?,
            place,
            index,
            jobs: Mutex::default(),
            handing_over: Mutex::default(),
            submissions: Semaphore::new(SUBMISSIONS),
            gathering: Gathering::default(),
            wake: Notify::new(),
            nodes: Mutex::default(),
            tasks: context.tasks.clone(),
            ended: broadcast::channel(UNREAD_ENDS).0,
        });
        inner.adopt()?;
        inner.start();
        Ok(Arc::new(BatchSite { inner }))
    }
}

impl Inner {
    pub(super) fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prepare(&self, uid: Uuid) -> Result<Staging, SiteError> {
        let failed = || SiteError::io(format!("the folder of pod {uid}"));
        self.index.create(uid).map_err(failed())?;
        self.jobs().entry(uid).or_insert_with(|| Job::new(Stage::Prepared));
        if !self.place.is_local() {
            return Ok(Staging { inputs: self.index.inputs(uid), outputs: self.index.outputs(uid) });
        }
        self.place.order(Order::Prepare { uid }).await?;
        let folder = self.place.run_folder(uid);
        Ok(Staging { inputs: folder.join(INPUTS), outputs: folder.join(OUTPUTS) })
    }

    async fn status(&self, uids: &[Uuid]) -> Result<Vec<PodReport>, SiteError> {
        let mut reports = Vec::with_capacity(uids.len());
        let mut open = Vec::new();
        {
            let jobs = self.jobs();
            for uid in uids {
                match jobs.get(uid) {
                    None => {}
                    Some(Job { stage: Stage::Ended(report), .. }) => reports.push((**report).clone()),
                    Some(job) if job.is_active() => open.push(*uid),
                    Some(job) => reports.push(job.outlook(*uid, self.system.name())),
                }
            }
        }
        let seen =
            match self.place.look(open.clone()).await {
                Ok(seen) => seen,
                // A site that cannot be reached has not lost its pods.
                Err(PlaceError::Unreachable(why)) => {
                    let jobs = self.jobs();
                    let known = open.iter().filter_map(|uid| Some(jobs.get(uid)?.outlook(*uid, self.system.name())));
                    reports.extend(known.map(|report| PodReport {
                        message: Some(format!("the site cannot be reached: {why}")),
                        ..report
                    }));
                    return Ok(reports);
                }
                Err(error) => return Err(error.into()),
            };
        for one in seen {
            let uid = one.uid;
            open.retain(|other| *other != uid);
            let state = one.state.clone();
            if one.exit.is_some() {
                self.take(one).await?;
            }
            let jobs = self.jobs();
            let Some(job) = jobs.get(&uid) else { continue };
            reports.push(match (&job.stage, state) {
                (Stage::Ended(report), _) => (**report).clone(),
                (_, Some(state)) => state,
                (_, None) => job.outlook(uid, self.system.name()),
            });
        }
        let jobs = self.jobs();
        reports.extend(open.iter().filter_map(|uid| Some(jobs.get(uid)?.outlook(*uid, self.system.name()))));
        Ok(reports)
    }

    async fn log(&self, uid: Uuid, container: Option<&str>, from: u64) -> Result<LogChunk, SiteError> {
        let (names, first, ended) = {
            let jobs = self.jobs();
            let job = jobs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            let named = |list: &[crate::pod::ContainerPlan]| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
            match &job.stage {
                Stage::Prepared => return Ok(LogChunk::default()),
                Stage::Unsure(record) | Stage::Queued(record) => {
                    let (inits, mains) = (named(&record.plan.init_containers), named(&record.plan.containers));
                    (inits.iter().chain(&mains).cloned().collect::<Vec<_>>(), mains.first().cloned(), false)
                }
                Stage::Ended(report) => {
                    let all = report.init_containers.iter().chain(&report.containers).map(|c| c.name.clone());
                    (all.collect(), report.containers.first().map(|c| c.name.clone()), true)
                }
            }
        };
        let wanted = match container {
            Some(name) => names.into_iter().find(|known| known == name),
            None => first,
        };
        let Some(container) = wanted else {
            return Err(SiteError::Refused(format!("pod {uid} has no container {}", container.unwrap_or_default())));
        };
        match self.place.ask(Order::Log { uid, container, from }, Vec::new()).await {
            Ok((Reply::Log { lines, next, all }, text)) => {
                let mut rest = &text[..];
                let mut chunk = LogChunk { lines: Vec::with_capacity(lines.len()), next, complete: ended && all };
                for (at, length) in lines {
                    let (line, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    chunk.lines.push(LogLine { at, text: line.to_vec() });
                    rest = after;
                }
                Ok(chunk)
            }
            Ok((other, _)) => Err(unexpected(&other).into()),
            // Before its job has begun there is no folder of logs.
            Err(PlaceError::Failed(_)) if !ended => Ok(LogChunk { next: from, ..LogChunk::default() }),
            Err(error) => Err(error.into()),
        }
    }

    async fn capacity(&self) -> Capacity {
        let known = || self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let (cpu_millis, memory_bytes) = match self.system.nodes().await {
            Ok(nodes) => {
                *known() = nodes;
                nodes
            }
            Err(error) => {
                tracing::warn!(site = self.settings.name, %error, "cannot ask for the nodes of the site");
                *known()
            }
        };
        let running = self.jobs().values().filter(|job| job.is_active()).count() as u64;
        Capacity {
            cpu_millis,
            memory_bytes,
            pods: self.settings.max_pods,
            pods_running: running,
            ..Capacity::default()
        }
    }
}

impl Site for BatchSite {
    fn name(&self) -> &str {
        &self.inner.settings.name
    }

    fn capabilities(&self) -> Capabilities {
        let sandbox = match self.inner.settings.walls {
            WallsSetting::None => Sandbox::None { why: "its jobs run as the site's own account".into() },
            // It hides where munge usually is, but a site may have it elsewhere, and whoever reaches it is the site's account.
            WallsSetting::UserNamespace => Sandbox::None {
                why: "a pod in a user namespace may reach the batch system as the site's own account".into(),
            },
            WallsSetting::OtherUser => Sandbox::OtherUser { landlock: false },
        };
        let images: &[&str] = if self.inner.settings.container.is_some() { &["*"] } else { &[HOST] };
        Capabilities { sandbox, suspend: self.inner.suspends(), sessions: self.inner.sessions(), images }
    }

    fn capacity(&self) -> Answer<'_, Capacity> {
        Box::pin(async { Ok(self.inner.capacity().await) })
    }

    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging> {
        Box::pin(self.inner.prepare(uid))
    }

    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(self.inner.submit(plan))
    }

    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>> {
        Box::pin(self.inner.status(uids))
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
