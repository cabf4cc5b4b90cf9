//! The pages of sites and pods, and their parts.

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::State;
use super::pages::{reader, viewer};
use super::reply::{Failure, html};
use crate::model::compute::Pod;
use crate::page::{pod as pod_page, pods as pods_page, sites as sites_page};
use crate::source::compute as source;

/// Which log is wanted.
#[derive(Deserialize)]
pub struct Wanted {
    container: Option<String>,
}

pub async fn sites(
    Shared(state): Shared<State>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let sites = source::sites(&reader(&state, &principal, &headers)?).await;
    Ok(html(StatusCode::OK, sites_page::whole(&sites, &viewer(&state, &principal, &headers))))
}

pub async fn sites_fragment(
    Shared(state): Shared<State>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(html(StatusCode::OK, sites_page::fragment(&source::sites(&reader(&state, &principal, &headers)?).await)))
}

pub async fn pods(Shared(state): Shared<State>, principal: Principal, headers: HeaderMap) -> Result<Response, Failure> {
    let pods = source::pods(&reader(&state, &principal, &headers)?).await;
    Ok(html(StatusCode::OK, pods_page::whole(&pods, &viewer(&state, &principal, &headers))))
}

pub async fn pods_fragment(
    Shared(state): Shared<State>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(html(StatusCode::OK, pods_page::fragment(&source::pods(&reader(&state, &principal, &headers)?).await)))
}

pub async fn pod(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(uid): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let pod = read(&state, &principal, &headers, &uid, &wanted).await?;
    Ok(html(StatusCode::OK, pod_page::whole(&pod, &viewer(&state, &principal, &headers))))
}

pub async fn pod_fragment(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(uid): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(html(StatusCode::OK, pod_page::fragment(&read(&state, &principal, &headers, &uid, &wanted).await?)))
}

async fn read(
    state: &State,
    principal: &Principal,
    headers: &HeaderMap,
    uid: &str,
    wanted: &Wanted,
) -> Result<Pod, Failure> {
    Ok(source::pod(&reader(state, principal, headers)?, uid, wanted.container.as_deref()).await?)
}
