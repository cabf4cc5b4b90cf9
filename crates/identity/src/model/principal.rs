//! Who is asking, and what they may do.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use dte_base::time::Timestamp;
use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::decision::{self, Wanted};
use super::denial::{Denial, DenialKind};
use super::group::Group;
use super::path::StoragePath;
use super::scope::{ADMIN_SCOPE, Scopes, StorageOp};

/// Names a person or client for good: store it with what they declared, so that background work can act for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UserRef {
    pub issuer: String,
    pub subject: String,
    /// The local account name.
    pub name: String,
}

/// Where rights come from when the token itself has no capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A local account: all that a user may, and all that an administrator may if it is one.
    User { admin: bool },
    /// A client of ours: only what its scopes say.
    Client,
    /// Somebody whom a trusted issuer knows: only what scopes or the operator's grants say.
    Guest,
    /// A program to which a local account said who it is, and nothing more: no rights at all.
    Named,
}

/// What was found out about who is asking.
#[derive(Clone, Debug)]
pub struct Identified {
    pub issuer: String,
    pub subject: String,
    pub client_id: Option<String>,
    /// The service that acts for the subject.
    pub acting: Option<String>,
    pub scopes: Scopes,
    /// What the operator grants; counts only when the token itself has no capabilities.
    pub granted: Scopes,
    pub groups: Arc<[Group]>,
    pub vo: Option<String>,
    pub token_id: Option<String>,
    pub expires: Timestamp,
    /// When the token was made, if it says so.
    pub issued: Option<Timestamp>,
    /// Whether the token was of an issuer elsewhere, also when the account is one here.
    pub is_foreign: bool,
    pub standing: Standing,
    /// The local account name.
    pub name: String,
}

/// Who is asking. An extractor; cheap to clone.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Identified>);

/// Something that needs a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A scope by name, for example `compute.create`.
    Scope(&'static str),
    /// A storage operation at a decoded path as seen below `/dav`.
    Storage(StorageOp, String),
    /// What only administrators may.
    Admin,
}

impl Principal {
    pub fn new(identified: Identified) -> Self {
        Principal(Arc::new(identified))
    }

    /// The local account name: the Rucio account, the owner of a home area.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// An administrator whose token does not confine itself to other capabilities.
    pub fn is_admin(&self) -> bool {
        decision::is_admin(&self.0)
    }

    /// What to store with a declared object.
    pub fn user_ref(&self) -> UserRef {
        UserRef { issuer: self.0.issuer.clone(), subject: self.0.subject.clone(), name: self.0.name.clone() }
    }

    /// Whether the principal is this user.
    pub fn is(&self, user: &UserRef) -> bool {
        self.0.issuer == user.issuer && self.0.subject == user.subject
    }

    pub fn allow(&self, action: &Action) -> Result<(), Denial> {
        match action {
            Action::Scope(scope) => self.may(scope),
            Action::Storage(op, path) => self.may_storage(*op, path),
            Action::Admin => self.must_be_admin(),
        }
    }

    /// Whether the principal has a scope, or is a local user whose token does not confine itself.
    pub fn may(&self, scope: &str) -> Result<(), Denial> {
        self.decide(Wanted::Scope(scope), || {
            Denial::insufficient(format!("this needs the scope {scope}")).needing(scope)
        })
    }

    /// Whether the principal may do what any one of these scopes is for; the first is named in a refusal.
    pub fn may_one_of(&self, scopes: &[&str]) -> Result<(), Denial> {
        if scopes.iter().any(|scope| self.may(scope).is_ok()) {
            return Ok(());
        }
        Err(Denial::insufficient(format!("this needs the scope {}", scopes.join(" or ")))
            .needing(scopes.first().copied().unwrap_or_default()))
    }

    /// A token that names capabilities is confined to them: it is no good for what none of them is about.
    pub fn must_not_be_confined(&self) -> Result<(), Denial> {
        if self.0.standing == Standing::Named {
            return Err(Denial::insufficient("this token says who somebody is, and is for nothing else"));
        }
        if !self.0.scopes.have_capabilities() || self.is_admin() {
            return Ok(());
        }
        Err(Denial::insufficient("this token is confined to its scopes, and none of them is for this"))
    }

    pub fn must_be_admin(&self) -> Result<(), Denial> {
        self.decide(Wanted::Admin, || Denial::insufficient("this is for administrators").needing(ADMIN_SCOPE))
    }

