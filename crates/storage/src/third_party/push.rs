//! Bringing a file to the other server, and taking away what a failure left there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dte_protocol_webdav::digest::Algorithm;

use super::party::{Looked, Party};
use crate::error::{Errno, Error, Side};
use crate::resolve::Location;
use crate::transfer::{Copied, CopyOrder, copy_verified};

/// How long a server may take to notice that an upload broke off.
const SETTLE: Duration = Duration::from_secs(1);

/// What was at the other server before.
enum Before {
    Nothing,
    File(Looked),
    /// It does not say.
    Unknown,
}

/// Copies `source` to `party`.
///
/// A credential of a third-party copy is good for one name, so the content goes there at once. What a failure leaves there is
/// deleted, unless it is what was there before; so it is when `cancelled` resolves.
pub async fn push(
    source: &Location,
    party: &Party,
    order: &CopyOrder,
    cancelled: impl Future<Output = ()> + Send,
) -> Result<Copied, Error> {
    let before = match party.look(None).await {
        Ok(looked) => Before::File(looked),
        Err(error) if error.errno == Errno::ENOENT => Before::Nothing,
        Err(error) if matches!(error.errno, Errno::ECONN | Errno::ETIMEDOUT) => return Err(error.at(Side::Destination)),
        Err(_) => Before::Unknown,
    };
    if matches!(before, Before::File(_)) && !order.overwrite {
        let text = format!("{party}: The destination file exists and overwrite is not enabled");
        return Err(Error::new(Errno::EEXIST, text).at(Side::Destination));
    }
    // Looked at already, so the copy need not look again.
    let unconditional = CopyOrder { overwrite: true, ..order.clone() };
    let copying = async {
        let copied = copy_verified(source, &party.location(), &unconditional).await?;
        if party.must_tell { told(party).await.map(|()| copied) } else { Ok(copied) }
    };
    let outcome = tokio::select! {
        outcome = copying => outcome,
        () = cancelled => Err(Error::new(Errno::ECANCELED, party.to_string()).at(Side::Transfer)),
    };
    match outcome {
        Err(error) => {
            if order.progress.load(Ordering::Relaxed) > 0 {
                clean_up(party, &before).await;
            }
            Err(error)
        }
        ok => ok,
    }
}

/// Whether the server says a checksum; that it agrees was looked at by the copy.
async fn told(party: &Party) -> Result<(), Error> {
    let looked = party.look(Some(Algorithm::Adler32)).await.map_err(|error| error.at(Side::Destination))?;
    if looked.digests.iter().any(|digest| digest.algorithm() == Algorithm::Adler32) {
        return Ok(());
    }
    Err(party.silent().at(Side::Destination))
}

async fn clean_up(party: &Party, before: &Before) {
    let mut now = party.look(None).await;
    if now.is_err() {
        // A server may notice late that an upload broke off, and give the part its name then.
        tokio::time::sleep(SETTLE).await;
        now = party.look(None).await;
    }
    let is_ours = match (now, before) {
        (Ok(_), Before::Nothing) => true,
        (Ok(now), Before::File(before)) => now != *before,
        (Ok(_), Before::Unknown) | (Err(_), _) => false,
    };
    if is_ours && let Err(cause) = party.remove().await {
        tracing::warn!(%party, %cause, "the rest of a copy stays behind");
    }
}
