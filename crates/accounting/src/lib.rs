//! Accounting: who used what, for which twin, and what it costs.
//!
//! Nobody reports usage: it is told by the events that the work itself makes. A pod that ended is a compute record, a replica
//! that became available a storage record, a file that was copied a transfer record. A record's id is derived from what was
//! used, so that an event told twice is charged once. With each record the sums of its day, user and twin change in the same
//! transaction; summaries read these sums only.
//!
//! A twin pays for its pods, and for the data of the scopes into which its pods alone write. Prices stand in `[accounting]`, in
//! millionths of the currency unit: per core hour (wall clock × cores, or CPU time where that is more), per 10⁹ bytes held for
//! 30 days, and per 10⁹ bytes moved. Compute and transfer are charged at the price of their day, storage at today's.
//!
//! `GET /accounting/records`, `/accounting/summary?group=day|user|twin`, `/accounting/prices`. People see their own usage,
//! administrators all.
//!
//! Rooms: [`model`] (pure: usage, prices, sums), `store` (SQL), `work` (the consumer, Prometheus), `api`.

mod api;
pub mod model;
mod store;
mod work;

use dte_base::config::Section;
use dte_identity::{Mount, OpenError, ServiceContext};

use crate::model::price::Prices;

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[Section] = &[Section::of::<Prices>("accounting")];

/// The service, open.
pub struct Service {
    state: api::State,
}

impl Service {
    pub const NAME: &'static str = "accounting";

    /// Prepares the tables and begins to record usage.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        let prices: Prices = ctx.config.section("accounting")?;
        ctx.store.migrate(Self::NAME, store::MIGRATIONS).await?;
        work::start(&ctx.store, &ctx.identity, &ctx.tasks, &prices);
        Ok(Service { state: api::State { store: ctx.store, prices } })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![api::mount(self.state.clone())]
    }
}
