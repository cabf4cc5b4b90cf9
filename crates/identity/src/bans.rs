//! Who is suspended, and whether work for somebody may go on.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde_json::Value;

use crate::audit::Entry;
use crate::directory::{Ban, Directory, NewBan, Suspect};
use crate::issue::Error;
use crate::issuer::programs;
use crate::model::principal::UserRef;
use crate::{Identity, store};

impl Identity {
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
        is_known && !directory.is_banned(&who)
    }

    /// Whether an identity elsewhere that belongs to this account is banned: then the account is, too.
    pub(crate) fn is_banned_through_link(&self, directory: &Directory, name: &str) -> bool {
        directory.linked.get(name).is_some_and(|identities| {
            identities.iter().any(|(issuer, subject)| {
                let trusted = self.0.trusted.iter().find(|known| known.is(issuer));
                let vo = trusted.and_then(|known| known.policy.vo.as_deref());
                directory.is_banned(&Suspect { issuer, subject, client_id: None, vo, token_id: None })
            })
        })
    }

    /// Bans. In this process it holds when this returns; in others within seconds.
    pub async fn ban(&self, who: NewBan, by: &str) -> Result<Ban, Error> {
        if !who.names_somebody() {
            return Err(Error::BanOfAll);
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
        let entry = Entry::change(by, "ban.add", ban.who.subject.as_deref().unwrap_or("*"), detail);
        let made = ban.clone();
        let is_account = ban.who.issuer.as_deref().is_none_or(|issuer| issuer == self.0.issuer);
        let (audit, by) = (self.audit().clone(), by.to_owned());
        self.change(vec![entry], move |tx| {
            store::insert_ban(tx, &made)?;
            if let Some(name) = made.who.subject.as_deref().filter(|_| is_account) {
                // For good: lifting the ban does not bring back what was out there.
                programs::end_all(tx, &audit, name, &by)?;
            }
            Ok(())
        })
        .await?;
        Ok(ban)
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
