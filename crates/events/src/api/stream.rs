//! `GET /stream?after=&types=`: server-sent events. The id of each is its place in the log, so that a client that lost the
//! connection goes on with `Last-Event-ID`. Without either, the stream begins with what happens next.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dte_base::time::Timestamp;
use dte_http::{Problem, Query};
use dte_identity::Principal;
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use serde::Deserialize;

use super::read::types_of;
use super::{State, failed};
use crate::log::Follower;
use crate::model::cloudevent::Envelope;
use crate::model::filter::is_wanted_type;
use crate::viewer::Subscriber;

/// Events looked at at once.
const BATCH: usize = 256;
/// A comment is sent this often, so that both sides notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub struct Wanted {
    after: Option<i64>,
    types: Option<String>,
}

pub async fn get(
    Shared(state): Shared<State>,
    principal: Principal,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let types = types_of(wanted.types.as_deref());
    let after = match last_event_id(&headers).or(wanted.after) {
        Some(after) => after,
        None => state.log.latest().await.map_err(failed)?,
    };
    Ok(events(&state, &principal, after, move |event| is_wanted_type(&types, &event.event.kind)))
}

/// Where a client that comes back was.
pub fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// A stream of what is wanted and may be seen. It ends with the token, with a ban, and when the engine stops.
pub fn events(
    state: &State,
    principal: &Principal,
    after: i64,
    wants: impl Fn(&Envelope) -> bool + Send + 'static,
) -> Response {
    let running = Running {
        follower: Follower::new(&state.log, after),
        pending: VecDeque::new(),
        people: state.identity.watch_changes(),
        state: state.clone(),
        subscriber: Subscriber::of(principal),
        expires: tokio::time::Instant::now() + principal.expires.since(Timestamp::now()),
        wants: Box::new(wants),
    };
    Sse::new(running.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

struct Running {
    follower: Follower,
    pending: VecDeque<Arc<Envelope>>,
    people: tokio::sync::watch::Receiver<u64>,
    state: State,
    subscriber: Subscriber,
    expires: tokio::time::Instant,
    wants: Box<dyn Fn(&Envelope) -> bool + Send>,
}

impl Running {
    fn stream(self) -> impl Stream<Item = Result<Sent, Infallible>> {
        stream::unfold(self, |mut running| async move {
            let event = running.next().await?;
            let sent = Sent::default()
                .id(event.event.seq.to_string())
                .event(event.event.kind.replace(['\n', '\r'], " "))
                .data(event.structured().to_string());
            Some((Ok(sent), running))
        })
    }

    async fn next(&mut self) -> Option<Arc<Envelope>> {
        loop {
            if self.people.has_changed().unwrap_or(false) {
                self.people.borrow_and_update();
                // What waits was chosen under rights that may be gone.
                let viewer = self.subscriber.viewer(&self.state.identity)?;
                self.pending.retain(|event| viewer.may_see(event));
            }
            if tokio::time::Instant::now() >= self.expires || self.state.tasks.is_stopping() {
                return None;
            }
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            let batch = match self.follower.now(BATCH).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends: the log cannot be read");
                    return None;
                }
            };
            if batch.is_empty() {
                tokio::select! {
                    open = self.follower.wait() => if !open { return None },
                    _ = self.people.changed() => self.people.mark_changed(),
                    () = tokio::time::sleep_until(self.expires) => return None,
                    () = self.state.tasks.stopping() => return None,
                }
                continue;
            }
            let viewer = self.subscriber.viewer(&self.state.identity)?;
            let wanted = batch.into_iter().filter(|event| viewer.may_see(event) && (self.wants)(event));
            self.pending.extend(wanted);
        }
    }
}
