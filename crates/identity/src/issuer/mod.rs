//! The built-in issuer (`contracts`: "Embedded issuer"): OAuth 2.0 and OpenID Connect for people, their programs and services.
//!
//! Rooms: `model` (pure rules), `store` (its SQL), `api` (one file for each endpoint); beside them `clients` (who is
//! registered), `client_keys` (keys that clients publish), `grant` (tokens for a person, and the chain of refresh tokens), `programs` (what a person
//! ends), `rules` (what was taken back), `rotation` (signing keys).
//!
//! * An access token is never stored. Its `jti` begins with the id of the grant that it came from, so that one entry in the
//!   deny list takes back all of a grant.
//! * A refresh token is not stored either: its text is a keyed hash over the grant, its number and the time the grant was
//!   made; the store knows which number is good.

pub(crate) mod api;
pub(crate) mod client_keys;
pub(crate) mod clients;
pub(crate) mod grant;
mod inspect;
pub(crate) mod limit;
pub(crate) mod model;
pub(crate) mod programs;
mod refusal;
pub(crate) mod rotation;
pub(crate) mod rules;
pub(crate) mod store;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use dte_base::units::Span;
use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;

use crate::context::OpenError;

pub use rotation::KeyTimes;

/// Devices whose polling is watched at once.
const POLLING: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};

/// `[identity.issuer]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerConfig {
    /// How long access and ID tokens live: 1 minute to 6 hours.
    pub token_lifetime: Span,
    /// How long a grant with `offline_access` lives, at most 400 days.
    pub refresh_lifetime: Span,
    /// A grant that is not used for so long is over.
    pub refresh_idle: Span,
    /// How long the last refresh token is good besides its successor, for answers that were lost and for robots that share one.
    pub refresh_grace: Span,
    /// Clients that have a secret get a new refresh token with each use too.
    pub rotate_for_all: bool,
    /// Whether programs may register themselves (`/oidc/register`).
    pub registration: bool,
    /// So many strangers may register in a minute.
    pub registrations_per_minute: u32,
    /// The keys at a client's `jwks_uri` are fetched no more often: 1 second to 1 hour.
    pub client_keys_pause: Span,
    /// How long a signing key signs.
    pub key_life: Span,
    /// How long a signing key is published before it signs: as long as others remember our keys.
    pub key_publish: Span,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        let seconds = |seconds: u64| Span(Duration::from_secs(seconds));
        IssuerConfig {
            token_lifetime: seconds(3_600),
            refresh_lifetime: seconds(30 * DAY),
            refresh_idle: seconds(14 * DAY),
            refresh_grace: seconds(60),
            rotate_for_all: false,
            registration: true,
            registrations_per_minute: 30,
            client_keys_pause: seconds(60),
            key_life: seconds(182 * DAY),
            key_publish: seconds(2 * DAY),
        }
    }
}

impl IssuerConfig {
    fn check(&self) -> Result<(), OpenError> {
        let limits = [
            ("token_lifetime", self.token_lifetime, 60, 6 * 3_600),
            ("refresh_lifetime", self.refresh_lifetime, 60, 400 * 86_400),
            ("refresh_idle", self.refresh_idle, 1, 400 * 86_400),
            ("refresh_grace", self.refresh_grace, 0, 86_400),
            ("client_keys_pause", self.client_keys_pause, 1, 3_600),
            ("key_life", self.key_life, 1, 366 * 86_400),
            ("key_publish", self.key_publish, 0, 60 * 86_400),
        ];
        for (name, span, least, most) in limits {
            if span.0 < Duration::from_secs(least) || span.0 > Duration::from_secs(most) {
                let (least, most) = (Span(Duration::from_secs(least)), Span(Duration::from_secs(most)));
                return Err(OpenError::other(format!("[identity.issuer] {name} must be between {least} and {most}")));
            }
        }
        Ok(())
    }
}

/// What the issuer holds in memory, besides what is in the directory.
pub(crate) struct Issuing {
    pub(crate) config: IssuerConfig,
    pub(crate) clients: clients::Cache,
    pub(crate) client_keys: client_keys::ClientKeys,
    /// Taken back by this process since it started: in force before the directory is read again.
    pub(crate) taken_back: RwLock<HashMap<Vec<u8>, Timestamp>>,
    /// When each device asked last, and how long it must wait between.
    pub(crate) polls: Mutex<LruCache<Vec<u8>, (Instant, Duration)>>,
    pub(crate) registrations: limit::Limit,
    /// Wrong user codes, by account.
    pub(crate) guesses: limit::Limit,
}

impl Issuing {
    pub(crate) fn new(config: IssuerConfig) -> Result<Self, OpenError> {
        config.check()?;
        Ok(Issuing {
            registrations: limit::Limit::new(config.registrations_per_minute, Duration::from_secs(60)),
            guesses: limit::Limit::new(10, Duration::from_secs(600)),
            client_keys: client_keys::ClientKeys::new(config.client_keys_pause.0),
            config,
            clients: clients::Cache::default(),
            taken_back: RwLock::default(),
            polls: Mutex::new(LruCache::new(POLLING)),
        })
    }
}
