//! `/getLogs`: what a container wrote, as much of it as was asked for, streamed while it is followed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dte_base::time::Timestamp;
use dte_compute::logs::LogQuery;
use dte_compute::pod::is_dns_label;
use dte_compute::{ContainerReport, Site};
use dte_identity::Principal;
use dte_protocol_interlink::{LogOptions, LogStruct};
use futures_util::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use uuid::Uuid;

use super::answer::{Refusal, may_see, read};
use super::status::live_reports;
use crate::model::state;
use crate::shared::Shared;
use crate::store::{self, PodHead};
use crate::work::followers::Following;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

pub async fn logs(State(shared): State<Arc<Shared>>, principal: Principal, body: Bytes) -> Result<Response, Refusal> {
    let asked: LogStruct = read(&body)?;
    let (uid, query) = check(&asked)?;
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no pod {uid}"));
    let head = store::heads(&shared.store, vec![uid]).await?.pop().filter(|head| may_see(&principal, &head.owner));
    let head = head.ok_or_else(unknown)?;
    if head.node != shared.node {
        let text = format!("pod {uid} belongs to another process of this engine, which has its log");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let site = shared.site(Some(&head.site)).ok_or_else(unknown)?.clone();
    let container = Some(asked.container_name.clone()).filter(|name| !name.is_empty());
    // A pod that waits, or whose folder is gone already, has no log.
    let ended = head.state.is_terminal();
    let span = match asked.options.previous {
        true => previous(&shared, &head, container.as_deref()).await?,
        false => Span { from: 0, to: None },
    };
    let follows = asked.options.follow && !asked.options.previous;
    let following = follows.then(|| shared.followers.begin(uid));
    let (first, next, complete) =
        so_far(&shared, site.as_ref(), uid, container.as_deref(), query, (span, ended)).await?;
    let text = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    // What ended does not go on.
    let Some(following) = following.filter(|_| !complete) else { return Ok((text, first).into_response()) };
    let query = LogQuery { tail: None, limit_bytes: None, ..query };
    let follower = Follower { shared, site, uid, container, query, next, _following: following };
    let rest = stream::unfold((follower, Some(first)), |(mut follower, first)| async move {
        match first {
            Some(first) => Some((Ok::<_, std::io::Error>(first), (follower, None))),
            None => follower.more().await.map(|piece| (piece, (follower, None))),
        }
    });
    Ok((text, Body::from_stream(rest)).into_response())
}

/// A part of a log, by bytes that the container had written.
#[derive(Clone, Copy)]
struct Span {
    from: u64,
    to: Option<u64>,
}

/// The part that the container's run before the present one wrote.
async fn previous(shared: &Shared, head: &PodHead, container: Option<&str>) -> Result<Span, Refusal> {
    let live = live_reports(shared, std::slice::from_ref(head)).await?.remove(&head.uid);
    let report = head.report.clone().or(live);
    let mut all = report.iter().flat_map(|report| report.init_containers.iter().chain(&report.containers));
    let found = match container {
        Some(name) => all.find(|one| one.name == name),
        None => report.as_ref().and_then(|report| report.containers.first()),
    };
    let span = found.and_then(ContainerReport::previous_log);
    let (from, to) = span.ok_or_else(|| {
        let (name, pod) = (container.or(found.map(|one| one.name.as_str())).unwrap_or_default(), &head.name);
        Refusal::bad_request(format!("previous terminated container {name:?} in pod {pod:?} not found"))
    })?;
    Ok(Span { from, to })
}

/// What the container has written by now, where to go on, and whether that is all there will be.
async fn so_far(
    shared: &Shared,
    site: &dyn Site,
    uid: Uuid,
    container: Option<&str>,
    query: LogQuery,
    (span, ended): (Span, bool),
) -> Result<(Bytes, u64, bool), Refusal> {
    let turn = shared.log_readers.acquire().await;
    let whole = LogQuery { tail: None, limit_bytes: None, ..query };
    let (mut shown, mut next) = (Vec::new(), span.from);
    let complete = loop {
        let mut chunk = match site.log(uid, container, next).await {
            Ok(chunk) => chunk,
            Err(dte_compute::SiteError::Unknown(_)) => break ended,
            Err(error) => return Err(error.into()),
        };
        if let Some(to) = span.to {
            chunk.end_at(to);
        }
        shown.append(&mut whole.render(&chunk.lines));
        next = chunk.next;
        if chunk.complete || chunk.lines.is_empty() {
            break chunk.complete || ended;
        }
    };
    drop(turn);
    Ok((Bytes::from(query.cut(shown)), next, complete))
}

/// Somebody who reads on while the container writes.
struct Follower {
    shared: Arc<Shared>,
    site: Arc<dyn Site>,
    uid: Uuid,
    container: Option<String>,
    query: LogQuery,
    next: u64,
    _following: Following,
}

impl Follower {
    /// The next piece; `None` at the end.
    async fn more(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
                () = self.shared.tasks.stopping() => return None,
            }
            // Asked first: what it wrote until its end is read after that.
            let has_ended = store::has_ended(&self.shared.store, self.uid).await.unwrap_or(false);
            let chunk = match self.site.log(self.uid, self.container.as_deref(), self.next).await {
                Ok(chunk) => chunk,
                Err(dte_compute::SiteError::Unknown(_)) if self.is_waiting().await => continue,
                Err(_) => return None,
            };
            self.next = chunk.next;
            if !chunk.lines.is_empty() {
                return Some(Ok(Bytes::from(self.query.render(&chunk.lines))));
            }
            // Also a pod of which nothing ever ran.
            if chunk.complete || has_ended {
                return None;
            }
        }
    }

    async fn is_waiting(&self) -> bool {
        let head = store::heads(&self.shared.store, vec![self.uid]).await.ok().and_then(|mut heads| heads.pop());
        head.is_some_and(|head| matches!(head.state, state::State::Accepted | state::State::Staged))
    }
}

