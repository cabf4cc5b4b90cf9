//! `/exec` and `/attach`: a stream between a caller and a program in a container, or the container's own.
//!
//! The API server passes WebSockets on to nodes that declare to understand them, and so does this kubelet: once the site has
//! agreed, bytes are copied both ways and nothing is read on the way. Callers that speak SPDY are told that it is not had here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use dte_http::Reply;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::Refusal;
use crate::pods::Controller;
use dte_protocol_interlink::InterlinkError;

/// What a session's messages may be, and the channel on which its end is told.
const SESSIONS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const END: u8 = 3;
/// How long a caller may take to hear it.
const LAST_WORDS: Duration = Duration::from_secs(5);

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
    // A copy of the handshake, for a refusal.
    let (parts, body) = request.into_parts();
    let caller = Request::from_parts(parts.clone(), body);
    let answer = controller.site.http()?.relay_web_socket(&controller.tasks, caller, &url, shown).await;
    let answer = answer.map_err(|error| crate::Error::Site(InterlinkError::from(error)))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let status = answer.status();
    let why = Reply::from(answer).text().await.unwrap_or_else(|error| error.to_string());
    Ok(refuse(parts, status, why).await)
}

/// Agrees with the caller, and gives the site's refusal as the end of the session. Where their WebSocket is not taken, callers ask
/// once more with SPDY, and show the answer to that.
async fn refuse(mut parts: Parts, status: StatusCode, why: String) -> Response {
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(_) => return Refusal(status, why).into_response(),
    };
    upgrade.protocols(SESSIONS).on_upgrade(move |mut socket| async move {
        let end = json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "message": why.trim(), "code": status.as_u16(),
        });
        let told = [&[END], end.to_string().as_bytes()].concat();
        // Any other code would be taken for the reason.
        let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        if socket.send(Message::Binary(told.into())).await.is_ok()
            && socket.send(Message::Close(Some(close))).await.is_ok()
        {
            let drained = async { while let Some(Ok(_)) = socket.recv().await {} };
            drop(tokio::time::timeout(LAST_WORDS, drained).await);
        }
    })
}

/// What is shown to the site.
pub(super) async fn shown(controller: &Controller) -> Result<Option<HeaderValue>, Refusal> {
    let Some(token) = controller.site.token().await? else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| Refusal(StatusCode::BAD_GATEWAY, "the token has impossible characters".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
