//! What is looked at with every request, held in memory. The store is the truth: a change writes there first, and then every
//! process reads the rows that are newer than what it knows.

use std::collections::{BTreeMap, HashMap, HashSet};

use dte_base::time::Timestamp;
use dte_store::{Store, Tx};
use parking_lot::{RwLock, RwLockReadGuard};

use super::agreements::{Exemption, Kind, Record, Requirement};
use super::groups::{GroupRecord, Membership};
use super::model::aup::{Accepted, AupVersion, Need, Owner, current, need_acceptance};
use super::model::membership::State;
use super::model::scopes::{Ready, ScopePolicy};
use super::profiles::{Profile, Profiles};
use super::store;
use crate::model::group::Group;

/// The memory, and the turn of those who bring it up to date.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    known: RwLock<Known>,
    turn: tokio::sync::Mutex<()>,
}

/// All of it, as of one change.
#[derive(Debug, Default)]
pub(crate) struct Known {
    version: i64,
    groups: HashMap<String, GroupRecord>,
    by_path: BTreeMap<String, String>,
    /// Of each group: name and role.
    members: HashMap<String, BTreeMap<(String, String), Standing>>,
    /// Of each account: the ids of groups in which there is anything about it.
    groups_of: HashMap<String, HashSet<String>>,
    profiles: Profiles,
    /// Of each owner all versions, the oldest first.
    aups: BTreeMap<Owner, Vec<AupVersion>>,
    /// Of each subject at an issuer: what was accepted and not revoked.
    accepted: HashMap<(String, String), HashMap<Owner, Vec<Accepted>>>,
    exempt: HashMap<String, Exemption>,
    scope_policies: Vec<Ready>,
}

/// One membership, without its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

impl Standing {
    pub(crate) fn counts(&self, now: Timestamp) -> bool {
        self.state.at(self.expires, now).counts()
    }
}

/// What one reading of the store found.
struct News {
    version: i64,
    groups: Vec<GroupRecord>,
    members: Vec<Membership>,
    profiles: Vec<(String, Profile)>,
    aups: Vec<AupVersion>,
    records: Vec<Record>,
    exemptions: Vec<Exemption>,
    scope_policies: Vec<ScopePolicy>,
}

impl News {
    fn read(tx: &mut Tx<'_>, known: i64) -> Result<Option<News>, dte_store::Error> {
        let version = store::version(tx)?;
        if version == known {
            return Ok(None);
        }
        Ok(Some(News {
            version,
            groups: store::groups::groups_after(tx, known)?,
            members: store::groups::members_after(tx, known)?,
            profiles: store::profiles::after(tx, known)?,
            aups: store::aups::after(tx, known)?,
            records: store::acceptances::changed_after(tx, known)?,
            exemptions: store::aups::exemptions_after(tx, known)?,
            scope_policies: store::scope_policies::after(tx, known)?,
        }))
    }
}

impl Memory {
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read()
    }

    /// Reads what is new. Says whether rights may have changed.
    pub(crate) async fn refresh(&self, from: &Store) -> Result<bool, dte_store::Error> {
        let _turn = self.turn.lock().await;
        let known = self.known.read().version;
        let Some(news) = from.read(move |tx| News::read(tx, known)).await? else { return Ok(false) };
        let rights = !news.groups.is_empty() || !news.members.is_empty();
        self.known.write().apply(news);
        Ok(rights)
    }
}

