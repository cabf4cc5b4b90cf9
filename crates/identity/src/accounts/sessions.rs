//! The sessions of an account: looked at by their owner, and ended.

use dte_base::time::Timestamp;
use serde_json::json;

use super::AccountError;
use super::store::steps;
use crate::audit::Entry;
use crate::{Error, Identity};

/// A session, as its owner sees it.
#[derive(Clone, Debug)]
pub(crate) struct OwnSession {
    /// Names it; no secret.
    pub(crate) id: String,
    pub(crate) begun: Timestamp,
    pub(crate) used: Timestamp,
    pub(crate) way: String,
    pub(crate) agent: String,
    /// The one that asks.
    pub(crate) is_this: bool,
}

fn id_of(hash: &[u8]) -> String {
    hex::encode(&hash[..hash.len().min(12)])
}

impl Identity {
    /// The sessions of an account; `secret` is of the one that asks.
    pub(crate) async fn sessions_of(&self, name: &str, secret: Option<&str>) -> Result<Vec<OwnSession>, AccountError> {
        let this = secret.map(|secret| self.0.vault.hash_secret(secret));
        let name = name.to_owned();
        let found = self.0.store.read(move |tx| steps::sessions(tx, &name)).await?;
        let own = |seen: steps::Seen| OwnSession {
            id: id_of(&seen.hash),
            begun: seen.begun,
            used: seen.used,
            way: seen.way.unwrap_or_else(|| "sign-in link".to_owned()),
            agent: seen.agent.unwrap_or_default(),
            is_this: this.as_ref() == Some(&seen.hash),
        };
        Ok(found.into_iter().map(own).collect())
    }

    /// Ends one session of an account. Gives false when there is none of this id.
    pub(crate) async fn end_session_of(&self, name: &str, id: &str, by: &str) -> Result<bool, AccountError> {
        let entry = vec![Entry::change(by, "session.end", name, json!({"session": id}))];
        let (audit, name, id) = (self.audit().clone(), name.to_owned(), id.to_owned());
        let ended = self.0.store.write(move |tx| -> Result<bool, Error> {
            let found = steps::sessions(tx, &name)?;
            let Some(session) = found.iter().find(|session| id_of(&session.hash) == id) else { return Ok(false) };
            let is_over = steps::end_session(tx, &name, &session.hash)?;
            audit.append(tx, &entry)?;
            Ok(is_over)
        });
        let is_over = ended.await?;
        self.sessions_ended();
        Ok(is_over)
    }

    /// Ends all sessions of an account but the one with this secret.
    pub(crate) async fn end_other_sessions(
        &self,
        name: &str,
        keep: Option<&str>,
        by: &str,
    ) -> Result<u64, AccountError> {
        let keep = keep.map(|secret| self.0.vault.hash_secret(secret));
        let entry = vec![Entry::change(by, "session.end", name, json!({"session": "all others"}))];
        let (audit, name) = (self.audit().clone(), name.to_owned());
        let ended = self.0.store.write(move |tx| -> Result<u64, Error> {
            let ended = steps::end_sessions(tx, &name, keep.as_deref())?;
            audit.append(tx, &entry)?;
            Ok(ended)
        });
        let count = ended.await?;
        self.sessions_ended();
        Ok(count)
    }
}
