//! What of a record is about a person who is erased, and what stands in its place.
//!
//! A value that is the account's name, or something else by which the person was known, becomes the pseudonym. A part of a
//! path becomes it when it stands where accounts are named (`/users/alice`), or when the record is the person's own: names of
//! accounts are ordinary words, and nobody's `/data` may turn into somebody's pseudonym.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Members of a record whose values are ours and name nobody.
const VOCABULARY: &[&str] = &["kind", "action", "method", "service", "route", "request", "reason", "minute"];
/// Parts of paths after which an account is named.
const BEFORE_NAMES: &[&str] =
    &["account", "accounts", "home", "identities", "member", "members", "people", "user", "users", "signature"];
/// What divides a path or a URL into parts.
const DIVIDERS: &[char] = &['/', '?', '&', '='];

/// By what somebody was known, and what is said in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traces {
    pub(crate) name: String,
    /// Subjects at other providers, addresses, names that were shown.
    pub(crate) others: Vec<String>,
    pub(crate) pseudonym: String,
}

impl Traces {
    /// All texts that are looked for.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.others.iter().map(String::as_str))
    }

    /// Puts the pseudonym into a record of the audit trail. Says whether anything was replaced.
    pub(crate) fn replace_in_record(&self, record: &mut Value) -> bool {
        let is_own = ["by", "subject"].iter().any(|member| record[*member] == self.name.as_str());
        let Value::Object(members) = record else { return false };
        let mut changed = false;
        for (member, value) in members.iter_mut() {
            if !VOCABULARY.contains(&member.as_str()) {
                changed |= self.replace(value, is_own);
            }
        }
        changed
    }

    /// The same for any document.
    pub(crate) fn replace(&self, value: &mut Value, is_own: bool) -> bool {
        match value {
            Value::String(text) => match self.replaced(text, is_own) {
                Some(other) => {
                    *text = other;
                    true
                }
                None => false,
            },
            Value::Array(list) => list.iter_mut().fold(false, |changed, one| self.replace(one, is_own) | changed),
            Value::Object(map) => map.values_mut().fold(false, |changed, one| self.replace(one, is_own) | changed),
            _ => false,
        }
    }

    fn replaced(&self, text: &str, is_own: bool) -> Option<String> {
        if self.texts().any(|known| known == text) {
            return Some(self.pseudonym.clone());
        }
        if !text.contains('/') {
            return None;
        }
        let (mut made, mut changed, mut before) = (String::with_capacity(text.len()), false, "");
        for piece in text.split_inclusive(DIVIDERS) {
            let part = piece.trim_end_matches(DIVIDERS);
            let is_named = is_own || BEFORE_NAMES.contains(&before.to_ascii_lowercase().as_str());
            if is_named && part == self.name {
                made.push_str(&self.pseudonym);
                made.push_str(&piece[part.len()..]);
                changed = true;
            } else {
                made.push_str(piece);
            }
            before = part;
        }
        changed.then_some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn traces() -> Traces {
        Traces {
            name: "alice".to_owned(),
            others: vec!["alice@example.org".to_owned(), "Alice Ant".to_owned()],
            pseudonym: "erased-1".to_owned(),
        }
    }

    #[test]
    fn what_is_about_the_person_is_replaced_and_nothing_else() {
        let mut own =
            json!({"kind": "denial", "subject": "alice", "object": "/dav/alice/a?x=alice", "reason": "alice"});
        assert!(traces().replace_in_record(&mut own));
        assert_eq!(
            own,
            json!({"kind": "denial", "subject": "erased-1", "object": "/dav/erased-1/a?x=erased-1", "reason": "alice"})
        );
        let mut others = json!({"by": "bob", "object": "/dav/alice/a", "detail": {"n": [1, "alices", "malice"]}});
        let before = others.clone();
        assert!(!traces().replace_in_record(&mut others));
        assert_eq!(others, before);
        let mut named = json!({
            "by": "bob", "object": "/scim/Users/alice", "detail": {"who": ["Alice Ant", "alice"], "mail": "alice@example.org"}
        });
        assert!(traces().replace_in_record(&mut named));
        assert!(!named.to_string().to_lowercase().contains("alice"), "{named}");
    }
}
