//! Administration of the engine in a data directory: through its socket while it runs, else on its store, whose lock the command
//! takes for as long as it works. Both do the same.

use dte_base::secret::Secret;
use dte_base::tasks::Tasks;
use dte_identity::audit::{AuditRecord, AuditReport};
use dte_identity::socket::{TokenWanted, UserState};
use dte_identity::{AdminClient, AdminError, Ban, Erasure, Identity, NewBan, NewNotBefore, NotBefore, User};

use crate::cli::Common;
use crate::engine::identity_at_rest;
use crate::failure::Failure;
use crate::settings::Settings;

/// Who does it, for the audit.
const BY: &str = "command line";
/// Records of the trail that are read at once.
const TRACE_PAGE: usize = 1_000;
/// What was changed must be written within this time.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// An engine to be administered.
pub enum Administration {
    Running(AdminClient),
    AtRest(Box<Identity>, Tasks),
}

impl Administration {
    /// Finds the engine of the data directory that is named.
    pub async fn open(common: &Common) -> Result<Self, Failure> {
        let client = AdminClient::new(&common.data_dir);
        if AdminClient::is_there(&common.data_dir) {
            match client.users().await {
                // The socket of an engine that was killed stays behind.
                Err(AdminError::NoEngine { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(Administration::Running(client)),
            }
        }
        let settings = Settings::load(common, &[])?;
        let elsewhere = std::env::var_os("DTE_STORE").is_some() || settings.document.has("store", "url");
        if !elsewhere && !settings.data_dir.join("dte.sqlite").exists() {
            let place = common.data_dir.display();
            return Err(Failure::new(format!("there is no engine in {place}: start one with `dte up`")));
        }
        let (identity, tasks) = identity_at_rest(&settings).await?;
        Ok(Administration::AtRest(Box::new(identity), tasks))
    }

    /// Everything that was noted is written, and the lock is free again.
    pub async fn close(self) -> Result<(), Failure> {
        let Administration::AtRest(_, tasks) = &self else { return Ok(()) };
        if tasks.stop_and_wait(LAST_WORDS).await {
            Ok(())
        } else {
            Err(Failure::new("the audit trail could not be written in time"))
        }
    }

    pub async fn token(&self, wanted: TokenWanted) -> Result<Secret, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.token(&wanted).await?),
            Administration::AtRest(identity, _) => {
                let scopes: Vec<&str> = wanted.scope.as_deref().unwrap_or_default().split_whitespace().collect();
                let user = wanted.user.as_deref().unwrap_or(dte_identity::FIRST_ADMIN);
                let lifetime = wanted.lifetime.map_or(dte_identity::USUAL_LIFETIME, |span| span.0);
                Ok(identity.issue_token(user, &scopes, wanted.audience.as_deref(), lifetime, BY)?)
            }
        }
    }

    pub async fn users(&self) -> Result<Vec<User>, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.users().await?),
            Administration::AtRest(identity, _) => Ok(identity.users()),
        }
    }

    pub async fn add_user(&self, name: &str, admin: bool) -> Result<User, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.add_user(name, admin).await?),
            Administration::AtRest(identity, _) => Ok(identity.add_user(name, admin, BY).await?),
        }
    }

    pub async fn set_user(&self, name: &str, state: UserState) -> Result<(), Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.set_user(name, state).await?),
            Administration::AtRest(identity, _) => Ok(identity.set_user(name, state.admin, state.active, BY).await?),
        }
    }

    pub async fn bans(&self) -> Result<Vec<Ban>, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.bans(false).await?),
            Administration::AtRest(identity, _) => Ok(identity.bans(false).await?),
        }
    }

    pub async fn add_ban(&self, who: NewBan) -> Result<Ban, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.add_ban(&who).await?),
            Administration::AtRest(identity, _) => Ok(identity.ban(who, BY).await?),
        }
    }

    pub async fn lift_ban(&self, id: &str) -> Result<(), Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.lift_ban(id).await?),
            Administration::AtRest(identity, _) => Ok(identity.lift_ban(id, BY).await?),
        }
    }

    /// Sets a password; the account's sessions end.
    pub async fn set_password(&self, name: &str, password: &Secret) -> Result<(), Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.set_password(name, password).await?),
            Administration::AtRest(identity, _) => Ok(identity.set_password(name, password.expose(), None, BY).await?),
        }
    }

    /// Tokens that are refused for their age from now on.
    pub async fn revoke_before(&self, rule: NewNotBefore) -> Result<NotBefore, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.revoke_before(&rule).await?),
            Administration::AtRest(identity, _) => Ok(identity.revoke_before(rule, BY).await?),
        }
    }

    pub async fn revocations(&self) -> Result<Vec<NotBefore>, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.revocations().await?),
            Administration::AtRest(identity, _) => Ok(identity.revocations()),
        }
    }

    pub async fn lift_revocation(&self, id: &str) -> Result<(), Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.lift_revocation(id).await?),
            Administration::AtRest(identity, _) => Ok(identity.lift_revocation(id, BY).await?),
        }
    }

    pub async fn verify_audit(&self) -> Result<AuditReport, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.verify_audit().await?),
            Administration::AtRest(identity, _) => Ok(identity.audit().verify().await?),
        }
    }

    /// Erases a person, for good.
    pub async fn erase_user(&self, name: &str) -> Result<Erasure, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.erase_user(name).await?),
            Administration::AtRest(identity, _) => Ok(identity.erase(name, BY).await?),
        }
    }

    /// Who was behind something.
    pub async fn trace(&self, text: &str, after: i64) -> Result<serde_json::Value, Failure> {
        match self {
            Administration::Running(engine) => Ok(engine.trace(text, after).await?),
            Administration::AtRest(identity, _) => {
                identity.trace(text, after, BY).await.map_err(|problem| Failure::new(problem.detail()))
            }
        }
    }

    pub async fn trace_audit(&self, subject: &str) -> Result<Vec<AuditRecord>, Failure> {
        let identity = match self {
            Administration::Running(engine) => return Ok(engine.trace_audit(subject).await?),
            Administration::AtRest(identity, _) => identity,
        };
        let mut found: Vec<AuditRecord> = Vec::new();
        loop {
            let after = found.last().map_or(0, |record| record.seq);
            let page = identity.audit().trace(subject, after, TRACE_PAGE).await?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page);
        }
    }
}
