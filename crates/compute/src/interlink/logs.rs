//! Logs of another place: asked for while a pod runs, kept in its folder when it ends.

use std::path::PathBuf;

use dte_base::time::Timestamp;
use dte_protocol_interlink::{LogStruct, RawPod};
use serde_json::Value;
use uuid::Uuid;

use super::site::Inner;
use crate::logs::{LogChunk, LogLine};
use crate::site::SiteError;

/// Log kept of one container.
const MOST: usize = 16 << 20;

/// The log of one container from byte `from`; none: the pod's first. Times are those of reading: the place tells none.
pub async fn read(inner: &Inner, uid: Uuid, container: Option<&str>, from: u64) -> Result<LogChunk, SiteError> {
    let found =
        inner.with(uid, |entry| (entry.note.pod.clone(), entry.note.job.is_some(), entry.note.report.is_some()));
    let Some((pod, is_there, is_over)) = found else { return Err(SiteError::Unknown(uid)) };
    let first = || names(&pod).last().unwrap_or_default();
    let name = container.map_or_else(first, str::to_owned);
    if !names(&pod).any(|known| known == name) {
        return Err(SiteError::Refused(format!("pod {uid} has no container {name}")));
    }
    let kept = kept(inner, uid, &name);
    let text = match tokio::fs::read(&kept).await {
        Ok(text) => text,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(SiteError::io(kept.display().to_string())(error));
        }
        Err(_) if is_there => fetch(inner, &pod, &name).await?,
        Err(_) => Vec::new(),
    };
    let start = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
    let at = Timestamp::now();
    let lines = text[start..].split_inclusive(|byte| *byte == b'\n');
    Ok(LogChunk {
        lines: lines.map(|line| LogLine { at, text: line.to_vec() }).collect(),
        next: text.len() as u64,
        complete: is_over,
    })
}

/// Fetches the logs of all containers into the pod's folder. What cannot be had is only told: a log that is lost must not
/// hold up an end that is known.
pub async fn keep(inner: &Inner, uid: Uuid, pod: &RawPod) {
    for name in names(pod) {
        let path = kept(inner, uid, &name);
        if path.exists() {
            continue;
        }
        let outcome = match fetch(inner, pod, &name).await {
            Ok(text) => tokio::fs::write(&path, text).await.map_err(SiteError::io(path.display().to_string())),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::info!(%uid, container = name, %error, "a log is not kept");
        }
    }
}

async fn fetch(inner: &Inner, pod: &RawPod, name: &str) -> Result<Vec<u8>, SiteError> {
    let asked = LogStruct {
        namespace: Some(pod.namespace()).filter(|namespace| !namespace.is_empty()).unwrap_or("default").to_owned(),
        pod_uid: pod.uid().to_owned(),
        pod_name: pod.name().to_owned(),
        container_name: name.to_owned(),
        ..LogStruct::default()
    };
    let turn = inner.client().await?;
    let reply = turn.logs(&asked).await.map_err(|error| inner.away(error))?;
    let text = reply.bytes(MOST).await.map_err(|error| inner.away(error.into()))?;
    Ok(text.to_vec())
}

/// Names of containers, init containers first. They are DNS labels: the pod was read before.
fn names(pod: &RawPod) -> impl Iterator<Item = String> {
    pod.containers().filter_map(|one| one.get("name").and_then(Value::as_str)).map(str::to_owned)
}

fn kept(inner: &Inner, uid: Uuid, name: &str) -> PathBuf {
    inner.notes.folder(uid).join(format!("{name}.log"))
}
