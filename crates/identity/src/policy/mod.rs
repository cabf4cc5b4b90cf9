//! Communities and what people agreed to: groups, terms of use, and which scopes an account may have.
//!
//! Rooms: `model` (pure rules), `store` (SQL), `api` (the wire), `memory` (what is looked at with every request), `change`
//! (how anything is changed), and one file for each thing that there is: `groups`,
//! `profiles`, `terms` (of use), `agreements` (who accepted them), `scope_policies`, `onboarding` (providers and communities),
//! `trace` (who was behind something).

pub(crate) mod agreements;
pub(crate) mod api;
pub(crate) mod change;
pub(crate) mod groups;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod onboarding;
pub(crate) mod profiles;
pub(crate) mod scope_policies;
pub(crate) mod store;
pub(crate) mod terms;
pub(crate) mod trace;

use dte_base::time::Timestamp;

use http::Method;

use crate::Identity;
use crate::model::denial::{Denial, DenialKind};
use crate::model::group::Group;
use crate::model::principal::Principal;
use crate::routes::Require;

/// The reason that a grant gives when terms of use must be accepted.
pub(crate) const AUP_REQUIRED: &str = "aup_acceptance_required";
/// Where people accept them.
pub(crate) const AUP_PAGE: &str = "/oidc/aup";
/// Methods that begin nothing.
const NO_SUBMISSIONS: &[&str] = &["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH", "DELETE", "UNLOCK"];
/// Services by which a person signs in and out, agrees, leaves.
const NOT_ASKED: &[&str] = &["identity", "policy", "dashboard"];
/// The scope of routes that begin work.
const BEGINS_WORK: &str = "compute.create";

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
    pub(crate) fn groups_of(&self, user: &str) -> Vec<Group> {
        self.0.policy.state().groups_of(user, Timestamp::now())
    }

    /// What stands between a local account and a token, checked at every grant that acts for it.
    pub(crate) fn obstacle(&self, user: &str) -> Option<Obstacle> {
        let page = || Obstacle { reason: AUP_REQUIRED, page: AUP_PAGE.to_owned() };
        self.must_accept(self.issuer(), user).then(page)
    }

    /// Why a principal may begin nothing new: a person who has not accepted what must be. Reading, deleting and what a
    /// service finishes in the background go on; so does everything by which the person removes the obstacle.
    pub(crate) fn aup_denial(
        &self,
        principal: &Principal,
        method: &Method,
        require: Require,
        service: &str,
    ) -> Option<Denial> {
        let begins = match &principal.acting {
            // What runs is finished; new work is not begun.
            Some(_) => require == Require::Scope(BEGINS_WORK),
            // A route that begins work does so whatever it is asked with.
            None if require == Require::Scope(BEGINS_WORK) => true,
            None => !NO_SUBMISSIONS.contains(&method.as_str()) && !NOT_ASKED.contains(&service),
        };
        if !begins || !agreements::can_agree(principal) || !self.must_accept(&principal.issuer, &principal.subject) {
            return None;
        }
        let page = self.0.client.url_of(AUP_PAGE);
        let detail = format!("accept the acceptable use policy first: {page}");
        Some(Denial::new(DenialKind::Insufficient, "aup-required", detail).linking(page))
    }
}
