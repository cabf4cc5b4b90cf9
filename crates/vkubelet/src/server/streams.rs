//! `/exec` and `/attach`: a stream between a caller and a program in a container, or the container's own.
//!
//! The API server passes WebSockets on to nodes that declare to understand them, and so does this kubelet: once the site has
//! agreed, bytes are copied both ways and nothing is read on the way. Callers that speak SPDY are told that it is not had here.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::Refusal;
use crate::pods::Controller;
use dte_protocol_interlink::InterlinkError;

pub async fn exec(
    State(controller): State<Arc<Controller>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    open(&controller, "exec", [&namespace, &pod, &container], request).await
}

pub async fn attach(
    State(controller): State<Arc<Controller>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    open(&controller, "attach", [&namespace, &pod, &container], request).await
}

/// `what` is asked of the site by the same name.
async fn open(
    controller: &Controller,
    what: &str,
    [namespace, name, container]: [&str; 3],
    request: Request,
) -> Result<Response, Refusal> {
    let Some(entry) = controller.table.named(namespace, name) else {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found")));
    };
    let spec = entry.pod.spec.clone().unwrap_or_default();
    if !spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|one| one.name == container) {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("container \"{container}\" not found in pod \"{name}\"")));
    }
    let asked = request.headers().get(header::UPGRADE);
    if !asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        let text = "this node speaks WebSockets only: the API server must be of version 1.36 or newer, and kubectl must use them";
        return Err(Refusal(StatusCode::NOT_IMPLEMENTED, text.to_owned()));
    }
    if !controller.site.is_engine() {
        return Err(Refusal(StatusCode::NOT_IMPLEMENTED, format!("this site has no {what}")));
    }
    // Which pod and container it is was found here; what else the caller says of them does not count.
    let is_said = |pair: &&str| !matches!(pair.split('=').next(), Some("pod" | "container"));
    let query: Vec<&str> = request.uri().query().unwrap_or_default().split('&').filter(is_said).collect();
    let query = query.join("&");
    let url = format!("{}?pod={}&container={container}&{query}", controller.site.url(what), entry.raw.uid());
    let shown = shown(controller).await?;
    let answer = controller.site.http()?.relay_web_socket(&controller.tasks, request, &url, shown).await;
    answer.map_err(|error| crate::Error::Site(InterlinkError::from(error)).into())
}

/// What is shown to the site.
pub(super) async fn shown(controller: &Controller) -> Result<Option<HeaderValue>, Refusal> {
    let Some(token) = controller.site.token().await? else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| Refusal(StatusCode::BAD_GATEWAY, "the token has impossible characters".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