    /// Whether the principal may do `op` at `path`: decoded, absolute, as seen below `/dav`; with a slash at the end where
    /// a directory is meant. Without capabilities in the token, a user has their own area `/home/NAME`.
    pub fn may_storage(&self, op: StorageOp, path: &str) -> Result<(), Denial> {
        let path = StoragePath::parse(path)
            .map_err(|bad| Denial::new(DenialKind::Insufficient, "bad-path", bad.to_string()))?;
        self.decide(Wanted::Storage(op, &path), || {
            let power = match op {
                StorageOp::Read | StorageOp::Stat => "read",
                StorageOp::Create => "create",
                StorageOp::Modify => "modify",
                StorageOp::Stage => "stage",
            };
            let place = format!("/{}", path.components().join("/"));
            Denial::insufficient(format!("this needs storage.{power} at {place}"))
                .needing(format!("storage.{power}:{place}"))
        })
    }

    fn decide(&self, wanted: Wanted<'_>, denial: impl FnOnce() -> Denial) -> Result<(), Denial> {
        if decision::is_permitted(&self.0, wanted) {
            return Ok(());
        }
        Err(denial().because(decision::reasons(&self.0, wanted)))
    }
}

impl Deref for Principal {
    type Target = Identified;
    fn deref(&self) -> &Identified {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Denial;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denial> {
        parts.extensions.get::<Principal>().cloned().ok_or_else(Denial::no_token)
    }
}

/// On public routes: the principal when a good token was shown.
impl<S: Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Principal>().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(standing: Standing, scope: &str) -> Principal {
        let base = StoragePath::parse("/").expect("a path");
        Principal::new(Identified {
            issuer: "https://iss".to_owned(),
            subject: "alice".to_owned(),
            client_id: None,
            acting: None,
            scopes: Scopes::parse(scope, &base).expect("scopes"),
            granted: Scopes::default(),
            groups: Arc::default(),
            vo: None,
            token_id: None,
            expires: Timestamp::EPOCH,
            issued: None,
            is_foreign: false,
            standing,
            name: "alice".to_owned(),
        })
    }

    const USER: Standing = Standing::User { admin: false };
    const ADMIN: Standing = Standing::User { admin: true };

    #[test]
    fn capabilities_confine_even_administrators() {
        assert!(principal(ADMIN, "wlcg").is_admin());
        assert!(principal(ADMIN, "storage.read:/local dte.admin").is_admin());
        let confined = principal(ADMIN, "storage.read:/local");
        assert!(!confined.is_admin());
        assert!(confined.may_storage(StorageOp::Read, "/local/f").is_ok());
        assert!(confined.may_storage(StorageOp::Modify, "/local/f").is_err());
        assert!(confined.may("compute.create").is_err());
        // A scope makes nobody an administrator.
        assert!(!principal(USER, "dte.admin").is_admin());
        assert!(!principal(Standing::Guest, "dte.admin").is_admin());
        assert!(!principal(Standing::Client, "dte.admin").is_admin());
    }

    #[test]
    fn users_own_their_home_only() {
        let alice = principal(USER, "wlcg");
        assert!(alice.may_storage(StorageOp::Modify, "/home/alice/f").is_ok());
        assert!(alice.may_storage(StorageOp::Read, "/home/alicea/f").is_err());
        assert!(alice.may_storage(StorageOp::Read, "/home/bob/f").is_err());
        assert!(alice.may_storage(StorageOp::Read, "/local/f").is_err());
        assert!(alice.may_storage(StorageOp::Read, "/home/alice/../bob/f").is_err());
        assert!(principal(Standing::Client, "openid").may_storage(StorageOp::Read, "/home/alice/f").is_err());
        assert!(principal(USER, "compute.read").may_storage(StorageOp::Read, "/home/alice/f").is_err());
    }

    #[test]
    fn scopes() {
        assert!(principal(USER, "wlcg").may("compute.create").is_ok());
        assert!(principal(Standing::Guest, "wlcg").may("compute.create").is_err());
        assert!(principal(Standing::Guest, "compute.create").may("compute.create").is_ok());
        let denial = principal(Standing::Client, "").may("compute.create").expect_err("denied");
        assert_eq!(
            denial.challenge().as_deref(),
            Some("Bearer realm=\"dte\", error=\"insufficient_scope\", scope=\"compute.create\"")
        );
    }
}
