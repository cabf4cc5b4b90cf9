//! Which identities elsewhere belong to an account. They are found by issuer and subject only.

use serde_json::json;

use super::AccountError;
use super::provider::{Person, Provider};
use super::store::people::Link;
use super::store::{self, people};
use crate::audit::Entry;
use crate::directory::Suspect;
use crate::{Error, Identity};

/// Identities that may belong to one account.
const MOST_LINKS: usize = 20;

impl Identity {
    /// The account that an identity elsewhere belongs to.
    pub(crate) fn linked_account(&self, issuer: &str, subject: &str) -> Option<String> {
        let directory = self.directory();
        if directory.links.is_empty() {
            return None;
        }
        directory.links.get(&(issuer.to_owned(), subject.to_owned())).map(|link| link.name.clone())
    }

    /// The identities that belong to an account.
    pub(crate) fn links_of(&self, name: &str) -> Vec<Link> {
        let directory = self.directory();
        let mut found: Vec<Link> = directory.links.values().filter(|link| link.name == name).cloned().collect();
        found.sort_by(|a, b| (&a.issuer, &a.subject).cmp(&(&b.issuer, &b.subject)));
        found
    }

    /// Whether an identity elsewhere is banned, whatever account it belongs to.
    pub(crate) fn is_banned_elsewhere(&self, issuer: &str, subject: &str) -> bool {
        let trusted = self.0.trusted.iter().find(|known| known.is(issuer));
        let vo = trusted.and_then(|known| known.policy.vo.as_deref());
        self.is_banned(&self.directory(), &Suspect { issuer, subject, client_id: None, vo, token_id: None }, &[])
    }

    /// From now on the identity belongs to the account, too.
    pub(crate) async fn link(&self, name: &str, provider: &Provider, person: &Person) -> Result<(), AccountError> {
        if self.links_of(name).len() >= MOST_LINKS {
            return Err(AccountError::refused(format!("an account has at most {MOST_LINKS} identities")));
        }
        let link = new_link(name, provider, person);
        let detail = json!({"issuer": link.issuer, "subject": link.subject});
        let entry = Entry::change(name, "identity.link", name, detail);
        let taken = Error::Taken(format!("with the identity {} of {}", person.shown, provider.title));
        let linked = self.change(vec![entry], move |tx| {
            if people::insert_link(tx, &link)? { Ok(()) } else { Err(Error::Taken(link.subject.clone())) }
        });
        match linked.await {
            Err(Error::Taken(_)) if self.linked_account(&provider.issuer, &person.subject).as_deref() == Some(name) => {
                Ok(())
            }
            Err(Error::Taken(_)) => Err(AccountError::refused(taken.to_string())),
            other => Ok(other?),
        }
    }

    /// The identity does not belong to the account any more. The last way in stays.
    pub(crate) async fn unlink(&self, name: &str, issuer: &str, subject: &str, by: &str) -> Result<(), AccountError> {
        let entry = Entry::change(by, "identity.unlink", name, json!({"issuer": issuer, "subject": subject}));
        let none = || AccountError::refused(format!("there is no such identity linked to {name}"));
        if !self.links_of(name).iter().any(|link| link.issuer == issuer && link.subject == subject) {
            return Err(none());
        }
        let (account, issuer, subject) = (name.to_owned(), issuer.to_owned(), subject.to_owned());
        let unlinked = self.change(vec![entry], move |tx| {
            if !people::remove_link(tx, &account, &issuer, &subject)? {
                return Err(Error::NoAccount(subject.clone()));
            }
            let has_password = store::password(tx, &account)?.is_some();
            if !has_password && people::count_links(tx, &account)? == 0 {
                return Err(Error::LastWayIn);
            }
            Ok(())
        });
        match unlinked.await {
            Err(Error::LastWayIn) => Err(AccountError::refused(
                "This is the only way into the account. Set a password or link another identity first.",
            )),
            Err(Error::NoAccount(_)) => Err(none()),
            other => Ok(other?),
        }
    }
}

pub(crate) fn new_link(name: &str, provider: &Provider, person: &Person) -> Link {
    Link {
        issuer: provider.issuer.clone(),
        subject: person.subject.clone(),
        name: name.to_owned(),
        provider: provider.name.clone(),
        shown: person.shown.clone(),
        made: dte_base::time::Timestamp::now(),
    }
}
