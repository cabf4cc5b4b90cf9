//! The identity service itself: opens, holds accounts and bans, changes them, and hands out its routes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dte_http::{Assembly, Client, Mounted};
use dte_store::Store;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::accounts::Accounts;
use crate::audit::Audit;
use crate::certificate::Holder;
use crate::config::IdentityConfig;
use crate::context::{Foundation, OpenError};
use crate::directory::Directory;
use crate::issue::{ActingTokens, Error, FailureLimit};
use crate::keys::{KeyRing, open_keys};
use crate::model::decide::{Policy, Profile};
use crate::model::path::StoragePath;
use crate::model::principal::UserRef;
use crate::routes::{Mount, RouteInfo};
use crate::trust::Issuer;
use crate::vault::Vault;
use crate::verify::{LONGEST_MEMORY, VerifiedTokens};
use crate::{FIRST_ADMIN, certificate, issuer, socket, store};

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
    pub(crate) holders: Vec<Holder>,
    pub(crate) vault: Vault,
    pub(crate) keys: RwLock<Arc<KeyRing>>,
    pub(crate) directory: RwLock<Arc<Directory>>,
    /// Grows with every change; what was verified under an older one is forgotten.
    pub(crate) generation: AtomicU64,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) verified: VerifiedTokens,
    pub(crate) said_groups: crate::bans::SaidGroups,
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
        store.migrate("identity.erasure", store::erasure::MIGRATIONS).await?;
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
        let holders = certificate::holders(&config, foundation)?;
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
            holders,
            vault,
            keys: RwLock::new(Arc::new(keys)),
            directory: RwLock::new(Arc::new(directory)),
            generation: AtomicU64::new(1),
            changed: watch::Sender::new(1),
            verified: VerifiedTokens::new(memory),
            said_groups: crate::bans::SaidGroups::default(),
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
        foundation.tasks.spawn("identity.erasures", identity.clone().finish_erasures(foundation.tasks.clone()));
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

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.0.directory.read())
    }
}
