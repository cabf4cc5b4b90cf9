//! `/portForward`: connections to a pod's ports, many in one session.
//!
//! `kubectl port-forward` puts SPDY into a WebSocket (`SPDY/3.1+portforward.k8s.io`), and from 1.36 on API servers pass that on to
//! nodes. For each connection it opens two streams of one request: `error`, which is written only if something goes wrong, and `data`.
//! Here each becomes a WebSocket of its own to the engine, which knows what the pod listens on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use dte_http::{ClientError, WebSocket as WebSocketToSite};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::Message as ToSite;

use super::Refusal;
use super::spdy::Nonsense;
use super::spdy::frame::{self, Decoder, Frame};
use super::streams::shown;
use crate::pods::Controller;

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const TO_SITE: &str = "v5.channel.k8s.io";
/// Channels of the engine's WebSocket.
const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const END: u8 = 3;
const CLOSE: u8 = 255;
/// Streams that one session may have open; two a connection.
const MOST_STREAMS: usize = 512;
/// Pieces under way in one direction.
const UNDER_WAY: usize = 16;
/// How often the caller is tried: who has gone may not be heard, because nothing is read while a pod takes no more.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the end of a connection may take to be told.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub async fn port_forward(
    State(controller): State<Arc<Controller>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let Some(entry) = controller.table.named(&namespace, &name) else {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found")));
    };
    let asked = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let speaks = asked.flat_map(|list| list.split(',')).any(|one| one.trim() == TUNNEL);
    let Some(upgrade) = upgrade.ok().filter(|_| speaks) else {
        let text = format!(
            "this node speaks {TUNNEL} over WebSockets only: the API server must be of version 1.36 or newer, and kubectl must use them"
        );
        return Err(Refusal(StatusCode::NOT_IMPLEMENTED, text));
    };
    if !controller.site.is_engine() {
        return Err(Refusal(StatusCode::NOT_IMPLEMENTED, "this site has no port-forward".to_owned()));
    }
    let pod = Pod { controller: Arc::clone(&controller), name, uid: entry.raw.uid().to_owned() };
    let stop = controller.tasks.stop_token();
    Ok(upgrade.protocols([TUNNEL]).on_upgrade(move |socket| async move {
        tokio::select! {
            () = serve(socket, pod) => {}
            () = stop.cancelled() => {}
        }
    }))
}

#[derive(Clone)]
struct Pod {
    controller: Arc<Controller>,
    name: String,
    uid: String,
}

/// Writes what all connections have to say, and hears the caller, until one of both is over.
async fn serve(socket: WebSocket, pod: Pod) {
    let (mut to, mut from) = socket.split();
    let (tell, mut told) = mpsc::channel::<Vec<u8>>(UNDER_WAY);
    let writing = async {
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                told = told.recv() => told.map(|bytes| Message::Binary(bytes.into())),
                _ = pings.tick() => Some(Message::Ping(Vec::new().into())),
            };
            let Some(message) = message else { return };
            if to.send(message).await.is_err() {
                return;
            }
        }
    };
    let hearing = async {
        let mut session = Session::new(pod, tell);
        while let Some(Ok(message)) = from.next().await {
            let Message::Binary(bytes) = message else { continue };
            match session.hear(&bytes).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "a port-forward ends");
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = hearing => {}
    }
}

/// The two streams of one connection, as they come.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<(u32, mpsc::Receiver<Vec<u8>>)>,
}

struct Session {
    pod: Pod,
    tell: mpsc::Sender<Vec<u8>>,
    decoder: Decoder,
    has_replied: bool,
    /// By their request.
    waiting: HashMap<String, Pair>,
    /// By their data stream: what is sent to the pod.
    inputs: HashMap<u32, mpsc::Sender<Vec<u8>>>,
    running: HashMap<u32, AbortHandle>,
    /// Dropping it ends them.
    connections: JoinSet<u32>,
}

impl Session {
    fn new(pod: Pod, tell: mpsc::Sender<Vec<u8>>) -> Self {
        Session {
            pod,
            tell,
            decoder: Decoder::new(),
            has_replied: false,
            waiting: HashMap::new(),
            inputs: HashMap::new(),
            running: HashMap::new(),
            connections: JoinSet::new(),
        }
    }

    /// Takes a piece of what the caller says. `false`: that was all.
    async fn hear(&mut self, bytes: &[u8]) -> Result<bool, Nonsense> {
        while let Some(Ok(stream)) = self.connections.try_join_next() {
            self.running.remove(&stream);
            self.inputs.remove(&stream);
        }
        self.decoder.take(bytes);
        while let Some(frame) = self.decoder.next()? {
            match frame {
                Frame::Open { stream, is_last, headers } => self.open(stream, is_last, &headers).await,
                Frame::Data { stream, is_last, bytes } => {
                    if let Some(input) = self.inputs.get(&stream)
                        && !bytes.is_empty()
                        && input.send(bytes).await.is_err()
                    {
                        // The connection is over, and the caller will hear so.
                        self.inputs.remove(&stream);
                    }
                    if is_last {
                        self.inputs.remove(&stream);
                    }
                }
                Frame::Reset { stream } => {
                    self.inputs.remove(&stream);
                    if let Some(connection) = self.running.remove(&stream) {
                        connection.abort();
                    }
                }
                Frame::Ping { id } => self.say(frame::ping(id)).await,
                Frame::GoAway => return Ok(false),
                Frame::Other => {}
            }
        }
        Ok(true)
    }

