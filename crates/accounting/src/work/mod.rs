//! What goes on in the background: recording usage, following erasures, and telling Prometheus the sums.

mod erasure;
mod measures;

use dte_base::tasks::Tasks;
use dte_identity::{ERASED, Identity};
use dte_store::{Consumer, Error, Event, Store, Tx};

use crate::model::price::Prices;
use crate::model::usage::{FILE_FINISHED, Kind, POD_FINISHED, REPLICA_AVAILABLE, Usage};
use crate::store::records;

/// Starts recording usage from the event log.
pub fn start(store: &Store, identity: &Identity, tasks: &Tasks, prices: &Prices) {
    let (owned, people) = (prices.clone(), identity.clone());
    Consumer::new(store, "accounting")
        .types(&[POD_FINISHED, REPLICA_AVAILABLE, FILE_FINISHED, ERASED])
        .run(tasks, move |tx, event| consume(tx, event, &people, &owned));
    erasure::start(store, identity, tasks);
    measures::start(store, tasks, prices);
}

fn consume(tx: &mut Tx<'_>, event: &Event, people: &Identity, prices: &Prices) -> Result<(), Error> {
    if event.kind == ERASED { erasure::declare(tx, event) } else { record(tx, event, people, prices) }
}

fn record(tx: &mut Tx<'_>, event: &Event, people: &Identity, prices: &Prices) -> Result<(), Error> {
    match Usage::from_event(&event.kind, event.time, &event.data) {
        Ok(Some(mut usage)) => {
            // What began before somebody was erased may end after it.
            if let Some(pseudonym) = people.pseudonym_of(tx, &usage.user)? {
                usage.user = pseudonym;
            }
            let cost_nano = match usage.kind {
                Kind::Compute => prices.compute_nano(usage.core_micros),
                Kind::Transfer => prices.transfer_nano(usage.bytes),
                // Grows with time: reckoned when it is asked for.
                Kind::Storage => 0,
            };
            records::record(tx, &usage, cost_nano).map(|_| ())
        }
        Ok(None) => Ok(()),
        Err(error) => {
            // Trying again would not help, and those behind it must not wait for ever.
            tracing::error!(event = %event.id, kind = event.kind, %error, "usage is not accounted: its event cannot be understood");
            Ok(())
        }
    }
}
