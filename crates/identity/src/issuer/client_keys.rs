//! Keys that clients publish at their `jwks_uri`, for `private_key_jwt`: fetched when a client signs with a key that is not
//! known, remembered as those of issuers are, and never fetched often.
//!
//! The address came from a stranger, so it is asked through the guard of `[http.outbound]`, without redirects, for a small
//! document; and whoever registers many clients cannot make us knock at somebody's door more than so often.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use serde_json::Value;
use url::Url;

use super::clients::Registration;
use super::limit::Limit;
use super::model::client::is_private;
use crate::Identity;
use crate::keys::PublicKey;
use crate::remembered::{Fetched, Remembered};
use crate::trust::document_with_age;

/// Clients whose keys are remembered.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(1_024) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};
const LARGEST_DOCUMENT: usize = 64 << 10;
/// Keys of one client that are looked at: those in use, those to come, and some that went.
const MOST_KEYS: usize = 32;
/// Fetches from one server, and for all clients that nobody vouches for, in a minute.
const PER_SERVER: u32 = 30;
const FOR_STRANGERS: u32 = 120;
const MINUTE: Duration = Duration::from_secs(60);

type Keys = Remembered<HashMap<String, PublicKey>>;

/// What is remembered of each client at each address, and how often was asked.
pub(crate) struct ClientKeys {
    pause: Duration,
    known: Mutex<LruCache<(String, String), Arc<Keys>>>,
    servers: Limit,
    strangers: Limit,
}

impl ClientKeys {
    pub(crate) fn new(pause: Duration) -> Self {
        ClientKeys {
            pause,
            known: Mutex::new(LruCache::new(REMEMBERED)),
            servers: Limit::new(PER_SERVER, MINUTE),
            strangers: Limit::new(FOR_STRANGERS, MINUTE),
        }
    }

    fn of(&self, client_id: &str, uri: &str) -> Arc<Keys> {
        let name = (client_id.to_owned(), uri.to_owned());
        let mut known = self.known.lock();
        Arc::clone(known.get_or_insert(name, || Arc::new(Remembered::pausing(self.pause))))
    }

    /// Pays for one fetch. What an administrator registered has a count of its own, which strangers cannot use up.
    fn pay(&self, uri: &str, is_stranger: bool) -> Result<(), String> {
        let place = Url::parse(uri).map_err(|error| format!("{uri}: {error}"))?.origin().ascii_serialization();
        let server = format!("{} {place}", if is_stranger { "strangers" } else { "known" });
        if self.servers.is_reached(&server).is_some() {
            return Err(format!("{uri}: {place} was asked {PER_SERVER} times in this minute"));
        }
        if is_stranger && self.strangers.is_reached("").is_some() {
            return Err(format!("{uri}: keys of clients were fetched {FOR_STRANGERS} times in this minute"));
        }
        self.servers.note(&server);
        if is_stranger {
            self.strangers.note("");
        }
        Ok(())
    }
}

impl Identity {
    /// The key of this name that the client publishes. A name that is not known leads to one fetch in a while at most, so a
    /// client that changes its keys publishes the new one before it signs with it, or waits.
    pub(crate) async fn published_key(&self, client: &Registration, uri: &str, kid: &str) -> Option<PublicKey> {
        let issuing = &self.0.issuing;
        let known = issuing.client_keys.of(&client.client_id, uri);
        let fetch = || async {
            issuing.client_keys.pay(uri, client.registered_by.is_none())?;
            self.fetch_client_keys(uri).await
        };
        let keys = known.get(&client.client_id, |keys| keys.contains_key(kid), fetch).await?;
        keys.get(kid).cloned()
    }

    async fn fetch_client_keys(&self, uri: &str) -> Result<Fetched<HashMap<String, PublicKey>>, String> {
        // Perhaps it became ours since it was registered.
        if self.0.client.is_own(uri) {
            return Err(format!("{uri} is an address of this engine"));
        }
        let (document, max_age) = document_with_age(&self.0.client.untrusted(), uri, LARGEST_DOCUMENT).await?;
        let list = document.get("keys").and_then(Value::as_array).ok_or_else(|| format!("{uri} has no keys"))?;
        // Who publishes a private key can no longer prove anything with it.
        let public = list.iter().take(MOST_KEYS).filter(|key| !is_private(key));
        Ok(Fetched { value: public.filter_map(PublicKey::from_jwk).collect(), max_age })
    }
}
