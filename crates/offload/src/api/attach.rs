//! `/attach`: the input and output of a container's own program, over a WebSocket with the channels of Kubernetes.
//!
//! `GET /interlink/attach?pod=UID&container=NAME&stdin=1&stdout=1&stderr=1&tty=1`; see [`channels`]. What the program writes comes
//! from now on, without what it wrote before, and its standard error may come with its output. The end says that the container has
//! ended, and not how, which stands in the pod's status.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use dte_compute::AttachOrder;
use dte_identity::Principal;
use serde_json::json;

use super::answer::Refusal;
use super::channels;
use super::exec::{Asked, read};
use super::guest;
use crate::shared::Shared;

pub async fn attach(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let Asked { uid, container, argv, stdin, tty, heard } = read(query.as_deref().unwrap_or_default())?;
    if !argv.is_empty() {
        return Err(Refusal::bad_request("command: nothing is run by attaching"));
    }
    let upgrade = upgrade.map_err(channels::expected)?;
    let (site, users) = guest::site_of(&shared, &principal, uid).await?;
    let detail = json!({"container": container, "stdin": stdin});
    let session = site.attach(&AttachOrder { uid, container, stdin, tty }).await?;
    guest::note(&shared, &principal, "pod.attach", uid, &users[1], detail);
    Ok(channels::serve(shared, upgrade, session, heard, users))
}
