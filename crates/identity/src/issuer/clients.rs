//! Who is registered: found in the store, remembered for a moment, never all in memory.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::client::{AuthMethod, Grant, Metadata};
use super::rules::Revocable;
use super::store::clients as table;
use crate::audit::Entry;
use crate::directory;
use crate::issue::Error;
use crate::not_before::NotBefore;
use crate::{Identity, store};

/// Clients that are remembered.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4_096) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};
/// How long; another process may have changed one.
const FRESH: Duration = Duration::from_secs(2);
/// A registration of a stranger that nobody used for so long is forgotten.
const UNUSED: Duration = Duration::from_secs(7 * 86_400);

/// A client as it stands in the store.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) client_id: String,
    /// None for public clients.
    pub(crate) secret_hash: Option<Vec<u8>>,
    /// Of the token with which the client looks after its registration.
    pub(crate) access_hash: Vec<u8>,
    pub(crate) metadata: Metadata,
    pub(crate) active: bool,
    /// The administrator who registered it; nobody: it registered itself.
    pub(crate) registered_by: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) used: bool,
}

impl Registration {
    pub(crate) fn may(&self, grant: Grant) -> bool {
        self.metadata.grant_types.contains(&grant)
    }

    pub(crate) fn is_public(&self) -> bool {
        self.metadata.token_endpoint_auth_method == AuthMethod::None
    }

    /// What people see.
    pub(crate) fn title(&self) -> &str {
        if self.metadata.client_name.is_empty() { &self.client_id } else { &self.metadata.client_name }
    }
}

/// A client, as administrators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientView {
    pub client_id: String,
    pub name: String,
    pub active: bool,
    pub grant_types: Vec<String>,
    pub scopes: Vec<String>,
    pub redirect_uris: Vec<String>,
    pub contacts: Vec<String>,
    /// The administrator who made it; nobody: it registered itself.
    pub registered_by: Option<String>,
    pub created: Option<Timestamp>,
}

type Remembered = (Option<Arc<Registration>>, Instant, u64);

/// Clients that were looked up a moment ago.
pub(crate) struct Cache(Mutex<LruCache<String, Remembered>>);

