//! Who is meant by a record: an account here, and the identities elsewhere that belong to it.
//!
//! The same subject at two issuers is two people. Where a record names an issuer, both are compared; a record without one is
//! about accounts here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Actions that name somebody in their details, perhaps of another issuer, and again as their object.
const ABOUT_SUBJECTS: &[&str] = &["ban.add", "revoke-before.add"];

/// By what one person is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The account.
    pub(crate) name: String,
    /// The issuer whose subjects the accounts here are.
    #[serde(default)]
    pub(crate) issuer: String,
    /// (issuer, subject) elsewhere.
    #[serde(default)]
    pub(crate) linked: Vec<(String, String)>,
}

/// Whom a ban or a revocation in the trail names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The record is about something else.
    Nothing,
    /// Nobody in particular, or whoever has this subject at any issuer.
    Anybody,
    This,
    Another,
}

/// The subject that a record's column names: by it the trail is searched.
pub(crate) fn subject_of(record: &Value) -> Option<&str> {
    record["by"].as_str().or_else(|| record["subject"].as_str())
}

impl Known {
    /// Whether a subject of an issuer is this person.
    pub(crate) fn is(&self, issuer: &str, subject: &str) -> bool {
        (issuer == self.issuer && subject == self.name)
            || self.linked.iter().any(|(known, named)| known == issuer && named == subject)
    }

    /// Whether this is who did something, as records of changes say it.
    pub(crate) fn is_actor(&self, by: &str) -> bool {
        by == self.name || self.linked.iter().any(|(issuer, subject)| by == format!("{subject} at {issuer}"))
    }

    /// Whether a record is of what this person did, or was refused.
    pub(crate) fn is_own(&self, record: &Value) -> bool {
        let subject = record["subject"].as_str();
        match record["issuer"].as_str() {
            Some(issuer) => subject.is_some_and(|subject| self.is(issuer, subject)),
            None => subject == Some(&self.name) || record["by"].as_str().is_some_and(|by| self.is_actor(by)),
        }
    }

    /// Whom a record of a ban or a revocation is about.
    pub(crate) fn named_in(&self, record: &Value) -> Named {
        if !record["action"].as_str().is_some_and(|action| ABOUT_SUBJECTS.contains(&action)) {
            return Named::Nothing;
        }
        match (record["detail"]["issuer"].as_str(), record["detail"]["subject"].as_str()) {
            (Some(issuer), Some(subject)) if self.is(issuer, subject) => Named::This,
            (Some(_), Some(_)) => Named::Another,
            _ => Named::Anybody,
        }
    }

    /// Whether a record in which the name was found is about this person, not about a namesake elsewhere.
    pub(crate) fn is_about(&self, record: &Value) -> bool {
        if self.is_own(record) {
            return true;
        }
        let is_namesakes = record["issuer"].is_string() && record["subject"] == self.name.as_str();
        let stands_in_path =
            record["object"].as_str().is_some_and(|object| object.split('/').any(|part| part == self.name));
        (!is_namesakes || stands_in_path) && self.named_in(record) != Named::Another
    }

    /// By what the records that may be about this person are found.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.linked.iter().map(|(_, subject)| subject.as_str()))
    }
}

impl crate::Identity {
    /// By what an account is known now.
    pub(crate) fn known_as(&self, name: &str) -> Known {
        let linked = self.directory().linked.get(name).cloned().unwrap_or_default();
        Known { name: name.to_owned(), issuer: self.issuer().to_owned(), linked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namesakes_are_somebody_else() {
        let alice = Known {
            name: "alice".to_owned(),
            issuer: "https://us".to_owned(),
            linked: vec![("https://idp".to_owned(), "7".to_owned())],
        };
        for own in [
            json!({"by": "alice", "object": "x"}),
            json!({"by": "7 at https://idp"}),
            json!({"issuer": "https://us", "subject": "alice"}),
            json!({"issuer": "https://idp", "subject": "7"}),
        ] {
            assert!(alice.is_own(&own) && alice.is_about(&own), "{own}");
        }
        for other in [
            json!({"issuer": "https://idp", "subject": "alice", "object": "/x"}),
            json!({"action": "ban.add", "by": "bob", "object": "alice", "detail": {"issuer": "https://idp", "subject": "alice"}}),
        ] {
            assert!(!alice.is_own(&other) && !alice.is_about(&other), "{other}");
        }
        for about in [
            json!({"action": "user.set", "by": "bob", "object": "alice"}),
            json!({"action": "ban.add", "by": "bob", "object": "alice", "detail": {"subject": "alice"}}),
            json!({"issuer": "https://idp", "subject": "alice", "object": "/users/alice"}),
        ] {
            assert!(!alice.is_own(&about) && alice.is_about(&about), "{about}");
        }
    }
}
