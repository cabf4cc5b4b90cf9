//! The two pages and their parts.

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};

use super::State;
use super::reply::{Failure, html};
use crate::model::twin::Twin;
use crate::model::view::{View, Wanted};
use crate::page::frame::Viewer;
use crate::page::{engine as engine_page, twin as twin_page};
use crate::source::{Reader, engine as engine_source, twin as twin_source};

pub async fn engine(
    Shared(state): Shared<State>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let reader = reader(&state, &principal, &headers)?;
    let engine = engine_source::read(&state, &reader, &principal).await;
    Ok(html(StatusCode::OK, engine_page::whole(&engine, &viewer(&state, &principal, &headers))))
}

pub async fn engine_fragment(
    Shared(state): Shared<State>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let reader = reader(&state, &principal, &headers)?;
    Ok(html(StatusCode::OK, engine_page::fragment(&engine_source::read(&state, &reader, &principal).await)))
}

pub async fn twin(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let twin = read_twin(&state, &principal, &headers, &name, &wanted).await?;
    let view = View::of(&twin, &wanted);
    Ok(html(StatusCode::OK, twin_page::whole(&twin, view.as_ref(), &viewer(&state, &principal, &headers))))
}

pub async fn twin_fragment(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let twin = read_twin(&state, &principal, &headers, &name, &wanted).await?;
    Ok(html(StatusCode::OK, twin_page::fragment(&twin, View::of(&twin, &wanted).as_ref())))
}

async fn read_twin(
    state: &State,
    principal: &Principal,
    headers: &HeaderMap,
    name: &str,
    wanted: &Wanted,
) -> Result<Twin, Failure> {
    let reader = reader(state, principal, headers)?;
    let mut twin = twin_source::read(&reader, name, wanted).await?;
    if let Some(did) = &twin.newest_did {
        match state.lineages.newest(&reader, principal.name(), name, did).await {
            Ok(lineage) => twin.lineage = lineage,
            Err(error) => twin.missing.push(("lineage", error.to_string())),
        }
    }
    Ok(twin)
}

/// Reads with the viewer's own rights: the token that was shown, or for a session one that acts for its user.
pub(super) fn reader(state: &State, principal: &Principal, headers: &HeaderMap) -> Result<Reader, Failure> {
    match headers.get(http::header::AUTHORIZATION) {
        Some(shown) => Ok(Reader::showing(state.client.clone(), shown.clone())),
        None => {
            let token = state.identity.acting_token(&principal.user_ref(), crate::Service::NAME, &[], None);
            Reader::bearing(state.client.clone(), &token.map_err(Failure::internal)?).map_err(Failure::internal)
        }
    }
}

pub(super) fn viewer(state: &State, principal: &Principal, headers: &HeaderMap) -> Viewer {
    let csrf = state.identity.session_secret(headers).map(|secret| state.identity.session_form_token(&secret));
    Viewer { name: principal.name().to_owned(), csrf: csrf.unwrap_or_default() }
}
