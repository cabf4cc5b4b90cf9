//! The site: notes first, then the other place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_http::{CertifiedClient, TlsFiles};
use dte_protocol_interlink::{InterlinkClient, InterlinkError, PodCreateRequests, RawPod, Side};
use http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use url::Url;
use uuid::Uuid;

use super::notes::{Note, Notes};
use super::{InterlinkConfig, base_of, logs, news, poll, refuse, unused_tls};
use crate::logs::LogChunk;
use crate::pod::{PodPlan, is_dns_label};
use crate::quantity::Quantity;
use crate::report::{Phase, PodReport};
use crate::site::{Answer, Cancellation, Capabilities, Capacity, Sandbox, Site, SiteContext, SiteError, Staging};

/// Ends that a busy receiver may have unread; it then asks.
const UNREAD: usize = 1_024;
/// How long an answer to a ping counts.
const PING_COUNTS: Duration = Duration::from_secs(10);
/// A ping must not hold up whoever wants to know the capacity.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// How often the place is asked to forget a pod before we forget it alone.
const FORGET_TRIES: u32 = 3;

/// Another place that speaks interLink.
pub struct InterlinkSite {
    inner: Arc<Inner>,
}

/// What the site and its poller share.
pub(super) struct Inner {
    pub(super) config: InterlinkConfig,
    base: Url,
    client: CertifiedClient,
    pub(super) notes: Notes,
    /// Questions of an earlier process did not name the pods of this one.
    opened: Timestamp,
    pods: Mutex<HashMap<Uuid, Entry>>,
    ended: broadcast::Sender<Uuid>,
    turns: Semaphore,
    pinged: Mutex<Option<(Instant, Capacity)>>,
    forgetting: Mutex<HashMap<Uuid, u32>>,
}

/// A client, and the right to use it now.
pub(super) struct Turn<'a> {
    client: InterlinkClient,
    _permit: SemaphorePermit<'a>,
}

impl std::ops::Deref for Turn<'_> {
    type Target = InterlinkClient;
    fn deref(&self) -> &InterlinkClient {
        &self.client
    }
}

