//! What the wire and the movers have in common.

use dte_base::tasks::Tasks;
use dte_http::Client;
use dte_identity::{Identity, ServiceContext};
use dte_storage::Storages;
use dte_storage::s3::access::BucketAccess;
use dte_store::Store;
use tokio::sync::watch;

use crate::config::Settings;
use crate::store::begin::{Assignment, Taken};
use crate::store::finish::Ended;
use crate::work::planner::Planner;
use crate::work::third_party::Copiers;
use crate::work::together::Together;

pub struct Shared {
    pub store: Store,
    pub identity: Identity,
    pub client: Client,
    /// Storages by URL; the URLs arrive in requests, so private addresses are refused.
    pub storages: Storages,
    pub settings: Settings,
    pub tasks: Tasks,
    /// Which storages copy to and from others by themselves.
    pub copiers: Copiers,
    /// Which files are begun next.
    pub planner: Planner,
    /// Copies that begin, and ends of copies, each in as few transactions as can be.
    pub begins: Together<Taken, Option<Assignment>>,
    pub ends: Together<Ended, bool>,
    /// What `submit_host` and `transfer_host` say.
    pub host: String,
    /// Counts cancellations, so that copies under way look whether they are meant.
    cancellations: watch::Sender<u64>,
}

impl Shared {
    pub fn new(ctx: ServiceContext, settings: Settings, buckets: Vec<BucketAccess>) -> Self {
        Shared {
            storages: Storages::new(ctx.client.untrusted()).with_buckets(buckets, ctx.tasks.clone()),
            host: ctx.public_url.host_str().unwrap_or("localhost").to_owned(),
            store: ctx.store,
            identity: ctx.identity,
            client: ctx.client,
            settings,
            tasks: ctx.tasks,
            copiers: Copiers::default(),
            planner: Planner::default(),
            begins: Together::default(),
            ends: Together::default(),
            cancellations: watch::Sender::new(0),
        }
    }

    /// Something was cancelled.
    pub fn note_cancellation(&self) {
        self.cancellations.send_modify(|count| *count += 1);
    }

    pub fn cancellations(&self) -> watch::Receiver<u64> {
        self.cancellations.subscribe()
    }
}
