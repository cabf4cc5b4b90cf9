//! `dte logs`: what a pod's container wrote, and goes on to write.

use std::io::Write;
use std::time::Duration;

use dte_http::Reply;
use dte_protocol_interlink::{LogOptions, LogStruct};
use futures_util::StreamExt;
use serde_json::Value;

use super::pods;
use crate::cli::{Common, Logs};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub container: String,
    pub follow: bool,
    pub tail: Option<u32>,
    pub since: Option<Duration>,
    pub timestamps: bool,
    pub previous: bool,
}

pub async fn logs(common: &Common, command: &Logs) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    let mut pod = pods::by_name(&remote, &command.name).await?;
    let part = Part {
        container: command.container.clone(),
        follow: command.follow,
        tail: command.tail,
        since: command.since,
        timestamps: command.timestamps,
        previous: command.previous,
    };
    // A pod without a site has nobody who could be asked for its log.
    while part.follow && pod["site"].is_null() && pod["finished"].is_null() {
        tokio::time::sleep(LOOK_EVERY).await;
        pod = pods::by_uid(&remote, &show::cell(&pod["uid"])).await?;
    }
    stream(&remote, &pod, &part).await
}

/// Copies the log to the standard output, as it comes.
pub async fn stream(remote: &Remote, pod: &Value, part: &Part) -> Result<(), Failure> {
    let mut pieces = ask(remote, pod, part).await?.body.into_data_stream();
    let mut out = std::io::stdout();
    while let Some(piece) = pieces.next().await {
        let written = out.write_all(&piece?).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// The log as it is now.
pub async fn text(remote: &Remote, pod: &Value, part: &Part) -> Result<String, Failure> {
    Ok(ask(remote, pod, part).await?.text().await?)
}

async fn ask(remote: &Remote, pod: &Value, part: &Part) -> Result<Reply, Failure> {
    let asked = LogStruct {
        namespace: show::cell(&pod["namespace"]),
        pod_uid: show::cell(&pod["uid"]),
        pod_name: show::cell(&pod["name"]),
        container_name: part.container.clone(),
        options: LogOptions {
            tail: part.tail.map_or(0, i64::from),
            follow: part.follow,
            timestamps: part.timestamps,
            previous: part.previous,
            since_seconds: part.since.map_or(0, |since| i64::try_from(since.as_secs().max(1)).unwrap_or(i64::MAX)),
            ..LogOptions::default()
        },
    };
    let request = remote.client.post(remote.url_of("/interlink/getLogs")).bearer(&remote.token).json(&asked);
    Ok(request.send().await?.ok().await?)
}
