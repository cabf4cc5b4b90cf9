//! The routes under `/ui`: pages, their parts, the stream that says when parts have changed, signing in and out.

mod assets;
mod compute;
mod console;
mod live;
mod pages;
mod reply;
mod session;

use std::time::Instant;

use dte_base::tasks::Tasks;
use dte_http::Client;
use dte_identity::{Identity, Mount, Require, Routes, ServiceContext};
use dte_store::Store;

use crate::source::engine::Rate;
use crate::source::lineage::Seen;

/// What the handlers share.
#[derive(Clone)]
pub struct State {
    pub client: Client,
    pub identity: Identity,
    pub store: Store,
    pub tasks: Tasks,
    pub opened: Instant,
    pub rate: Rate,
    pub lineages: Seen,
}

impl State {
    pub fn new(ctx: &ServiceContext) -> State {
        State {
            client: ctx.client.clone(),
            identity: ctx.identity.clone(),
            store: ctx.store.clone(),
            tasks: ctx.tasks.clone(),
            opened: Instant::now(),
            rate: Rate::default(),
            lineages: Seen::default(),
        }
    }
}

/// Everything, behind browser sessions (and bearer tokens, for programs).
pub fn mount(state: State) -> Mount {
    let door = Require::Public("how people sign in; the code in the form is what counts");
    let files = Require::Public("style sheet, script and icon: the same for everybody");
    let routes = Routes::new(crate::Service::NAME)
        .sessions()
        .on_denied(reply::denied)
        .get("/", Require::Authenticated, pages::engine)
        .get("/fragment", Require::Authenticated, pages::engine_fragment)
        .get("/live", Require::Authenticated, live::stream)
        .get("/twins/{name}", Require::Authenticated, pages::twin)
        .get("/twins/{name}/fragment", Require::Authenticated, pages::twin_fragment)
        .get("/twins/{name}/live", Require::Authenticated, live::stream)
        .get("/sites", Require::Authenticated, compute::sites)
        .get("/sites/fragment", Require::Authenticated, compute::sites_fragment)
        .get("/pods", Require::Authenticated, compute::pods)
        .get("/pods/fragment", Require::Authenticated, compute::pods_fragment)
        .get("/pods/{uid}", Require::Authenticated, compute::pod)
        .get("/pods/{uid}/exec", Require::Authenticated, console::exec)
        .get("/pods/{uid}/fragment", Require::Authenticated, compute::pod_fragment)
        .get("/compute/live", Require::Authenticated, live::ticking)
        .get("/assets/{version}/{name}", files, assets::get)
        .get("/login", door, session::ask)
        .post("/login", door, session::begin)
        .post("/logout", door, session::end)
        .with_state(state);
    Mount { prefix: "/ui", routes }
}
