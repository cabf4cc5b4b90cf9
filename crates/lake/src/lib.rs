//! The data lake: which data there is, where its copies are, and where they shall be.
//!
//! Speaks Rucio's REST API under `/rucio`, so that unmodified `rucio-clients` and everything built on them work.
//!
//! * Data are named `scope:name`: *files* with a size and a checksum, *datasets* of files, *containers* of collections.
//! * A *replica* is a copy of a file at a storage element (RSE). Where it lies there follows from its name.
//! * A *rule* says "N copies of this DID on storage elements that match this expression". Each file below the DID gets a
//!   *lock* for each copy; whenever files are attached or detached, the locks follow in the same transaction. Copies
//!   that are missing become requests, requests become FTS jobs at `/fts` (under an identity that is written down first, so
//!   that asking twice is asking once), and the end of a job makes the copy available and the lock OK.
//! * What happens is told in the event log in the transaction in which it happens: `replica.available`, `dataset.closed`,
//!   `rule.ok`, `rule.stuck`, and `dataset.ready` once for each closed dataset that is wherever its rules want it.
//!
//! * A *subscription* makes rules for what does not exist yet. *Limits* say how much an account may lock. A copy that is
//!   declared *bad* is brought again from another one; where there is none, the file is lost and rules no longer wait for it.
//! * What has a lifetime comes to its end: rules release their copies, datasets go with their content.
//!
//! The storage element `LOCAL` is there from the first start: the area `/dav/local` of the engine's own edge.
//!
//! Rooms: `model` (expressions, placement, rule states, policy, search filters; pure), `store` (SQL and what follows from
//! a change, inside its transaction), `api` (the wire), `work` (transfers, large rules, the end of rules).

mod api;
mod error;
pub mod model;
mod store;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dte_base::config::Section;
use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_base::units::Span;
use dte_http::Client;
use dte_identity::{Absent, Identity, Mount, OpenError, Principal, ServiceContext};
use dte_protocol_rucio::Protocol;
use dte_store::{Store, Tx};
use serde::Deserialize;
use serde_json::{Map, json};
use url::Url;

use crate::store::rses::{self, Rse};

/// The storage element that every engine has.
pub const LOCAL_RSE: &str = "LOCAL";
/// Where the edge serves it.
const LOCAL_PREFIX: &str = "/dav/local/";

/// `[lake]` in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The FTS that moves files; default: the engine's own, at `/fts`.
    pub fts_url: Option<Url>,
    /// How long the second attempt of a transfer waits; later ones wait longer.
    pub retry_after: Span,
    /// How long nothing may be heard of a transfer before its FTS is asked.
    pub poll_after: Span,
    /// Accounts to which nobody gave a limit may lock nothing, as in Rucio; else they may lock as much as they like.
    pub require_limits: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            fts_url: None,
            retry_after: Span(Duration::from_secs(2)),
            poll_after: Span(Duration::from_secs(30)),
            require_limits: false,
        }
    }
}

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[Section] = &[Section::of::<Settings>("lake")];

/// The service.
pub struct Service {
    lake: Lake,
}

impl Service {
    pub const NAME: &'static str = "lake";
    /// Where it is mounted.
    pub const PREFIX: &'static str = "/rucio";

    /// Brings the tables up to date, sees to `LOCAL`, and starts the workers.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        let settings: Settings = ctx.config.section("lake")?;
        ctx.store.migrate(Self::NAME, store::MIGRATIONS).await?;
        let fts_url = match settings.fts_url {
            Some(url) => url,
            None => Url::parse(&ctx.url_of("/fts")).map_err(OpenError::other)?,
        };
        let lake = Lake {
            store: ctx.store.clone(),
            client: ctx.client.clone(),
            identity: ctx.identity.clone(),
            fts_url,
            known: Arc::default(),
            vos: Arc::default(),
            absent: Absent::new(&ctx.identity),
        };
        let required = settings.require_limits;
        let noted: Result<(), error::Error> = ctx.store.write(move |tx| store::limits::require(tx, required)).await;
        noted.map_err(OpenError::other)?;
        make_local(&ctx).await?;
        work::start(&lake, &ctx.tasks, settings.retry_after.0, settings.poll_after.0).await?;
        Ok(Service { lake })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![Mount { prefix: Self::PREFIX, routes: api::routes(&self.lake) }]
    }
}

/// What handlers and workers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lake {
    pub store: Store,
    pub client: Client,
    pub identity: Identity,
    /// Owners of requests who are suspended.
    pub absent: Absent,
    pub fts_url: Url,
    /// Accounts that are written down, with the identity under which they were, for a moment.
    known: Arc<Mutex<Accounts>>,

    /// The virtual organisation under which an FTS knows a user.
    pub vos: work::Vos,
}

