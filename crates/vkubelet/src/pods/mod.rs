//! The pods of the node: from the cluster to the site, and what becomes of them back to the cluster.
//!
//! * [`watch`]: which pods are bound to the node, as the cluster tells it;
//! * [`table`]: what is known of each;
//! * [`controller`]: brings one pod a step further: hands it over, ends it, takes it out of the cluster;
//! * [`poll`]: asks the site how all of them go, in one question;
//! * [`listen`]: hears at once which of them changed, from a site that tells;
//! * [`status`]: what the cluster is told of it.

pub mod controller;
pub mod handover;
pub mod listen;
pub mod poll;
pub mod report;
pub mod status;
pub mod table;
pub mod watch;

pub use controller::Controller;
