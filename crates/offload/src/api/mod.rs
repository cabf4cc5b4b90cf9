//! The wire: the north side of interLink, as the upstream server has it, and under `/plugin` its south side.
//!
//! Every path takes every method, as upstream; the virtual kubelet sends bodies with `GET` and `DELETE`. Success is exactly 200,
//! and errors are plain text, which ends up in the pod's status message.

mod answer;
mod attach;
mod channels;
mod create;
mod delete;
mod events;
mod exec;
mod forward;
mod guest;
mod list;
mod logs;
mod ping;
mod pod;
mod sites;
mod status;

use std::sync::Arc;

use dte_base::units::Bytes;
use dte_identity::{Require, Routes};

use crate::Service;
use crate::shared::Shared;

/// Secrets and config maps of a pod may be a mebibyte each.
const LARGEST_BODY: Bytes = Bytes(64 << 20);

const CREATE: Require = Require::Scope("compute.create");
const READ: Require = Require::Scope("compute.read");
const CANCEL: Require = Require::Scope("compute.cancel");
const MODIFY: Require = Require::Scope("compute.modify");
/// Whoever may do anything with pods may ask whether the engine is well.
const PING: Require = Require::OneOf(
    &["compute.read", "compute.create", "compute.modify", "compute.cancel"],
    "nothing more: says how large the sites are",
);

pub fn routes(shared: Arc<Shared>) -> Routes {
    Routes::new(Service::NAME)
        .on_denied(answer::denied)
        .body_limit(LARGEST_BODY)
        .any("/create", CREATE, create::create)
        .any("/status", READ, status::status)
        .any("/getLogs", READ, logs::logs)
        .any("/delete", CANCEL, delete::delete)
        .any("/updateCache", MODIFY, status::update_cache)
        .any("/pinglink", PING, ping::pinglink)
        // The interface of the first release.
        .any("/ping", PING, ping::ping)
        .any("/setKubeCFG", PING, ping::set_kubeconfig)
        // Ours: for people and pages.
        .get("/pods", READ, list::pods)
        .get("/events", READ, events::events)
        .get("/exec", MODIFY, exec::exec)
        .get("/attach", MODIFY, attach::attach)
        .get("/portForward", MODIFY, forward::forward)
        // The south side: this engine as the plugin of another's API server.
        .any("/plugin/create", CREATE, create::create)
        .any("/plugin/status", READ, status::plugin_status)
        .any("/plugin/getLogs", READ, logs::logs)
        .any("/plugin/delete", CANCEL, delete::delete)
        .any("/plugin/system-info", PING, ping::system_info)
        .get("/pods/{uid}", READ, pod::pod)
        .get("/pods/{uid}/explain", READ, pod::explain)
        .get("/sites", READ, sites::sites)
        .with_state(shared)
}
