//! The wire: FTS3 REST as the Python client and Rucio speak it.
//!
//! Clients join the endpoint and a path with a slash too many (`//jobs`), and some add one at the end, so each path is
//! registered in all of these spellings.

mod activity_shares;
mod audit;
mod ban;
mod caller;
mod cancel;
mod complete;
mod error;
mod explain;
mod jobs;
mod link_shares;
mod links;
mod list;
mod optimiser;
mod render;
mod root;
mod storages;
mod submit;

use std::sync::Arc;

use dte_base::units::Bytes;
use dte_identity::{Require, Routes};

use crate::Service;
use crate::shared::Shared;

/// Ten thousand files with all their metadata.
const LONGEST_SUBMISSION: Bytes = Bytes(64 << 20);

/// What a confined token needs: our own word, or that of clients of other FTS.
const SCOPES: &[&str] = &["dte.transfer", "fts"];
const OWN_JOBS: Require = Require::OneOf(SCOPES, "jobs of others are for administrators");
const STORAGE_RIGHTS: Require = Require::OneOf(SCOPES, "storage scopes of sources and destinations on this engine");

/// Adds each route at `/x`, `//x`, `/x/` and `//x/`.
macro_rules! spelled {
    ($routes:expr; $($method:ident $path:literal, $require:expr, $handler:expr;)*) => {
        $routes$(
            .$method($path, $require, $handler)
            .$method(concat!("/", $path), $require, $handler)
            .$method(concat!($path, "/"), $require, $handler)
            .$method(concat!("/", $path, "/"), $require, $handler)
        )*
    };
}

pub fn routes(shared: Arc<Shared>) -> Routes {
    let anyone = Require::Public("versions of the protocol, nothing else");
    let stranger = Require::Public("tells who is asking, and strangers that they are strangers");
    let routes = Routes::new(Service::NAME).on_denied(error::denied).body_limit(LONGEST_SUBMISSION);
    let routes = routes.get("/", anyone, root::version).get("//", anyone, root::version);
    let routes = spelled! { routes;
        get "/whoami", stranger, root::whoami;
        get "/status/hosts", Require::Admin, root::hosts;
        get "/ban/se", Require::Admin, ban::storages;
        post "/ban/se", Require::Admin, ban::ban_storage;
        delete "/ban/se", Require::Admin, ban::lift_storage;
        get "/ban/dn", Require::Admin, ban::users;
        post "/ban/dn", Require::Admin, ban::ban_user;
        delete "/ban/dn", Require::Admin, ban::lift_user;
        get "/config/se", Require::Admin, storages::list;
        post "/config/se", Require::Admin, storages::set;
        delete "/config/se", Require::Admin, storages::forget;
        get "/config/links", Require::Admin, links::list;
        post "/config/links", Require::Admin, links::set;
        get "/config/links/{name}", Require::Admin, links::one;
        delete "/config/links/{name}", Require::Admin, links::forget;
        get "/config/shares", Require::Admin, link_shares::list;
        post "/config/shares", Require::Admin, link_shares::set;
        delete "/config/shares", Require::Admin, link_shares::forget;
        get "/config/activity_shares", Require::Admin, activity_shares::list;
        post "/config/activity_shares", Require::Admin, activity_shares::set;
        get "/config/activity_shares/{vo}", Require::Admin, activity_shares::one;
        delete "/config/activity_shares/{vo}", Require::Admin, activity_shares::forget;
        get "/config/audit", Require::Admin, audit::list;
        get "/optimizer", Require::Admin, optimiser::enabled;
        get "/optimizer/evolution", Require::Admin, optimiser::evolution;
        get "/optimizer/current", Require::Admin, optimiser::current;
        post "/optimizer/current", Require::Admin, optimiser::set;
        get "/autocomplete/{what}", Require::Admin, complete::names;
        options "/jobs", Require::Public("which methods there are"), root::job_methods;
        post "/jobs", STORAGE_RIGHTS, submit::submit;
        put "/jobs", STORAGE_RIGHTS, submit::submit;
        get "/jobs", OWN_JOBS, list::jobs;
        get "/files", OWN_JOBS, list::files;
        get "/jobs/{ids}", OWN_JOBS, jobs::status;
        post "/jobs/{ids}", OWN_JOBS, jobs::modify;
        delete "/jobs/{ids}", OWN_JOBS, cancel::jobs;
        get "/jobs/{id}/files", OWN_JOBS, jobs::files;
        get "/jobs/{id}/dm", OWN_JOBS, jobs::data_management;
        get "/jobs/{id}/explain", OWN_JOBS, explain::job;
        get "/jobs/{id}/files/{file}/explain", OWN_JOBS, explain::file;
        get "/jobs/{id}/files/{file}/retries", OWN_JOBS, jobs::retries;
        delete "/jobs/{id}/files/{files}", OWN_JOBS, cancel::files;
        get "/jobs/{id}/{field}", OWN_JOBS, jobs::field;
    };
    routes.with_state(shared)
}
