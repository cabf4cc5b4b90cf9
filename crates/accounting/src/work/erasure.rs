//! Following erasures: totals stay, under the pseudonym that takes the place of the name.

use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_identity::Identity;
use dte_store::{Claim, Error, Event, NewWork, Outcome, Store, Tx, Worker};

use crate::store::{records, summaries};

const QUEUE: &str = "accounting.erase";
/// Records that are changed in one transaction.
const AT_ONCE: usize = 500;

/// Declares what an erasure asks for.
pub fn declare(tx: &mut Tx<'_>, event: &Event) -> Result<(), Error> {
    let Some(pseudonym) = event.data["pseudonym"].as_str() else {
        tracing::error!(event = %event.id, "an erasure names no pseudonym");
        return Ok(());
    };
    tx.enqueue(NewWork::new(QUEUE, pseudonym, serde_json::json!({}))).map(drop)
}

/// Starts to follow.
pub fn start(store: &Store, identity: &Identity, tasks: &Tasks) {
    let owned = (store.clone(), identity.clone());
    Worker::new(store, QUEUE).concurrency(1).max_attempts(u32::MAX).run(tasks, move |claim| {
        let (store, identity) = owned.clone();
        async move { follow(&store, identity, claim).await }
    });
}

async fn follow(store: &Store, identity: Identity, claim: Claim) -> Outcome {
    match store.write(move |tx| step(tx, &identity, &claim)).await {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Later(Duration::ZERO),
        Err(error) => Outcome::Retry { error: error.to_string() },
    }
}

/// Some of the records; with the last of them the sums. `true` when nothing is left.
fn step(tx: &mut Tx<'_>, identity: &Identity, claim: &Claim) -> Result<bool, Error> {
    let pseudonym = claim.id.as_str();
    match identity.erased_name(tx, pseudonym)? {
        Some(name) => {
            if records::rename(tx, &name, pseudonym, AT_ONCE)? >= AT_ONCE as u64 {
                return Ok(false);
            }
            summaries::rename(tx, &name, pseudonym)?;
        }
        None => {
            tracing::error!(pseudonym, "whose records are to be erased is no longer known: accounting keeps the name")
        }
    }
    tx.finished(claim)?;
    Ok(true)
}
