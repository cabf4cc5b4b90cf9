//! The interLink REST protocol: wire types as Go peers write and read them, and a small typed client. No SQL, no policy.
//!
//! * [`message`]: what is asked and answered: create, status, logs, ping; north (from a virtual node) and south (to a plugin);
//! * [`pod`]: a `v1.Pod` that is forwarded without loss;
//! * [`phase`]: how a virtual node computes a pod's phase from container statuses;
//! * [`client`]: [`InterlinkClient`], with which one asks any interLink API server, ours or another's, or a plugin.
//!
//! Peculiarities that peers rely on: `GET` and `DELETE` carry bodies, only 200 is success, absent lists are `null`,
//! `projectedvolumesmaps` is spelt so northward and `projectedvolumemaps` southward, and some names are in capitals.

pub mod client;
pub mod message;
pub mod phase;
pub mod pod;

pub use client::{InterlinkClient, InterlinkError, Side};
pub use message::{
    Accelerator, CreateStruct, LogOptions, LogStruct, PingResources, PingResponse, PodCreateRequests, PodStatus,
    RetrievedContainer, RetrievedPodData, Taint,
};
pub use pod::RawPod;

/// Ties the calls of one action together over all hops.
pub const SESSION_HEADER: &str = "InterLink-Http-Session";
/// The annotation in which a virtual node keeps the remote job's identifier.
pub const JOB_ID_ANNOTATION: &str = "JobID";
/// A pod asks for a site with this node selector.
pub const SITE_SELECTOR: &str = "dte.site";
