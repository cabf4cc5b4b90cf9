//! Logs: what the session folder has of them is copied here as it grows, and read here.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::description::LOGS;
use super::site::Inner;
use crate::host::logfile;
use crate::logs::LogChunk;
use crate::site::SiteError;

/// How often the computing element is asked for more of one pod's logs.
const FETCH_EVERY: Duration = Duration::from_secs(1);
/// The times of a log's bytes stand beside it.
const TIMES: &str = ".at";

/// The log of one container from byte `from`; none: the pod's only or first container.
pub(super) async fn read(inner: &Inner, uid: Uuid, container: Option<&str>, from: u64) -> Result<LogChunk, SiteError> {
    let (record, is_over) = match inner.pods().get(&uid) {
        None => return Err(SiteError::Unknown(uid)),
        Some(entry) => (entry.record.clone(), entry.is_over),
    };
    let Some(record) = record else { return Ok(LogChunk::default()) };
    let plan = &record.plan;
    let found = match container {
        Some(name) => plan.all_containers().find(|one| one.name == name),
        None => plan.containers.first(),
    };
    let Some(found) = found else {
        return Err(SiteError::Refused(format!("pod {uid} has no container {}", container.unwrap_or_default())));
    };
    if !is_over && inner.config.shared_session && record.is_complete {
        fetch_more(inner, uid, &record.job, &found.name).await?;
    }
    let (folder, name) = (inner.log_folder(uid), found.name.clone());
    let read = tokio::task::spawn_blocking(move || match folder.is_dir() {
        true => logfile::read(&folder, &name, from),
        false => Ok(LogChunk { next: from, complete: true, ..LogChunk::default() }),
    });
    let read = read.await.map_err(|error| std::io::Error::other(error.to_string())).and_then(|read| read);
    let mut chunk = read.map_err(SiteError::io(format!("the log of pod {uid}")))?;
    chunk.complete &= is_over;
    Ok(chunk)
}

async fn fetch_more(inner: &Inner, uid: Uuid, job: &str, container: &str) -> Result<(), SiteError> {
    let _turn = inner.log_turn.lock().await;
    match inner.pods().get_mut(&uid) {
        // Its end has brought them all, or somebody has just been here.
        Some(entry) if entry.is_over || entry.fetched.is_some_and(|at| at.elapsed() < FETCH_EVERY) => return Ok(()),
        Some(entry) => entry.fetched = Some(Instant::now()),
        None => return Ok(()),
    }
    let away = |error| inner.away(&error);
    let folder = inner.log_folder(uid);
    crate::files::private_folder(&folder).map_err(inner.folder_failed(uid))?;
    let (mut files, _) = inner.rest.list(job, LOGS).await.map_err(away)?;
    files.retain(|name| name.strip_prefix(container).is_some_and(|rest| rest.starts_with('.')));
    // Bytes before their times: a time without bytes does no harm.
    files.sort_by_key(|name| name.ends_with(TIMES));
    for name in files {
        inner.fetch_on(job, &format!("{LOGS}/{name}"), &folder.join(&name)).await.map_err(away)?;
    }
    Ok(())
}
