//! `GET /events`: server-sent events that name pods which have just changed, so that a virtual node of ours need not ask in
//! vain. Not of interLink: whoever does not find the route goes on asking.
//!
//! ```text
//! event: ready          the stream has begun; what changed before is to be asked for
//! data: {}
//!
//! event: pods           these pods changed: ask /status for them
//! data: {"uids":["…","…"]}
//!
//! event: all            too many changed to name them: ask /status for all
//! data: {}
//! ```
//!
//! Told are the pods that the asker may see and that run in the process that answers. What happens within a running pod
//! (one container of several ends) is not told, so asking now and then stays right.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dte_identity::Principal;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use uuid::Uuid;

use super::answer::may_see;
use crate::shared::Shared;
use crate::store;

/// A quiet stream says so this often, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pods named in one event.
const MOST: usize = 1_000;

pub async fn events(State(shared): State<Arc<Shared>>, principal: Principal) -> Response {
    let listener = Listener { changed: shared.changed.subscribe(), shared, principal };
    let first = Bytes::from_static(b"event: ready\ndata: {}\n\n");
    let stream = stream::unfold((listener, Some(first)), |(mut listener, first)| async move {
        let piece = match first {
            Some(first) => first,
            None => listener.next().await?,
        };
        Some((Ok::<_, std::io::Error>(piece), (listener, None)))
    });
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(stream)).into_response()
}

/// Somebody who wants to hear of changes.
struct Listener {
    shared: Arc<Shared>,
    principal: Principal,
    changed: Receiver<Uuid>,
}

/// What was heard.
enum Heard {
    Pods(Vec<Uuid>),
    /// More than could be kept.
    TooMany,
}

impl Listener {
    /// The next piece of the stream; `None` when the engine stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let heard = tokio::select! {
                heard = hear(&mut self.changed) => heard?,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b": quiet\n\n")),
                () = self.shared.tasks.stopping() => return None,
            };
            let uids = match heard {
                Heard::Pods(uids) => self.visible(uids).await,
                Heard::TooMany => None,
            };
            match uids {
                Some(uids) if uids.is_empty() => {}
                Some(uids) => return Some(Bytes::from(format!("event: pods\ndata: {}\n\n", json!({ "uids": uids })))),
                None => return Some(Bytes::from_static(b"event: all\ndata: {}\n\n")),
            }
        }
    }

    /// Those of them that the asker may see; `None` when that cannot be found out now.
    async fn visible(&self, uids: Vec<Uuid>) -> Option<Vec<Uuid>> {
        if self.principal.is_admin() {
            return Some(uids);
        }
        match store::heads(&self.shared.store, uids).await {
            Ok(heads) => Some(
                heads.into_iter().filter(|head| may_see(&self.principal, &head.owner)).map(|head| head.uid).collect(),
            ),
            Err(error) => {
                tracing::warn!(%error, "whose pods changed cannot be read");
                None
            }
        }
    }
}

/// Waits for one change, and takes those that are there with it.
async fn hear(changed: &mut Receiver<Uuid>) -> Option<Heard> {
    let mut uids = match changed.recv().await {
        Ok(uid) => vec![uid],
        Err(RecvError::Lagged(_)) => return Some(Heard::TooMany),
        Err(RecvError::Closed) => return None,
    };
    while uids.len() < MOST {
        match changed.try_recv() {
            Ok(uid) => uids.push(uid),
            Err(TryRecvError::Lagged(_)) => return Some(Heard::TooMany),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    uids.sort_unstable();
    uids.dedup();
    Some(Heard::Pods(uids))
}