    async fn say(&self, bytes: Vec<u8>) {
        // Who does not listen any more is noticed where it is read.
        drop(self.tell.send(bytes).await);
    }

    async fn open(&mut self, stream: u32, is_last: bool, headers: &HashMap<String, String>) {
        let text = |name: &str| headers.get(name).map(String::as_str);
        let port = text("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
        let kind = text("streamtype");
        let known = matches!(kind, Some("error" | "data"));
        let (Some(request), Some(port), true) = (text("requestid"), port, known && self.has_room()) else {
            return self.say(frame::refuse(stream)).await;
        };
        let is_first = !std::mem::replace(&mut self.has_replied, true);
        self.say(frame::reply(stream, is_first)).await;
        let pair = self.waiting.entry(request.to_owned()).or_default();
        if kind == Some("error") {
            pair.error = Some(stream);
        } else {
            let (input, output) = mpsc::channel(UNDER_WAY);
            pair.data = Some((stream, output));
            if !is_last {
                self.inputs.insert(stream, input);
            }
        }
        if pair.error.is_none() || pair.data.is_none() {
            return;
        }
        let Some(Pair { error: Some(error), data: Some((data, input)) }) = self.waiting.remove(request) else { return };
        let connection = Connection { pod: self.pod.clone(), port, error, data, tell: self.tell.clone() };
        self.running.insert(data, self.connections.spawn(connection.run(input)));
    }

    fn has_room(&self) -> bool {
        2 * (self.running.len() + self.waiting.len()) < MOST_STREAMS
    }
}

struct Connection {
    pod: Pod,
    port: u16,
    error: u32,
    data: u32,
    tell: mpsc::Sender<Vec<u8>>,
}

impl Connection {
    /// Carries it to its end; its data stream.
    async fn run(self, input: mpsc::Receiver<Vec<u8>>) -> u32 {
        let why = match self.carry(input).await {
            Ok(()) => Vec::new(),
            Err(Refusal(_, text)) => {
                let (port, pod) = (self.port, &self.pod);
                format!("error forwarding port {port} to pod {}, uid {}: {}", pod.name, pod.uid, text.trim())
                    .into_bytes()
            }
        };
        for end in [frame::data(self.error, true, &why), frame::data(self.data, true, &[])] {
            drop(self.tell.send(end).await);
        }
        self.data
    }

    async fn carry(&self, mut input: mpsc::Receiver<Vec<u8>>) -> Result<(), Refusal> {
        let (mut to, mut from) = self.connect().await?.split();
        let is_over = Notify::new();
        let sending = async {
            loop {
                let message = tokio::select! {
                    piece = input.recv() => piece.map(|piece| [&[INPUT], &piece[..]].concat()),
                    () = is_over.notified() => None,
                };
                let is_last = message.is_none();
                let message = message.unwrap_or_else(|| vec![CLOSE, INPUT]);
                if to.send(ToSite::Binary(message.into())).await.is_err() || is_last {
                    // What comes back decides when all is over.
                    return std::future::pending().await;
                }
            }
        };
        let hearing = async {
            while let Some(Ok(message)) = from.next().await {
                let ToSite::Binary(bytes) = message else { continue };
                match bytes.split_first() {
                    Some((&OUTPUT, rest)) if !rest.is_empty() => {
                        drop(self.tell.send(frame::data(self.data, false, rest)).await);
                    }
                    // kubectl ends a connection when the pod does, so nothing more is sent either.
                    Some((&CLOSE, [OUTPUT])) => {
                        is_over.notify_one();
                        let end = async { last_word(&mut from).await };
                        return tokio::time::timeout(LAST_WORDS, end).await.unwrap_or(Ok(()));
                    }
                    Some((&END, rest)) if !rest.is_empty() => return ended(rest),
                    _ => {}
                }
            }
            Err(Refusal(StatusCode::BAD_GATEWAY, "the site ended the connection".to_owned()))
        };
        tokio::select! {
            outcome = hearing => outcome,
            never = sending => never,
        }
    }

    /// Agrees on a WebSocket with the engine.
    async fn connect(&self) -> Result<WebSocketToSite, Refusal> {
        let controller = &self.pod.controller;
        let url = format!("{}?pod={}&port={}", controller.site.url("portForward"), self.pod.uid, self.port);
        let shown = shown(controller).await?;
        let agreed = controller.site.http()?.web_socket(&url, shown, TO_SITE).await;
        agreed.map_err(|error| match error {
            ClientError::Status { status, detail } => Refusal(status, detail),
            other => Refusal(StatusCode::BAD_GATEWAY, other.to_string()),
        })
    }
}

/// How the engine says that it ended, past whatever else it says.
async fn last_word<S, E>(from: &mut S) -> Result<(), Refusal>
where
    S: futures_util::Stream<Item = Result<ToSite, E>> + Unpin,
{
    while let Some(Ok(message)) = from.next().await {
        if let ToSite::Binary(bytes) = message
            && let Some((&END, rest)) = bytes.split_first()
            && !rest.is_empty()
        {
            return ended(rest);
        }
    }
    Ok(())
}

/// What a `v1.Status` says.
fn ended(status: &[u8]) -> Result<(), Refusal> {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    match status["status"].as_str() {
        Some("Success") => Ok(()),
        _ => Err(Refusal(
            StatusCode::BAD_GATEWAY,
            status["message"].as_str().unwrap_or("the connection is lost").to_owned(),
        )),
    }
}