impl Known {
    fn apply(&mut self, news: News) {
        for group in news.groups {
            if group.deleted {
                self.by_path.retain(|path, id| !(*path == group.path && *id == group.id));
                self.groups.remove(&group.id);
            } else {
                self.by_path.insert(group.path.clone(), group.id.clone());
                self.groups.insert(group.id.clone(), group);
            }
        }
        for member in news.members {
            self.apply_member(member);
        }
        self.profiles.extend(news.profiles);
        for aup in news.aups {
            let all = self.aups.entry(aup.owner.clone()).or_default();
            match all.iter_mut().find(|known| known.id == aup.id) {
                Some(known) => *known = aup,
                None => all.push(aup),
            }
            all.sort_by_key(|version| version.seq);
        }
        for record in news.records {
            self.apply_record(record);
        }
        for exemption in news.exemptions {
            if exemption.ended {
                self.exempt.remove(&exemption.name);
            } else {
                self.exempt.insert(exemption.name.clone(), exemption);
            }
        }
        for policy in news.scope_policies {
            self.scope_policies.retain(|known| known.policy.id != policy.id);
            let (id, deleted) = (policy.id, policy.deleted);
            match Ready::new(policy) {
                Ok(_) if deleted => {}
                Ok(ready) => self.scope_policies.push(ready),
                Err(error) => tracing::error!(id, error, "a scope policy cannot be asked"),
            }
        }
        self.scope_policies.sort_by_key(|ready| ready.policy.id);
        self.version = news.version;
    }

    fn apply_record(&mut self, record: Record) {
        let Some(owner) = Owner::parse(&record.owner) else { return };
        let of_subject = self.accepted.entry((record.issuer, record.subject)).or_default();
        let of_owner = of_subject.entry(owner).or_default();
        of_owner.retain(|known| known.seq != record.aup_seq);
        if record.kind == Kind::Accept {
            of_owner.push(Accepted { seq: record.aup_seq, at: record.at });
        }
    }

    fn apply_member(&mut self, member: Membership) {
        let Membership { group_id, name, role, state, since, expires } = member;
        if state != State::Left {
            self.groups_of.entry(name.clone()).or_default().insert(group_id.clone());
            self.members.entry(group_id).or_default().insert((name, role), Standing { state, since, expires });
            return;
        }
        let Some(members) = self.members.get_mut(&group_id) else { return };
        members.remove(&(name.clone(), role));
        let from = (name.clone(), String::new());
        if members.range(from..).next().is_none_or(|((other, _), _)| *other != name)
            && let Some(groups) = self.groups_of.get_mut(&name)
        {
            groups.remove(&group_id);
            if groups.is_empty() {
                self.groups_of.remove(&name);
            }
        }
        if members.is_empty() {
            self.members.remove(&group_id);
        }
    }

