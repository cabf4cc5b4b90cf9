//! Provenance: where every output came from.
//!
//! Nobody has to write anything: the end of each run is an event (`org.dte.offload.pod.finished`), and this service makes W3C
//! PROV of it: the files that were read and written (with size and adler32), the program (with its sha256), the run with its
//! times, and whose it was: the user, the service that acted for them, the site. Each run is one PROV-JSON document, served
//! with the calls of the yProv API v0 under `/yprov/api/v0/documents`; people may put documents of their own beside them.
//! `/yprov/api/v0/lineage?did=SCOPE:NAME` follows a file through all runs, to its origins or to what came of it.
//!
//! Identifiers are derived from names and checksums, never from times, so that two replays on the same data have the same
//! lineage. Files that many runs share are stored once; relations are not stored but follow from what a run read and wrote.
//!
//! Rooms: [`model`] (pure: runs, PROV statements, PROV-JSON rules, PROV-N), `store` (SQL), `work` (the consumer), `api`.

mod api;
pub mod model;
mod store;
mod work;

use dte_identity::{Mount, OpenError, ServiceContext};

/// The service, open.
pub struct Service {
    state: api::State,
}

impl Service {
    pub const NAME: &'static str = "provenance";

    /// Prepares the tables and begins to record runs.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        ctx.store.migrate(Self::NAME, store::MIGRATIONS).await?;
        work::start(&ctx.store, &ctx.tasks);
        Ok(Service { state: api::State { store: ctx.store } })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![api::mount(self.state.clone())]
    }
}
