//! `/lineage?did=SCOPE:NAME&direction=upstream&depth=N`: what a file came of, or what came of it, over all runs.

use axum::extract::State as Shared;
use axum::response::Response;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::reply::{Failure, Form, notation, plain};
use super::{State, scope_of};
use crate::model::subgraph::Direction;
use crate::store::lineage::{Lineage, MOST_RUNS, walk};

#[derive(Deserialize)]
pub struct Wanted {
    did: Option<String>,
    direction: Option<String>,
    /// Generations of runs; all without.
    depth: Option<usize>,
    format: Option<String>,
}

pub async fn get(
    Shared(state): Shared<State>,
    principal: Principal,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let bad = |text: &str| Failure::new(StatusCode::BAD_REQUEST, text);
    let form = Form::wanted(wanted.format.as_deref(), &headers)?;
    let did = wanted.did.filter(|did| did.contains(':')).ok_or_else(|| bad("did must be SCOPE:NAME"))?;
    let direction = match wanted.direction.as_deref() {
        None | Some("upstream") => Direction::Up,
        Some("downstream") => Direction::Down,
        Some("both") => Direction::Both,
        Some(_) => return Err(bad("direction must be upstream, downstream or both")),
    };
    let scope = scope_of(&principal);
    match state.store.read(move |tx| walk(tx, &did, direction, wanted.depth, &scope)).await? {
        Lineage::Found(document) if form == Form::Notation => Ok(notation(&document.to_json())),
        Lineage::Found(document) => Ok(plain(document.to_json())),
        Lineage::Unknown => Err(Failure::new(StatusCode::NOT_FOUND, "no run is known that read or wrote this")),
        Lineage::TooLarge => {
            let text = format!("more than {MOST_RUNS} runs; ask with a depth");
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
    }
}