    /// The groups in which the account counts as a member, in the order of their paths.
    pub(crate) fn groups_of(&self, name: &str, now: Timestamp) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (record, role, standing) in self.memberships_of(name) {
            if standing.counts(now)
                && let Some(group) = Group::from_wlcg(&record.path)
            {
                groups.push(Group { role: (!role.is_empty()).then(|| role.to_owned()), ..group });
            }
        }
        groups
    }

    /// Everything about an account, in the order of paths.
    pub(crate) fn memberships_of(&self, name: &str) -> Vec<(&GroupRecord, &str, Standing)> {
        let mut found = Vec::new();
        for id in self.groups_of.get(name).into_iter().flatten() {
            let (Some(record), Some(members)) = (self.groups.get(id), self.members.get(id)) else { continue };
            let own = members.range((name.to_owned(), String::new())..).take_while(|((other, _), _)| other == name);
            found.extend(own.map(|((_, role), standing)| (record, role.as_str(), *standing)));
        }
        found.sort_by(|a, b| (&a.0.path, a.1).cmp(&(&b.0.path, b.1)));
        found
    }

    /// The communities in which the account counts as a member of something.
    pub(crate) fn communities_of(&self, name: &str, now: Timestamp) -> Vec<String> {
        let mut communities: Vec<String> = self.groups_of(name, now).into_iter().map(|group| group.vo).collect();
        communities.dedup();
        communities
    }

    /// All versions of an owner, the oldest first.
    pub(crate) fn aups_of(&self, owner: &Owner) -> &[AupVersion] {
        self.aups.get(owner).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn aups(&self) -> impl Iterator<Item = (&Owner, &[AupVersion])> {
        self.aups.iter().map(|(owner, versions)| (owner, versions.as_slice()))
    }

    /// What somebody accepted of an owner's terms, and did not revoke.
    pub(crate) fn accepted(&self, issuer: &str, subject: &str, owner: &Owner) -> &[Accepted] {
        let of_subject = self.accepted.get(&(issuer.to_owned(), subject.to_owned()));
        of_subject.and_then(|accepted| accepted.get(owner)).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn scope_policies(&self) -> &[Ready] {
        &self.scope_policies
    }

    pub(crate) fn exemptions(&self) -> impl Iterator<Item = &Exemption> {
        self.exempt.values()
    }

    /// Whose terms somebody is asked to accept: the engine's and those of the communities of a local account.
    fn owners_for(&self, subject: &str, communities_too: bool, now: Timestamp) -> Vec<Owner> {
        let mut owners = vec![Owner::Infrastructure];
        if communities_too {
            owners.extend(self.communities_of(subject, now).into_iter().map(Owner::Vo));
        }
        owners.retain(|owner| self.aups.contains_key(owner));
        owners
    }

    pub(crate) fn requirements(
        &self,
        issuer: &str,
        subject: &str,
        communities_too: bool,
        now: Timestamp,
    ) -> Vec<Requirement> {
        let is_exempt = communities_too && self.exempt.contains_key(subject);
        let mut found = Vec::new();
        for owner in self.owners_for(subject, communities_too, now) {
            let versions = self.aups_of(&owner);
            if let Some(version) = current(versions) {
                let need = need_acceptance(versions, self.accepted(issuer, subject, &owner), now);
                let need = if is_exempt { Need::Covered } else { need };
                found.push(Requirement { version: version.clone(), need });
            }
        }
        found
    }

    pub(crate) fn must_accept(&self, issuer: &str, subject: &str, communities_too: bool, now: Timestamp) -> bool {
        if self.aups.is_empty() || (communities_too && self.exempt.contains_key(subject)) {
            return false;
        }
        let owners = self.owners_for(subject, communities_too, now);
        let demands = |owner: &Owner| {
            need_acceptance(self.aups_of(owner), self.accepted(issuer, subject, owner), now) == Need::Now
        };
        owners.iter().any(demands)
    }

    pub(crate) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    pub(crate) fn group(&self, id: &str) -> Option<&GroupRecord> {
        self.groups.get(id)
    }

    pub(crate) fn group_at(&self, path: &str) -> Option<&GroupRecord> {
        self.by_path.get(path).and_then(|id| self.groups.get(id))
    }

    /// All groups in the order of their paths, after one.
    pub(crate) fn groups_after(&self, path: &str) -> impl Iterator<Item = &GroupRecord> {
        let from = (std::ops::Bound::Excluded(path.to_owned()), std::ops::Bound::Unbounded);
        self.by_path.range(from).filter_map(|(_, id)| self.groups.get(id))
    }

    /// What is known of a group's members: name, role, standing; in the order of names.
    pub(crate) fn members_of(&self, id: &str) -> impl Iterator<Item = (&str, &str, Standing)> {
        let members = self.members.get(id).into_iter().flatten();
        members.map(|((name, role), standing)| (name.as_str(), role.as_str(), *standing))
    }

    /// The same after a name and role.
    pub(crate) fn members_after(&self, id: &str, after: (&str, &str)) -> impl Iterator<Item = (&str, &str, Standing)> {
        let after = std::ops::Bound::Excluded((after.0.to_owned(), after.1.to_owned()));
        let members = self.members.get(id).map(|members| members.range((after, std::ops::Bound::Unbounded)));
        members.into_iter().flatten().map(|((name, role), standing)| (name.as_str(), role.as_str(), *standing))
    }

    /// Whether `name` manages the group or one above it.
    pub(crate) fn manages(&self, name: &str, path: &str) -> bool {
        let mut at = Some(path);
        while let Some(path) = at {
            if self.group_at(path).is_some_and(|group| group.managers.iter().any(|manager| manager == name)) {
                return true;
            }
            at = super::model::membership::parent(path);
        }
        false
    }
}
