//! Not-before times: everything that an issuer gave out before a moment is void, for all, for one client, or for one subject.
//! That is the answer to a leak whose extent nobody knows; a ban is the answer to a person.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::Entry;
use crate::directory::{Directory, Suspect};
use crate::{Error, Identity, store};

/// Which tokens are void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNotBefore {
    /// As in the tokens' `iss`; for our own, [`Identity::issuer`].
    pub issuer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Tokens issued before this are refused, and those that do not say when they were issued.
    pub before: Timestamp,
    #[serde(default)]
    pub reason: String,
}

/// A revocation time in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotBefore {
    pub id: String,
    #[serde(flatten)]
    pub rule: NewNotBefore,
    pub created_by: String,
    pub created: Timestamp,
}

impl NotBefore {
    /// Whether a token of `who`, issued then, is void.
    pub(crate) fn revokes(&self, who: &Suspect<'_>, issued: Option<Timestamp>) -> bool {
        let rule = &self.rule;
        let is_one =
            |named: &Option<String>, has: Option<&str>| named.as_deref().is_none_or(|named| Some(named) == has);
        // `iat` has whole seconds: one that fell into the second of the revocation counts as before it.
        rule.issuer == who.issuer
            && is_one(&rule.client_id, who.client_id)
            && is_one(&rule.subject, Some(who.subject))
            && issued.is_none_or(|issued| issued < rule.before)
    }
}

impl Directory {
    /// Whether a token of `who`, issued then, is void.
    pub(crate) fn is_void(&self, who: &Suspect<'_>, issued: Option<Timestamp>) -> bool {
        self.not_before.iter().any(|rule| rule.revokes(who, issued))
    }
}

impl Identity {
    /// Makes everything void that was issued before a moment. In this process it holds when this returns; in others within
    /// seconds.
    pub async fn revoke_before(&self, rule: NewNotBefore, by: &str) -> Result<NotBefore, Error> {
        let known =
            rule.issuer == self.0.issuer || self.0.trusted.iter().any(|issuer| issuer.policy.issuer == rule.issuer);
        if !known {
            return Err(Error::UnknownIssuer(rule.issuer));
        }
        let made = NotBefore { id: new_id().to_string(), rule, created_by: by.to_owned(), created: Timestamp::now() };
        let detail = serde_json::to_value(&made.rule).unwrap_or_default();
        let entry = Entry::change(by, "revoke-before.add", made.rule.subject.as_deref().unwrap_or("*"), detail);
        let stored = made.clone();
        self.change(vec![entry], move |tx| store::not_before::insert(tx, &stored).map_err(Error::from)).await?;
        Ok(made)
    }

    /// Takes a revocation time back.
    pub async fn lift_revocation(&self, id: &str, by: &str) -> Result<(), Error> {
        let entry = Entry::change(by, "revoke-before.lift", id, serde_json::Value::Null);
        let id = id.to_owned();
        self.change(vec![entry], move |tx| {
            if store::not_before::delete(tx, &id)? { Ok(()) } else { Err(Error::NoBan(id.clone())) }
        })
        .await
    }

    /// Revocation times in force.
    pub fn revocations(&self) -> Vec<NotBefore> {
        self.directory().not_before.clone()
    }

    /// Whether something that was issued to somebody then is void by now: for refresh tokens and introspection.
    pub fn is_revoked(&self, issuer: &str, subject: &str, client_id: Option<&str>, issued: Timestamp) -> bool {
        let who = Suspect { issuer, subject, client_id, vo: None, token_id: None };
        self.directory().is_void(&who, Some(issued))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(client_id: Option<&str>, subject: Option<&str>, before: i64) -> NotBefore {
        NotBefore {
            id: "1".to_owned(),
            rule: NewNotBefore {
                issuer: "i".to_owned(),
                client_id: client_id.map(str::to_owned),
                subject: subject.map(str::to_owned),
                before: Timestamp::from_seconds(before),
                reason: String::new(),
            },
            created_by: "admin".to_owned(),
            created: Timestamp::EPOCH,
        }
    }

    const WHO: Suspect<'_> = Suspect { issuer: "i", subject: "s", client_id: Some("c"), vo: None, token_id: None };

    #[test]
    fn issuers_and_clients() {
        let at = |seconds| Some(Timestamp::from_seconds(seconds));
        for rule in [rule(None, None, 100), rule(Some("c"), None, 100), rule(None, Some("s"), 100)] {
            assert!(rule.revokes(&WHO, at(99)) && rule.revokes(&WHO, None));
            assert!(!rule.revokes(&WHO, at(100)));
            assert!(!rule.revokes(&Suspect { issuer: "j", ..WHO }, at(99)));
        }
        assert!(!rule(Some("d"), None, 100).revokes(&WHO, at(99)));
        assert!(!rule(Some("c"), None, 100).revokes(&Suspect { client_id: None, ..WHO }, at(99)));
    }

    proptest! {
        /// What is void stays void when the moment moves on.
        #[test]
        fn later_moments_revoke_more(issued in 0i64..1_000, before in 0i64..1_000, more in 0i64..1_000) {
            let issued = Some(Timestamp::from_seconds(issued));
            prop_assert!(!rule(None, None, before).revokes(&WHO, issued) || rule(None, None, before + more).revokes(&WHO, issued));
        }
    }
}
