//! A session in a pod over a WebSocket with the channels of Kubernetes: subprotocol `v5.channel.k8s.io` or `v4.channel.k8s.io`.
//!
//! The first byte of each message is the channel: 0 standard input, 1 output, 2 error, 3 how it ended (a `v1.Status`, the last
//! message), 4 the size of the terminal (`{"Width":80,"Height":24}`); with version 5, `255` and a channel closes that channel.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use dte_compute::{ExecInput, ExecOutput, ExecSession};
use dte_identity::UserRef;
use futures_util::stream::SplitStream;
use futures_util::{Sink, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::answer::Refusal;
use super::guest::unwelcome;
use crate::shared::Shared;

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
/// The largest message taken.
const LARGEST: usize = 1 << 20;
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
/// How often the connection is tried: who has gone may not be heard, because nothing is read from a caller while the program takes
/// no input.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the caller may go on sending after the end was told. A connection that is closed with something unread in it would
/// take the end along.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the caller wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub stdout: bool,
    pub stderr: bool,
}

/// A request that asks for no WebSocket.
pub fn expected(error: WebSocketUpgradeRejection) -> Refusal {
    Refusal::bad_request(format!("a WebSocket is expected: {error}"))
}

/// Agrees, and carries the session until it ends, the engine stops, or one of `users` may no longer work here.
pub fn serve(
    shared: Arc<Shared>,
    upgrade: WebSocketUpgrade,
    session: ExecSession,
    heard: Heard,
    users: [UserRef; 2],
) -> Response {
    upgrade.max_message_size(LARGEST).protocols([V5, V4]).on_upgrade(move |socket| async move {
        let stopping = shared.tasks.clone();
        tokio::select! {
            () = talk(socket, session, heard) => {}
            // Dropping the session ends it.
            () = unwelcome(&shared, &users) => {}
            () = stopping.stopping() => {}
        }
    })
}

/// Both directions go on beside each other: one that is held up does not hold up the other.
async fn talk(socket: WebSocket, session: ExecSession, heard: Heard) {
    let is_v5 = socket.protocol().is_some_and(|protocol| protocol == V5);
    let (to_caller, mut from_caller) = socket.split();
    let ExecSession { input, output } = session;
    let is_told = tokio::select! {
        is_told = say(to_caller, output, heard, is_v5, PING_EVERY) => is_told,
        () = listen(&mut from_caller, input, is_v5) => false,
    };
    if is_told {
        let drained = async { while let Some(Ok(_)) = from_caller.next().await {} };
        drop(timeout(LAST_WORDS, drained).await);
    }
}

/// Passes on what comes from the pod. `true`: to its end, which was told; otherwise the caller has gone.
async fn say(
    mut to: impl Sink<Message> + Unpin,
    mut output: mpsc::Receiver<ExecOutput>,
    heard: Heard,
    is_v5: bool,
    ping_every: Duration,
) -> bool {
    // As API servers do: an empty message says that the connection stands.
    let first = [(heard.stdout, STDOUT), (heard.stderr, STDERR)].iter().find(|(has, _)| *has).map_or(END, |f| f.1);
    if to.send(framed(first, &[])).await.is_err() {
        return false;
    }
    let mut pings = interval_at(Instant::now() + ping_every, ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let news = tokio::select! {
            news = output.recv() => news,
            _ = pings.tick() => {
                if to.send(Message::Ping(Vec::new().into())).await.is_err() {
                    return false;
                }
                continue;
            }
        };
        let message = match news {
            Some(ExecOutput::Stdout(bytes)) if heard.stdout => framed(STDOUT, &bytes),
            Some(ExecOutput::Stderr(bytes)) if heard.stderr => framed(STDERR, &bytes),
            Some(ExecOutput::StdoutEnd) if is_v5 => framed(CLOSE, &[STDOUT]),
            Some(ExecOutput::Stdout(_) | ExecOutput::Stderr(_) | ExecOutput::StdoutEnd) => continue,
            Some(ExecOutput::Exit { exit_code }) => return end(to, &status(exit_code)).await,
            Some(ExecOutput::Failed { message }) => return end(to, &failure(&message)).await,
            None => return end(to, &failure("the program is lost")).await,
        };
        if to.send(message).await.is_err() {
            return false;
        }
    }
}

/// Takes what the caller sends, until the caller has gone.
async fn listen(from: &mut SplitStream<WebSocket>, input: mpsc::Sender<ExecInput>, is_v5: bool) {
    let mut input = Some(input);
    while let Some(Ok(message)) = from.next().await {
        let bytes = match &message {
            Message::Binary(bytes) => &bytes[..],
            Message::Text(text) => text.as_bytes(),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        // What makes no sense is passed over, as API servers do.
        if let (Some(sender), Some(command)) = (&input, understood(bytes, is_v5))
            && sender.send(command).await.is_err()
        {
            input = None;
        }
    }
}

fn understood(bytes: &[u8], is_v5: bool) -> Option<ExecInput> {
    let (channel, rest) = bytes.split_first()?;
    match *channel {
        STDIN if !rest.is_empty() => Some(ExecInput::Stdin(rest.to_vec())),
        CLOSE if is_v5 && rest == [STDIN] => Some(ExecInput::StdinEnd),
        RESIZE => {
            let size = serde_json::from_slice::<Value>(rest).ok()?;
            let side = |name: &str| size.get(name).and_then(Value::as_u64).and_then(|side| u16::try_from(side).ok());
            Some(ExecInput::Resize { columns: side("Width")?, rows: side("Height")? })
        }
        _ => None,
    }
}

fn framed(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

async fn end(mut to: impl Sink<Message> + Unpin, status: &Value) -> bool {
    let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    to.send(framed(END, status.to_string().as_bytes())).await.is_ok()
        && to.send(Message::Close(Some(frame))).await.is_ok()
}

fn status(exit_code: i32) -> Value {
    if exit_code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: {exit_code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": exit_code.to_string()}]},
    })
}

fn failure(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_gone_is_noticed_although_nothing_is_said() {
        let (sender, mut caller) = mpsc::channel(4);
        let to = futures_util::sink::unfold(sender, |sender, message| async move {
            sender.send(message).await.map_err(drop).map(|()| sender)
        });
        let (_program, output) = mpsc::channel(1);
        let heard = Heard { stdout: true, stderr: false };
        let saying = tokio::spawn(async move {
            let to = std::pin::pin!(to);
            say(to, output, heard, true, Duration::from_millis(1)).await
        });
        assert_eq!(caller.recv().await, Some(framed(STDOUT, &[])));
        for _ in 0..3 {
            assert_eq!(caller.recv().await, Some(Message::Ping(Vec::new().into())));
        }
        drop(caller);
        assert!(!saying.await.expect("no panic"));
    }

    #[test]
    fn what_callers_send() {
        assert_eq!(understood(b"\0a", true), Some(ExecInput::Stdin(b"a".to_vec())));
        assert_eq!(understood(&[CLOSE, STDIN], true), Some(ExecInput::StdinEnd));
        assert_eq!(understood(&[CLOSE, STDIN], false), None);
        let size = understood(b"\x04{\"Width\":80,\"Height\":24}", true);
        assert_eq!(size, Some(ExecInput::Resize { columns: 80, rows: 24 }));
        for nonsense in [&b""[..], b"\0", b"\x01x", b"\x04{\"Width\":-1,\"Height\":24}", b"\x04", b"\x07x"] {
            assert_eq!(understood(nonsense, true), None, "{nonsense:?}");
        }
    }
}
