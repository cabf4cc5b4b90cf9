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
//! Clients can lock what they work on (WebDAV class 2) and leave properties with it. Locks are kept in the area, properties with
//! the file. With `[edge.report]` the engine tells at `/srr` how large and how full its areas are, as WLCG collects it,
//! and at `/srr/star` who stores how much.
//!
//! Rooms: `model` (facts, media types, properties), `disk` (all that touches the filesystem, opened beneath the area's
//! folder), `api` (one file for each thing that a client may ask), `third_party` (copies under way), `reporting` (how much is
//! stored), [`config`].

mod api;
pub mod config;
mod disk;
mod edge;
mod model;
mod reporting;
mod third_party;

use std::sync::Arc;

use dte_identity::{Mount, OpenError, ServiceContext};

pub use config::{AreaConfig, EdgeConfig};

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[dte_base::config::Section] = &[dte_base::config::Section::of::<EdgeConfig>("edge")];

/// The edge as a service of the engine.
pub struct Service {
    edge: Arc<edge::Edge>,
    reporting: Option<Arc<reporting::Reporting>>,
}

impl Service {
    pub const NAME: &'static str = "edge";

    /// Opens all areas, making their folders, and removes what an earlier engine left half-written in them.
    pub async fn open(ctx: ServiceContext) -> Result<Service, OpenError> {
        let config: EdgeConfig = ctx.config.section("edge")?;
        let report_config = config.report.clone();
        let (data_dir, client, tasks) = (ctx.data_dir.clone(), ctx.client.clone(), ctx.tasks.clone());
        let opening = tokio::task::spawn_blocking(move || edge::Edge::open(&config, &data_dir, client, tasks));
        let edge = opening.await.map_err(|error| OpenError::other(error.to_string()))?.map_err(OpenError::other)?;
        let edge = Arc::new(edge);
        let report = |settings| reporting::Reporting::start(edge.clone(), settings, &ctx.tasks);
        Ok(Service { reporting: report_config.map(report), edge })
    }

    pub fn mounts(&self) -> Vec<Mount> {
        let mut mounts = vec![Mount { prefix: "/dav", routes: api::routes(self.edge.clone()) }];
        mounts.extend(self.reporting.clone().map(api::report::mount));
        mounts
    }
}
