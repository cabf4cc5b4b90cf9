//! The virtual kubelet: a node of a Kubernetes cluster whose pods run at an interLink site, ours or another's.
//!
//! * [`settings`] and [`dropin`]: what it is told, by flags or by upstream's own file;
//! * [`cluster`]: the Kubernetes API server; [`site`]: the interLink API server;
//! * [`node`]: registers the node, keeps its lease, says whether the site is well;
//! * [`resolve`]: turns a pod into what a site can run without asking the cluster: plain values, contents of volumes;
//! * [`pods`]: hands pods over, reads how they go, ends them; [`ledger`]: remembers on disk which were handed over;
//! * [`server`]: the kubelet's own HTTPS address, for logs, exec and figures;
//! * [`events`]: what `kubectl describe` shows.
//!
//! A pod is its UID everywhere. Everything is taken up again from the cluster, the site and the ledger after a restart, and work
//! at the site is never ended because a link was down.

pub mod cluster;
pub mod dropin;
pub mod events;
pub mod ledger;
pub mod node;
pub mod pods;
pub mod resolve;
pub mod server;
pub mod settings;
pub mod site;

use std::sync::Arc;

use dte_base::tasks::Tasks;
use dte_protocol_interlink::InterlinkError;

use cluster::Cluster;
use node::Keeper;
use pods::Controller;
use settings::Settings;
use site::Site;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the kubeconfig: {0}")]
    Kubeconfig(String),
    #[error("the cluster: {}", cluster::words(.0))]
    Cluster(#[from] kube::Error),
    #[error("the site: {0}")]
    Site(#[from] InterlinkError),
    #[error(transparent)]
    Unresolved(#[from] resolve::Unresolved),
    #[error("{0}")]
    Settings(String),
    #[error("the kubelet's address: {0}")]
    Server(String),
    #[error("the folder of notes about pods: {0}")]
    Disk(#[from] std::io::Error),
}

/// Runs the virtual kubelet until `tasks` are told to stop.
pub async fn run(mut settings: Settings, tasks: Tasks) -> Result<(), Error> {
    let listener = server::bind(settings.listen).await?;
    settings.listen = listener.local_addr()?;
    // Before the cluster's client, which asks rustls for its provider.
    let site = Arc::new(Site::new(&settings)?);
    let cluster = Cluster::connect(&settings).await?;
    let node = Arc::new(Keeper::new(cluster.clone(), settings.clone(), Arc::clone(&site)));
    let controller = Arc::new(Controller::new(cluster, settings.clone(), site, Arc::clone(&node), tasks.clone())?);
    let server = server::Server::new(Arc::clone(&controller)).await?;
    tracing::info!(node = %settings.node_name, site = %settings.interlink, listening = %settings.listen, "the virtual kubelet runs");
    let (for_node, for_watch, for_poll) = (tasks.clone(), Arc::clone(&controller), Arc::clone(&controller));
    let for_listen = Arc::clone(&controller);
    tasks.spawn("node", async move { node.run(&for_node).await });
    tasks.spawn("pod watch", async move { pods::watch::run(for_watch).await });
    tasks.spawn("pod status", async move { pods::poll::run(for_poll).await });
    tasks.spawn("pod changes", async move { pods::listen::run(for_listen).await });
    server.run(listener).await;
    Ok(())
}
