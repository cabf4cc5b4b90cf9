//! What the wire and the workers have in common.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_compute::Site;
use dte_http::Client;
use dte_identity::{Identity, OpenError, Principal, ServiceContext, Standing, UserRef};
use dte_protocol_interlink::PodCreateRequests;
use dte_protocol_rucio::{Did, LakeClient, LakeError};
use dte_storage::Storages;
use dte_store::Store;
use tokio::sync::{Semaphore, broadcast};
use url::Url;
use uuid::Uuid;

use crate::config::Settings;
use crate::model::failure::Failure;
use crate::model::volumes;
use crate::store::{self, PodRow, Queues};
use crate::work::cache::Cache;
use crate::work::followers::Followers;
use crate::work::place::RunTimes;
use crate::work::storage::{self, Direction};
use crate::work::tally::Tally;
use crate::work::turns::Turns;
use crate::{Service, work};

/// Cancellations that a busy worker may have unread; it then looks into the store.
const UNREAD: usize = 1_024;
/// Whole logs that are read at once.
const LOG_READERS: usize = 4;
/// Changes that a slow listener may have unread; it is then told to ask for all.
const UNHEARD: usize = 16_384;

pub struct Shared {
    pub store: Store,
    pub identity: Identity,
    pub client: Client,
    /// Storages by URL. The URLs come from the data lake, which anybody may run, so private addresses are refused.
    pub storages: Storages,
    pub settings: Settings,
    pub tasks: dte_base::tasks::Tasks,
    pub sites: Vec<Arc<dyn Site>>,
    /// Places at each site.
    pub places: HashMap<String, Turns>,
    pub staging: Turns,
    /// What people have.
    pub tally: Tally,
    /// Turns to read a whole log: each takes memory for as much as a container may write.
    pub log_readers: Semaphore,
    pub followers: Followers,
    pub run_times: RunTimes,
    pub cache: Cache,
    /// This process among those that share the store.
    pub node: String,
    pub queues: Queues,
    /// Pods that shall end.
    pub cancelled: broadcast::Sender<Uuid>,
    /// Pods that have just changed, for whoever wants to hear it.
    pub changed: broadcast::Sender<Uuid>,
    lake: Url,
}

impl Shared {
    pub async fn new(ctx: ServiceContext, settings: Settings, sites: Vec<Arc<dyn Site>>) -> Result<Self, OpenError> {
        let lake = match &settings.lake {
            Some(lake) => lake.clone(),
            None => ctx.url_of("/rucio").parse().map_err(OpenError::other)?,
        };
        let mut places = HashMap::new();
        for site in &sites {
            let capacity = site.capacity().await.map_err(OpenError::other)?;
            places.insert(site.name().to_owned(), Turns::new(usize::try_from(capacity.pods).unwrap_or(usize::MAX)));
        }
        let node = node_name(&ctx.data_dir)?;
        // One name for each process, for as long as it lives.
        let queues = Queues { run: format!("offload.run.{node}").leak(), clean: Queues::clean_of(&node).leak() };
        Ok(Shared {
            storages: Storages::new(ctx.client.untrusted()),
            run_times: RunTimes::default(),
            staging: Turns::new(settings.parallel_staging.max(1)),
            tally: Tally::new(store::alive(&ctx.store).await?),
            log_readers: Semaphore::new(LOG_READERS),
            followers: Followers::default(),
            cache: Cache::open(&ctx.data_dir.join("cache"), settings.cache_limit)?,
            queues,
            store: ctx.store,
            identity: ctx.identity,
            client: ctx.client,
            tasks: ctx.tasks,
            settings,
            sites,
            places,
            node,
            cancelled: broadcast::channel(UNREAD).0,
            changed: broadcast::channel(UNHEARD).0,
            lake,
        })
    }

    /// The site of this name; where none is named, the only one if there is no choice.
    pub fn site(&self, name: Option<&str>) -> Option<&Arc<dyn Site>> {
        match name {
            Some(name) => self.sites.iter().find(|site| site.name() == name),
            None => self.sites.first().filter(|_| self.sites.len() == 1),
        }
    }

    /// Tells whoever listens that a pod changed.
    pub fn tell(&self, uid: Uuid) {
        // Often nobody listens.
        drop(self.changed.send(uid));
    }

