//! The stream that says that something has changed. It carries no data: the browser fetches the parts again with its own
//! rights. Hundreds of events a second become at most four messages a second.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::State;
use super::reply::guarded;

/// The shortest time between two messages.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two looks at sites and logs.
const TICK: Duration = Duration::from_secs(1);
/// Tells proxies and browsers that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub async fn stream(Shared(state): Shared<State>) -> Response {
    let messages = changes(state.store.watch_events(), state.tasks.clone());
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    guarded(Sse::new(messages).keep_alive(keep_alive).into_response())
}

/// What is not told by events (load of sites, logs) changes all the time: a message every moment.
pub async fn ticking(Shared(state): Shared<State>) -> Response {
    let ticks = stream::unfold((state.tasks.clone(), 0_u64), |(tasks, count)| async move {
        tokio::select! {
            () = tasks.stopping() => return None,
            () = tokio::time::sleep(TICK) => {}
        }
        let event = Event::default().event("changed").data(count.to_string());
        Some((Ok::<_, Infallible>(event), (tasks, count + 1)))
    });
    guarded(Sse::new(ticks).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// One message for each group of changes; ends with the engine.
fn changes(seen: watch::Receiver<i64>, tasks: dte_base::tasks::Tasks) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((seen, Instant::now()), move |(mut seen, not_before)| {
        let tasks = tasks.clone();
        async move {
            let position = tokio::select! {
                () = tasks.stopping() => return None,
                position = next(&mut seen, not_before) => position?,
            };
            let event = Event::default().event("changed").data(position.to_string());
            Some((Ok(event), (seen, Instant::now() + PAUSE)))
        }
    })
}

/// The newest position once there is a newer one, but not before `not_before`. `None` when the store is closed.
async fn next(seen: &mut watch::Receiver<i64>, not_before: Instant) -> Option<i64> {
    seen.changed().await.ok()?;
    sleep_until(not_before).await;
    Some(*seen.borrow_and_update())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test(start_paused = true)]
    async fn many_changes_are_few_messages() {
        let (tell, seen) = watch::channel(0);
        let tasks = dte_base::tasks::Tasks::new();
        let messages = tokio::spawn(changes(seen, tasks.clone()).count());
        for position in 1..=500 {
            tell.send_replace(position);
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        tokio::time::sleep(PAUSE * 2).await;
        tasks.stop();
        let messages = messages.await.expect("ended");
        // Two seconds of changes.
        assert!((7..=10).contains(&messages), "{messages}");
    }
}
