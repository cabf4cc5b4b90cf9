//! The dashboard: pages for people, under `/ui`. One for each twin (observed against forecast with its uncertainty, skill,
//! alerts, the last run and why it was there, cost, lineage), and one for the engine.
//!
//! It owns no data. Everything is read through the services' public routes with the viewer's own rights ([`source`]), put
//! into plain values ([`model`]), drawn ([`picture`]) and written as HTML ([`page`]); [`api`] is the wire. Pages are whole
//! without JavaScript: zooming and choosing are links, every plot has a text and a table. The one script
//! (`assets/live.js`) takes in changed parts as they change, reads plots out and makes zooming handy.
//!
//! People sign in with a link from the command line (`dte ui`); see `dte_identity::session`.

pub mod address;
pub mod api;
pub mod assets;
pub mod model;
pub mod page;
pub mod picture;
pub mod source;

use dte_identity::{Mount, OpenError, ServiceContext};

/// The service, open.
pub struct Service {
    state: api::State,
}

impl Service {
    pub const NAME: &'static str = "dashboard";

    /// Opens it; there is nothing to prepare.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        Ok(Service { state: api::State::new(&ctx) })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![api::mount(self.state.clone())]
    }
}
