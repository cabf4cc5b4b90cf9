//! Communities and what people agreed to: groups, terms of use, and which scopes an account may have.

use crate::Identity;
use crate::model::group::Group;

/// Why no token is issued that acts for an account, although it is active and not banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// `aup_acceptance_required`
    pub(crate) reason: &'static str,
    /// Where the person can remove it: a path of ours.
    pub(crate) page: String,
}

impl Identity {
    /// The groups of a local account.
    pub(crate) fn groups_of(&self, _user: &str) -> Vec<Group> {
        Vec::new()
    }

    /// What stands between a local account and a token, checked at every grant that acts for it.
    pub(crate) fn obstacle(&self, _user: &str) -> Option<Obstacle> {
        None
    }

    /// Those of the wanted scopes that a local account may have (scope policies). One without a decision is dropped.
    pub(crate) fn permitted_scopes(&self, _user: &str, wanted: &[String]) -> Vec<String> {
        wanted.to_vec()
    }
}
