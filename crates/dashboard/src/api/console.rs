//! A program in a container, for a browser: the WebSocket of `/interlink/exec` with the viewer's own rights.

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, State as Shared};
use axum::response::{IntoResponse, Response};
use dte_http::Reply;
use dte_identity::Principal;
use http::{Request, StatusCode};
use serde_json::json;

use super::State;
use super::pages::reader;
use super::reply::{Failure, comes_from_us, guarded};
use crate::source::compute as source;

/// What consoles speak: the first byte of a message is its channel.
const PROTOCOL: &str = "v5.channel.k8s.io";
/// The channel on which is said how it ended.
const END: u8 = 3;

pub async fn exec(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(uid): Path<String>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    // Browsers show our cookie with every page's WebSockets, whoever wrote the page.
    if !comes_from_us(request.headers(), state.client.public_url().as_str()) {
        return Err(Failure::forbidden("This was not asked from a page of this engine."));
    }
    let (mut parts, body) = request.into_parts();
    // A copy of the handshake: a browser does not show its page why one was refused, so a refusal is told within.
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts.clone(), &()).await else {
        return Err(Failure {
            status: StatusCode::BAD_REQUEST,
            title: "Not possible",
            detail: "A WebSocket is expected.".into(),
        });
    };
    let reader = reader(&state, &principal, &parts.headers)?;
    let query = parts.uri.query().unwrap_or_default().to_owned();
    parts.headers.remove(http::header::AUTHORIZATION);
    let answer = source::exec(&reader, &state.tasks, &uid, &query, Request::from_parts(parts, body)).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(guarded(answer));
    }
    let why = match Reply::from(answer).ok().await {
        Ok(reply) => format!("the answer was {} instead of a session", reply.status),
        Err(error) => Failure::from(error).detail,
    };
    Ok(guarded(upgrade.protocols([PROTOCOL]).on_upgrade(|socket| refuse(socket, why)).into_response()))
}

async fn refuse(mut socket: WebSocket, why: String) {
    let status = json!({"metadata": {}, "status": "Failure", "message": why}).to_string();
    // Whoever has gone already need not be told.
    if socket.send(Message::Binary([&[END], status.as_bytes()].concat().into())).await.is_ok() {
        drop(socket.send(Message::Close(None)).await);
    }
}
