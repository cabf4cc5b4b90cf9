//! `GET /events?after=&limit=&types=&wait=`: the log, as far as the asker may see it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use dte_http::{Problem, Query};
use dte_identity::Principal;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use super::{State, failed, viewer_of};
use crate::log::Follower;
use crate::model::cloudevent::{BATCH, Envelope};
use crate::model::filter::is_wanted_type;

/// Where the next call goes on: also past events that were not for the asker.
pub const NEXT: HeaderName = HeaderName::from_static("dte-next");
/// Events at once, when the client does not say, and at most.
pub const USUAL: usize = 100;
pub const MOST: usize = 1_000;
/// How long a call waits for something new at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Events that one call looks at.
const LOOKED_AT: usize = 20_000;

/// Types as they stand in a query: separated by commas.
pub fn types_of(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    after: i64,
    limit: Option<usize>,
    types: Option<String>,
    #[serde(default)]
    wait: f64,
}

pub async fn get(
    Shared(state): Shared<State>,
    principal: Principal,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let (viewer, types) = (viewer_of(&principal), types_of(wanted.types.as_deref()));
    let wants = move |event: &Envelope| is_wanted_type(&types, &event.event.kind) && viewer.may_see(event);
    let limit = wanted.limit.unwrap_or(USUAL).clamp(1, MOST);
    let (found, next) = collect(&state, wanted.after, limit, wait_of(wanted.wait)?, wants).await?;
    Ok(batch(&found, next))
}

/// Seconds of waiting, as far as that is granted.
pub fn wait_of(seconds: f64) -> Result<Duration, Problem> {
    let wait = Duration::try_from_secs_f64(seconds).map_err(|_| Problem::bad_request("wait is a number of seconds"))?;
    Ok(wait.min(LONGEST_WAIT))
}

/// Up to `limit` wanted events after `after`, waiting for the first of them if need be; and where to go on.
pub async fn collect(
    state: &State,
    after: i64,
    limit: usize,
    wait: Duration,
    wants: impl Fn(&Envelope) -> bool,
) -> Result<(Vec<Arc<Envelope>>, i64), Problem> {
    let deadline = tokio::time::Instant::now() + wait;
    let mut follower = Follower::new(&state.log, after);
    let mut found: Vec<Arc<Envelope>> = Vec::new();
    let mut looked_at = 0;
    loop {
        let batch = follower.now(MOST).await.map_err(failed)?;
        looked_at += batch.len();
        for event in &batch {
            if wants(event) {
                found.push(Arc::clone(event));
                if found.len() == limit {
                    return Ok((found, event.event.seq));
                }
            }
        }
        if !batch.is_empty() && looked_at < LOOKED_AT {
            continue;
        }
        if !found.is_empty() || looked_at >= LOOKED_AT {
            return Ok((found, follower.position()));
        }
        tokio::select! {
            open = follower.wait() => if !open { return Err(failed(dte_store::Error::Closed)) },
            () = tokio::time::sleep_until(deadline) => return Ok((found, follower.position())),
            () = state.tasks.stopping() => return Ok((found, follower.position())),
        }
    }
}

/// A batch of CloudEvents.
pub fn batch(events: &[Arc<Envelope>], next: i64) -> Response {
    let list: Vec<Value> = events.iter().map(|event| event.structured()).collect();
    let headers = [(CONTENT_TYPE, BATCH.to_owned()), (NEXT, next.to_string())];
    (headers, Value::Array(list).to_string()).into_response()
}
