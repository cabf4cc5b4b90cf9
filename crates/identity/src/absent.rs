//! Who was found to be away when work was to be done for them: suspended, or with a closed account. What waits for them is woken
//! when they are back, by the change itself and not by looking again and again.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Identity;
use crate::model::group::Group;
use crate::model::principal::UserRef;

/// The people whom a service found to be away. Cheap to clone; one task waits for [`Absent::returned`].
#[derive(Clone)]
pub struct Absent {
    identity: Identity,
    away: Arc<Mutex<HashSet<UserRef>>>,
}

impl Identity {
    /// The groups of a local account, for services that keep access lists.
    pub fn groups_of_account(&self, name: &str) -> Vec<Group> {
        self.groups_of(name)
    }
}

impl Absent {
    pub fn new(identity: &Identity) -> Self {
        Absent { identity: identity.clone(), away: Arc::default() }
    }

    /// Whether work may go on for this user. Whoever is away is named by [`Absent::returned`] later, so work for them can
    /// be put aside for long.
    pub fn is_here(&self, user: &UserRef) -> bool {
        if self.identity.is_welcome(user) {
            return true;
        }
        self.away.lock().insert(user.clone());
        // Back in this very moment: then nobody will tell.
        let is_back = self.identity.is_welcome(user);
        if is_back {
            self.away.lock().remove(user);
        }
        is_back
    }

    /// Those who are back, as soon as there are some.
    pub async fn returned(&self) -> Vec<UserRef> {
        let mut changes = self.identity.watch_changes();
        loop {
            changes.borrow_and_update();
            let back: Vec<UserRef> = {
                let mut away = self.away.lock();
                let back: Vec<UserRef> = away.iter().filter(|user| self.identity.is_welcome(user)).cloned().collect();
                away.retain(|user| !back.contains(user));
                back
            };
            if !back.is_empty() {
                return back;
            }
            if changes.changed().await.is_err() {
                // Identity is going, and the engine with it.
                std::future::pending::<()>().await;
            }
        }
    }
}