impl Lake {
    /// Runs a transaction that changes DIDs, replicas, rules or storage elements. They follow each other (see
    /// [`store::turn`]), so what such a transaction reads is what is true when it writes.
    pub(crate) fn change<T, F>(&self, closure: F) -> impl Future<Output = Result<T, error::Error>> + Send + 'static
    where
        T: Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, error::Error> + Send + 'static,
    {
        let request = dte_http::current_request_id().map(|id| id.as_str().to_owned());
        self.store.claim(move |tx| {
            store::turn(tx)?;
            store::events::for_request(request.clone(), || closure(tx))
        })
    }

    /// Sees to it that the account is written down, with the identity as which its background work acts; answers what is
    /// known of it.
    pub(crate) async fn know(&self, account: &str, principal: &Principal) -> Result<Known, error::Error> {
        let text = principal_text(principal)?;
        let key = (account.to_owned(), text.clone());
        let remembered = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((known, at)) = remembered
            && at.elapsed() < KNOWN_FOR
        {
            return Ok(known);
        }
        let (name, own) = (account.to_owned(), text.clone());
        let found = self
            .store
            .read(move |tx| {
                if store::accounts::principal(tx, &name)?.as_ref() != Some(&own) {
                    return Ok::<_, error::Error>(None);
                }
                let active = store::accounts::get(tx, &name)?.status == "ACTIVE";
                Ok(Some(Known { admin: store::people::is_admin(tx, &name)?, active }))
            })
            .await?;
        let known = match found {
            Some(known) => known,
            None => {
                let (name, now) = (account.to_owned(), Timestamp::now());
                self.store
                    .write(move |tx| {
                        store::accounts::remember(tx, &name, &text, now)?;
                        let active = store::accounts::get(tx, &name)?.status == "ACTIVE";
                        Ok::<_, error::Error>(Known { admin: store::people::is_admin(tx, &name)?, active })
                    })
                    .await?
            }
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KNOWN_AT_ONCE {
            all.clear();
        }
        all.insert(key, (known, Instant::now()));
        Ok(known)
    }

    /// What is known of an account has changed.
    pub(crate) fn forget(&self, account: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _), _| known != account);
    }
}

/// By account and the identity under which it came: what is known, and since when.
type Accounts = HashMap<(String, String), (Known, Instant)>;

/// What is known of an account that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// It has the attribute of an administrator of the lake.
    pub admin: bool,
    pub active: bool,
}

/// How long it is believed; other processes may change it.
const KNOWN_FOR: Duration = Duration::from_secs(2);
/// Accounts that are kept in mind.
const KNOWN_AT_ONCE: usize = 4096;

/// Whom background work acts for, as stored.
pub(crate) fn principal_text(principal: &Principal) -> Result<String, error::Error> {
    serde_json::to_string(&principal.user_ref()).map_err(|error| dte_store::Error::Invalid(error.to_string()).into())
}

/// Makes `LOCAL` at the first start, and keeps its protocol at the engine's public address.
async fn make_local(ctx: &ServiceContext) -> Result<(), OpenError> {
    let url = &ctx.public_url;
    let scheme = url.scheme().to_owned();
    let hostname = url.host_str().unwrap_or("localhost").to_owned();
    let all = json!({"read": 1, "write": 1, "delete": 1});
    let mut wide = all.clone();
    wide["third_party_copy_read"] = json!(1);
    wide["third_party_copy_write"] = json!(1);
    let protocol = Protocol {
        scheme,
        hostname,
        port: url.port().unwrap_or(0),
        prefix: LOCAL_PREFIX.to_owned(),
        implementation: "rucio.rse.protocols.webdav.Default".to_owned(),
        domains: Map::from_iter([("lan".to_owned(), all), ("wan".to_owned(), wide)]),
        extended_attributes: None,
    };
    let now = Timestamp::now();
    let rse = Rse {
        rse: LOCAL_RSE.to_owned(),
        // The same in every process that starts at once.
        id: derived_id(&["rse", LOCAL_RSE]).simple().to_string(),
        rse_type: "DISK".to_owned(),
        deterministic: true,
        volatile: false,
        staging_area: false,
        availability: 7,
        details: Map::new(),
        created_at: now,
        updated_at: now,
    };
    let made: Result<(), error::Error> = ctx
        .store
        .write(move |tx| {
            if rses::add(tx, &rse)? {
                rses::add_attribute(tx, LOCAL_RSE, "site", "local")?;
                rses::add_attribute(tx, LOCAL_RSE, "type", "DATADISK")?;
            }
            let known = rses::protocols(tx, LOCAL_RSE)?;
            let same = |one: &Protocol| {
                (&one.scheme, &one.hostname, one.port) == (&protocol.scheme, &protocol.hostname, protocol.port)
            };
            if known.iter().any(same) {
                return Ok(());
            }
            for old in known.iter().filter(|one| one.prefix == LOCAL_PREFIX) {
                rses::delete_protocols(tx, LOCAL_RSE, &old.scheme, Some(&old.hostname), Some(old.port))?;
            }
            rses::add_protocol(tx, LOCAL_RSE, &protocol, true, now)
        })
        .await;
    made.map_err(|error| match error {
        error::Error::Store(error) => error.into(),
        other => OpenError::other(other),
    })
}
