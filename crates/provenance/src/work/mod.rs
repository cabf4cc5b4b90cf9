//! What goes on in the background: recording what ran.

use dte_base::tasks::Tasks;
use dte_store::{Consumer, Error, Event, Store, Tx};

use crate::model::run::Run;
use crate::store::runs;

/// The type of the event that tells that a run has ended.
const POD_FINISHED: &str = "org.dte.offload.pod.finished";

/// Starts recording runs from the event log.
pub fn start(store: &Store, tasks: &Tasks) {
    Consumer::new(store, "provenance").types(&[POD_FINISHED]).run(tasks, record);
}

fn record(tx: &mut Tx<'_>, event: &Event) -> Result<(), Error> {
    if event.kind != POD_FINISHED {
        return Ok(());
    }
    match Run::from_event(&event.data) {
        Ok(run) => runs::record(tx, &run).map(|_| ()),
        Err(error) => {
            // Trying again would not help, and those behind it must not wait for ever.
            tracing::error!(event = %event.id, %error, "a run has no provenance: its event cannot be understood");
            Ok(())
        }
    }
}
