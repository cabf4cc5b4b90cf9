//! What was at the other server before a copy, and taking away what a failure left there.

use std::time::Duration;

use super::party::{Looked, Party};
use crate::error::{Errno, Error};

/// How long a server may take to notice that an upload broke off.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a server may take to notice that nobody listens to its markers.
const LATE: Duration = Duration::from_secs(6);

/// What was at the other server before.
pub enum Before {
    Nothing,
    File(Looked),
    /// It does not say.
    Unknown,
}

impl Before {
    /// A server that cannot be reached is an error.
    pub async fn look(party: &Party) -> Result<Before, Error> {
        match party.look(None).await {
            Ok(looked) => Ok(Before::File(looked)),
            Err(error) if error.errno == Errno::ENOENT => Ok(Before::Nothing),
            Err(error) if matches!(error.errno, Errno::ECONN | Errno::ETIMEDOUT) => Err(error),
            Err(_) => Ok(Before::Unknown),
        }
    }

    /// Deletes what is there now if it is a part only: shorter than `bytes`, and not what was there before. For a copy that
    /// nobody waits for any more; somebody else may have brought the whole file since.
    pub async fn restore_part(&self, party: &Party, bytes: Option<u64>) {
        for wait in [SETTLE, LATE] {
            tokio::time::sleep(wait).await;
            let Ok(now) = party.look(None).await else { continue };
            let is_part = now.bytes.zip(bytes).is_some_and(|(now, whole)| now < whole);
            let is_new = match self {
                Before::Nothing => true,
                Before::File(before) => now != *before,
                Before::Unknown => false,
            };
            if is_part
                && is_new
                && let Err(cause) = party.remove().await
            {
                tracing::warn!(%party, %cause, "the rest of a copy stays behind");
            }
        }
    }

    pub fn is_something(&self) -> bool {
        matches!(self, Before::File(_))
    }

    /// Deletes what is there now, unless it is what was there before.
    pub async fn restore(&self, party: &Party) {
        let mut now = party.look(None).await;
        if now.is_err() {
            // A server may notice late that an upload broke off, and give the part its name then.
            tokio::time::sleep(SETTLE).await;
            now = party.look(None).await;
        }
        let is_ours = match (now, self) {
            (Ok(_), Before::Nothing) => true,
            (Ok(now), Before::File(before)) => now != *before,
            (Ok(_), Before::Unknown) | (Err(_), _) => false,
        };
        if is_ours && let Err(cause) = party.remove().await {
            tracing::warn!(%party, %cause, "the rest of a copy stays behind");
        }
    }
}
