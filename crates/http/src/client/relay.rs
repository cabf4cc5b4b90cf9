//! Passing a WebSocket on: the handshake goes to another place, and what is said after it is read by nobody here.

use axum::body::Body;
use dte_base::tasks::Tasks;
use http::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{Client, ClientError};

/// What belongs to the agreement about a WebSocket. Extensions do not: who passes them on would have to understand them.
const HANDSHAKE: &[&str] =
    &["sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-accept"];

impl Client {
    /// Asks `url` for the WebSocket that `caller` asks us for, showing `shown`, and answers what the caller is to be answered: 101
    /// when they have agreed, else the refusal with its body. A place of our own takes the caller's connection over; to another
    /// one bytes are carried both ways until one side ends or the engine stops.
    pub async fn relay_web_socket(
        &self,
        tasks: &Tasks,
        mut caller: Request<Body>,
        url: &str,
        shown: Option<HeaderValue>,
    ) -> Result<Response<Body>, ClientError> {
        let mut wanted = Request::new(Body::empty());
        *wanted.uri_mut() = url.parse().map_err(|_| ClientError::BadUrl(url.to_owned()))?;
        agree(caller.headers(), wanted.headers_mut());
        if let Some(shown) = shown {
            wanted.headers_mut().insert(AUTHORIZATION, shown);
        }
        let connection = hyper::upgrade::on(&mut caller);
        let is_own = self.is_own(url);
        if is_own {
            wanted.extensions_mut().insert(connection.clone());
        }
        let answer = self.shake_hands(wanted).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = answer.into_parts();
            let mut refusal = Response::new(body);
            *refusal.status_mut() = parts.status;
            return Ok(refusal);
        }
        let mut agreed = Response::new(Body::empty());
        *agreed.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        agree(answer.headers(), agreed.headers_mut());
        if !is_own {
            carry(tasks, connection, hyper::upgrade::on(answer));
        }
        Ok(agreed)
    }
}

fn agree(from: &HeaderMap, to: &mut HeaderMap) {
    to.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    to.insert(UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in from.iter().filter(|(name, _)| HANDSHAKE.contains(&name.as_str())) {
        to.append(name.clone(), value.clone());
    }
}

fn carry(tasks: &Tasks, caller: OnUpgrade, there: OnUpgrade) {
    let stop = tasks.stop_token();
    tasks.spawn("web socket", async move {
        let (caller, there) = match tokio::try_join!(caller, there) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a WebSocket was not taken over");
                return;
            }
        };
        let (mut caller, mut there) = (TokioIo::new(caller), TokioIo::new(there));
        tokio::select! {
            outcome = tokio::io::copy_bidirectional(&mut caller, &mut there) => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a WebSocket broke");
                }
            }
            () = stop.cancelled() => {}
        }
    });
}
