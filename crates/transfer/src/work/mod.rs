//! The reconcilers: movers, dispatch of large jobs, optimiser, reaper.

mod copy;
mod dispatch;
mod mover;
pub mod optimise;
pub mod planner;
mod reap;
pub mod storage;
pub mod third_party;
pub mod together;

use std::sync::Arc;

use dte_base::tasks::Tasks;
use dte_identity::OpenError;

use crate::shared::Shared;

pub async fn start(shared: &Arc<Shared>, tasks: &Tasks) -> Result<(), OpenError> {
    mover::start(shared, tasks);
    dispatch::start(shared, tasks);
    reap::start(shared, tasks).await?;
    optimise::start(shared, tasks).await?;
    Ok(())
}
