//! What of a record is about a person who is erased, and what stands in its place.
//!
//! The account's name, and the subjects of the identities elsewhere, become the pseudonym in the members that name people. A
//! part of a path becomes it when it stands where accounts are named (`/users/alice`), or when the record is the person's
//! own: names of accounts are ordinary words, and nobody's `/data` may turn into somebody's pseudonym.
//!
//! What people call themselves is theirs to choose, so it proves nothing: it is taken only out of what they did themselves,
//! and never where a record says who did what to what. Else who is erased could choose what disappears of others.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::known::{Known, Named};

/// Members of a record whose values are ours and name nobody.
const VOCABULARY: &[&str] = &["kind", "action", "method", "service", "route", "request", "reason", "minute"];
/// Members, at any depth, that say where somebody is known or what was done by whom: no chosen name is taken out there.
const NEVER_CHOSEN: &[&str] = &["by", "subject", "issuer", "object", "client_id"];
/// Members, at any depth, that name accounts.
const ACCOUNTS: &[&str] =
    &["by", "account", "accounts", "manager", "managers", "member", "members", "user", "users", "owner", "applicant"];
/// Actions in whose details `name` is an account's: elsewhere it is what programs and applications are called.
const NAMES_ACCOUNTS: &[&str] = &["group.", "member."];
/// Actions whose object is an account.
const ON_ACCOUNTS: &[&str] = &[
    "user.",
    "profile.",
    "password.",
    "second-factor.",
    "recovery-code.",
    "session.",
    "login.",
    "identity.",
    "token.issue",
    "grant.end",
    "aup.exempt",
    "audit.trace",
    "ban.add",
    "revoke-before.add",
];
/// Parts of paths after which an account is named.
const BEFORE_NAMES: &[&str] =
    &["account", "accounts", "home", "identities", "member", "members", "people", "user", "users", "signature"];
/// What divides a path or a URL into parts.
const DIVIDERS: &[char] = &['/', '?', '&', '='];

/// By what somebody was known, and what is said in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traces {
    #[serde(flatten)]
    pub(crate) who: Known,
    /// Addresses and names that were shown: chosen by the person, or by who said them.
    pub(crate) others: Vec<String>,
    pub(crate) pseudonym: String,
}

/// What is known of the place in which a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    is_own: bool,
    action: &'a str,
    /// A subject without an issuer stands for whoever has it, anywhere.
    is_anybody: bool,
}

fn begins_as(action: &str, known: &[&str]) -> bool {
    known.iter().any(|begin| action.starts_with(begin))
}

impl Traces {
    /// Puts the pseudonym into a record of the audit trail. Says whether anything was replaced.
    pub(crate) fn replace_in_record(&self, record: &mut Value) -> bool {
        let is_own = self.who.is_own(record);
        let named = self.who.named_in(record);
        let linked = named == Named::This && record["object"] == record["detail"]["subject"];
        let action = record["action"].as_str().unwrap_or_default().to_owned();
        let place = Place { is_own, action: &action, is_anybody: named == Named::Anybody };
        let is_on_account = begins_as(&action, ON_ACCOUNTS) && matches!(named, Named::Nothing | Named::This);
        let Value::Object(members) = record else { return false };
        let mut changed = false;
        for (member, value) in members.iter_mut() {
            changed |= match (member.as_str(), value.as_str()) {
                (member, _) if VOCABULARY.contains(&member) => false,
                ("issuer" | "client_id" | "acting", _) => false,
                ("by", Some(by)) => self.who.is_actor(by) && self.put(value),
                ("subject", Some(_)) => is_own && self.put(value),
                ("object", Some(text)) if linked || (is_on_account && text == self.who.name) => self.put(value),
                ("object", Some(_)) => self.replace_in_path(value, is_own),
                (member, _) => self.replace(member, value, place),
            };
        }
        changed
    }

    /// The same for who approved something.
    pub(crate) fn replace_in_approvals(&self, approvals: &mut Value) -> bool {
        self.replace("", approvals, Place { is_own: false, action: "", is_anybody: false })
    }

    /// The same for a document that the person wrote. What others wrote is theirs.
    pub(crate) fn replace_in_own_document(&self, document: &mut Value) -> bool {
        self.replace("", document, Place { is_own: true, action: "", is_anybody: false })
    }

    fn put(&self, value: &mut Value) -> bool {
        *value = self.pseudonym.as_str().into();
        true
    }

    fn replace(&self, member: &str, value: &mut Value, place: Place<'_>) -> bool {
        match value {
            Value::String(text) => {
                if self.is_named(member, text, place) {
                    return self.put(value);
                }
                self.replace_in_path(value, place.is_own)
            }
            Value::Array(list) => {
                list.iter_mut().fold(false, |changed, one| self.replace(member, one, place) | changed)
            }
            Value::Object(map) => {
                // Who is named with an issuer is that issuer's, and nobody else's namesake.
                let named = |member: &str| map.get(member).and_then(Value::as_str).map(str::to_owned);
                let identity = named("issuer").zip(named("subject"));
                let is_this = identity.as_ref().map(|(issuer, subject)| self.who.is(issuer, subject));
                map.iter_mut().fold(false, |changed, (member, value)| {
                    let one = match (member.as_str(), is_this) {
                        ("subject", Some(is_this)) => is_this && self.put(value),
                        ("name", Some(is_this)) => is_this && *value == self.who.name && self.put(value),
                        ("subject", None) => !place.is_anybody && *value == self.who.name && self.put(value),
                        (member, _) => self.replace(member, value, place),
                    };
                    one | changed
                })
            }
            _ => false,
        }
    }

