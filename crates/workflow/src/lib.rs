//! Workflows: the digital twin as one declared document, kept true.
//!
//! A twin ([`model::document`]) says what it observes, which models run on it, what they produce, how data and forecasts are
//! checked, when an alert is raised, and whose it is. Applying a document compiles it to what other services do: scopes,
//! containers and replication rules in the data lake, a folder watch of `events`, the model's program as a file of the lake;
//! and to the reconcilers of this crate, which do the rest:
//!
//! * files of a source are taken in strictly in order, each through the data-quality gate, as a dataset of its own;
//! * when a dataset is in place, each model that it starts runs once on it, as a pod handed over through the interLink
//!   API, with exactly the files of arrivals up to that one (a forecast cannot look ahead);
//! * the run's forecast is recorded, judged by later observations, and looked at for alerts.
//!
//! Everything is done as the user who owns the twin. Deleting a twin leaves its data and its record.
//!
//! Rooms: [`model`] (pure), `store` (SQL), `api` (`/twins/api/v1`), `work` (reconcilers).

mod api;
pub mod model;
mod store;
mod work;

use dte_identity::{Mount, OpenError, ServiceContext};

use work::engine::Engine;

/// The open service.
pub struct Service {
    engine: Engine,
}

impl Service {
    pub const NAME: &str = "workflow";

    /// Brings the tables up to date and starts the reconcilers.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        ctx.store.migrate("workflow", store::MIGRATIONS).await?;
        let engine = Engine::new(&ctx).map_err(OpenError::other)?;
        work::start(&engine, &ctx.tasks);
        Ok(Service { engine })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![Mount { prefix: "/twins", routes: api::routes(&self.engine) }]
    }
}
