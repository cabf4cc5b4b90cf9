//! `/exec`: runs a program in a container of a pod, over a WebSocket with the channels of Kubernetes.
//!
//! `GET /interlink/exec?pod=UID&container=NAME&command=sh&command=-c&…&stdin=1&stdout=1&stderr=1&tty=1` with the subprotocol
//! `v5.channel.k8s.io` or `v4.channel.k8s.io`. The first byte of each message is the channel: 0 standard input, 1 output,
//! 2 error, 3 how it ended (a `v1.Status`, the last message), 4 the size of the terminal (`{"Width":80,"Height":24}`); with
//! version 5, `255` and a channel closes that channel.

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use dte_compute::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use dte_identity::{Principal, UserRef};
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Refusal, may_see};
use crate::shared::Shared;
use crate::store;

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

/// What is asked for, from the query.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    order: ExecOrder,
    stdout: bool,
    stderr: bool,
}

pub async fn exec(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let asked = read(query.as_deref().unwrap_or_default())?;
    let upgrade = upgrade.map_err(|error| Refusal::bad_request(format!("a WebSocket is expected: {error}")))?;
    let uid = asked.order.uid;
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no pod {uid}"));
    let head = store::heads(&shared.store, vec![uid]).await?.pop().filter(|head| may_see(&principal, &head.owner));
    let head = head.ok_or_else(unknown)?;
    if head.node != shared.node {
        let text = format!("pod {uid} belongs to another process of this engine, which has its containers");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let site = shared.site(Some(&head.site)).ok_or_else(unknown)?.clone();
    let session = site.exec(&asked.order).await?;
    let users = [principal.user_ref(), head.owner];
    Ok(upgrade.max_message_size(LARGEST).protocols([V5, V4]).on_upgrade(move |socket| async move {
        let stopping = shared.tasks.clone();
        tokio::select! {
            () = talk(socket, session, &asked) => {}
            // Dropping the session ends the program.
            () = unwelcome(&shared, &users) => {}
            () = stopping.stopping() => {}
        }
    }))
}

/// Resolves when one of these people may no longer work here.
async fn unwelcome(shared: &Shared, users: &[UserRef]) {
    let mut accounts = shared.identity.watch_changes();
    loop {
        accounts.borrow_and_update();
        if users.iter().any(|user| !shared.is_welcome(user)) {
            return;
        }
        if accounts.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn read(query: &str) -> Result<Asked, Refusal> {
    let (mut uid, mut container, mut argv) = (None, None, Vec::new());
    let [mut stdin, mut stdout, mut stderr, mut tty] = [false; 4];
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let is_on = matches!(&*value, "1" | "true");
        match &*name {
            "pod" => uid = value.parse::<Uuid>().ok(),
            "container" => container = Some(value.into_owned()).filter(|name| !name.is_empty()),
            "command" => argv.push(value.into_owned()),
            // Kubelet's names and kubectl's.
            "input" | "stdin" => stdin = is_on,
            "output" | "stdout" => stdout = is_on,
            "error" | "stderr" => stderr = is_on,
            "tty" => tty = is_on,
            _ => {}
        }
    }
    let Some(uid) = uid else { return Err(Refusal::bad_request("pod: the pod's UID is expected")) };
    if argv.is_empty() {
        return Err(Refusal::bad_request("command: what to run is expected"));
    }
    if !(stdin || stdout || stderr) {
        return Err(Refusal::bad_request("at least one of stdin, stdout and stderr is expected"));
    }
    if tty && stderr {
        return Err(Refusal::bad_request("tty and stderr exclude each other"));
    }
    Ok(Asked { order: ExecOrder { uid, container, argv, stdin, tty }, stdout, stderr })
}

async fn talk(mut socket: WebSocket, mut session: ExecSession, asked: &Asked) {
    let is_v5 = socket.protocol().is_some_and(|protocol| protocol == V5);
    // As API servers do: an empty message says that the connection stands.
    let first =
        [(asked.stdout, STDOUT), (asked.stderr, STDERR), (true, END)].iter().find(|(has, _)| *has).map_or(END, |f| f.1);
    if socket.send(framed(first, &[])).await.is_err() {
        return;
    }
    let mut input = Some(session.input.clone());
    drop(std::mem::replace(&mut session.input, tokio::sync::mpsc::channel(1).0));
    loop {
        tokio::select! {
            output = session.output.recv() => {
                let message = match output {
                    Some(ExecOutput::Stdout(bytes)) if asked.stdout => framed(STDOUT, &bytes),
                    Some(ExecOutput::Stderr(bytes)) if asked.stderr => framed(STDERR, &bytes),
                    Some(ExecOutput::Stdout(_) | ExecOutput::Stderr(_)) => continue,
                    Some(ExecOutput::Exit { exit_code }) => return end(socket, &status(exit_code)).await,
                    Some(ExecOutput::Failed { message }) => return end(socket, &failure(&message)).await,
                    None => return end(socket, &failure("the program is lost")).await,
                };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => hear(&mut input, is_v5, &bytes).await,
                Some(Ok(Message::Text(text))) => hear(&mut input, is_v5, text.as_bytes()).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // Whoever asked has gone.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            }
        }
    }
}

/// Takes a message of the client. What makes no sense is passed over, as API servers do.
async fn hear(input: &mut Option<tokio::sync::mpsc::Sender<ExecInput>>, is_v5: bool, bytes: &[u8]) {
    let Some((channel, rest)) = bytes.split_first() else { return };
    let command = match *channel {
        STDIN if !rest.is_empty() => ExecInput::Stdin(rest.to_vec()),
        CLOSE if is_v5 && rest == [STDIN] => ExecInput::StdinEnd,
        RESIZE => {
            let Ok(size) = serde_json::from_slice::<Value>(rest) else { return };
            let side = |name: &str| size.get(name).and_then(Value::as_u64).and_then(|side| u16::try_from(side).ok());
            let (Some(columns), Some(rows)) = (side("Width"), side("Height")) else { return };
            ExecInput::Resize { columns, rows }
        }
        _ => return,
    };
    if let Some(sender) = input
        && sender.send(command).await.is_err()
    {
        *input = None;
    }
}

fn framed(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

async fn end(mut socket: WebSocket, status: &Value) {
    let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    if socket.send(framed(END, status.to_string().as_bytes())).await.is_ok() {
        drop(socket.send(Message::Close(Some(frame))).await);
    }
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

    #[test]
    fn reads_the_names_of_kubelets_and_of_kubectl() {
        let uid = "0190b0a0-0000-7000-8000-000000000001";
        let asked = read(&format!("pod={uid}&container=c&command=sh&command=-c&command=a+%26+b&stdin=true&output=1"));
        let asked = asked.expect("an order");
        assert_eq!(asked.order.argv, ["sh", "-c", "a & b"]);
        assert!(asked.order.stdin && asked.stdout && !asked.stderr && !asked.order.tty);
        for query in ["", "pod=x&command=a&stdout=1", "command=a&stdout=1"] {
            assert!(read(query).is_err(), "{query}");
        }
        for rest in ["command=a", "stdout=1", "command=a&stderr=1&tty=1"] {
            assert!(read(&format!("pod={uid}&{rest}")).is_err(), "{rest}");
        }
    }
}
