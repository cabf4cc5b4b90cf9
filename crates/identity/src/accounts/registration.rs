//! Those whom a provider knows and who have no account here: they ask for one, and an administrator decides; or, where the
//! operator said so, they get one at once.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde_json::json;

use super::AccountError;
use super::links::new_link;
use super::provider::{Person, Provider};
use super::store::people::{self, Decision, Link, Registration};
use crate::audit::Entry;
use crate::directory::{User, is_new_name, is_reserved};
use crate::{Error, Identity, store};

/// Registrations that wait at once: strangers with an account elsewhere can ask.
const MOST_OPEN: i64 = 1_000;
/// Leaves room for a number behind it.
const LONGEST_NAME: usize = 48;
/// Names with a number that are tried before giving up.
const MOST_TRIES: usize = 1_000;

/// What becomes of somebody without an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An administrator is to decide.
    Waits,
    Rejected,
}

/// What a person likes to be called, as the name of an account: never one that the engine gives itself.
pub(crate) fn proposed_name(wanted: &str) -> String {
    let local = wanted.split('@').next().unwrap_or_default();
    let mut name = String::new();
    for c in local.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            '_' | '-' | '.' if !name.is_empty() => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
        if name.len() >= LONGEST_NAME {
            break;
        }
    }
    let name = name.trim_end_matches(['-', '.', '_']);
    if name.is_empty() || is_reserved(name) { "user".to_owned() } else { name.to_owned() }
}

impl Identity {
    /// A name like this that nobody has. Whether it is still free is looked at when the account is made.
    pub(crate) fn free_name(&self, wanted: &str) -> Option<String> {
        let base = proposed_name(wanted);
        let directory = self.directory();
        let is_free = |name: &String| !directory.users.contains_key(name) && !directory.clients.contains_key(name);
        let numbered = (2..MOST_TRIES).map(|number| format!("{base}-{number}"));
        std::iter::once(base.clone()).chain(numbered).find(is_free)
    }

