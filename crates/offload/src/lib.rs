//! Offloading: pods handed over by the interLink protocol run at a site, with their data brought there and back.
//!
//! Speaks the north side of interLink under `/interlink` (`create`, `status`, `getLogs`, `delete`, `pinglink`, `updateCache`), so
//! that an unmodified interLink virtual kubelet can use this engine as its API server. What the upstream server does not
//! have: a pod is accepted durably and runs once, however often it is created or the engine is killed.
//!
//! A pod's annotations order its data ([`model::order`]). Its way ([`model::state`]):
//!
//! 1. accepted: one row and one piece of durable work, in one transaction; one that names no site is placed at one
//!    ([`model::placement`]), or waits until one takes it;
//! 2. staged: inputs found in the data lake, fetched as the pod's owner, verified, and linked from a cache of verified files;
//! 3. running: handed to the site's plugin ([`dte_compute`]), whose word of the end comes at once;
//! 4. succeeded: its outputs are stored and registered in the data lake; only then, or when it failed, the event
//!    `org.dte.offload.pod.finished` is told, in the transaction that records the end.
//!
//! Whoever made a pod (and administrators) may see it; others see nothing. Nobody's token is kept: background work acts for
//! the owner through short-lived tokens, and a pod whose owner is banned is ended with reason `Suspended`.
//!
//! The same engine can stand behind another's API server, as its plugin: routes under `/interlink/plugin`, usually reached
//! through a [`socket`]. And it can hand pods on: a site of plugin `interlink` is another server or plugin.
//!
//! Rooms: [`model`] (pure), [`store`] (SQL), `api` (the wire), [`socket`], `work` (staging, running, collecting, cleaning up),
//! [`config`].

mod api;
pub mod config;
pub mod model;
mod shared;
pub mod socket;
pub mod store;
mod work;

use std::sync::Arc;

use dte_base::config::Section;
use dte_identity::{Mount, OpenError, ServiceContext};

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[Section] =
    &[Section::of::<config::Settings>(config::SECTION), Section::of::<dte_compute::ComputeConfig>("compute")];

/// The service.
pub struct Service {
    shared: Arc<shared::Shared>,
}

impl Service {
    pub const NAME: &'static str = "offload";
    /// Where it is mounted.
    pub const PREFIX: &'static str = "/interlink";

    /// Opens the sites (adopting what runs there), brings the tables up to date and goes on with the work.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        let settings: config::Settings = ctx.config.section(config::SECTION)?;
        let compute: dte_compute::ComputeConfig = ctx.config.section("compute")?;
        ctx.store.migrate(Self::NAME, store::MIGRATIONS).await?;
        ctx.store.migrate("offload.volumes", store::volumes::MIGRATIONS).await?;
        ctx.store.migrate("offload.placement", store::placement::MIGRATIONS).await?;
        let tasks = ctx.tasks.clone();
        let context = dte_compute::SiteContext {
            data_dir: ctx.data_dir.clone(),
            sockets: settings.sockets.iter().map(|socket| socket.path.clone()).collect(),
            tasks: tasks.clone(),
        };
        let sites = dte_compute::open_sites(&compute, &context).await.map_err(OpenError::other)?;
        let sockets = settings.sockets.clone();
        let shared = Arc::new(shared::Shared::new(ctx.clone(), settings, sites).await?);
        for socket in &sockets {
            socket::serve(socket, &ctx)?;
        }
        work::start(&shared, &tasks);
        Ok(Service { shared })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![Mount { prefix: Self::PREFIX, routes: api::routes(Arc::clone(&self.shared)) }]
    }
}