/// One pod.
pub(super) struct Entry {
    pub(super) note: Note,
    pub(super) latest: PodReport,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InterlinkSite {
    /// Reads the notes of pods that were there when the engine last stopped, and begins to ask for them.
    pub async fn open(config: InterlinkConfig, context: &SiteContext) -> Result<Arc<Self>, SiteError> {
        let bad = |text: String| SiteError::Configuration(format!("interlink site {:?}: {text}", config.name));
        if !is_dns_label(&config.name) {
            return Err(bad("its name must be a DNS label".into()));
        }
        let base = base_of(&config.url).map_err(bad)?;
        for (key, text) in [("cpu", &config.cpu), ("memory", &config.memory)] {
            if Quantity::parse(text).is_none() {
                return Err(bad(format!("{key} {text:?} is not a quantity")));
            }
        }
        let nowhere = Url::parse("http://localhost").map_err(|error| bad(error.to_string()))?;
        if config.certificate.is_some() != config.key.is_some() {
            return Err(bad("certificate and key go together".into()));
        }
        if let Some(why) = unused_tls(&config, &base) {
            return Err(bad(why));
        }
        let files = TlsFiles { roots: config.ca.clone(), identity: config.certificate.clone().zip(config.key.clone()) };
        let client = CertifiedClient::new(nowhere, files).map_err(|error| bad(error.to_string()))?;
        let notes = Notes::open(context.data_dir.join("interlink").join(&config.name))?;
        let mut pods = HashMap::new();
        for (uid, note) in notes.all()? {
            let latest = note.report.clone().unwrap_or_else(|| news::waiting(uid, &note.pod, "Unknown"));
            pods.insert(uid, Entry { note, latest });
        }
        let inner = Arc::new(Inner {
            client,
            turns: Semaphore::new(config.at_once.clamp(1, Semaphore::MAX_PERMITS)),
            config,
            base,
            notes,
            opened: Timestamp::now(),
            pods: Mutex::new(pods),
            ended: broadcast::channel(UNREAD).0,
            pinged: Mutex::default(),
            forgetting: Mutex::default(),
        });
        context.tasks.spawn("compute.interlink", poll::run(Arc::clone(&inner), context.tasks.clone()));
        Ok(Arc::new(InterlinkSite { inner }))
    }
}

impl Inner {
    /// A client with the token of this moment, when it is our turn.
    pub(super) async fn client(&self) -> Result<Turn<'_>, SiteError> {
        let permit = self.turns.acquire().await;
        let permit = permit.map_err(|error| SiteError::io(self.config.url.clone())(std::io::Error::other(error)))?;
        let token = match &self.config.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(SiteError::io(path.display().to_string()))?;
                Some(Secret::new(text.trim().to_owned()))
            }
            None => None,
        };
        let client = self
            .client
            .client()
            .map_err(|error| SiteError::io(self.config.url.clone())(std::io::Error::other(error)))?;
        let client = InterlinkClient::new(client, &self.base, token).on_side(self.config.side);
        Ok(Turn { client, _permit: permit })
    }

    pub(super) fn away(&self, error: InterlinkError) -> SiteError {
        SiteError::Io { what: self.config.url.clone(), source: std::io::Error::other(error.to_string()) }
    }

    /// Pods that have not ended, also those of which nobody knows whether they were taken. Every question names all of them:
    /// a plugin that repeats its last answer for a while would otherwise never say anything of some.
    pub(super) fn unended(&self) -> Vec<(Uuid, RawPod)> {
        let pods = locked(&self.pods);
        let unended = pods.iter().filter(|(_, entry)| entry.note.report.is_none());
        unended.map(|(uid, entry)| (*uid, asked_for(entry))).collect()
    }

    pub(super) fn with<T>(&self, uid: Uuid, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        locked(&self.pods).get_mut(&uid).map(look)
    }

    /// Takes in what the place says. An end is kept on disk before anybody hears of it.
    pub(super) fn learn(&self, uid: Uuid, report: PodReport) -> Result<(), SiteError> {
        let note = self.with(uid, |entry| {
            if entry.note.report.is_some() {
                return None;
            }
            entry.latest = report.clone();
            report.phase.is_terminal().then(|| Note { report: Some(report), ..entry.note.clone() })
        });
        let Some(note) = note.flatten() else { return Ok(()) };
        self.notes.save(uid, &note)?;
        self.with(uid, |entry| entry.note = note);
        // Nobody listens when no pod is waited for.
        drop(self.ended.send(uid));
        Ok(())
    }

    fn save(&self, uid: Uuid, note: Note, latest: PodReport) -> Result<(), SiteError> {
        self.notes.save(uid, &note)?;
        locked(&self.pods).insert(uid, Entry { note, latest });
        Ok(())
    }

    /// Whether the place has a pod of this UID; what it calls it. The pod comes first: some look at no other.
    async fn find(&self, uid: Uuid, pod: &RawPod) -> Result<Option<String>, SiteError> {
        let mut asked = vec![pod.clone()];
        if self.config.together != Some(false) {
            asked.extend(self.unended().into_iter().filter(|(other, _)| *other != uid).map(|(_, pod)| pod));
        }
        let answer = match self.client().await?.status(&asked).await {
            Ok(answer) => answer,
            Err(InterlinkError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
            Err(error) => return Err(self.away(error)),
        };
        let ours = answer.into_iter().find(|status| status.uid == pod.uid());
        Ok(ours.filter(|status| !status.jid.is_empty() || news::says_something(status)).map(|status| status.jid))
    }

    /// The same when it matters: asked until an answer is certainly younger than the last hand-over, and once more, because the
    /// place may have been slow to take the pod.
    async fn find_surely(&self, uid: Uuid, pod: &RawPod, asked: Timestamp) -> Result<Option<String>, SiteError> {
        let since = Timestamp::now().since(asked.max(self.opened));
        for wait in [Duration::ZERO, self.config.settle.0.saturating_sub(since), self.config.settle.0] {
            tokio::time::sleep(wait).await;
            // Whoever asks for all pods may have seen it meanwhile.
            let noticed = self.with(uid, |entry| entry.note.job.clone()).flatten();
            if let Some(job) = noticed {
                return Ok(Some(job));
            }
            if let Some(job) = self.find(uid, pod).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// The place spoke of a pod of which it was not known whether it had been taken.
    pub(super) fn noticed(&self, uid: Uuid, job: &str) -> Result<(), SiteError> {
        let is_new = self.with(uid, |entry| entry.note.job.is_none()) == Some(true);
        if is_new { self.taken(uid, job.to_owned()) } else { Ok(()) }
    }

    async fn submit(&self, request: &PodCreateRequests, uid: Uuid) -> Result<(), SiteError> {
        if let Some(why) = refuse::objection(&request.pod, &self.config.annotations) {
            return Err(SiteError::Refused(why));
        }
        let known = self.with(uid, |entry| entry.note.clone());
        let asked = match known {
            Some(note) if note.job.is_some() || note.report.is_some() => return Ok(()),
            Some(note) => note.asked,
            None => return self.hand_over(request, uid).await,
        };
        // It may be there already: the engine, the line or the place broke off while it was handed over.
        match self.find_surely(uid, &request.pod, asked).await? {
            Some(job) => self.taken(uid, job),
            None => self.hand_over(request, uid).await,
        }
    }

    /// Notes that the pod goes there now, and lets it go.
    async fn hand_over(&self, request: &PodCreateRequests, uid: Uuid) -> Result<(), SiteError> {
        let note = Note { pod: request.pod.without_secrets(), asked: Timestamp::now(), job: None, report: None };
        self.save(uid, note, news::waiting(uid, &request.pod, "Submitting"))?;
        match self.client().await?.create(request).await {
            Ok(answer) if answer.pod_uid.is_empty() || answer.pod_uid == request.pod.uid() => {
                self.taken(uid, answer.pod_jid)
            }
            Ok(answer) => Err(self.away(InterlinkError::Odd(format!("it answers for pod {}", answer.pod_uid)))),
            Err(InterlinkError::Refused { status, text }) if !may_have_taken(status) => {
                self.notes.withdraw(uid)?;
                locked(&self.pods).remove(&uid);
                Err(SiteError::Refused(format!("{} says {status}: {text}", self.config.name)))
            }
            Err(error) => Err(self.away(error)),
        }
    }

    fn taken(&self, uid: Uuid, job: String) -> Result<(), SiteError> {
        let known = self.with(uid, |entry| (entry.note.clone(), entry.latest.clone()));
        let Some((note, latest)) = known else { return Err(SiteError::Unknown(uid)) };
        let latest = if note.job.is_some() { latest } else { news::waiting(uid, &note.pod, "Queued") };
        self.save(uid, Note { job: Some(job), ..note }, latest)
    }

    async fn cancel(&self, uid: Uuid, reason: &str) -> Result<(), SiteError> {
        let found = self.with(uid, |entry| (entry.note.clone(), asked_for(entry), entry.latest.clone()));
        let Some((note, pod, latest)) = found else { return Err(SiteError::Unknown(uid)) };
        if note.report.is_some() {
            return Ok(());
        }
        if note.job.is_some() || self.find(uid, &pod).await?.is_some() {
            logs::keep(self, uid, &pod).await;
            match self.client().await?.delete(&pod).await {
                Ok(_) => {}
                Err(InterlinkError::Refused { status, text }) if !may_have_taken(status) => {
                    tracing::info!(%uid, %status, text, "a pod to be ended is not there");
                }
                Err(error) => return Err(self.away(error)),
            }
        }
        self.learn(uid, news::ended(&latest, reason))
    }

    async fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        let Some((note, pod)) = self.with(uid, |entry| (entry.note.clone(), asked_for(entry))) else {
            return self.notes.remove(uid);
        };
        if note.report.is_none() {
            return Err(SiteError::Refused(format!("pod {uid} has not ended")));
        }
        if let Err(error) = self.client().await?.delete(&pod).await {
            let tries = *locked(&self.forgetting).entry(uid).and_modify(|tries| *tries += 1).or_insert(1);
            if matches!(error, InterlinkError::Http(_)) && tries < FORGET_TRIES {
                return Err(self.away(error));
            }
            tracing::info!(%uid, %error, "the other place does not say that it forgot a pod");
        }
        self.notes.remove(uid)?;
        locked(&self.forgetting).remove(&uid);
        locked(&self.pods).remove(&uid);
        Ok(())
    }

    async fn capacity(&self) -> Capacity {
        if let Some((at, known)) = &*locked(&self.pinged)
            && at.elapsed() < PING_COUNTS
        {
            return Capacity { pods_running: self.count(), ..known.clone() };
        }
        let amount =
            |text: Option<&str>, usual: &str| text.and_then(Quantity::parse).or_else(|| Quantity::parse(usual));
        let ping = async { self.client().await?.ping().await.map_err(|error| self.away(error)) };
        let said = match tokio::time::timeout(PING_LIMIT, ping).await {
            Ok(Ok(answer)) => answer.and_then(|answer| answer.resources),
            Ok(Err(error)) => {
                tracing::info!(site = self.config.name, %error, "a site does not answer a ping");
                None
            }
            Err(_) => None,
        };
        let said = said.unwrap_or_default();
        let pods = said.pods.as_deref().and_then(|text| text.parse::<u64>().ok());
        let capacity = Capacity {
            cpu_millis: amount(said.cpu.as_deref(), &self.config.cpu).map_or(0, |cpu| cpu.millis()),
            memory_bytes: amount(said.memory.as_deref(), &self.config.memory).map_or(0, |memory| memory.units()),
            pods: pods.map_or(self.config.pods, |pods| pods.min(self.config.pods)),
            pods_running: self.count(),
            ..Capacity::default()
        };
        *locked(&self.pinged) = Some((Instant::now(), capacity.clone()));
        capacity
    }

    fn count(&self) -> u64 {
        locked(&self.pods).values().filter(|entry| entry.note.report.is_none()).count() as u64
    }
}

/// The pod as the place is to be asked for it: one that is not over.
fn asked_for(entry: &Entry) -> RawPod {
    let mut pod = entry.note.pod.clone();
    pod.set_status("phase", if entry.latest.phase == Phase::Running { "Running" } else { "Pending" });
    pod
}

/// Whether a refusal may come from something between us and the place, so that the place may have acted.
fn may_have_taken(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::UNAUTHORIZED
    )
}

