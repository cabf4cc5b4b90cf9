//! Accounts, clients and bans, held in memory so that every request can be checked against them. The store is the truth;
//! a change writes there first and then replaces what is here.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_store::Tx;
use serde::{Deserialize, Serialize};

use crate::accounts::store::people::{self, Link};
use crate::issuer::rules::Rules;
use crate::model::group::Group;
use crate::not_before::NotBefore;
use crate::store;
use crate::trust::GUEST_PREFIX;

/// A local account. Its subject at the built-in issuer is its name, and a name is never given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub admin: bool,
    pub active: bool,
    pub created: Timestamp,
}

/// A client of the built-in issuer (OAuth 2.0 client credentials).
#[derive(Clone, Debug)]
pub struct Client {
    pub client_id: String,
    pub(crate) secret_hash: Vec<u8>,
    /// What it may ask for.
    pub scopes: Vec<String>,
    /// Audiences that it may name; ours always.
    pub audiences: Vec<String>,
    pub active: bool,
}

/// Whom a ban hits: everybody who has all that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewBan {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vo: Option<String>,
    /// A group in any notation ([`Group::parse`]): whoever is in it or beneath it, here or by the word of their issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    pub reason: String,
}

/// A ban, in force until it is lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    pub id: String,
    #[serde(flatten)]
    pub who: NewBan,
    pub created_by: String,
    pub created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
}

/// Who is looked up among the bans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspect<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) vo: Option<&'a str>,
    pub(crate) token_id: Option<&'a str>,
}

impl NewBan {
    /// A ban that names nobody would hit everybody.
    pub fn names_somebody(&self) -> bool {
        [&self.issuer, &self.subject, &self.client_id, &self.vo, &self.group, &self.token_id]
            .iter()
            .any(|part| part.as_ref().is_some_and(|text| !text.is_empty()))
    }

    /// `groups`: those that somebody is known to be in.
    pub(crate) fn hits(&self, who: &Suspect<'_>, groups: &[Group]) -> bool {
        let fits = |named: &Option<String>, has: Option<&str>| named.as_deref().is_none_or(|named| Some(named) == has);
        fits(&self.issuer, Some(who.issuer))
            && fits(&self.subject, Some(who.subject))
            && fits(&self.client_id, who.client_id)
            && fits(&self.vo, who.vo)
            && fits(&self.token_id, who.token_id)
            && self.group.as_deref().is_none_or(|named| is_in(groups, named))
    }
}

/// Whether one of these groups is the named one, or beneath it. What names no group has no members: none is ever kept.
fn is_in(groups: &[Group], named: &str) -> bool {
    !groups.is_empty() && Group::parse(named).is_some_and(|named| groups.iter().any(|group| group.satisfies(&named)))
}

/// All of it, at one version.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) version: i64,
    pub(crate) users: HashMap<String, User>,
    pub(crate) clients: HashMap<String, Client>,
    pub(crate) bans: Vec<Ban>,
    /// Whether one of them names a group: else nobody's groups have to be looked up.
    pub(crate) bans_groups: bool,
    /// Which account an identity elsewhere, (issuer, subject), belongs to.
    pub(crate) links: HashMap<(String, String), Link>,
    /// The same the other way.
    pub(crate) linked: HashMap<String, Vec<(String, String)>>,
    pub(crate) not_before: Vec<NotBefore>,
    pub(crate) rules: Rules,
}

impl Directory {
    pub(crate) fn load(tx: &mut Tx<'_>) -> Result<Self, dte_store::Error> {
        let links = people::links(tx)?;
        let bans = store::bans(tx, false)?;
        let mut linked: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for link in &links {
            linked.entry(link.name.clone()).or_default().push((link.issuer.clone(), link.subject.clone()));
        }
        Ok(Directory {
            version: store::version(tx)?,
            users: store::users(tx)?.into_iter().map(|user| (user.name.clone(), user)).collect(),
            clients: store::clients(tx)?.into_iter().map(|client| (client.client_id.clone(), client)).collect(),
            bans_groups: bans.iter().any(|ban| ban.who.group.is_some()),
            bans,
            links: links.into_iter().map(|link| ((link.issuer.clone(), link.subject.clone()), link)).collect(),
            linked,
            not_before: store::not_before::all(tx)?,
            rules: Rules::load(tx)?,
        })
    }

    /// Asked through [`Identity::is_banned`](crate::Identity::is_banned), which knows who is in which group.
    pub(crate) fn has_ban_of(&self, who: &Suspect<'_>, groups: &[Group]) -> bool {
        self.bans.iter().any(|ban| ban.who.hits(who, groups))
    }
}

/// Whether a text can be the name of a local account: what Rucio takes as an account, and a path component.
pub(crate) fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.'))
}

/// Pseudonyms of people who were erased begin with this.
pub(crate) const PSEUDONYM_PREFIX: &str = "erased-";

/// Whether a text begins as names do that the engine itself gives: to guests and to those who were erased.
pub(crate) fn is_reserved(text: &str) -> bool {
    [GUEST_PREFIX, PSEUDONYM_PREFIX].iter().any(|prefix| text.starts_with(prefix))
}

/// Whether a text can be the name of a new account or client.
pub(crate) fn is_new_name(text: &str) -> bool {
    is_name(text) && !is_reserved(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_hits_who_has_all_that_it_names() {
        let who = Suspect { issuer: "i", subject: "s", client_id: Some("c"), vo: Some("v"), token_id: Some("t") };
        let some = |text: &str| Some(text.to_owned());
        assert!(NewBan { subject: some("s"), ..NewBan::default() }.hits(&who, &[]));
        assert!(NewBan { issuer: some("i"), subject: some("s"), ..NewBan::default() }.hits(&who, &[]));
        assert!(!NewBan { issuer: some("j"), subject: some("s"), ..NewBan::default() }.hits(&who, &[]));
        for ban in [
            NewBan { issuer: some("i"), ..NewBan::default() },
            NewBan { client_id: some("c"), ..NewBan::default() },
            NewBan { vo: some("v"), ..NewBan::default() },
            NewBan { token_id: some("t"), ..NewBan::default() },
        ] {
            assert!(ban.hits(&who, &[]) && ban.names_somebody());
        }
        let nameless = Suspect { client_id: None, vo: None, token_id: None, ..who };
        assert!(!NewBan { vo: some("v"), ..NewBan::default() }.hits(&nameless, &[]));
        let in_group = NewBan { group: some("/v/a"), ..NewBan::default() };
        let groups = |names: &[&str]| names.iter().filter_map(|name| Group::parse(name)).collect::<Vec<_>>();
        assert!(in_group.names_somebody());
        assert!(in_group.hits(&who, &groups(&["/x", "/v/a/b"])));
        assert!(in_group.hits(&who, &groups(&["urn:geant:x.eu:group:v:a:role=chief#x.eu"])));
        for others in [&[][..], &["/v"], &["/v/ab"], &["/w/a"]] {
            assert!(!in_group.hits(&who, &groups(others)), "{others:?}");
        }
        let of_issuer = NewBan { issuer: some("j"), ..in_group };
        assert!(!of_issuer.hits(&who, &groups(&["/v/a"])));
        assert!(!NewBan { reason: "x".to_owned(), ..NewBan::default() }.names_somebody());
    }

    #[test]
    fn names() {
        for good in ["admin", "a.b-c_d", "0x"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "..", ".a", "A", "a/b", "a b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
        for reserved in ["guest-1", "erased-0123"] {
            assert!(is_name(reserved) && !is_new_name(reserved), "{reserved}");
        }
    }
}
