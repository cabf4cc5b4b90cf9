//! The site itself, as the engine sees it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dte_base::tasks::Tasks;
use dte_protocol_interlink::PodCreateRequests;
use k8s_openapi::api::core::v1 as core;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::object::{self, name_of};
use super::tail::Marks;
use super::{KubernetesConfig, capacity, exec, logs, news, watch};
use crate::batch::index::Index;
use crate::exec::{ExecOrder, ExecSession};
use crate::logs::LogChunk;
use crate::pod::PodPlan;
use crate::report::PodReport;
use crate::site::{Answer, Cancellation, Capabilities, Capacity, Sandbox, Site, SiteContext, SiteError, Staging};

/// Ends that a busy receiver may have unread; it then asks.
const UNREAD: usize = 16_384;

/// Another cluster.
pub struct KubernetesSite {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub config: KubernetesConfig,
    pub client: Client,
    pub index: Index<Note>,
    pub pods: Mutex<HashMap<Uuid, Entry>>,
    /// Pods whose outcome is being brought home right now.
    pub settling: Mutex<HashSet<Uuid>>,
    /// Pods whose logs are being followed to their end, and how many of them.
    pub following: Mutex<HashMap<Uuid, usize>>,
    /// Where readers of logs stand.
    pub marks: Mutex<HashMap<Uuid, Marks>>,
    pub capacity: Mutex<Option<(Instant, Capacity)>>,
    pub ended: broadcast::Sender<Uuid>,
    pub tasks: Tasks,
}

/// What is remembered of a pod that was, or was about to be, made in the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// How it was when it was handed over: its containers, waiting.
    pub blank: PodReport,
    /// The cluster has it. Else it may have it or not.
    pub taken: bool,
    /// Why it shall end.
    pub cancelled: Option<String>,
    /// What it has of extended resources.
    #[serde(default)]
    pub extended: std::collections::BTreeMap<String, u64>,
}

/// One pod.
pub(super) struct Entry {
    /// None: its folder is there, and nothing else.
    pub note: Option<Note>,
    pub latest: Option<PodReport>,
    pub is_over: bool,
    /// Since when it waits for something that seldom comes.
    pub stuck_since: Option<Instant>,
    /// The cluster was told to delete it; when its grace is over by the cluster's clock, in seconds.
    pub deleted_at: Option<i64>,
    pub is_scheduled: bool,
}

impl Entry {
    fn new(note: Option<Note>, exit: Option<PodReport>) -> Entry {
        let is_over = exit.is_some();
        let latest = exit.or_else(|| note.as_ref().map(|note| note.blank.clone()));
        Entry { note, latest, is_over, stuck_since: None, deleted_at: None, is_scheduled: false }
    }

    pub fn is_active(&self) -> bool {
        self.note.is_some() && !self.is_over
    }
}

impl KubernetesSite {
    /// Opens the site and goes on with the pods that it had. A cluster that cannot be reached now is opened too.
    pub async fn open(config: KubernetesConfig, context: &SiteContext) -> Result<Arc<Self>, SiteError> {
        config.check()?;
        let bad = |text: String| SiteError::Configuration(format!("site {}: {text}", config.name));
        let reached = match &config.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file).map_err(|error| bad(format!("kubeconfig: {error}")))?;
                let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .map_err(|error| bad(format!("kubeconfig: {error}")))
            }
            None => Config::infer().await.map_err(|error| bad(format!("no kubeconfig: {error}"))),
        }?;
        let client = Client::try_from(reached).map_err(|error| bad(format!("kubeconfig: {error}")))?;
        let index = Index::open(context.data_dir.join("sites").join(&config.name))
            .map_err(SiteError::io(format!("the folder of site {}", config.name)))?;
        let all = index.all().map_err(SiteError::io(format!("the folder of site {}", config.name)))?;
        let pods = all.into_iter().map(|pod| (pod.uid, Entry::new(pod.record, pod.exit))).collect();
        let inner = Arc::new(Inner {
            config,
            client,
            index,
            pods: Mutex::new(pods),
            settling: Mutex::default(),
            following: Mutex::default(),
            marks: Mutex::default(),
            capacity: Mutex::default(),
            ended: broadcast::channel(UNREAD).0,
            tasks: context.tasks.clone(),
        });
        context.tasks.spawn("a cluster's pods", watch::run(inner.clone()));
        Ok(Arc::new(KubernetesSite { inner }))
    }
}