    /// Whether a value names the person.
    fn is_named(&self, member: &str, text: &str, place: Place<'_>) -> bool {
        if text == self.who.name {
            let is_account =
                ACCOUNTS.contains(&member) || (member == "name" && begins_as(place.action, NAMES_ACCOUNTS));
            return is_account || (place.is_own && !NEVER_CHOSEN.contains(&member));
        }
        place.is_own && !NEVER_CHOSEN.contains(&member) && self.others.iter().any(|known| known == text)
    }

    fn replace_in_path(&self, value: &mut Value, is_own: bool) -> bool {
        let Some(text) = value.as_str().filter(|text| text.contains('/')) else { return false };
        let (mut made, mut changed, mut before) = (String::with_capacity(text.len()), false, "");
        for piece in text.split_inclusive(DIVIDERS) {
            let part = piece.trim_end_matches(DIVIDERS);
            let is_named = is_own || BEFORE_NAMES.contains(&before.to_ascii_lowercase().as_str());
            if is_named && part == self.who.name {
                made.push_str(&self.pseudonym);
                made.push_str(&piece[part.len()..]);
                changed = true;
            } else {
                made.push_str(piece);
            }
            before = part;
        }
        if changed {
            *value = made.into();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn traces() -> Traces {
        Traces {
            who: Known {
                name: "alice".to_owned(),
                issuer: "https://us".to_owned(),
                linked: vec![("https://idp".to_owned(), "7".to_owned())],
            },
            others: vec!["alice@example.org".to_owned(), "admin".to_owned()],
            pseudonym: "erased-1".to_owned(),
        }
    }

    #[test]
    fn what_is_about_the_person_is_replaced() {
        for (before, after) in [
            (
                json!({"kind": "denial", "issuer": "https://us", "subject": "alice", "object": "/dav/alice/a?x=alice", "reason": "alice"}),
                json!({"kind": "denial", "issuer": "https://us", "subject": "erased-1", "object": "/dav/erased-1/a?x=erased-1", "reason": "alice"}),
            ),
            (
                json!({"by": "bob", "object": "/scim/Users/alice", "detail": {"managers": ["bob", "alice"]}}),
                json!({"by": "bob", "object": "/scim/Users/erased-1", "detail": {"managers": ["bob", "erased-1"]}}),
            ),
            (
                json!({"by": "alice", "action": "x", "object": "admin", "detail": {"mail": "alice@example.org"}}),
                json!({"by": "erased-1", "action": "x", "object": "admin", "detail": {"mail": "erased-1"}}),
            ),
            (
                json!({"by": "bob", "action": "member.active", "object": "/g", "detail": {"members": [{"name": "alice"}]}}),
                json!({"by": "bob", "action": "member.active", "object": "/g", "detail": {"members": [{"name": "erased-1"}]}}),
            ),
            (
                json!({"by": "7 at https://idp", "object": "idp", "detail": {"issuer": "https://idp", "subject": "7"}}),
                json!({"by": "erased-1", "object": "idp", "detail": {"issuer": "https://idp", "subject": "erased-1"}}),
            ),
            (
                json!({"by": "bob", "action": "ban.add", "object": "7", "detail": {"issuer": "https://idp", "subject": "7"}}),
                json!({"by": "bob", "action": "ban.add", "object": "erased-1", "detail": {"issuer": "https://idp", "subject": "erased-1"}}),
            ),
        ] {
            let mut record = before.clone();
            assert!(traces().replace_in_record(&mut record), "{before}");
            assert_eq!(record, after);
        }
    }

    #[test]
    fn nothing_of_others_is_replaced() {
        for record in [
            json!({"by": "bob", "object": "/dav/alice/a", "detail": {"n": [1, "alices", "malice"]}}),
            json!({"by": "admin", "action": "user.set", "object": "bob", "detail": {"mail": "alice@example.org"}}),
            json!({"by": "bob", "action": "user.set", "object": "admin"}),
            json!({"by": "bob", "action": "client.register", "object": "x", "detail": {"name": "alice"}}),
            json!({"kind": "denial", "issuer": "https://idp", "subject": "alice", "object": "/x/alice"}),
            json!({"by": "bob", "action": "ban.add", "object": "alice", "detail": {"issuer": "https://idp", "subject": "alice"}}),
            json!({"by": "bob", "action": "ban.add", "object": "alice", "detail": {"subject": "alice"}}),
            json!({"by": "bob", "action": "aup.accept", "object": "vo:x", "detail": {"issuer": "https://idp", "subject": "alice"}}),
        ] {
            let mut same = record.clone();
            assert!(!traces().replace_in_record(&mut same), "{record}");
            assert_eq!(same, record);
        }
        let mut approvals = json!([{"role": "security", "by": "admin"}, {"role": "operations", "by": "alice"}]);
        assert!(traces().replace_in_approvals(&mut approvals));
        assert_eq!(approvals, json!([{"role": "security", "by": "admin"}, {"role": "operations", "by": "erased-1"}]));
    }
}
