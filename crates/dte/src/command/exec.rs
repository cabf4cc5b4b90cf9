//! `dte exec`: a program in a container that runs; its output here, its exit code ours.
//!
//! The engine speaks the channels of Kubernetes (`v5.channel.k8s.io`) over a WebSocket, and so does this.

use std::io::{Read, Write};

use axum::body::Body;
use dte_http::Reply;
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::Role;
use url::Url;

use super::pods;
use crate::cli::{Common, Exec};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 3;
const CLOSE: u8 = 255;
/// Bytes of the standard input that are sent at once.
const PIECE: usize = 32 << 10;

pub async fn exec(common: &Common, command: &Exec) -> Result<u8, Failure> {
    let remote = Remote::find(common).await?;
    let pod = pods::by_name(&remote, &command.name).await?;
    let mut url = remote.base("/interlink/exec")?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("pod", &show::cell(&pod["uid"])).append_pair("container", &command.container);
        for word in &command.command {
            query.append_pair("command", word);
        }
        query.append_pair("stdin", if command.stdin { "1" } else { "0" });
        query.append_pair("stdout", "1").append_pair("stderr", "1");
    }
    let socket = open(&remote, &url).await?;
    talk(socket, command.stdin).await
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Agrees on a WebSocket.
async fn open(remote: &Remote, url: &Url) -> Result<Socket, Failure> {
    let key = generate_key();
    let mut shown = HeaderValue::from_str(&format!("Bearer {}", remote.token.expose()))?;
    shown.set_sensitive(true);
    let request = Request::builder()
        .method(Method::GET)
        .uri(url.as_str())
        .header(AUTHORIZATION, shown)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", PROTOCOL)
        .header("sec-websocket-key", &key)
        .body(Body::empty())?;
    let answer = remote.client.send(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        Reply::from(answer).ok().await?;
        return Err(Failure::new("the engine does not speak WebSockets there"));
    }
    let accepted = answer.headers().get("sec-websocket-accept").map(HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(Failure::new("the engine's answer to the WebSocket request is not one"));
    }
    let stream = TokioIo::new(hyper::upgrade::on(answer).await?);
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

/// The standard input in pieces, none at its end. It is read by a thread of its own, because nobody can call back who waits for a
/// line that is never typed: the thread ends with the program.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = input.read(&mut piece) {
            if sender.blocking_send(piece[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Copies input and output until the program ends; its exit code.
async fn talk(mut socket: Socket, has_input: bool) -> Result<u8, Failure> {
    let mut input = has_input.then(input);
    loop {
        let piece = async {
            match &mut input {
                Some(input) => input.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some(code) = hear(&bytes)? {
                        return Ok(code);
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Err(Failure::new("the engine ended the connection")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            piece = piece => {
                let message = match piece {
                    Some(piece) => [&[STDIN], &piece[..]].concat(),
                    None => {
                        input = None;
                        vec![CLOSE, STDIN]
                    }
                };
                socket.send(Message::Binary(message.into())).await?;
            }
        }
    }
}

/// Shows what a message says; the exit code when it is the last.
fn hear(bytes: &[u8]) -> Result<Option<u8>, Failure> {
    let Some((channel, rest)) = bytes.split_first() else { return Ok(None) };
    match *channel {
        STDOUT => {
            let mut out = std::io::stdout();
            out.write_all(rest).and_then(|()| out.flush())?;
        }
        STDERR => std::io::stderr().write_all(rest)?,
        END if !rest.is_empty() => return ended(&serde_json::from_slice(rest)?).map(Some),
        _ => {}
    }
    Ok(None)
}

/// What a `v1.Status` says of the program.
fn ended(status: &Value) -> Result<u8, Failure> {
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse::<i64>().ok()) {
        Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
        None => Err(Failure::new(show::cell(&status["message"]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_a_program_ended() {
        assert_eq!(ended(&json!({"status": "Success"})).ok(), Some(0));
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        assert_eq!(ended(&failed).ok(), Some(7));
        assert!(ended(&json!({"status": "Failure", "message": "no such program"})).is_err());
        assert_eq!(hear(&[]).ok(), Some(None));
        assert_eq!(hear(&[END]).ok(), Some(None), "the first message is empty");
    }
}
