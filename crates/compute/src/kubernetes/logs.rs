//! Logs: asked of the cluster while a pod runs, kept in its folder when it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::AsyncReadExt;
use kube::api::LogParams;
use uuid::Uuid;

use super::object::name_of;
use super::site::{Inner, refused_with};
use super::tail::{self, Mark};
use crate::logs::LogChunk;
use crate::report::{ContainerState, PodReport};
use crate::site::SiteError;

/// Log kept of one container.
const MOST: i64 = 16 << 20;
/// How long a pod may take to end once it was told to.
const LONGEST_END: Duration = Duration::from_secs(600);
/// How long its end waits for the end of its logs.
const LAST_WORDS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// The log of one container from byte `from`; none: the pod's first.
pub(super) async fn read(inner: &Inner, uid: Uuid, container: Option<&str>, from: u64) -> Result<LogChunk, SiteError> {
    let (report, is_over) = match inner.pods().get(&uid) {
        Some(entry) => (entry.latest.clone(), entry.is_over),
        None => return Err(SiteError::Unknown(uid)),
    };
    let Some(report) = report else { return Ok(LogChunk::default()) };
    let all = || report.containers.iter().chain(&report.init_containers);
    let found = match container {
        Some(name) => all().find(|one| one.name == name),
        None => all().next(),
    };
    let Some(found) = found else {
        return Err(SiteError::Refused(format!("pod {uid} has no container {}", container.unwrap_or_default())));
    };
    let path = kept(inner, uid, &found.name);
    let mark = inner.marks().get(&uid).and_then(|marks| marks.find(&found.name, from));
    let (bytes, is_cut) = match tokio::fs::read(&path).await {
        Ok(bytes) => (bytes, true),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(SiteError::io(path.display().to_string())(error));
        }
        Err(_) if is_over || matches!(found.state, ContainerState::Waiting { .. }) => <_>::default(),
        Err(_) => fetch(inner, uid, &found.name, mark.as_ref()).await?,
    };
    let text = tail::text(&bytes, is_over);
    let seen = tail::Seen { is_cut, is_over };
    let (chunk, mark) = tail::after(&text, from, mark.as_ref(), seen);
    if let Some(mark) = mark {
        inner.marks().entry(uid).or_default().keep(&found.name, mark);
    }
    Ok(chunk)
}

/// Fetches the logs of all containers that ran. What cannot be had is only told: a log that is lost must not hold up an end
/// that is known.
pub(super) async fn keep(inner: &Inner, uid: Uuid, report: &PodReport) {
    followed(inner, uid).await;
    let ran = |state: &ContainerState| matches!(state, ContainerState::Terminated { started: Some(_), .. });
    for one in report.init_containers.iter().chain(&report.containers).filter(|one| ran(&one.state)) {
        let path = kept(inner, uid, &one.name);
        if path.exists() {
            continue;
        }
        let outcome = match fetch(inner, uid, &one.name, None).await {
            // It is kept as it came.
            Ok((bytes, _)) => tokio::fs::write(&path, bytes).await.map_err(SiteError::io(path.display().to_string())),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::info!(%uid, container = one.name, %error, "a log is not kept");
        }
    }
}

/// Follows the logs of all containers that run, before the pod is ended: its node may forget them with the pod. What they say
/// until their end is kept.
pub(super) async fn follow(inner: &Arc<Inner>, uid: Uuid, report: &PodReport) {
    let runs = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
    for one in report.init_containers.iter().chain(&report.containers).filter(|one| runs(&one.state)) {
        let stream = match inner.api().log_stream(&name_of(uid), &asked_for(&one.name, true, None)).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::info!(%uid, container = one.name, %error, "a log is not followed");
                continue;
            }
        };
        let (path, this, name) = (kept(inner, uid, &one.name), inner.clone(), one.name.clone());
        *inner.following().entry(uid).or_default() += 1;
        inner.tasks.spawn("the end of a log", async move {
            let mut text = Vec::new();
            let read = async {
                let limit = u64::try_from(MOST).unwrap_or(u64::MAX);
                stream.take(limit).read_to_end(&mut text).await?;
                tokio::fs::write(&path, &text).await
            };
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(LONGEST_END, read) => outcome.unwrap_or(Ok(())),
                // What the next engine can still have, it fetches.
                () = this.tasks.stopping() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::info!(%uid, container = name, %error, "the end of a log is lost");
            }
            let mut following = this.following();
            match following.get_mut(&uid) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(following.remove(&uid)),
            }
        });
    }
}

/// Waits a little for logs that are being followed to end.
async fn followed(inner: &Inner, uid: Uuid) {
    let begun = Instant::now();
    while inner.following().contains_key(&uid) && begun.elapsed() < LAST_WORDS {
        tokio::time::sleep(PAUSE).await;
    }
}

/// `mark`: where its reader stands; what was written long before that is not asked for again.
fn asked_for(container: &str, follow: bool, mark: Option<&Mark>) -> LogParams {
    LogParams {
        container: Some(container.to_owned()),
        timestamps: true,
        follow,
        limit_bytes: (!follow).then(|| MOST.saturating_add(mark.map_or(0, Mark::overlap))),
        since_time: mark.and_then(|mark| jiff::Timestamp::from_second(mark.since).ok()),
        ..LogParams::default()
    }
}

/// What the cluster has, and whether it has more.
async fn fetch(inner: &Inner, uid: Uuid, container: &str, mark: Option<&Mark>) -> Result<(Vec<u8>, bool), SiteError> {
    let asked = asked_for(container, false, mark);
    // As bytes: a log may be of any, and a piece of it may end within a letter.
    let stream = match inner.api().log_stream(&name_of(uid), &asked).await {
        Ok(stream) => stream,
        // It has not begun, or has gone.
        Err(error) if matches!(refused_with(&error), Some(400 | 404)) => return Ok(<_>::default()),
        Err(error) => return Err(inner.away(&error)),
    };
    let limit = asked.limit_bytes.unwrap_or(MOST).unsigned_abs();
    let mut bytes = Vec::new();
    let read = stream.take(limit).read_to_end(&mut bytes).await;
    read.map_err(SiteError::io(format!("the log of pod {uid}")))?;
    let is_cut = bytes.len() as u64 >= limit;
    Ok((if is_cut { tail::whole_lines(bytes) } else { bytes }, is_cut))
}

fn kept(inner: &Inner, uid: Uuid, container: &str) -> PathBuf {
    inner.index.folder(uid).join(format!("{container}.log"))
}
