//! The identity service itself: opens, holds accounts and bans, changes them, and hands out its routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_http::{Assembly, Client, Mounted};
use dte_store::{Store, Tx};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::accounts::Accounts;
use crate::audit::{Audit, Entry};
use crate::config::IdentityConfig;
use crate::context::{Foundation, OpenError};
use crate::directory::{self, Ban, Directory, NewBan, Suspect, User};
use crate::issue::{ActingTokens, Error, FailureLimit};
use crate::keys::{KeyRing, SigningKey};
use crate::model::decide::{Policy, Profile};
use crate::model::path::StoragePath;
use crate::model::principal::UserRef;
use crate::routes::{Mount, RouteInfo};
use crate::store::{self, SealedKey};
use crate::trust::{GUEST_PREFIX, Issuer};
use crate::vault::Vault;
use crate::verify::{LONGEST_MEMORY, VerifiedTokens};
use crate::{FIRST_ADMIN, issuer, socket};

/// How often a process looks whether another changed accounts or bans.
const LOOK: Duration = Duration::from_secs(2);

/// Who is asking, and what may they do. Cheap to clone.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) own_policy: Policy,
    pub(crate) trusted: Vec<Issuer>,
    pub(crate) vault: Vault,
    pub(crate) keys: RwLock<Arc<KeyRing>>,
    pub(crate) directory: RwLock<Arc<Directory>>,
    /// Grows with every change; what was verified under an older one is forgotten.
    pub(crate) generation: AtomicU64,
    changed: watch::Sender<u64>,
    pub(crate) verified: VerifiedTokens,
    pub(crate) acting: ActingTokens,
    pub(crate) failures: FailureLimit,
    pub(crate) accounts: Accounts,
    pub(crate) issuing: issuer::Issuing,
    pub(crate) policy: crate::policy::memory::Memory,
    audit: Audit,
    routes: Mutex<Vec<RouteInfo>>,
}

impl Identity {
    /// Opens identity: makes the secret key, the signing key and the first administrator where there are none.
    pub async fn open(foundation: &Foundation) -> Result<Identity, OpenError> {
        let config: IdentityConfig = foundation.config.section("identity")?;
        let vault = Vault::open(&config, &foundation.data_dir)?;
        let store = foundation.store.clone();
        store.migrate("identity", store::MIGRATIONS).await?;
        store.migrate("identity.sessions", crate::session::MIGRATIONS).await?;
        store.migrate("identity.accounts", crate::accounts::store::MIGRATIONS).await?;
        store.migrate("identity.checks", store::not_before::MIGRATIONS).await?;
        store.migrate("identity.issuer", issuer::store::MIGRATIONS).await?;
        store.migrate("identity.policy", crate::policy::store::MIGRATIONS).await?;
        let check = vault.check;
        let known = store.write(move |tx| store::remember(tx, "key check", &check)).await?;
        if known != check {
            return Err(OpenError::other("the secret key is not the one that this store was made with"));
        }
        let keys = open_keys(&store, &vault).await?;
        let audience = foundation.public_url.as_str().trim_end_matches('/').to_owned();
        let mut audiences = vec![audience.clone()];
        audiences.extend(config.audiences.iter().cloned());
        let memory = config.decision_memory.map_or(LONGEST_MEMORY, |span| span.0);
        if memory > LONGEST_MEMORY {
            return Err(OpenError::other("[identity] decision_memory: at most 1m"));
        }
        let trust = |config| Issuer::new(config, &audiences).map(|issuer| issuer.remembering(memory));
        let trusted = config.trusted_issuers.iter().map(trust).collect::<Result<Vec<_>, _>>()?;
        if trusted.iter().filter(|issuer| issuer.asking.introspects()).count() > 1 {
            return Err(OpenError::other("[[identity.trusted_issuers]]: only one issuer may have `introspection`"));
        }
        let issuer = format!("{audience}/oidc");
        let root = StoragePath::parse("/").map_err(OpenError::other)?;
        let own_policy = Policy {
            issuer: issuer.clone(),
            audiences,
            audience_optional: false,
            profile: Profile::Wlcg,
            vo: None,
            base: root,
            max_lifetime: None,
            required_scopes: Vec::new(),
            group_claims: Vec::new(),
        };
        let accounts = Accounts::new(&config)?;
        let directory = store.read(Directory::load).await?;
        let audit_key = vault.audit_key().clone();
        store.write(move |tx| store::audit::adopt(tx, &audit_key)).await?;
        let audit = Audit::start(&store, vault.audit_key(), &foundation.data_dir, &foundation.tasks);
        let identity = Identity(Arc::new(Inner {
            store,
            client: foundation.client.clone(),
            issuer,
            audience,
            own_policy,
            trusted,
            vault,
            keys: RwLock::new(Arc::new(keys)),
            directory: RwLock::new(Arc::new(directory)),
            generation: AtomicU64::new(1),
            changed: watch::Sender::new(1),
            verified: VerifiedTokens::new(memory),
            acting: ActingTokens::default(),
            failures: FailureLimit::default(),
            accounts,
            issuing: issuer::Issuing::new(config.issuer)?,
            policy: crate::policy::memory::Memory::default(),
            audit,
            routes: Mutex::default(),
        }));
        match identity.add_user(FIRST_ADMIN, true, "engine").await {
            Ok(_) => {}
            // Perhaps by a process that starts at the same moment, after the accounts were read here.
            Err(Error::Taken(_)) => identity.reload_accounts().await?,
            Err(error) => return Err(OpenError::other(error)),
        }
        foundation.tasks.spawn("identity.keys", identity.clone().turn_keys(foundation.tasks.clone()));
        identity.policy_refresh().await?;
        if identity.0.store.is_shared() {
            foundation
                .tasks
                .spawn("identity.changes", identity.clone().watch_other_processes(foundation.tasks.clone()));
        }
        Ok(identity)
    }

