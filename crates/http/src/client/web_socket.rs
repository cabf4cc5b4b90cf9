//! A WebSocket of our own to another place.

use std::time::Duration;

use axum::body::Body;
use http::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::request::host_of;
use super::{Client, ClientError, Reply};

pub type WebSocket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// How long the other side may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// Sends a request for a WebSocket.
    pub(super) async fn shake_hands(&self, request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let host = host_of(&request.uri().to_string());
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        answer.map_err(|_| ClientError::Timeout { host, limit: PATIENCE })?
    }

    /// Agrees on a WebSocket that speaks `protocol`, showing `shown`. The place has to be another process: what is our own is asked in
    /// memory, where there is no connection to take over ([`Client::relay_web_socket`] is for that).
    pub async fn web_socket(
        &self,
        url: &str,
        shown: Option<HeaderValue>,
        protocol: &'static str,
    ) -> Result<WebSocket, ClientError> {
        let key = generate_key();
        let mut request = Request::builder()
            .uri(url)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", protocol)
            .header("sec-websocket-key", &key)
            .body(Body::empty())
            .map_err(|_| ClientError::BadUrl(url.to_owned()))?;
        request.headers_mut().extend(shown.map(|shown| (AUTHORIZATION, shown)));
        let answer = self.shake_hands(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let reply = Reply::from(answer).ok().await?;
            return Err(ClientError::Broken(format!("{} instead of a WebSocket", reply.status)));
        }
        let accepted = answer.headers().get("sec-websocket-accept").map(HeaderValue::as_bytes);
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(ClientError::Broken("the answer to the WebSocket request is not one".to_owned()));
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| ClientError::Broken(error.to_string()))?;
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
    }
}
