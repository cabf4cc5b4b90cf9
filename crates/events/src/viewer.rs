//! Who looks, for requests and for what goes on after them.

use dte_identity::{Identity, Principal, UserRef};
use serde::{Deserialize, Serialize};

use crate::model::visibility::Viewer;

/// Somebody who asked for events to be sent later. What they may see is found out anew when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    pub user: UserRef,
    /// Asked with the rights of an administrator. A token that confined itself never widens later.
    pub as_admin: bool,
}

impl Subscriber {
    pub fn of(principal: &Principal) -> Self {
        Subscriber { user: principal.user_ref(), as_admin: principal.is_admin() }
    }

    /// What they may see now; `None` when they are banned or their account is closed.
    pub fn viewer(&self, identity: &Identity) -> Option<Viewer> {
        if !identity.is_welcome(&self.user) {
            return None;
        }
        let is_ours = self.user.issuer == identity.issuer();
        let is_admin = self.as_admin
            && is_ours
            && identity.users().iter().any(|user| user.name == self.user.name && user.active && user.admin);
        Some(Viewer { name: self.user.name.clone(), is_admin })
    }
}
