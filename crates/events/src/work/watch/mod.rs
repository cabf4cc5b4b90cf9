//! Watching folders.
//!
//! Each declared watch is one piece of durable work that never ends while the watch exists: the process that holds its
//! lease watches, and when that process dies another takes over (or the same after its restart). The rest follows from
//! order: the kernel is asked for notices *before* the folder is looked through, and what was published is remembered in the
//! transaction of the event. So a file is neither missed nor told twice, wherever a kill comes between.

mod folder;
mod kernel;
mod run;

use dte_base::tasks::Tasks;
use dte_store::{Outcome, Store, Worker};

use super::Changes;
use crate::store::watches::QUEUE;

/// Watches of one process at once.
const CONCURRENCY: usize = 256;

/// Starts watching what is declared.
pub fn start(store: &Store, tasks: &Tasks, declarations: &Changes) {
    let (owned, stop, declarations) = (store.clone(), tasks.stop_token(), declarations.clone());
    Worker::new(store, QUEUE).concurrency(CONCURRENCY).max_attempts(u32::MAX).run(tasks, move |claim| {
        let watcher = run::Watcher::new(owned.clone(), claim.id.clone(), declarations.subscribe());
        let stop = stop.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => Outcome::Later(std::time::Duration::ZERO),
                outcome = watcher.run() => outcome,
            }
        }
    });
}