/// The checks of the upstream server, in its words.
fn check(asked: &LogStruct) -> Result<(Uuid, LogQuery), Refusal> {
    let bad = |text: &str| Err(Refusal::bad_request(text));
    if !is_dns_label(&asked.namespace) {
        return bad("invalid namespace: must be a valid DNS label");
    }
    let uid = asked.pod_uid.parse::<Uuid>().ok().filter(|uid| uid.to_string() == asked.pod_uid);
    let Some(uid) = uid else {
        return bad("invalid pod UID: must be a valid UUID");
    };
    if !asked.container_name.is_empty() && !is_dns_label(&asked.container_name) {
        return bad("invalid container name: must be a valid DNS label");
    }
    let LogOptions { tail, bytes, since_seconds, .. } = asked.options;
    if tail != 0 && bytes != 0 {
        return bad("Both Tail and LimitBytes set. Set only one of them");
    }
    let since = asked.options.since();
    if since_seconds != 0 && since.is_some() {
        return bad("Both SinceSeconds and SinceTime set. Set only one of them");
    }
    let since = match since {
        Some(text) => match text.parse::<Timestamp>() {
            Ok(time) => Some(time),
            Err(_) => return bad("invalid SinceTime: must be an RFC 3339 time"),
        },
        None if since_seconds > 0 => Some(LogQuery::since_seconds(Timestamp::now(), since_seconds.unsigned_abs())),
        None => None,
    };
    let amount = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let query =
        LogQuery { tail: amount(tail), limit_bytes: amount(bytes), since, timestamps: asked.options.timestamps };
    Ok((uid, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(change: impl FnOnce(&mut LogStruct)) -> Result<(Uuid, LogQuery), Refusal> {
        let mut asked = LogStruct {
            namespace: "default".into(),
            pod_uid: "0190b0a0-0000-7000-8000-000000000001".into(),
            ..LogStruct::default()
        };
        change(&mut asked);
        check(&asked)
    }

    #[test]
    fn checks() {
        assert!(ask(|_| {}).is_ok());
        assert!(ask(|asked| asked.namespace = "Not A Label".into()).is_err());
        assert!(ask(|asked| asked.pod_uid = "0190B0A0-0000-7000-8000-000000000001".into()).is_err());
        assert!(ask(|asked| asked.container_name = "../x".into()).is_err());
        assert!(ask(|asked| (asked.options.tail, asked.options.bytes) = (1, 1)).is_err());
        assert!(
            ask(|asked| (asked.options.since_seconds, asked.options.since_time) = (1, "2026-01-01T00:00:00Z".into()))
                .is_err()
        );
        let (_, query) = ask(|asked| asked.options.tail = 3).expect("good");
        assert_eq!((query.tail, query.limit_bytes, query.since), (Some(3), None, None));
    }
}
