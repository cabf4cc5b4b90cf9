//! Bringing a file to the other server.

use std::sync::atomic::Ordering;

use dte_protocol_webdav::digest::Algorithm;

use super::party::Party;
use super::rest::Before;
use crate::error::{Errno, Error, Side};
use crate::resolve::Location;
use crate::transfer::{Copied, CopyOrder, copy_verified};

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
    let before = Before::look(party).await.map_err(|error| error.at(Side::Destination))?;
    if before.is_something() && !order.overwrite {
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
    if outcome.is_err() && order.progress.load(Ordering::Relaxed) > 0 {
        before.restore(party).await;
    }
    outcome
}

/// Whether the server says a checksum; that it agrees was looked at by the copy.
async fn told(party: &Party) -> Result<(), Error> {
    let looked = party.look(Some(Algorithm::Adler32)).await.map_err(|error| error.at(Side::Destination))?;
    if looked.digests.iter().any(|digest| digest.algorithm() == Algorithm::Adler32) {
        return Ok(());
    }
    Err(party.silent().at(Side::Destination))
}