/// The HTTP status of a refusal by the API server.
pub(super) fn refused_with(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

impl Inner {
    pub fn pods(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn following(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn marks(&self) -> MutexGuard<'_, HashMap<Uuid, Marks>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn api(&self) -> Api<core::Pod> {
        Api::namespaced(self.client.clone(), &self.config.namespace)
    }

    fn secrets(&self) -> Api<core::Secret> {
        Api::namespaced(self.client.clone(), &self.config.namespace)
    }

    pub fn away(&self, error: &kube::Error) -> SiteError {
        let what = format!("the cluster of site {}", self.config.name);
        SiteError::Io { what, source: std::io::Error::other(error.to_string()) }
    }

    fn note(&self, uid: Uuid, note: &Note) -> Result<(), SiteError> {
        self.index.save(uid, note).map_err(SiteError::io(format!("the note of pod {uid}")))?;
        let mut pods = self.pods();
        let entry = pods.entry(uid).or_insert_with(|| Entry::new(None, None));
        if entry.latest.is_none() {
            entry.latest = Some(note.blank.clone());
        }
        entry.note = Some(note.clone());
        Ok(())
    }

    async fn submit(&self, request: &PodCreateRequests, plan: &PodPlan) -> Result<(), SiteError> {
        let uid = plan.uid;
        let known = self.pods().get(&uid).and_then(|entry| entry.note.clone().map(|note| (note, entry.is_over)));
        if known.as_ref().is_some_and(|(note, is_over)| *is_over || note.taken) {
            return Ok(());
        }
        let given: core::Pod = serde_json::from_value(request.pod.0.clone())
            .map_err(|error| SiteError::Refused(format!("the pod is not one that Kubernetes knows: {error}")))?;
        let made = object::make(&self.config, &given, plan).map_err(SiteError::Refused)?;
        if known.is_none() && self.pods().values().filter(|entry| entry.is_active()).count() as u64 >= self.config.pods
        {
            return Err(SiteError::Busy(self.config.name.clone()));
        }
        self.index.create(uid).map_err(SiteError::io(format!("the folder of pod {uid}")))?;
        let extended = plan.extended().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let mut note = Note { blank: news::report_of(uid, &made.pod), taken: false, cancelled: None, extended };
        // From here on it may be there.
        self.note(uid, &note)?;
        if let Some(files) = &made.files {
            self.create(uid, self.secrets().create(&PostParams::default(), files).await)?;
        }
        // Its name is its own: if it is there already, an earlier try came through.
        self.create(uid, self.api().create(&PostParams::default(), &made.pod).await)?;
        note.taken = true;
        self.note(uid, &note)
    }

    /// "There already" means done. What the API server will never take is refused, and forgotten.
    fn create<T>(&self, uid: Uuid, answer: Result<T, kube::Error>) -> Result<(), SiteError> {
        let error = match answer {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match refused_with(&error) {
            Some(409) => Ok(()),
            // A quota is full, or the namespace goes away.
            Some(403 | 429) if error.to_string().contains("quota") => Err(SiteError::Busy(self.config.name.clone())),
            Some(code @ (400 | 403 | 404 | 413 | 422)) => {
                self.index.withdraw(uid).map_err(SiteError::io(format!("the note of pod {uid}")))?;
                self.pods().insert(uid, Entry::new(None, None));
                Err(SiteError::Refused(format!("the cluster of site {} says {code}: {error}", self.config.name)))
            }
            _ => Err(self.away(&error)),
        }
    }

    pub async fn cancel(self: &Arc<Self>, uid: Uuid, how: &Cancellation) -> Result<(), SiteError> {
        let mut note = match self.pods().get(&uid) {
            None => return Err(SiteError::Unknown(uid)),
            Some(entry) if !entry.is_active() => return Ok(()),
            Some(Entry { note: Some(note), .. }) => note.clone(),
            Some(_) => return Ok(()),
        };
        if note.cancelled.is_none() {
            note.cancelled = Some(how.reason.clone());
            self.note(uid, &note)?;
            let latest = self.pods().get(&uid).and_then(|entry| entry.latest.clone());
            if let Some(latest) = latest {
                logs::follow(self, uid, &latest).await;
            }
        }
        let grace = how.grace.map(|grace| u32::try_from(grace.as_secs()).unwrap_or(u32::MAX));
        let asked = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        match self.api().delete(&name_of(uid), &asked).await {
            Ok(_) => Ok(()),
            Err(error) if refused_with(&error) == Some(404) => self.conclude(uid, &how.reason, None).await,
            Err(error) => Err(self.away(&error)),
        }
    }

    async fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        match self.pods().get(&uid) {
            None => return Ok(()),
            Some(entry) if entry.is_active() => return Err(SiteError::Refused(format!("pod {uid} still runs"))),
            Some(_) => {}
        }
        self.release(uid).await?;
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let gone = [
            self.api().delete(&name_of(uid), &at_once).await.map(drop),
            self.secrets().delete(&name_of(uid), &DeleteParams::default()).await.map(drop),
        ];
        for answer in gone {
            if let Err(error) = answer
                && refused_with(&error) != Some(404)
            {
                return Err(self.away(&error));
            }
        }
        self.index.remove(uid).map_err(SiteError::io(format!("the folder of pod {uid}")))?;
        self.marks().remove(&uid);
        self.pods().remove(&uid);
        Ok(())
    }

    fn prepare(&self, uid: Uuid) -> Result<Staging, SiteError> {
        self.index.create(uid).map_err(SiteError::io(format!("the folder of pod {uid}")))?;
        self.pods().entry(uid).or_insert_with(|| Entry::new(None, None));
        Ok(Staging { inputs: self.index.inputs(uid), outputs: self.index.outputs(uid) })
    }
}

impl Site for KubernetesSite {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn capabilities(&self) -> Capabilities {
        let config = &self.inner.config;
        let sandbox = match config.open {
            true => Sandbox::Elsewhere { who: format!("namespace {} of another cluster", config.namespace) },
            false => {
                Sandbox::None { why: "it is not said that the cluster keeps pods apart; open = true trusts it".into() }
            }
        };
        Capabilities { sandbox, suspend: false, sessions: &["exec"], images: &["*"] }
    }

    fn stages_data(&self) -> bool {
        false
    }

    fn capacity(&self) -> Answer<'_, Capacity> {
        Box::pin(async move { Ok(capacity::of(&self.inner).await) })
    }

    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging> {
        Box::pin(async move { self.inner.prepare(uid) })
    }

    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(async move {
            let text = format!("pod {}: this site needs the pod as it came, not a plan of it", plan.uid);
            Err(SiteError::Refused(text))
        })
    }

    fn submit_request<'a>(&'a self, request: &'a PodCreateRequests, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(self.inner.submit(request, plan))
    }

    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>> {
        let pods = self.inner.pods();
        let known = uids.iter().filter_map(|uid| pods.get(uid)?.latest.clone()).collect();
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

    fn exec<'a>(&'a self, order: &'a ExecOrder) -> Answer<'a, ExecSession> {
        Box::pin(exec::begin(&self.inner, order))
    }

    fn remove(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(self.inner.remove(uid))
    }
}
