//! How anything here is changed: one transaction that numbers the change, makes it and writes the audit, and then the memory
//! is brought up to date, so that it holds in this process when the caller has the answer.

use dte_base::time::Timestamp;
use dte_http::Problem;
use dte_store::Tx;
use serde_json::{Value, json};

use crate::Identity;
use crate::audit::Entry;

/// A change in progress.
pub(crate) struct Change<'a, 'c> {
    pub(crate) tx: &'a mut Tx<'c>,
    /// Goes into `changed` of every row that is written.
    pub(crate) version: i64,
    pub(crate) now: Timestamp,
    by: &'a str,
    request: Option<&'a str>,
    entries: Vec<Entry>,
}

impl Change<'_, '_> {
    /// Notes for the audit what was done to what.
    pub(crate) fn note(&mut self, action: &str, object: &str, detail: Value) {
        let body = json!({
            "kind": "change", "by": self.by, "action": action, "object": object, "detail": detail, "request": self.request,
        });
        self.entries.push(Entry { at: self.now, subject: Some(self.by.to_owned()), body });
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no {0}")]
    NoSuch(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    /// The state machine says no; what it allows.
    #[error("{what}; allowed: {}", .allowed.join(", "))]
    Illegal { what: String, allowed: Vec<String> },
    #[error(transparent)]
    Identity(#[from] crate::Error),
    #[error(transparent)]
    Store(#[from] dte_store::Error),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoSuch(_) => Problem::not_found(text),
            Refusal::Invalid(_) => Problem::bad_request(text),
            Refusal::Conflict(_) => Problem::conflict(text),
            Refusal::Illegal { allowed, .. } => Problem::conflict(text).with("allowed", allowed),
            Refusal::Identity(error) => error.into(),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl Identity {
    /// Makes a change. `by` is who does it, for the audit.
    pub(crate) async fn policy_change<T, F>(&self, by: &str, change: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Fn(&mut Change<'_, '_>) -> Result<T, Refusal> + Send + 'static,
    {
        let (audit, by) = (self.audit().clone(), by.to_owned());
        let request = dte_http::current_request_id().map(|id| id.to_string());
        let done = self.0.store.write(move |tx| -> Result<T, Refusal> {
            let version = super::store::next_version(tx)?;
            let (now, request) = (Timestamp::now(), request.as_deref());
            let mut making = Change { tx, version, now, by: &by, request, entries: Vec::new() };
            let done = change(&mut making)?;
            let Change { tx, entries, .. } = making;
            audit.append(tx, &entries)?;
            Ok(done)
        });
        let done = done.await?;
        self.policy_refresh().await?;
        Ok(done)
    }

    /// Reads what this or another process changed, and forgets what was verified before when rights may have changed.
    pub(crate) async fn policy_refresh(&self) -> Result<(), dte_store::Error> {
        if self.0.policy.refresh(&self.0.store).await? {
            self.forget_verified();
        }
        Ok(())
    }
}