    /// Makes an account at once for somebody whom a provider knows.
    pub(crate) async fn register_now(&self, provider: &Provider, person: &Person) -> Result<String, AccountError> {
        loop {
            let name = self.free_name(&person.wanted).ok_or(AccountError::Busy)?;
            match self.make_linked(&name, new_link(&name, provider, person), None, &provider.name).await {
                Ok(()) => return Ok(name),
                // Somebody was faster with the name, or the same person in another window.
                Err(Error::Taken(_)) => match self.linked_account(&provider.issuer, &person.subject) {
                    Some(name) => return Ok(name),
                    None if self.directory().users.contains_key(&name) => {}
                    None => return Err(AccountError::Busy),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes that somebody asks for an account.
    pub(crate) async fn ask_for_account(&self, provider: &Provider, person: &Person) -> Result<Asked, AccountError> {
        let asked = Registration {
            id: new_id().simple().to_string(),
            issuer: provider.issuer.clone(),
            subject: person.subject.clone(),
            provider: provider.name.clone(),
            wanted: person.wanted.clone(),
            shown: person.shown.clone(),
            asked: Timestamp::now(),
            decision: Decision::Open,
            decided_by: None,
        };
        let audit = self.audit().clone();
        let outcome = self.0.store.write(move |tx| -> Result<Option<Asked>, Error> {
            let who = format!("{} at {}", asked.subject, asked.issuer);
            let detail = json!({"provider": asked.provider, "issuer": asked.issuer, "subject": asked.subject});
            let entry = Entry::change(&who, "registration.ask", &asked.provider, detail);
            match people::registration_of(tx, &asked.issuer, &asked.subject)? {
                Some(known) if known.decision == Decision::Open => return Ok(Some(Asked::Waits)),
                Some(known) if known.decision == Decision::Rejected => return Ok(Some(Asked::Rejected)),
                _ if people::count_open(tx)? >= MOST_OPEN => return Ok(None),
                Some(known) => people::reopen(tx, &known.id)?,
                None => people::insert_registration(tx, &asked)?,
            }
            audit.append(tx, &[entry])?;
            Ok(Some(Asked::Waits))
        });
        outcome.await?.ok_or(AccountError::Busy)
    }

    /// Those who wait, and those who were turned away: the newest first.
    pub(crate) async fn registrations(
        &self,
        decision: Decision,
        before: Option<&str>,
        most: i64,
    ) -> Result<Vec<Registration>, AccountError> {
        let before = before.map(str::to_owned);
        Ok(self.0.store.read(move |tx| people::registrations(tx, decision, before.as_deref(), most)).await?)
    }

    /// Gives somebody the account that they asked for, under this name.
    pub(crate) async fn approve(&self, id: &str, name: &str, by: &str) -> Result<(), AccountError> {
        let asked = self.registration(id).await?;
        let link = Link {
            issuer: asked.issuer,
            subject: asked.subject,
            name: name.to_owned(),
            provider: asked.provider,
            shown: asked.shown,
            made: Timestamp::now(),
        };
        match self.make_linked(name, link, Some(id.to_owned()), by).await {
            Err(error @ (Error::Taken(_) | Error::Name(_))) => Err(AccountError::refused(error.to_string())),
            other => Ok(other?),
        }
    }

    pub(crate) async fn reject(&self, id: &str, by: &str) -> Result<(), AccountError> {
        let asked = self.registration(id).await?;
        let detail = json!({"issuer": asked.issuer, "subject": asked.subject});
        let entry = vec![Entry::change(by, "registration.reject", &asked.id, detail)];
        let (audit, by) = (self.audit().clone(), by.to_owned());
        self.0
            .store
            .write(move |tx| -> Result<(), Error> {
                people::decide(tx, &asked.id, Decision::Rejected, &by)?;
                Ok(audit.append(tx, &entry)?)
            })
            .await?;
        Ok(())
    }

    /// One that is not approved yet.
    async fn registration(&self, id: &str) -> Result<Registration, AccountError> {
        let gone = || AccountError::refused("somebody has decided about this request already");
        if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(gone());
        }
        let wanted = id.to_owned();
        let found = self.0.store.read(move |tx| people::registration_by_id(tx, &wanted)).await?;
        found.filter(|asked| asked.decision != Decision::Approved).ok_or_else(gone)
    }

    async fn make_linked(&self, name: &str, link: Link, id: Option<String>, by: &str) -> Result<(), Error> {
        if !is_new_name(name) {
            return Err(Error::Name(name.to_owned()));
        }
        let user = User { name: name.to_owned(), admin: false, active: true, created: Timestamp::now() };
        let detail = json!({"admin": false, "issuer": link.issuer, "subject": link.subject, "request": id});
        let entry = Entry::change(by, "user.add", name, detail);
        let (by, erased) = (by.to_owned(), self.erased_hash(name));
        self.change(vec![entry], move |tx| {
            if store::is_taken(tx, &user.name, &erased)? {
                return Err(Error::Taken(user.name.clone()));
            }
            store::insert_user(tx, &user)?;
            if !people::insert_link(tx, &link)? {
                return Err(Error::Taken(format!("with the identity {}", link.shown)));
            }
            match &id {
                Some(id) => Ok(people::decide(tx, id, Decision::Approved, &by)?),
                None => Ok(()),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_people_like() {
        for (wanted, name) in [
            ("Carol", "carol"),
            ("carol@idp.example", "carol"),
            ("Carol von Example", "carol-von-example"),
            ("..carol..", "carol"),
            ("Ünal", "nal"),
            ("guest-12", "user"),
            ("Erased-12", "user"),
            ("", "user"),
            ("///", "user"),
        ] {
            assert_eq!(proposed_name(wanted), name, "{wanted}");
        }
    }

    proptest! {
        #[test]
        fn always_a_name(wanted in "\\PC{0,200}") {
            let name = proposed_name(&wanted);
            prop_assert!(is_new_name(&name) && name.len() <= LONGEST_NAME);
        }
    }
}
