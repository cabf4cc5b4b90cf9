//! What no longer counts, and who may exchange tokens: held in memory with the directory, so that every request sees it.

use std::collections::HashSet;

use dte_base::time::Timestamp;
use dte_store::Tx;
use sha2::{Digest, Sha256};

use super::model::exchange::ExchangePolicy;
use super::store::{clients, revoked};
use crate::Identity;
use crate::audit::Entry;
use crate::issue::{Error, LONGEST_LIFETIME};
use crate::model::decide::Accepted;
use crate::model::reject::Reject;
use crate::not_before::{NewNotBefore, NotBefore};

/// Entries of the memory of this process before expired ones are looked for.
const SWEEP_AT: usize = 1_024;

/// A part of the directory.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    taken_back: HashSet<Vec<u8>>,
    suspended: HashSet<String>,
    pub(crate) policies: Vec<ExchangePolicy>,
}

impl Rules {
    pub(crate) fn load(tx: &mut Tx<'_>) -> Result<Self, dte_store::Error> {
        Ok(Rules {
            taken_back: revoked::all(tx, Timestamp::now())?.into_iter().map(|(hash, _)| hash).collect(),
            suspended: clients::suspended(tx)?.into_iter().collect(),
            policies: clients::policies(tx)?,
        })
    }

    pub(crate) fn is_suspended(&self, client_id: &str) -> bool {
        self.suspended.contains(client_id)
    }
}

/// What can be taken back at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revocable<'a> {
    Token(&'a str),
    Grant(&'a str),
    Client(&'a str),
}

impl Revocable<'_> {
    fn hash(self) -> Vec<u8> {
        let (kind, id) = match self {
            Revocable::Token(id) => ("token ", id),
            Revocable::Grant(id) => ("grant ", id),
            Revocable::Client(id) => ("client ", id),
        };
        Sha256::new().chain_update(kind).chain_update(id).finalize().to_vec()
    }
}

/// Writes down that something was taken back; it counts as soon as the directory is read again.
pub(crate) fn revoke(tx: &mut Tx<'_>, what: Revocable<'_>, now: Timestamp) -> Result<(), dte_store::Error> {
    revoked::insert(tx, &what.hash(), now + LONGEST_LIFETIME)
}

/// The grant that an access token came from; nothing for tokens that no client asked for in a person's name.
pub(crate) fn grant_of(token_id: &str) -> Option<&str> {
    token_id.split_once('.').map(|(grant, _)| grant)
}

impl Identity {
    /// Takes back what is named, here at once and elsewhere within seconds. `more` runs in the same transaction.
    pub(crate) async fn take_back<F>(&self, what: &[Revocable<'_>], entry: Entry, more: F) -> Result<(), Error>
    where
        F: Fn(&mut Tx<'_>) -> Result<(), dte_store::Error> + Send + 'static,
    {
        let expires = Timestamp::now() + LONGEST_LIFETIME;
        let hashes: Vec<Vec<u8>> = what.iter().map(|item| item.hash()).collect();
        let (audit, written) = (self.audit().clone(), hashes.clone());
        self.0
            .store
            .write(move |tx| -> Result<(), Error> {
                revoked::sweep(tx, Timestamp::now())?;
                for hash in &written {
                    revoked::insert(tx, hash, expires)?;
                }
                more(tx)?;
                audit.append(tx, std::slice::from_ref(&entry))?;
                Ok(crate::store::bump_version(tx)?)
            })
            .await?;
        let mut known = self.0.issuing.taken_back.write();
        if known.len() >= SWEEP_AT {
            let now = Timestamp::now();
            known.retain(|_, expires| *expires > now);
        }
        known.extend(hashes.into_iter().map(|hash| (hash, expires)));
        drop(known);
        // What is still being sent for it ends.
        self.0.changed.send_modify(|_| ());
        Ok(())
    }

    /// Whether a token, its grant or its client was taken back.
    pub(crate) fn is_taken_back(&self, token_id: Option<&str>, client_id: Option<&str>) -> bool {
        let directory = self.directory();
        let here = self.0.issuing.taken_back.read();
        if here.is_empty() && directory.rules.taken_back.is_empty() {
            return false;
        }
        let grant = token_id.and_then(grant_of).map(Revocable::Grant);
        [token_id.map(Revocable::Token), grant, client_id.map(Revocable::Client)].into_iter().flatten().any(|item| {
            let hash = item.hash();
            here.contains_key(&hash) || directory.rules.taken_back.contains(&hash)
        })
    }

    /// Refuses a token of ours that no longer counts.
    pub(crate) fn refuse_taken_back(&self, accepted: &Accepted) -> Result<(), Reject> {
        let client = accepted.client_id.as_deref();
        let suspended = client.is_some_and(|client| self.directory().rules.is_suspended(client));
        if suspended || self.is_taken_back(accepted.token_id.as_deref(), client) {
            Err(Reject::Revoked)
        } else {
            Ok(())
        }
    }

    /// Whether what was granted to a client for an account at a time still counts.
    pub(crate) fn counts(&self, user: &str, client_id: &str, issued: Timestamp) -> bool {
        !self.directory().rules.is_suspended(client_id)
            && !self.is_revoked(self.issuer(), user, Some(client_id), issued)
    }

    /// From now on nothing of ours counts that was issued before, to one client or to all.
    pub async fn revoke_issued(&self, client_id: Option<&str>, by: &str) -> Result<NotBefore, Error> {
        self.revoke_before(self.until_now(client_id), by).await
    }

    /// What was issued until now, to one client or to all. Tokens say the second they were made in: what is made in this
    /// second after the call is lost too.
    pub(crate) fn until_now(&self, client_id: Option<&str>) -> NewNotBefore {
        NewNotBefore {
            issuer: self.issuer().to_owned(),
            client_id: client_id.map(str::to_owned),
            subject: None,
            before: Timestamp::from_seconds(Timestamp::now().as_seconds() + 1),
            reason: String::new(),
        }
    }
}