    /// The built-in issuer, as it stands in `iss`.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// What our tokens carry as `aud`.
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// A local account, to be stored as an owner.
    pub fn user_ref(&self, name: &str) -> UserRef {
        UserRef { issuer: self.0.issuer.clone(), subject: name.to_owned(), name: name.to_owned() }
    }

    /// Mounts services behind their gates, and notes their routes for [`Identity::routes`].
    pub fn assemble(&self, mounts: impl IntoIterator<Item = Mount>, assembly: Assembly) -> Assembly {
        let mut table = self.0.routes.lock();
        mounts.into_iter().fold(assembly, |assembly, mount| {
            let Mount { prefix, routes } = mount;
            let rooted = |row: RouteInfo| RouteInfo { path: format!("{prefix}{}", row.path), ..row };
            table.extend(routes.table().into_iter().map(rooted));
            assembly.mount(Mounted { service: routes.service(), prefix, router: routes.into_router(self) })
        })
    }

    /// All routes that were mounted, and those that the front answers itself, with what each requires.
    pub fn routes(&self) -> Vec<RouteInfo> {
        let own = dte_http::front::OWN_ROUTES.iter().map(|(method, path, why)| RouteInfo {
            service: "engine".to_owned(),
            method: (*method).to_owned(),
            path: (*path).to_owned(),
            requirement: format!("public: {why}"),
        });
        self.0.routes.lock().iter().cloned().chain(own).collect()
    }

    /// The routes of the built-in issuer.
    pub fn mounts(&self) -> Vec<Mount> {
        let mut mounts = issuer::api::mounts(self);
        mounts.push(crate::explain::mount(self));
        mounts.extend(crate::policy::api::mounts(self));
        mounts
    }

    /// Serves the admin socket in `data_dir`; ends with `tasks`.
    pub fn serve_admin_socket(
        &self,
        data_dir: &std::path::Path,
        tasks: &dte_base::tasks::Tasks,
    ) -> Result<(), OpenError> {
        socket::serve(self, data_dir, tasks)
    }

    /// A number that grows whenever accounts or bans change: those who keep long work going for somebody ask
    /// [`Identity::is_welcome`] again then.
    pub fn watch_changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Whether work may go on for this user: the account is there, active and not banned.
    pub fn is_welcome(&self, user: &UserRef) -> bool {
        let directory = self.directory();
        let trusted = self.0.trusted.iter().find(|issuer| issuer.is(&user.issuer));
        let vo = trusted.and_then(|issuer| issuer.policy.vo.as_deref());
        let who = Suspect { issuer: &user.issuer, subject: &user.subject, client_id: None, vo, token_id: None };
        let is_known = if user.issuer == self.0.issuer {
            (directory.users.get(&user.subject).is_some_and(|user| user.active)
                && !self.is_banned_through_link(&directory, &user.subject))
                || directory.clients.get(&user.subject).is_some_and(|client| client.active)
        } else {
            let owner = directory.links.get(&(user.issuer.clone(), user.subject.clone()));
            trusted.is_some() && owner.is_none_or(|link| self.is_welcome(&self.user_ref(&link.name)))
        };
        is_known && !directory.is_banned(&who)
    }

