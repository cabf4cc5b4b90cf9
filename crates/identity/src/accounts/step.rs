//! A login that has begun and waits for the person to come back, with a code or from another provider. It is sealed in the
//! store, found by a secret that only the person's browser has, and forgotten after minutes.

use std::time::Duration;

use dte_base::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AccountError, store::steps};
use crate::Identity;

/// How long one may take.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
const SEALED_AS: &str = "login step";

impl Identity {
    fn step_key(&self, secret: &str) -> Vec<u8> {
        self.0.vault.hash_secret(&format!("login step {secret}"))
    }

    /// Notes a step under a secret; another one under the same secret is forgotten.
    pub(crate) async fn put_step<T: Serialize>(&self, secret: &str, step: &T) -> Result<(), AccountError> {
        let text = serde_json::to_vec(step).map_err(AccountError::internal)?;
        let sealed = self.0.vault.seal(SEALED_AS, &text).map_err(AccountError::internal)?;
        let (key, expires) = (self.step_key(secret), Timestamp::now() + LIFETIME);
        let is_there = self.0.store.write(move |tx| steps::put(tx, &key, &sealed, expires)).await?;
        if is_there { Ok(()) } else { Err(AccountError::Busy) }
    }

    /// The step of this secret; it stays.
    pub(crate) async fn peek_step<T: DeserializeOwned>(&self, secret: &str) -> Result<Option<T>, AccountError> {
        let key = self.step_key(secret);
        let sealed = self.0.store.read(move |tx| steps::peek(tx, &key)).await?;
        sealed.map(|sealed| self.open_step(&sealed)).transpose()
    }

    /// The step of this secret, once.
    pub(crate) async fn take_step<T: DeserializeOwned>(&self, secret: &str) -> Result<Option<T>, AccountError> {
        let key = self.step_key(secret);
        let sealed = self.0.store.write(move |tx| steps::take(tx, &key)).await?;
        sealed.map(|sealed| self.open_step(&sealed)).transpose()
    }

    fn open_step<T: DeserializeOwned>(&self, sealed: &[u8]) -> Result<T, AccountError> {
        let text = self.0.vault.unseal(SEALED_AS, sealed).map_err(AccountError::internal)?;
        serde_json::from_slice(&text).map_err(AccountError::internal)
    }
}
