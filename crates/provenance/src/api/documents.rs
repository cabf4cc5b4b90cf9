//! `/documents`: those of runs, which the engine writes, and those that people put here.

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use bytes::Bytes;
use dte_http::Query;
use dte_identity::Principal;
use dte_store::Tx;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::reply::{Failure, Form, message, notation, plain, result};
use super::{State, scope_of};
use crate::model::check::check;
use crate::model::document::Document;
use crate::model::subgraph::{Direction, subgraph as cut};
use crate::store::documents::{self as stored, Changed};
use crate::store::{Scope, runs};

/// Ids listed at once when no limit is given.
const LISTED: usize = 100_000;
/// Longest id of a document.
const LONGEST_ID: usize = 128;

#[derive(Deserialize)]
pub struct Listing {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

pub async fn list(
    Shared(state): Shared<State>,
    principal: Principal,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    let scope = scope_of(&principal);
    let limit = listing.limit.unwrap_or(LISTED).clamp(1, LISTED);
    let ids = state.store.read(move |tx| stored::list(tx, &scope, &listing.after, limit)).await?;
    Ok(result(ids))
}

#[derive(Deserialize)]
pub struct Wanted {
    format: Option<String>,
}

pub async fn get(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let form = Form::wanted(wanted.format.as_deref(), &headers)?;
    let scope = scope_of(&principal);
    let document = state.store.read(move |tx| load(tx, &id, &scope)).await?;
    let document = document.ok_or_else(Failure::no_document)?;
    Ok(match form {
        // A string that holds JSON, as yProv clients expect.
        Form::Usual => result(document.to_string()),
        Form::Json => plain(document),
        Form::Notation => notation(&document),
    })
}

/// A document of a run or of a person, if `scope` covers it.
fn load(tx: &mut Tx<'_>, id: &str, scope: &Scope) -> Result<Option<Value>, dte_store::Error> {
    if let Some(run) = runs::get(tx, id, scope)? {
        return Ok(Some(Document::of(&[run]).to_json()));
    }
    Ok(stored::get(tx, id)?.filter(|document| scope.covers(&document.owner)).map(|document| document.body))
}

pub async fn put(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let not_valid = || Failure::new(StatusCode::BAD_REQUEST, "Document not valid");
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "Content-Type not supported!"));
    }
    if !is_id(&id) {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "Document name not valid"));
    }
    // Runs are known by their UIDs, which must not be taken before the run has ended.
    if !principal.is_admin() && is_run_id(&id) {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "Document name not valid: UUIDs are names of runs"));
    }
    let document: Value = serde_json::from_slice(&body).map_err(|_| not_valid())?;
    check(&document).map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("Document not valid: {error}")))?;
    let (scope, name) = (scope_of(&principal), principal.name().to_owned());
    match state.store.write(move |tx| stored::put(tx, &id, &document, &name, &scope)).await? {
        Changed::Done => Ok(message(StatusCode::CREATED, "Document uploaded")),
        Changed::Forbidden => Err(Failure::forbidden()),
        Changed::Unknown => Err(Failure::no_document()),
    }
}

fn is_run_id(id: &str) -> bool {
    let digits = id.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A superset of what yProv takes: `[A-Za-z0-9._:/-]`, up to 128 characters.
fn is_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-' | '/');
    !id.is_empty() && id.len() <= LONGEST_ID && id.chars().all(allowed)
}

pub async fn delete(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let scope = scope_of(&principal);
    match state.store.write(move |tx| stored::delete(tx, &id, &scope)).await? {
        Changed::Done => Ok(message(StatusCode::OK, "Document deleted")),
        Changed::Forbidden => Err(Failure::forbidden()),
        Changed::Unknown => Err(Failure::no_document()),
    }
}

#[derive(Deserialize)]
pub struct Part {
    id: Option<String>,
    direction: Option<String>,
    depth: Option<String>,
}

pub async fn subgraph(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(document): Path<String>,
    Query(part): Query<Part>,
) -> Result<Response, Failure> {
    let id = part.id.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "id is missing"))?;
    let bad = |text: &str| Failure::new(StatusCode::BAD_REQUEST, text);
    let depth: Option<usize> = match part.depth.as_deref() {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad("depth must be a number"))?),
    };
    let direction = match (part.direction.as_deref(), depth) {
        (Some("U"), _) => Some(Direction::Up),
        (Some("D"), _) => Some(Direction::Down),
        (None, Some(_)) => Some(Direction::Both),
        (None, None) => None,
        (Some(_), _) => return Err(bad("direction must be U or D")),
    };
    let scope = scope_of(&principal);
    let whole = state.store.read(move |tx| load(tx, &document, &scope)).await?.ok_or_else(Failure::no_document)?;
    let cut = match direction {
        Some(direction) => cut(&whole, &id, direction, depth),
        // Without direction and depth it is the whole document, if it has the element.
        None => cut(&whole, &id, Direction::Both, Some(0)).map(|_| whole),
    };
    let found = cut.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Subgraph not found"))?;
    Ok(result(found.to_string()))
}
