//! Accounts as directories of people see them: names, an address, whether they are active.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_store::Tx;
use serde_json::json;

use super::change::Refusal;
use super::store::profiles as table;
use crate::Identity;
use crate::accounts::store as ways_in;
use crate::directory::{User, is_new_name};
use crate::issuer::programs;
use crate::model::plain::is_plain;
use crate::policy::groups::GroupRecord;
use crate::store as accounts;

/// The longest name or address, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// What is known of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) display: String,
    pub(crate) given: String,
    pub(crate) family: String,
    pub(crate) email: String,
    pub(crate) modified: Timestamp,
    /// The account was deleted: its name is never given again, and nothing else is known.
    pub(crate) gone: bool,
}

impl Profile {
    pub(crate) fn empty(modified: Timestamp) -> Self {
        let text = String::new;
        Profile { display: text(), given: text(), family: text(), email: text(), modified, gone: false }
    }

    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let texts = [&self.display, &self.given, &self.family, &self.email];
        if texts.iter().any(|text| text.len() > LONGEST_NAME || !is_plain(text)) {
            return Err(Refusal::Invalid(format!(
                "names and addresses have at most {LONGEST_NAME} bytes and only characters that can be seen"
            )));
        }
        let is_address = self.email.split_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
        if !self.email.is_empty() && (!is_address || self.email.contains(char::is_whitespace)) {
            return Err(Refusal::Invalid(format!("{:?} is not an e-mail address", self.email)));
        }
        Ok(())
    }

    /// How the person is called.
    pub(crate) fn shown_name(&self, account: &str) -> String {
        let full = format!("{} {}", self.given, self.family);
        match (self.display.as_str(), full.trim()) {
            ("", "") => account.to_owned(),
            ("", full) => full.to_owned(),
            (display, _) => display.to_owned(),
        }
    }
}

/// An account with all that is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) user: User,
    pub(crate) profile: Profile,
    /// Groups in which the person counts as a member.
    pub(crate) groups: Vec<GroupRecord>,
}

impl Identity {
    /// An account that was not deleted.
    pub(crate) fn person(&self, name: &str) -> Option<Person> {
        let user = self.directory().users.get(name)?.clone();
        self.person_of(user, Timestamp::now())
    }

    fn person_of(&self, user: User, now: Timestamp) -> Option<Person> {
        let state = self.0.policy.state();
        let profile = state.profile(&user.name).cloned().unwrap_or_else(|| Profile::empty(user.created));
        if profile.gone {
            return None;
        }
        let mut groups: Vec<GroupRecord> = Vec::new();
        for (group, _, standing) in state.memberships_of(&user.name) {
            if standing.counts(now) && groups.last().is_none_or(|last| last.id != group.id) {
                groups.push(group.clone());
            }
        }
        Some(Person { user, profile, groups })
    }

    /// All accounts that were not deleted, in the order of their names.
    pub(crate) fn people(&self) -> Vec<Person> {
        let now = Timestamp::now();
        self.users().into_iter().filter_map(|user| self.person_of(user, now)).collect()
    }

    /// Makes an account with a profile.
    pub(crate) async fn add_person(
        &self,
        name: &str,
        active: bool,
        profile: Profile,
        by: &str,
    ) -> Result<Person, Refusal> {
        if !is_new_name(name) {
            return Err(crate::Error::Name(name.to_owned()).into());
        }
        profile.check()?;
        let name = name.to_owned();
        let (made, erased) = (name.clone(), self.erased_hash(&name));
        self.policy_change(by, move |change| {
            if accounts::is_taken(change.tx, &made, &erased)? {
                return Err(crate::Error::Taken(made.clone()).into());
            }
            let user = User { name: made.clone(), admin: false, active, created: change.now };
            accounts::insert_user(change.tx, &user)?;
            accounts::bump_version(change.tx)?;
            table::put(change.tx, &made, &Profile { modified: change.now, ..profile.clone() }, change.version)?;
            change.note("user.add", &made, json!({"admin": false, "active": active}));
            Ok(())
        })
        .await?;
        self.reload_accounts().await?;
        self.person(&name).ok_or_else(|| Refusal::NoSuch(format!("account {name}")))
    }

    /// Changes an account and its profile. An inactive account can do nothing: it is suspended everywhere at once.
    pub(crate) async fn set_person(
        &self,
        name: &str,
        active: bool,
        profile: Profile,
        by: &str,
    ) -> Result<Person, Refusal> {
        profile.check()?;
        let person = self.person(name).ok_or_else(|| Refusal::NoSuch(format!("account {name}")))?;
        if person.user.active && !active && name == by {
            return Err(Refusal::Conflict("nobody deactivates the own account".to_owned()));
        }
        let changed = name.to_owned();
        let is_admin = person.user.admin;
        let was_active = person.user.active;
        let (audit, changer, identity) = (self.audit().clone(), by.to_owned(), self.clone());
        self.policy_change(by, move |change| {
            must_be_there(change.tx, &changed)?;
            if was_active != active {
                let before = identity.has_administrator(change.tx)?;
                accounts::update_user(change.tx, &changed, is_admin, active)?;
                accounts::bump_version(change.tx)?;
                if !active {
                    ways_in::steps::end_sessions(change.tx, &changed, None)?;
                    programs::end_all(change.tx, &audit, &changed, &changer)?;
                }
                identity.must_keep_administrator(change.tx, before)?;
                change.note("user.set", &changed, json!({"admin": is_admin, "active": active}));
            }
            table::put(change.tx, &changed, &Profile { modified: change.now, ..profile.clone() }, change.version)?;
            change.note("profile.set", &changed, json!({}));
            Ok(())
        })
        .await?;
        if was_active != active {
            self.reload_accounts().await?;
        }
        self.person(name).ok_or_else(|| Refusal::NoSuch(format!("account {name}")))
    }

    /// Deletes an account: it can do nothing any more, is in no group, and its profile is gone. The name is never given again.
    pub(crate) async fn delete_person(&self, name: &str, by: &str) -> Result<(), Refusal> {
        if name == by || name == crate::FIRST_ADMIN {
            return Err(Refusal::Conflict(
                "the own account and the first administrator's cannot be deleted".to_owned(),
            ));
        }
        self.person(name).ok_or_else(|| Refusal::NoSuch(format!("account {name}")))?;
        let name = name.to_owned();
        let (audit, changer, identity) = (self.audit().clone(), by.to_owned(), self.clone());
        self.policy_change(by, move |change| {
            must_be_there(change.tx, &name)?;
            let before = identity.has_administrator(change.tx)?;
            accounts::update_user(change.tx, &name, false, false)?;
            identity.must_keep_administrator(change.tx, before)?;
            accounts::bump_version(change.tx)?;
            ways_in::forget(change.tx, &name)?;
            programs::end_all(change.tx, &audit, &name, &changer)?;
            let gone = Profile { gone: true, ..Profile::empty(change.now) };
            table::put(change.tx, &name, &gone, change.version)?;
            super::store::groups::leave_all(change.tx, &name, change.now, change.version)?;
            change.note("user.delete", &name, json!({}));
            Ok(())
        })
        .await?;
        Ok(self.reload_accounts().await?)
    }
}

/// The same as [`Identity::person`] finds, in the transaction that relies on it.
fn must_be_there(tx: &mut Tx<'_>, name: &str) -> Result<(), Refusal> {
    if table::is_gone(tx, name)? {
        return Err(Refusal::NoSuch(format!("account {name}")));
    }
    Ok(())
}

/// Profiles by the name of the account.
pub(crate) type Profiles = HashMap<String, Profile>;
