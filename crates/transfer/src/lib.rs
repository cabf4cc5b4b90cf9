//! Bulk transfer: moves files between storages, many at a time, verified, retried, accounted.
//!
//! Speaks the FTS3 REST protocol under `/fts`, so that the `fts3` Python package, its `fts-rest-*` commands and Rucio's
//! transfer tool work unmodified, and an FTS elsewhere can stand in for this one.
//!
//! A submission becomes a job and its files in one transaction, together with one piece of durable work per file. Movers take
//! that work, fairly between links (source storage and area to destination storage and area), and copy
//! as the user who submitted the job: with short-lived tokens that are good for the one path and the one host. Between two other
//! storages one of these makes the copy, if it can (the destination pulls, else the source pushes), and both are asked what they
//! have then; else the bytes stream through this process, are read once, checksummed on the way, and become visible at the
//! destination only when they are right.
//!
//! Each end of a file or job is told in the event log, in the transaction that records it (see [`store::outcome`]). A
//! mover that dies is harmless: its file is taken up again, and a destination that already holds the right bytes is a success.
//!
//! Rooms: [`model`] (submissions, state machines, failures; pure), [`store`] (SQL), `api` (the wire), `work` (movers, dispatch of
//! large jobs, reaper), [`config`].

mod api;
pub mod config;
pub mod model;
mod shared;
pub mod store;
mod work;

use std::sync::Arc;

use dte_identity::{Mount, OpenError, ServiceContext};

use dte_storage::s3::access::{self, BucketAccess, StorageConfig};

pub use config::Settings;

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[dte_base::config::Section] = &[
    dte_base::config::Section::of::<Settings>(config::SECTION),
    dte_base::config::Section::of::<StorageConfig>(access::SECTION),
];

/// The service.
pub struct Service {
    shared: Arc<shared::Shared>,
}

impl Service {
    pub const NAME: &'static str = "transfer";
    /// Where it is mounted.
    pub const PREFIX: &'static str = "/fts";

    /// Brings the tables up to date and starts the movers.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        let settings: Settings = ctx.config.section(config::SECTION)?;
        let storage: StorageConfig = ctx.config.section(access::SECTION)?;
        let buckets: Result<Vec<BucketAccess>, _> = storage.buckets.iter().map(BucketAccess::open).collect();
        let buckets = buckets.map_err(OpenError::other)?;
        ctx.store.migrate(Self::NAME, store::MIGRATIONS).await?;
        let tasks = ctx.tasks.clone();
        let shared = Arc::new(shared::Shared::new(ctx, settings, buckets));
        work::start(&shared, &tasks).await?;
        Ok(Service { shared })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![Mount { prefix: Self::PREFIX, routes: api::routes(Arc::clone(&self.shared)) }]
    }
}
