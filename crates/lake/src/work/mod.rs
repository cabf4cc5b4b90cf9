//! The reconcilers: what is wanted becomes so, in small steps that survive a kill.
//!
//! * [`transfer`]: requests become FTS jobs;
//! * [`outcome`]: the ends of jobs, from the event log, and by asking where no event came;
//! * [`rules`]: locks of large collections, the end of rules.

mod outcome;
mod rules;
mod transfer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_identity::OpenError;

use crate::Lake;

/// The virtual organisation under which the FTS knows a user, by the user's stored identity.
pub(crate) type Vos = Arc<Mutex<HashMap<String, String>>>;

pub(crate) async fn start(
    lake: &Lake,
    tasks: &Tasks,
    retry_after: Duration,
    poll_after: Duration,
) -> Result<(), OpenError> {
    transfer::start(lake, tasks);
    transfer::start_cancelling(lake, tasks);
    rules::start(lake, tasks).await?;
    outcome::start(lake, tasks, retry_after, poll_after).await?;
    Ok(())
}