impl Site for InterlinkSite {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn capabilities(&self) -> Capabilities {
        let config = &self.inner.config;
        let what = if config.side == Side::Plugin { "the plugin" } else { "the interLink server" };
        let sandbox = if config.open {
            Sandbox::Elsewhere { who: format!("{what} at {}", config.url) }
        } else {
            Sandbox::None { why: format!("{what} at {} runs all pods as one user; open = true trusts it", config.url) }
        };
        Capabilities { sandbox, suspend: false, sessions: &[], images: &["*"] }
    }

    fn stages_data(&self) -> bool {
        false
    }

    fn capacity(&self) -> Answer<'_, Capacity> {
        Box::pin(async move { Ok(self.inner.capacity().await) })
    }

    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging> {
        Box::pin(async move { self.inner.notes.prepare(uid) })
    }

    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(async move {
            let text = format!("pod {}: this site needs the pod as it came, not a plan of it", plan.uid);
            Err(SiteError::Refused(text))
        })
    }

    fn submit_request<'a>(&'a self, request: &'a PodCreateRequests, plan: &'a PodPlan) -> Answer<'a, ()> {
        Box::pin(self.inner.submit(request, plan.uid))
    }

    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>> {
        let known = uids.iter().filter_map(|uid| self.inner.with(*uid, |entry| entry.latest.clone())).collect();
        Box::pin(std::future::ready(Ok(known)))
    }

    fn ended(&self) -> broadcast::Receiver<Uuid> {
        self.inner.ended.subscribe()
    }

    fn log<'a>(&'a self, uid: Uuid, container: Option<&'a str>, from: u64) -> Answer<'a, LogChunk> {
        Box::pin(logs::read(&self.inner, uid, container, from))
    }

    fn cancel<'a>(&'a self, uid: Uuid, how: &'a Cancellation) -> Answer<'a, ()> {
        Box::pin(self.inner.cancel(uid, &how.reason))
    }

    fn remove(&self, uid: Uuid) -> Answer<'_, ()> {
        Box::pin(self.inner.remove(uid))
    }
}
