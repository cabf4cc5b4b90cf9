//! Bringing a file to the other server.

use std::sync::atomic::Ordering;

use dte_protocol_webdav::digest::Algorithm;

use super::party::Party;
use super::rest::{Before, Rest};
use crate::error::{Errno, Error, Side};
use crate::resolve::Location;
use crate::transfer::{Copied, CopyOrder, copy_to_free};

/// Copies `source` to `party`.
///
/// A credential of a third-party copy is good for one name, so the content goes there at once. The part that a failure leaves
/// there is deleted, and so is a file that was brought and turns out wrong; what was there before and what somebody else
/// brought meanwhile stay. The same holds when `ending` resolves,
/// which says why the copy is to end.
pub async fn push(
    source: &Location,
    party: &Party,
    order: &CopyOrder,
    ending: impl Future<Output = Error> + Send,
) -> Result<Copied, Error> {
    let before = Before::look(party).await.map_err(|error| error.at(Side::Destination))?;
    if before.is_something() && !order.overwrite {
        let text = format!("{party}: The destination file exists and overwrite is not enabled");
        return Err(Error::new(Errno::EEXIST, text).at(Side::Destination));
    }
    let whole = source.store.stat(&source.path).await.map_err(|error| error.at(Side::Source))?.bytes;
    let mut is_made = false;
    let copying = async {
        let copied = copy_to_free(source, &party.location(), order).await?;
        is_made = true;
        if party.must_tell { told(party).await.map(|()| copied) } else { Ok(copied) }
    };
    let outcome = tokio::select! {
        outcome = copying => outcome,
        error = ending => Err(error),
    };
    if let Err(error) = &outcome
        && order.progress.load(Ordering::Relaxed) > 0
        && let Some(rest) = rest_after(error, is_made, whole)
    {
        before.restore(party, rest).await;
    }
    outcome
}

/// What a failure may have left; none when what is there is somebody else's.
fn rest_after(error: &Error, is_made: bool, whole: Option<u64>) -> Option<Rest> {
    match (error.errno, error.side) {
        (Errno::EEXIST, _) => None,
        // Only what the server says of a file that it took in can be wrong at the destination.
        (Errno::ECHECKSUM, Some(Side::Destination)) => Some(Rest::Wrong),
        (Errno::ENOSYS, _) if is_made => Some(Rest::Wrong),
        _ => Some(Rest::Part(whole)),
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
