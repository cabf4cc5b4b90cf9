//! How the site's pods go: a list, then what changes, all of them together. After a gap the list is read again and compared.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchParams};
use kube::core::WatchEvent;
use uuid::Uuid;

use super::news;
use super::object::{SITE, uid_of};
use super::site::Inner;
use crate::site::Cancellation;

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// A watch is renewed after this long, in seconds.
const WATCH_SECONDS: u32 = 290;
/// How long after a failure the cluster is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often pods are looked at that should have gone on.
const SWEEP: Duration = Duration::from_secs(5);
/// What a node may take beyond a pod's grace, in seconds, before the pod is given up.
const PATIENCE: i64 = 60;

pub(super) async fn run(inner: Arc<Inner>) {
    let mut is_failing = false;
    let mut sweep = tokio::time::interval(SWEEP);
    while !inner.tasks.is_stopping() {
        let outcome = {
            let round = follow(&inner, &mut is_failing);
            pin_mut!(round);
            loop {
                tokio::select! {
                    outcome = &mut round => break outcome,
                    _ = sweep.tick() => look_after(&inner).await,
                    () = inner.tasks.stopping() => return,
                }
            }
        };
        if let Err(error) = outcome {
            if !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(site = inner.config.name, %error, "the cluster does not tell of its pods; they go on");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = inner.tasks.stopping() => return,
            }
        }
    }
}

fn selector(inner: &Inner) -> String {
    format!("{SITE}={}", inner.config.name)
}

/// Follows the pods until the cluster has forgotten where we are.
async fn follow(inner: &Arc<Inner>, is_failing: &mut bool) -> Result<(), kube::Error> {
    let mut version = list(inner).await?;
    if std::mem::take(is_failing) {
        tracing::info!(site = inner.config.name, "the cluster tells of its pods again");
    }
    let params = WatchParams::default().labels(&selector(inner)).timeout(WATCH_SECONDS);
    loop {
        let pods = inner.api();
        let mut events = pods.watch(&params, &version).await?.boxed();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    version = pod.metadata.resource_version.clone().unwrap_or(version);
                    see(inner, &pod);
                }
                WatchEvent::Deleted(pod) => {
                    version = pod.metadata.resource_version.clone().unwrap_or(version);
                    if let Some(uid) = see(inner, &pod) {
                        vanished(inner, uid);
                    }
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(kube::Error::Api(Box::new(*status))),
            }
        }
    }
}

/// Reads all pods of the site; those that the cluster took and that are not among them have gone.
async fn list(inner: &Arc<Inner>) -> Result<String, kube::Error> {
    let taken: Vec<Uuid> = {
        let pods = inner.pods();
        let taken = pods.iter().filter(|(_, one)| one.is_active() && one.note.as_ref().is_some_and(|note| note.taken));
        taken.map(|(uid, _)| *uid).collect()
    };
    let mut found = HashSet::new();
    let mut params = ListParams::default().labels(&selector(inner)).limit(PAGE);
    let version = loop {
        let page = inner.api().list(&params).await?;
        found.extend(page.items.iter().filter_map(|pod| see(inner, pod)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break page.metadata.resource_version.unwrap_or_default(),
        }
    };
    for uid in taken.into_iter().filter(|uid| !found.contains(uid)) {
        vanished(inner, uid);
    }
    Ok(version)
}

/// Takes over what the cluster says of a pod.
fn see(inner: &Arc<Inner>, object: &Pod) -> Option<Uuid> {
    let uid = uid_of(object)?;
    let report = news::report_of(uid, object);
    let mut pods = inner.pods();
    let entry = pods.get_mut(&uid).filter(|entry| entry.is_active())?;
    entry.stuck_since = news::stuck(&report).map(|_| entry.stuck_since.unwrap_or_else(Instant::now));
    entry.deleted_at = object.metadata.deletion_timestamp.as_ref().map(|time| time.0.as_second());
    entry.is_scheduled = object.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let never_began = entry.deleted_at.is_some() && !entry.is_scheduled;
    let outcome = report.phase.is_terminal().then(|| report.clone());
    if outcome.is_none() {
        entry.latest = Some(report);
    }
    drop(pods);
    match outcome {
        Some(outcome) => inner.settle_soon(uid, outcome),
        None if never_began => vanished(inner, uid),
        None => {}
    }
    Some(uid)
}

/// The pod is there no more, or never began, and nobody will say how it ended.
fn vanished(inner: &Arc<Inner>, uid: Uuid) {
    let latest = inner.pods().get(&uid).filter(|entry| entry.is_active()).and_then(|entry| entry.latest.clone());
    if let Some(latest) = latest {
        inner.settle_soon(uid, news::concluded(&latest, "Deleted", Some("somebody deleted the pod in the cluster")));
    }
}

/// Ends what waits for something that does not come, and gives up what was deleted on a node that does not say so.
async fn look_after(inner: &Arc<Inner>) {
    let now = Timestamp::now().as_seconds();
    let (mut stuck, mut lost) = (Vec::new(), Vec::new());
    for (uid, entry) in inner.pods().iter().filter(|(_, entry)| entry.is_active()) {
        if entry.deleted_at.is_some_and(|at| now > at + PATIENCE) {
            lost.push(*uid);
        } else if entry.deleted_at.is_none()
            && entry.stuck_since.is_some_and(|since| since.elapsed() >= inner.config.stuck_for.0)
            && let Some(reason) = entry.latest.as_ref().and_then(news::stuck)
        {
            stuck.push((*uid, reason.to_owned()));
        }
    }
    for (uid, reason) in stuck {
        if let Err(error) = inner.cancel(uid, &Cancellation { reason, grace: None }).await {
            tracing::warn!(%uid, %error, "a pod that is stuck cannot be ended yet");
        }
    }
    for uid in lost {
        vanished(inner, uid);
    }
}