    /// Whether an identity elsewhere that belongs to this account is banned: then the account is, too.
    pub(crate) fn is_banned_through_link(&self, directory: &Directory, name: &str) -> bool {
        directory.linked.get(name).is_some_and(|identities| {
            identities.iter().any(|(issuer, subject)| {
                let trusted = self.0.trusted.iter().find(|known| known.is(issuer));
                let vo = trusted.and_then(|known| known.policy.vo.as_deref());
                directory.is_banned(&Suspect { issuer, subject, client_id: None, vo, token_id: None })
            })
        })
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.0.directory.read())
    }

    pub fn users(&self) -> Vec<User> {
        let mut users: Vec<User> = self.directory().users.values().cloned().collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Makes a local account. `by` is who does it, for the audit.
    pub async fn add_user(&self, name: &str, admin: bool, by: &str) -> Result<User, Error> {
        if !directory::is_name(name) || name.starts_with(GUEST_PREFIX) {
            return Err(Error::Name(name.to_owned()));
        }
        let user = User { name: name.to_owned(), admin, active: true, created: Timestamp::now() };
        let made = user.clone();
        let entry = Entry::change(by, "user.add", name, json!({"admin": admin}));
        self.change(vec![entry], move |tx| {
            if store::is_taken(tx, &made.name)? {
                return Err(Error::Taken(made.name.clone()));
            }
            store::insert_user(tx, &made).map_err(Error::from)
        })
        .await?;
        Ok(user)
    }

    /// Changes what a local account is. An inactive account can do nothing, and keeps its name.
    pub async fn set_user(&self, name: &str, admin: bool, active: bool, by: &str) -> Result<(), Error> {
        let entry = Entry::change(by, "user.set", name, json!({"admin": admin, "active": active}));
        let name = name.to_owned();
        self.change(vec![entry], move |tx| {
            if !store::update_user(tx, &name, admin, active)? {
                return Err(Error::NoAccount(name.clone()));
            }
            if !active {
                crate::accounts::store::steps::end_sessions(tx, &name, None)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes a client of the built-in issuer and gives its secret, which is never shown again.
    pub async fn add_client(
        &self,
        client_id: &str,
        scopes: &[&str],
        audiences: &[&str],
        by: &str,
    ) -> Result<dte_base::secret::Secret, Error> {
        if !directory::is_name(client_id) || client_id.starts_with(GUEST_PREFIX) {
            return Err(Error::Name(client_id.to_owned()));
        }
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        crate::model::scope::Scopes::parse(&scopes.join(" "), &self.0.own_policy.base)
            .map_err(|bad| Error::Scope(bad.to_string()))?;
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let client = directory::Client {
            client_id: client_id.to_owned(),
            secret_hash: self.0.vault.hash_secret(&secret),
            scopes: owned(scopes),
            audiences: owned(audiences),
            active: true,
        };
        let entry = Entry::change(by, "client.add", client_id, json!({"scopes": scopes}));
        self.change(vec![entry], move |tx| {
            if store::is_taken(tx, &client.client_id)? {
                return Err(Error::Taken(client.client_id.clone()));
            }
            store::insert_client(tx, &client).map_err(Error::from)
        })
        .await?;
        Ok(dte_base::secret::Secret::new(secret))
    }

    /// Bans. In this process it holds when this returns; in others within seconds.
    pub async fn ban(&self, who: NewBan, by: &str) -> Result<Ban, Error> {
        if !who.names_somebody() {
            return Err(Error::BanOfAll);
        }
        let ban = Ban {
            id: new_id().to_string(),
            who,
            created_by: by.to_owned(),
            created: Timestamp::now(),
            lifted: None,
            lifted_by: None,
        };
        let detail = serde_json::to_value(&ban.who).unwrap_or(Value::Null);
        let entry = Entry::change(by, "ban.add", ban.who.subject.as_deref().unwrap_or("*"), detail);
        let made = ban.clone();
        self.change(vec![entry], move |tx| store::insert_ban(tx, &made).map_err(Error::from)).await?;
        Ok(ban)
    }

    pub async fn lift_ban(&self, id: &str, by: &str) -> Result<(), Error> {
        let entry = Entry::change(by, "ban.lift", id, Value::Null);
        let (id, by) = (id.to_owned(), by.to_owned());
        self.change(
            vec![entry],
            move |tx| {
                if store::lift_ban(tx, &id, &by)? { Ok(()) } else { Err(Error::NoBan(id.clone())) }
            },
        )
        .await
    }

    /// Bans in force; with `lifted_too` also those that were.
    pub async fn bans(&self, lifted_too: bool) -> Result<Vec<Ban>, Error> {
        Ok(self.0.store.read(move |tx| store::bans(tx, lifted_too)).await?)
    }

    /// Makes a change with its audit records in one transaction, then lets it take effect here.
    pub(crate) async fn change<F>(&self, entries: Vec<Entry>, change: F) -> Result<(), Error>
    where
        F: Fn(&mut Tx<'_>) -> Result<(), Error> + Send + 'static,
    {
        let audit = self.0.audit.clone();
        let directory = self.0.store.write(move |tx| {
            change(tx)?;
            audit.append(tx, &entries)?;
            store::bump_version(tx)?;
            Directory::load(tx).map_err(Error::from)
        });
        self.install(directory.await?);
        Ok(())
    }

    /// Puts a directory in place if it is newer than the one that is there, and forgets what was verified before.
    fn install(&self, directory: Directory) {
        {
            let mut current = self.0.directory.write();
            if directory.version <= current.version {
                return;
            }
            *current = Arc::new(directory);
        }
        self.forget_verified();
    }

    /// Reads accounts, clients and bans again, after a change that was made elsewhere than in [`Identity::change`].
    pub(crate) async fn reload_accounts(&self) -> Result<(), dte_store::Error> {
        let directory = self.0.store.read(Directory::load).await?;
        self.install(directory);
        Ok(())
    }

    /// Rights have changed: what was verified before is verified again.
    pub(crate) fn forget_verified(&self) {
        let generation = self.0.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.changed.send_replace(generation);
    }

    async fn watch_other_processes(self, tasks: dte_base::tasks::Tasks) {
        let mut last_error = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.stopping() => return,
            }
            match self.look().await {
                Ok(()) => last_error = None,
                Err(error) => {
                    // A store that is away for long would fill the log: one line a minute.
                    if last_error.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(60)) {
                        tracing::warn!(%error, "accounts and bans could not be read again");
                        last_error = Some(Instant::now());
                    }
                }
            }
        }
    }

    async fn look(&self) -> Result<(), OpenError> {
        self.policy_refresh().await?;
        let known = self.directory().version;
        if self.0.store.read(store::version).await? == known {
            return Ok(());
        }
        self.install_keys().await?;
        let directory = self.0.store.read(Directory::load).await?;
        self.install(directory);
        Ok(())
    }
}

impl Identity {
    async fn install_keys(&self) -> Result<(), OpenError> {
        let keys = self.0.store.read(store::keys).await?;
        *self.0.keys.write() = Arc::new(unseal(&self.0.vault, &keys)?);
        Ok(())
    }

    /// Reads the signing keys again, and forgets what was verified with those that are gone.
    pub(crate) async fn read_keys(&self) -> Result<(), Error> {
        self.install_keys().await.map_err(|error| Error::Signing(error.to_string()))?;
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

async fn open_keys(store: &Store, vault: &Vault) -> Result<KeyRing, OpenError> {
    let (key, der) = SigningKey::generate()?;
    let first = SealedKey {
        sealed: vault.seal(&key.kid, &der)?,
        kid: key.kid,
        retired: None,
        signs_from: Timestamp::from_seconds(0),
    };
    let sealed = store.write(move |tx| store::keys_or_first(tx, &first)).await?;
    unseal(vault, &sealed)
}

fn unseal(vault: &Vault, sealed: &[SealedKey]) -> Result<KeyRing, OpenError> {
    let in_use = sealed.iter().filter(|key| key.retired.is_none());
    let open = |key: &SealedKey| {
        let mut opened = SigningKey::from_der(&vault.unseal(&key.kid, &key.sealed)?)?;
        opened.signs_from = key.signs_from;
        Ok::<_, OpenError>(opened)
    };
    Ok(KeyRing(in_use.map(open).collect::<Result<_, _>>()?))
}
