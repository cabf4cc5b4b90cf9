//! What was at the other server before a copy, and taking away what a failure left there.

use std::time::Duration;

use super::party::{Looked, Party};
use crate::error::{Errno, Error};

/// How long a server may take to notice that an upload broke off.
const SETTLE: Duration = Duration::from_secs(1);

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
