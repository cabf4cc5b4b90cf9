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

/// What a failed copy may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It ended too early: fewer bytes than these, if their number is known.
    Part(Option<u64>),
    /// It was made, and we found it wrong.
    Wrong,
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

    /// Whether what is there now is of the copy. Somebody else may have brought the file meanwhile, and that stays.
    fn is_ours(&self, now: &Looked, rest: Rest) -> bool {
        let is_new = match self {
            Before::Nothing => true,
            Before::File(before) => now != before,
            Before::Unknown => false,
        };
        let is_left = match rest {
            Rest::Part(whole) => now.bytes.zip(whole).is_some_and(|(now, whole)| now < whole),
            Rest::Wrong => true,
        };
        is_new && is_left
    }

    /// Deletes a part that comes to light late. For a copy that nobody waits for any more.
    pub async fn restore_late(&self, party: &Party, whole: Option<u64>) {
        for wait in [SETTLE, LATE] {
            tokio::time::sleep(wait).await;
            let Ok(now) = party.look(None).await else { continue };
            if self.is_ours(&now, Rest::Part(whole)) {
                remove(party).await;
            }
        }
    }

    pub fn is_something(&self) -> bool {
        matches!(self, Before::File(_))
    }

    /// Deletes what the copy left.
    pub async fn restore(&self, party: &Party, rest: Rest) {
        let mut now = party.look(None).await;
        if now.is_err() && rest != Rest::Wrong {
            // A server may notice late that an upload broke off, and give the part its name then.
            tokio::time::sleep(SETTLE).await;
            now = party.look(None).await;
        }
        if now.is_ok_and(|now| self.is_ours(&now, rest)) {
            remove(party).await;
        }
    }
}

async fn remove(party: &Party) {
    if let Err(cause) = party.remove().await {
        tracing::warn!(%party, %cause, "the rest of a copy stays behind");
    }
}
