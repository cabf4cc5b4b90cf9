//! The wire, at `/events/api/v1`: watches, publishing, reading, streaming, subscriptions.

mod dead;
mod publish;
mod read;
mod stream;
mod subscriptions;
mod watches;

use dte_base::tasks::Tasks;
use dte_base::units::Bytes;
use dte_http::{Client, Problem};
use dte_identity::{Identity, Mount, Principal, Require, Routes};
use dte_store::Store;

use crate::log::Log;
use crate::model::visibility::Viewer;
use crate::work::Changes;

/// What reading needs, where a token is confined to scopes.
const READ: Require = Require::Scope("events.read");
/// What subscribing needs.
const SUBSCRIBE: Require = Require::Scope("events.subscribe");
const PUBLISH: Require = Require::Scope("events.publish");
/// The largest batch that can be published.
const PUBLISH_LIMIT: Bytes = Bytes(16 << 20);

/// What handlers share.
#[derive(Clone)]
pub struct State {
    pub store: Store,
    pub log: Log,
    pub client: Client,
    pub identity: Identity,
    pub tasks: Tasks,
    pub changes: Changes,
}

/// The routes at `/events`.
pub fn mount(state: State) -> Mount {
    let one = "/api/v1/subscriptions/{id}";
    let of = |part: &str| format!("{one}/{part}");
    let routes = Routes::new("events")
        .get("/api/v1/watches", Require::Admin, watches::list)
        .post("/api/v1/watches", Require::Admin, watches::declare)
        .get("/api/v1/watches/{name}", Require::Admin, watches::get)
        .put("/api/v1/watches/{name}", Require::Admin, watches::replace)
        .delete("/api/v1/watches/{name}", Require::Admin, watches::delete)
        .get("/api/v1/events", READ, read::get)
        .get("/api/v1/stream", READ, stream::get)
        .get("/api/v1/subscriptions", READ, subscriptions::list)
        .post("/api/v1/subscriptions", SUBSCRIBE, subscriptions::create)
        .get(one, READ, subscriptions::get)
        .delete(one, SUBSCRIBE, subscriptions::delete)
        .get(&of("events"), READ, subscriptions::events)
        .post(&of("ack"), SUBSCRIBE, subscriptions::acknowledge)
        .post(&of("seek"), SUBSCRIBE, subscriptions::seek)
        .post(&of("pause"), SUBSCRIBE, subscriptions::pause)
        .post(&of("resume"), SUBSCRIBE, subscriptions::resume)
        .get(&of("status"), READ, subscriptions::status)
        .get(&of("deadletters"), READ, dead::list)
        .delete(&of("deadletters/{seq}"), SUBSCRIBE, dead::drop)
        .post(&of("deadletters/{seq}/retry"), SUBSCRIBE, dead::retry)
        .body_limit(PUBLISH_LIMIT)
        .post("/api/v1/events", PUBLISH, publish::post)
        .with_state(state);
    Mount { prefix: "/events", routes }
}

fn viewer_of(principal: &Principal) -> Viewer {
    Viewer { name: principal.name().to_owned(), is_admin: principal.is_admin() }
}

/// What the log said, for a client.
fn failed(error: dte_store::Error) -> Problem {
    Problem::from(error)
}
