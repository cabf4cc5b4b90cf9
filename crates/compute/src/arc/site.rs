//! The site itself, as the engine sees it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, broadcast};
use uuid::Uuid;

use super::rest::{Rest, RestError};
use super::{ArcConfig, logs, poll};
use crate::batch::index::Index;
use crate::batch::runtime::HOST;
use crate::batch::state::JobState;
use crate::host::outcome::Outcome;
use crate::logs::LogChunk;
use crate::pod::PodPlan;
use crate::quantity::Quantity;
use crate::report::PodReport;
use crate::site::{Answer, Cancellation, Capabilities, Capacity, Sandbox, Site, SiteContext, SiteError, Staging};

/// Ends that a slow receiver may have unread; it then asks.
const UNREAD: usize = 16_384;
/// Outcomes that are brought home at once: computing elements serve few files at a time.
const SETTLED_AT_ONCE: usize = 4;

/// A computing element.
pub struct ArcSite {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub config: ArcConfig,
    pub rest: Rest,
    pub index: Index<Record>,
    pub pods: Mutex<HashMap<Uuid, Entry>>,
    /// Pods that are being handed over, or whose outcome is being brought home.
    pub busy: Arc<Mutex<HashSet<Uuid>>>,
    /// So many outcomes are brought home at once.
    pub settling: Semaphore,
    /// One reader of logs fetches at a time.
    pub log_turn: tokio::sync::Mutex<()>,
    pub wake: Notify,
    pub ended: broadcast::Sender<Uuid>,
    pub tasks: Tasks,
}

/// What is remembered of a pod that has a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its containers, without what may be secret.
    pub plan: PodPlan,
    pub job: String,
    /// All its files are there: it may run.
    pub is_complete: bool,
    /// Why it shall end.
    pub cancelled: Option<String>,
}

/// One pod.
pub(super) struct Entry {
    /// None: its folder is there, and nothing else.
    pub record: Option<Record>,
    /// Its outcome, or how it goes by its own words.
    pub said: Option<PodReport>,
    pub is_over: bool,
    /// The computing element's word for where the job is.
    pub state: String,
    /// Looks in a row in which the computing element did not have the job.
    pub missing: u32,
    /// Times that its files could not be brought home, by its own fault.
    pub failures: u32,
    /// When its session folder was looked at.
    pub looked: Option<Instant>,
    /// When its logs were fetched.
    pub fetched: Option<Instant>,
}

impl Entry {
    fn new(record: Option<Record>, exit: Option<PodReport>) -> Entry {
        let is_over = exit.is_some();
        Entry {
            record,
            said: exit,
            is_over,
            state: String::new(),
            missing: 0,
            failures: 0,
            looked: None,
            fetched: None,
        }
    }

    pub fn is_active(&self) -> bool {
        self.record.is_some() && !self.is_over
    }

    /// How it goes: what it says itself, else what the computing element says of its job.
    fn report(&self) -> Option<PodReport> {
        if let Some(said) = &self.said {
            return Some(said.clone());
        }
        let record = self.record.as_ref()?;
        let mut report = Outcome::new(&record.plan, Timestamp::now()).state();
        report.started = None;
        let is_waiting = matches!(super::wire::state_of(&self.state), JobState::Waiting | JobState::Other);
        if is_waiting && !self.state.is_empty() {
            let words = self.state.to_ascii_lowercase();
            let mut letters = words.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            report.reason = Some(format!("Arc{}{}", first.into_iter().collect::<String>(), letters.as_str()));
            report.message = Some(format!("job {} is {words} at the computing element", record.job));
        }
        Some(report)
    }
}

/// Says that something is being done with a pod, until dropped.
pub(super) struct Turn {
    busy: Arc<Mutex<HashSet<Uuid>>>,
    uid: Uuid,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uid);
    }
}

impl ArcSite {
    /// Opens the site and goes on with the pods that it had. A computing element that cannot be reached now is opened too.
    pub async fn open(config: ArcConfig, context: &SiteContext) -> Result<Arc<Self>, SiteError> {
        config.check()?;
        let failed = || SiteError::io(format!("the folder of site {}", config.name));
        let index = Index::open(context.data_dir.join("sites").join(&config.name)).map_err(failed())?;
        let all = index.all().map_err(failed())?;
        let pods = all.into_iter().map(|pod| (pod.uid, Entry::new(pod.record, pod.exit))).collect();
        let inner = Arc::new(Inner {
            rest: Rest::new(&config)?,
            config,
            index,
            pods: Mutex::new(pods),
            busy: Arc::default(),
            settling: Semaphore::new(SETTLED_AT_ONCE),
            log_turn: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            ended: broadcast::channel(UNREAD).0,
            tasks: context.tasks.clone(),
        });
        context.tasks.spawn("jobs of a computing element", poll::run(inner.clone()));
        Ok(Arc::new(ArcSite { inner }))
    }
}