impl Default for Cache {
    fn default() -> Self {
        Cache(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Cache {
    pub(crate) fn forget(&self, client_id: &str) {
        self.0.lock().pop(client_id);
    }
}

/// What a registration gives, once.
pub(crate) struct Registered {
    pub(crate) registration: Registration,
    pub(crate) secret: Option<Secret>,
    pub(crate) access_token: Secret,
}

impl Identity {
    /// A client that may do something now: registered, active, not banned.
    pub(crate) async fn find_client(&self, client_id: &str) -> Result<Option<Arc<Registration>>, Error> {
        if client_id.is_empty() || client_id.len() > 64 {
            return Ok(None);
        }
        let generation = self.0.generation.load(Ordering::Acquire);
        let remembered = self.0.issuing.clients.0.lock().get(client_id).cloned();
        let found = match remembered {
            Some((found, since, under)) if under == generation && since.elapsed() < FRESH => found,
            _ => {
                let key = client_id.to_owned();
                let read = self.0.store.read(move |tx| table::find(tx, &key)).await?;
                let found = read.or_else(|| self.made_client(client_id)).map(Arc::new);
                let entry = (found.clone(), Instant::now(), generation);
                self.0.issuing.clients.0.lock().put(client_id.to_owned(), entry);
                found
            }
        };
        let who = directory::Suspect {
            issuer: &self.0.issuer,
            subject: client_id,
            client_id: Some(client_id),
            vo: None,
            token_id: None,
        };
        let directory = self.directory();
        let made_active = directory.clients.get(client_id).is_none_or(|client| client.active);
        let taken_back = self.is_taken_back(None, Some(client_id));
        Ok(found.filter(|client| client.active && made_active && !taken_back && !self.is_banned(&directory, &who, &[])))
    }

    /// A client that was made on the command line: client credentials and token exchange.
    fn made_client(&self, client_id: &str) -> Option<Registration> {
        let directory = self.directory();
        let made = directory.clients.get(client_id)?;
        Some(Registration {
            client_id: made.client_id.clone(),
            secret_hash: Some(made.secret_hash.clone()),
            access_hash: Vec::new(),
            metadata: Metadata {
                grant_types: vec![Grant::Credentials, Grant::Exchange],
                scopes: made.scopes.clone(),
                audiences: made.audiences.clone(),
                ..Metadata::default()
            },
            active: made.active,
            registered_by: Some(String::new()),
            created: Timestamp::from_seconds(0),
            used: true,
        })
    }

    /// Registers a client; `by` is the administrator who does, nobody when it registers itself.
    pub(crate) async fn register(&self, metadata: Metadata, by: Option<&str>) -> Result<Registered, Error> {
        let client_id = new_id().to_string();
        let random = || Secret::new(hex::encode(rand::random::<[u8; 32]>()));
        let secret = metadata.token_endpoint_auth_method.has_secret().then(random);
        let access_token = random();
        let registration = Registration {
            client_id: client_id.clone(),
            secret_hash: secret.as_ref().map(|secret| self.0.vault.hash_secret(secret.expose())),
            access_hash: self.0.vault.hash_secret(access_token.expose()),
            metadata,
            active: true,
            registered_by: by.map(str::to_owned),
            created: Timestamp::now(),
            used: by.is_some(),
        };
        let detail =
            json!({"name": registration.metadata.client_name, "redirect_uris": registration.metadata.redirect_uris});
        let entry = Entry::change(by.unwrap_or("anonymous"), "client.register", &client_id, detail);
        let new = registration.clone();
        if registration.may(Grant::Credentials) {
            // It is a subject of its own, so it stands in the directory too.
            let subject = directory::Client {
                client_id,
                secret_hash: registration.secret_hash.clone().unwrap_or_default(),
                scopes: registration.metadata.scopes.clone(),
                audiences: registration.metadata.audiences.clone(),
                active: true,
            };
            self.change(vec![entry], move |tx| {
                table::insert(tx, &new)?;
                Ok(crate::store::insert_client(tx, &subject)?)
            })
            .await?;
        } else {
            let audit = self.audit().clone();
            let write = self.0.store.write(move |tx| -> Result<(), Error> {
                table::sweep_unused(tx, new.created - UNUSED)?;
                table::insert(tx, &new)?;
                Ok(audit.append(tx, std::slice::from_ref(&entry))?)
            });
            write.await?;
        }
        Ok(Registered { registration, secret, access_token })
    }

    /// Changes what a client says about itself.
    pub(crate) async fn change_registration(&self, changed: Registration) -> Result<(), Error> {
        let entry = Entry::change(&changed.client_id, "client.change", &changed.client_id, Value::Null);
        let audit = self.audit().clone();
        let client_id = changed.client_id.clone();
        self.0
            .store
            .write(move |tx| -> Result<(), Error> {
                table::update(tx, &changed)?;
                // People agreed to the program as it was, at the addresses that it had.
                table::forget_consents(tx, &changed.client_id)?;
                Ok(audit.append(tx, std::slice::from_ref(&entry))?)
            })
            .await?;
        self.0.issuing.clients.forget(&client_id);
        Ok(())
    }

    /// Takes a client away, with all that was issued to it.
    pub async fn delete_client(&self, client_id: &str, by: &str) -> Result<(), Error> {
        let known = self.directory().clients.contains_key(client_id) || self.any_client(client_id).await?;
        if !known {
            return Err(Error::NoClient(client_id.to_owned()));
        }
        let entry = Entry::change(by, "client.delete", client_id, Value::Null);
        let key = client_id.to_owned();
        if self.directory().clients.contains_key(client_id) {
            // Its name may be given again, so what is taken back is what was issued until now.
            let rule = NotBefore {
                id: new_id().to_string(),
                rule: self.until_now(Some(client_id)),
                created_by: by.to_owned(),
                created: Timestamp::now(),
            };
            self.change(vec![entry], move |tx| {
                store::not_before::insert(tx, &rule)?;
                Ok(table::delete(tx, &key).map(drop)?)
            })
            .await?;
        } else {
            self.take_back(&[Revocable::Client(client_id)], entry, move |tx| table::delete(tx, &key).map(drop)).await?;
        }
        self.0.issuing.clients.forget(client_id);
        Ok(())
    }

    /// Suspends a client, or lets it back in. What it holds is worth nothing in between.
    pub async fn set_client(&self, client_id: &str, active: bool, by: &str) -> Result<(), Error> {
        let entry = Entry::change(by, "client.set", client_id, json!({"active": active}));
        let key = client_id.to_owned();
        self.change(vec![entry], move |tx| {
            if table::set_active(tx, &key, active)? { Ok(()) } else { Err(Error::NoClient(key.clone())) }
        })
        .await?;
        self.0.issuing.clients.forget(client_id);
        Ok(())
    }

    async fn any_client(&self, client_id: &str) -> Result<bool, Error> {
        let key = client_id.to_owned();
        Ok(self.0.store.read(move |tx| table::find(tx, &key)).await?.is_some())
    }

    /// Clients in the order of their ids, after `after`: those that were made on the command line come with the first page.
    pub async fn clients(&self, after: &str, limit: usize) -> Result<Vec<ClientView>, Error> {
        let from = after.to_owned();
        let registered = self.0.store.read(move |tx| table::page(tx, &from, limit)).await?;
        let mut views: Vec<ClientView> = registered.iter().map(ClientView::of).collect();
        if after.is_empty() {
            let directory = self.directory();
            let made =
                directory.clients.values().filter(|made| !registered.iter().any(|r| r.client_id == made.client_id));
            let mut made: Vec<ClientView> =
                made.filter_map(|made| self.made_client(&made.client_id)).map(|made| ClientView::of(&made)).collect();
            made.sort_by(|a, b| a.client_id.cmp(&b.client_id));
            views.splice(0..0, made);
        }
        Ok(views)
    }
}

impl ClientView {
    fn of(registration: &Registration) -> Self {
        let metadata = &registration.metadata;
        let name =
            |grant: &Grant| Grant::ALL.iter().find(|(_, known)| known == grant).map(|(name, _)| (*name).to_owned());
        ClientView {
            client_id: registration.client_id.clone(),
            name: metadata.client_name.clone(),
            active: registration.active,
            grant_types: metadata.grant_types.iter().filter_map(name).collect(),
            scopes: metadata.scopes.clone(),
            redirect_uris: metadata.redirect_uris.clone(),
            contacts: metadata.contacts.clone(),
            registered_by: registration.registered_by.clone().filter(|by| !by.is_empty()),
            created: Some(registration.created).filter(|created| created.as_seconds() > 0),
        }
    }
}
