//! `/portForward`: a connection to a port on which a process of the pod listens.
//!
//! `GET /interlink/portForward?pod=UID&port=8080`, one WebSocket a connection; see [`channels`]. Channel 0 goes to the pod and 1 comes
//! from it; closing a channel (`255` and its number, version 5) ends that direction only. The last message says how it ended.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use dte_identity::Principal;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::answer::Refusal;
use super::channels::{self, Heard};
use super::guest;
use crate::shared::Shared;

#[derive(Debug, Deserialize)]
pub struct Asked {
    pod: Uuid,
    port: std::num::NonZeroU16,
}

pub async fn forward(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    asked: Result<Query<Asked>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let wrong = |error: QueryRejection| {
        Refusal::bad_request(format!("pod (a UID) and port (1 to 65535) are expected: {error}"))
    };
    let Query(Asked { pod, port }) = asked.map_err(wrong)?;
    let upgrade = upgrade.map_err(channels::expected)?;
    let (site, users) = guest::site_of(&shared, &principal, pod).await?;
    let session = site.forward(pod, port.get()).await?;
    guest::note(&shared, &principal, "pod.port-forward", pod, &users[1], json!({"port": port.get()}));
    Ok(channels::serve(shared, upgrade, session, Heard { stdout: true, stderr: false }, users))
}