impl Inner {
    pub fn pods(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: somebody else is at it.
    pub fn turn(&self, uid: Uuid) -> Option<Turn> {
        let is_first = self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
        is_first.then(|| Turn { busy: self.busy.clone(), uid })
    }

    pub fn away(&self, error: &RestError) -> SiteError {
        let what = format!("the computing element of site {}", self.config.name);
        SiteError::Io { what, source: std::io::Error::other(error.to_string()) }
    }

    pub fn folder_failed(&self, uid: Uuid) -> impl FnOnce(std::io::Error) -> SiteError + use<> {
        SiteError::io(format!("the folder of pod {uid}"))
    }

    pub fn log_folder(&self, uid: Uuid) -> PathBuf {
        self.index.folder(uid).join(super::description::LOGS)
    }

    pub fn note(&self, uid: Uuid, record: &Record) -> Result<(), SiteError> {
        self.index.save(uid, record).map_err(self.folder_failed(uid))?;
        let mut pods = self.pods();
        pods.entry(uid).or_insert_with(|| Entry::new(None, None)).record = Some(record.clone());
        Ok(())
    }

    fn prepare(&self, uid: Uuid) -> Result<Staging, SiteError> {
        self.index.create(uid).map_err(self.folder_failed(uid))?;
        self.pods().entry(uid).or_insert_with(|| Entry::new(None, None));
        Ok(Staging { inputs: self.index.inputs(uid), outputs: self.index.outputs(uid) })
    }

    /// Tells the computing element to end the job. How it ended is brought home like any end.
    async fn cancel(&self, uid: Uuid, how: &Cancellation) -> Result<(), SiteError> {
        let mut record = match self.pods().get(&uid) {
            None => return Err(SiteError::Unknown(uid)),
            Some(entry) if !entry.is_active() => return Ok(()),
            Some(entry) => entry.record.clone().ok_or(SiteError::Unknown(uid))?,
        };
        if record.cancelled.is_none() {
            record.cancelled = Some(how.reason.clone());
            self.note(uid, &record)?;
        }
        if !record.is_complete {
            // It waits for files that will not come.
            let Some(_turn) = self.turn(uid) else { return Err(SiteError::Busy(self.config.name.clone())) };
            self.rest.act("kill", &[&record.job]).await.map_err(|error| self.away(&error))?;
            return self.conclude(uid, &record, JobState::Cancelled).await;
        }
        self.wake.notify_one();
        self.rest.act("kill", &[&record.job]).await.map(drop).map_err(|error| self.away(&error))
    }

    async fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        let job = match self.pods().get(&uid) {
            None => return Ok(()),
            Some(entry) if entry.is_active() => return Err(SiteError::Refused(format!("pod {uid} still runs"))),
            Some(entry) => entry.record.as_ref().map(|record| record.job.clone()),
        };
        if let Some(job) = job {
            self.rest.act("clean", &[&job]).await.map_err(|error| self.away(&error))?;
        }
        self.index.remove(uid).map_err(self.folder_failed(uid))?;
        self.pods().remove(&uid);
        Ok(())
    }

    fn capacity(&self) -> Capacity {
        let amount = |text: &str| Quantity::parse(text);
        Capacity {
            cpu_millis: amount(&self.config.cpu).map_or(0, Quantity::millis),
            memory_bytes: amount(&self.config.memory).map_or(0, Quantity::units),
            pods: self.config.pods,
            pods_running: self.pods().values().filter(|entry| entry.is_active()).count() as u64,
            extended: BTreeMap::new(),
            extended_free: BTreeMap::new(),
        }
    }
}

impl Site for ArcSite {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn capabilities(&self) -> Capabilities {
        let images: &[&str] = if self.inner.config.container.is_some() { &["*"] } else { &[HOST] };
        let why = "its jobs run as the account that the computing element maps the engine to";
        Capabilities { sandbox: Sandbox::None { why: why.into() }, suspend: false, sessions: &[], images }
    }

    fn capacity(&self) -> Answer<'_, Capacity> {
        Box::pin(async { Ok(self.inner.capacity()) })
    }

    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging> {
        Box::pin(async move { self.inner.prepare(uid) })
    }

    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(self.inner.submit(plan))
    }

    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>> {
        let pods = self.inner.pods();
        let blank = |uid: &Uuid| Outcome::new(&PodPlan { uid: *uid, ..PodPlan::default() }, Timestamp::now()).state();
        let of = |uid: &Uuid| pods.get(uid).map(|entry| entry.report().unwrap_or_else(|| blank(uid)));
        let known = uids.iter().filter_map(of).collect();
        Box::pin(std::future::ready(Ok(known)))
    }

    fn ended(&self) -> broadcast::Receiver<Uuid> {
        self.inner.ended.subscribe()
    }

    fn log<'a>(&'a self, uid: Uuid, container: Option<&'a str>, from: u64) -> Answer<'a, LogChunk> {
        Box::pin(logs::read(&self.inner, uid, container, from))
    }

    fn cancel<'a>(&'a self, uid: Uuid, how: &'a Cancellation) -> Answer<'a, ()> {
        Box::pin(self.inner.cancel(uid, how))
    }

    fn remove(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(self.inner.remove(uid))
    }
}
