//! The storage edge: folders of this machine over WebDAV and HTTP, at `/dav/AREA/…`.
//!
//! `home` holds a folder for each person, `local` is the area behind the RSE `LOCAL`, further areas are configured
//! (`[[edge.areas]]`). Who may do what is decided by the scopes of the token (`storage.read:/local/…`); a person without such
//! scopes has their own `/home/NAME`, an administrator everything.
//!
//! A file that is being uploaded lives in a hidden folder of the same filesystem and gets its name when it is whole, agrees
//! with every checksum that was stated, and, with `[edge] fsync = true`, is on disk. So nobody ever sees a half-written file,
//! and what was acknowledged stays. The adler32 of what passes is kept with the file.
//!
//! A client may order a copy from or to another server (HTTP third-party copy: `COPY` with `Source`, or with `Destination`
//! elsewhere). The edge is then the active party: it answers at once, tells every few seconds how far it is, and at the end how it went.
//!
//! Rooms: `model` (facts, media types, properties), `disk` (all that touches the filesystem, opened beneath the area's
//! folder), `api` (one file for each thing that a client may ask), `third_party` (copies under way), [`config`].

mod api;
pub mod config;
mod disk;
mod edge;
mod model;
mod third_party;

use std::sync::Arc;

use dte_identity::{Mount, OpenError, ServiceContext};

pub use config::{AreaConfig, EdgeConfig};

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[dte_base::config::Section] = &[dte_base::config::Section::of::<EdgeConfig>("edge")];

/// The edge as a service of the engine.
pub struct Service {
    edge: Arc<edge::Edge>,
}

impl Service {
    pub const NAME: &'static str = "edge";

    /// Opens all areas, making their folders, and removes what an earlier engine left half-written in them.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        let config: EdgeConfig = ctx.config.section("edge")?;
        let (data_dir, client, tasks) = (ctx.data_dir.clone(), ctx.client.clone(), ctx.tasks.clone());
        let opening = tokio::task::spawn_blocking(move || edge::Edge::open(&config, &data_dir, client, tasks));
        let edge = opening.await.map_err(|error| OpenError::other(error.to_string()))?.map_err(OpenError::other)?;
        Ok(Service { edge: Arc::new(edge) })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        vec![Mount { prefix: "/dav", routes: api::routes(self.edge.clone()) }]
    }
}