    /// A token to act for the pod's owner: with the pod's own scopes if it came with some, else with these (none: all rights).
    pub fn token(&self, pod: &PodRow, scopes: &[&str], audience: Option<&str>) -> Result<Secret, Failure> {
        let own: Option<Vec<&str>> = pod.scopes.as_ref().map(|scopes| scopes.iter().map(String::as_str).collect());
        let scopes = own.as_deref().unwrap_or(scopes);
        self.identity.acting_token(&pod.owner, Service::NAME, scopes, audience).map_err(|error| match error {
            dte_identity::Error::Banned(_) => Failure::lasting(work::SUSPENDED, error.to_string()),
            other => Failure::passing("Forbidden", other.to_string()),
        })
    }

    /// The data lake, as the pod's owner.
    pub fn lake(&self, pod: &PodRow) -> Result<LakeClient, Failure> {
        Ok(LakeClient::new(self.client.clone(), self.lake.clone(), self.token(pod, &[], None)?))
    }

    /// A person's pod writes into scopes that are that person's: storage tokens are made after this, so a pod must not be
    /// a way to what its owner could not reach by another door. Administrators' pods reach everything.
    pub async fn check_scopes(&self, pod: &PodRow, dids: &[Did], refused: &'static str) -> Result<(), Failure> {
        if pod.trusted || dids.is_empty() {
            return Ok(());
        }
        let passing = |error: LakeError| Failure::passing("LakeUnavailable", error.to_string());
        let lake = self.lake(pod)?;
        let own = lake.list_scopes(&lake.whoami().await.map_err(passing)?).await.map_err(passing)?;
        match dids.iter().find(|did| !own.contains(&did.scope)) {
            Some(did) => Err(Failure::lasting(refused, format!("{did} is in a scope that is not the pod's owner's"))),
            None => Ok(()),
        }
    }

    /// A person's pod gets inputs that the person may read: the lake says so. Storage tokens are made after this.
    pub async fn check_readable(&self, pod: &PodRow, dids: &[Did]) -> Result<(), Failure> {
        if pod.trusted || dids.is_empty() {
            return Ok(());
        }
        let lake = self.lake(pod)?;
        for some in dids.chunks(LakeClient::READ_AT_ONCE) {
            let asked = lake.reading_token(some).await;
            asked.map_err(|error| storage::lake_failure(Direction::Input, &error))?;
        }
        Ok(())
    }

    /// The pod as it was handed over, with its variables and what its volumes hold.
    pub async fn request(&self, pod: &PodRow) -> Result<PodCreateRequests, Failure> {
        let lasting = |error: String| Failure::lasting("VolumesUnreadable", error);
        let Some(sealed) = store::volumes::find(&self.store, pod.uid).await? else {
            return Ok(PodCreateRequests { pod: pod.pod.clone(), ..PodCreateRequests::default() });
        };
        let opened = self.identity.unseal(&volumes::seal_name(pod.uid), &sealed);
        let text = opened.map_err(|error| lasting(error.to_string()))?;
        let request = serde_json::from_slice(&text).map_err(|error| lasting(error.to_string()))?;
        Ok(volumes::unsealed(request, &pod.pod))
    }

    /// Whether a service asks on behalf of a local administrator, with a token that is good for this call only.
    pub fn acts_for_administrator(&self, principal: &Principal) -> bool {
        principal.standing == Standing::User { admin: true } && principal.acting.is_some()
    }

    /// Whether work may go on for this user.
    pub fn is_welcome(&self, user: &UserRef) -> bool {
        self.identity.is_welcome(user)
    }
}

/// A name that stays with the data directory.
fn node_name(data_dir: &Path) -> Result<String, OpenError> {
    let folder = data_dir.join("offload");
    let path: PathBuf = folder.join("node");
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(OpenError::at(&path)(error)),
        _ => {}
    }
    let name = new_id().to_string();
    let draft = folder.join(".node");
    fs::create_dir_all(&folder).map_err(OpenError::at(&folder))?;
    fs::write(&draft, &name).map_err(OpenError::at(&draft))?;
    fs::rename(&draft, &path).map_err(OpenError::at(&path))?;
    Ok(name)
}
