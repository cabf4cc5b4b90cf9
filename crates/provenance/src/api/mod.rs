//! The wire: the document part of the yProv API v0, and lineage over all documents.
//!
//! yProv answers `{"result": …}`, `{"message": "…"}` or `{"error": "…"}`, always JSON. Other than there, reading needs a token:
//! a document is seen by its owner and by administrators.

mod documents;
mod lineage;
mod reply;

use dte_base::units::Bytes;
use dte_identity::{Mount, Principal, Require, Routes};
use dte_store::Store;

use crate::store::Scope;

/// What reading needs, where a token is confined to scopes.
const READ: Require = Require::Scope("provenance.read");
const WRITE: Require = Require::Scope("provenance.write");
/// The largest document that can be put here.
const DOCUMENT_LIMIT: Bytes = Bytes(16 << 20);

/// What handlers share.
#[derive(Clone)]
pub struct State {
    pub store: Store,
}

/// The routes at `/yprov`.
pub fn mount(state: State) -> Mount {
    let routes = Routes::new("provenance")
        .on_denied(reply::denied)
        .body_limit(DOCUMENT_LIMIT)
        .get("/", Require::Public("says only that the service is there, as yProv clients ask"), alive)
        .get("/api/v0/documents", READ, documents::list)
        .get("/api/v0/documents/{id}", READ, documents::get)
        .put("/api/v0/documents/{id}", WRITE, documents::put)
        .delete("/api/v0/documents/{id}", WRITE, documents::delete)
        .get("/api/v0/documents/{id}/subgraph", READ, documents::subgraph)
        .get("/api/v0/lineage", READ, lineage::get)
        .with_state(state);
    Mount { prefix: "/yprov", routes }
}

async fn alive() -> &'static str {
    "I'm active"
}

/// Whose documents somebody sees.
fn scope_of(principal: &Principal) -> Scope {
    if principal.is_admin() { Scope::All } else { Scope::Of(principal.name().to_owned()) }
}
