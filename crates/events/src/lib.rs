//! Events: how the engine hears of new data, and how others hear of the engine.
//!
//! * A **watch** looks at a folder and publishes each new, complete file as `org.dte.events.file.created`: told by the kernel
//!   where the filesystem can, by looking again and again where it cannot. What was published is remembered in the
//!   transaction of the event, so a file is told once over every kill and restart, and none is missed. Several processes
//!   on one store share the watches; each watch runs in one of them.
//! * **Reading**: `GET /events/api/v1/events` (with long poll), and `/events/api/v1/stream` as server-sent events; both go on
//!   where a client was.
//! * A **subscription** keeps a place in the log for somebody: a webhook, to which we deliver in order with retries, a
//!   signature and dead letters, or a subscriber who fetches and acknowledges.
//! * **Publishing**: `POST /events/api/v1/events` takes CloudEvents from outside, each (source, id) once.
//!
//! Who sees what is in [`model::visibility`]: administrators all, others what names them as its owner.
//!
//! Rooms: [`model`] (pure), `store` (SQL), `log` (reading the log for many at once), `work` (watching, delivering), `api`.

mod api;
mod log;
pub mod model;
mod store;
mod viewer;
mod work;

use dte_identity::{Mount, OpenError, ServiceContext};

use crate::log::Log;
use crate::work::Changes;
use crate::work::deliver::Deliverer;

/// The service, open.
pub struct Service {
    state: api::State,
}

impl Service {
    pub const NAME: &'static str = "events";

    /// Prepares the tables and takes up watching and delivering.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        ctx.store.migrate(Self::NAME, store::MIGRATIONS).await?;
        let retention = ctx.config.section::<dte_store::Options>("store")?.event_retention.0;
        ctx.store
            .write(|tx| {
                store::watches::request_all(tx)?;
                store::subscriptions::request_all(tx)?;
                work::prune::declare(tx)
            })
            .await?;
        let changes = Changes::default();
        let log = Log::new(&ctx.store);
        let deliverer = Deliverer {
            store: ctx.store.clone(),
            log: log.clone(),
            client: ctx.client.clone(),
            identity: ctx.identity.clone(),
            changes: changes.clone(),
        };
        work::watch::start(&ctx.store, &ctx.tasks, &changes);
        work::deliver::start(&deliverer, &ctx.tasks);
        work::prune::start(&ctx.store, &ctx.tasks, retention);
        let (store, client, identity, tasks) = (ctx.store, ctx.client, ctx.identity, ctx.tasks);
        Ok(Service { state: api::State { store, log, client, identity, tasks, changes } })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![api::mount(self.state.clone())]
    }
}
