//! Who is suspended, and whether work for somebody may go on.
//!
//! A ban of a group hits its members here and those whom their issuer names as members. What an issuer said of somebody is
//! remembered for a day: a token that leaves the group out, and work that goes on without any token, are no way around.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_store::Tx;
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::Value;

use crate::accounts::store::people;
use crate::audit::Entry;
use crate::directory::{Ban, Directory, NewBan, Suspect};
use crate::issue::Error;
use crate::issuer::programs;
use crate::model::group::Group;
use crate::model::principal::UserRef;
use crate::trust::person;
use crate::{Identity, store};

/// People of other issuers whose groups are remembered.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};
/// For how long what an issuer said last counts.
const FRESH: Duration = Duration::from_secs(86_400);

/// A [`person`], and the groups that the issuer named last.
type Said = LruCache<[u8; 32], (Arc<[Group]>, Instant)>;

/// In which groups people of other issuers are, by the tokens that they showed to this process.
pub(crate) struct SaidGroups(Mutex<Said>);

impl Default for SaidGroups {
    fn default() -> Self {
        SaidGroups(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl SaidGroups {
    /// Notes what a token says; one that names no group says nothing about them.
    pub(crate) fn note(&self, person: [u8; 32], groups: &Arc<[Group]>) {
        if !groups.is_empty() {
            let entry = (Arc::clone(groups), Instant::now());
            self.0.lock().put(person, entry);
        }
    }

    fn of(&self, issuer: &str, subject: &str) -> Option<Arc<[Group]>> {
        let known = self.0.lock().get(&person(issuer, subject)).cloned();
        known.filter(|(_, at)| at.elapsed() < FRESH).map(|(groups, _)| groups)
    }
}

impl Identity {
    /// Whether somebody is banned. `named`: the groups that stand in their token.
    pub(crate) fn is_banned(&self, directory: &Directory, who: &Suspect<'_>, named: &[Group]) -> bool {
        if !directory.bans_groups {
            return directory.has_ban_of(who, &[]);
        }
        directory.has_ban_of(who, &self.known_groups(who, named))
    }

    /// All groups in which somebody is known to be.
    pub(crate) fn known_groups(&self, who: &Suspect<'_>, named: &[Group]) -> Vec<Group> {
        let mut groups = named.to_vec();
        if who.issuer == self.0.issuer {
            groups.extend(self.groups_of(who.subject));
        } else {
            groups.extend(self.0.said_groups.of(who.issuer, who.subject).iter().flat_map(|said| said.iter().cloned()));
        }
        groups
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
        is_known && !self.is_banned(&directory, &who, &[])
    }

    /// Whether an identity elsewhere that belongs to this account is banned: then the account is, too.
    pub(crate) fn is_banned_through_link(&self, directory: &Directory, name: &str) -> bool {
        directory.linked.get(name).is_some_and(|identities| {
            identities.iter().any(|(issuer, subject)| {
                let trusted = self.0.trusted.iter().find(|known| known.is(issuer));
                let vo = trusted.and_then(|known| known.policy.vo.as_deref());
                self.is_banned(directory, &Suspect { issuer, subject, client_id: None, vo, token_id: None }, &[])
            })
        })
    }

    /// Bans. In this process it holds when this returns; in others within seconds.
    pub async fn ban(&self, who: NewBan, by: &str) -> Result<Ban, Error> {
        if !who.names_somebody() {
            return Err(Error::BanOfAll);
        }
        if let Some(group) = who.group.as_deref().filter(|group| Group::parse(group).is_none()) {
            return Err(Error::Group(group.to_owned()));
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
        let entry = Entry::change(
            by,
            "ban.add",
            ban.who.subject.as_deref().or(ban.who.group.as_deref()).unwrap_or("*"),
            detail,
        );
        let made = ban.clone();
        let (identity, by) = (self.clone(), by.to_owned());
        self.change(vec![entry], move |tx| {
            let before = identity.has_administrator(tx)?;
            store::insert_ban(tx, &made)?;
            // For good: lifting the ban does not bring back what was out there.
            for name in identity.accounts_named(tx, &made.who)? {
                programs::end_all(tx, identity.audit(), &name, &by)?;
            }
            identity.must_keep_administrator(tx, before)
        })
        .await?;
        Ok(ban)
    }

    /// The accounts of the subject that a ban names: by the name, and by identities elsewhere.
    fn accounts_named(&self, tx: &mut Tx<'_>, who: &NewBan) -> Result<BTreeSet<String>, dte_store::Error> {
        let Some(subject) = who.subject.as_deref() else { return Ok(BTreeSet::new()) };
        let is_of = |issuer: &str| who.issuer.as_deref().is_none_or(|named| named == issuer);
        let linked = people::links(tx)?.into_iter().filter(|link| link.subject == subject && is_of(&link.issuer));
        let mut names: BTreeSet<String> = linked.map(|link| link.name).collect();
        if is_of(&self.0.issuer) {
            names.insert(subject.to_owned());
        }
        Ok(names)
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
}
