//! `/exec` and `/attach`: a stream between a caller and a program in a container, or the container's own.
//!
//! The API server passes WebSockets on to nodes that declare to understand them, and so does this kubelet: once the site has
//! agreed, bytes are copied both ways and nothing is read on the way. Callers that speak SPDY are told that it is not had here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::Refusal;
use crate::pods::Controller;
use dte_base::tasks::Tasks;
use dte_http::Reply;
use dte_protocol_interlink::InterlinkError;

/// What belongs to the agreement about the WebSocket and is passed on.
const PASSED: &[&str] =
    &["sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-accept"];

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
    mut request: Request,
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
    let query = request.uri().query().unwrap_or_default();
    let url = format!("{}?pod={}&container={container}&{query}", controller.site.url(what), entry.raw.uid());
    let answer = ask(controller, &url, request.headers()).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let why = Reply::from(answer).text().await.unwrap_or_else(|error| error.to_string());
        return Ok(refuse(request, status, why).await);
    }
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    pass(answer.headers(), response.headers_mut());
    join(&controller.tasks, hyper::upgrade::on(&mut request), hyper::upgrade::on(answer));
    Ok(response)
}

/// Agrees with the caller, and gives the site's refusal as the end of the session. Where their WebSocket is not taken, callers ask
/// once more with SPDY, and show the answer to that.
async fn refuse(request: Request, status: StatusCode, why: String) -> Response {
    let (mut parts, _) = request.into_parts();
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

/// Asks the site for the same stream.
pub(super) async fn ask(controller: &Controller, url: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let bad = |error: http::Error| Refusal(StatusCode::BAD_REQUEST, error.to_string());
    let mut wanted = http::Request::builder().method(Method::GET).uri(url).body(Body::empty()).map_err(bad)?;
    pass(headers, wanted.headers_mut());
    if let Some(token) = controller.site.token().await? {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Refusal(StatusCode::BAD_GATEWAY, "the token has impossible characters".to_owned()))?;
        value.set_sensitive(true);
        wanted.headers_mut().insert(header::AUTHORIZATION, value);
    }
    controller.site.http().send(wanted).await.map_err(|error| crate::Error::Site(InterlinkError::from(error)).into())
}

fn pass(from: &HeaderMap, to: &mut HeaderMap) {
    to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    to.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in from.iter().filter(|(name, _)| PASSED.contains(&name.as_str())) {
        to.append(name.clone(), value.clone());
    }
}

/// Copies bytes both ways until one side ends.
fn join(tasks: &Tasks, caller: hyper::upgrade::OnUpgrade, site: hyper::upgrade::OnUpgrade) {
    let stop = tasks.stop_token();
    tasks.spawn("stream", async move {
        let (caller, site) = match tokio::try_join!(caller, site) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a stream was not taken over");
                return;
            }
        };
        let (mut caller, mut site) = (TokioIo::new(caller), TokioIo::new(site));
        tokio::select! {
            outcome = tokio::io::copy_bidirectional(&mut caller, &mut site) => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a stream broke");
                }
            }
            () = stop.cancelled() => {}
        }
    });
}
