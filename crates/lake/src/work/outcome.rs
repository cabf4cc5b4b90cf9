//! The ends of transfers: from the event log of this engine, and by asking an FTS from which no event came.

use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_identity::OpenError;
use dte_protocol_fts::{File, FileState, FtsError};
use dte_protocol_rucio::ReplicaState;
use dte_store::{Consumer, Event, NewWork, Outcome, Tx, Worker};
use serde_json::{Value, json};
use uuid::Uuid;

use super::transfer::fts;
use crate::Lake;
use crate::error::{Error, Result};
use crate::store::replicas::Replica;
use crate::store::requests::{self, QUEUE, Request, RequestState};
use crate::store::{evaluate, replicas, turn};

/// Attempts before a request is given up for now.
const ATTEMPTS: i64 = 4;
/// The longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// The queue of the slow poll; it has one piece of work that never ends.
const POLL: &str = "lake.poll";
/// Jobs that are asked after at once.
const POLL_JOBS: usize = 200;

pub(super) async fn start(
    lake: &Lake,
    tasks: &Tasks,
    retry_after: Duration,
    poll_after: Duration,
) -> Result<(), OpenError> {
    let between = Backoff::new(retry_after, LONGEST_WAIT.max(retry_after));
    Consumer::new(&lake.store, "lake")
        .types(&["org.dte.transfer.file."])
        .with_own_locks()
        .run(tasks, move |tx, event| told(tx, event, between).map_err(dte_store::Error::from));
    // Waiting work of an earlier start may have another idea of when to look.
    lake.store.write(|tx| tx.request(NewWork::new(POLL, "jobs", json!({})))).await?;
    let shared = lake.clone();
    Worker::new(&lake.store, POLL).concurrency(1).max_attempts(u32::MAX).run(tasks, move |_| {
        let lake = shared.clone();
        async move {
            if let Err(error) = poll(&lake, poll_after, between).await {
                tracing::warn!(%error, "transfers could not be asked after");
            }
            Outcome::Later(poll_after / 2)
        }
    });
    Ok(())
}

/// How one transfer ended.
#[derive(Clone, Debug)]
enum End {
    Arrived { bytes: Option<i64>, adler32: Option<String> },
    Failed(String),
}

fn told(tx: &mut Tx<'_>, event: &Event, between: Backoff) -> Result<()> {
    let Some(job_id) = event.data["job_id"].as_str() else { return Ok(()) };
    turn(tx)?;
    let Some(request) = requests::of_job(tx, job_id)? else { return Ok(()) };
    let end = if event.kind.ends_with(".finished") {
        let adler32 = event.data["adler32"].as_str().map(str::to_owned).or_else(|| checksum(&event.data["checksum"]));
        End::Arrived { bytes: event.data["bytes"].as_i64(), adler32 }
    } else {
        End::Failed(event.data["error"].as_str().unwrap_or("the transfer failed without a reason").to_owned())
    };
    ended(tx, &request, &end, between, Timestamp::now())
}

/// `ADLER32:0a1b2c3d` → the digits.
fn checksum(value: &Value) -> Option<String> {
    let (kind, digits) = value.as_str()?.split_once(':')?;
    kind.eq_ignore_ascii_case("adler32").then(|| digits.to_owned())
}

fn same_checksum(a: &str, b: &str) -> bool {
    a.trim_start_matches('0').eq_ignore_ascii_case(b.trim_start_matches('0'))
}

/// The effect of an end, once: afterwards there is no request of this job any more.
fn ended(tx: &mut Tx<'_>, request: &Request, end: &End, between: Backoff, now: Timestamp) -> Result<()> {
    if request.state != RequestState::Submitted {
        return Ok(());
    }
    let end = match end {
        End::Arrived { bytes: Some(bytes), .. } if *bytes != request.bytes => {
            End::Failed(format!("{bytes} bytes arrived, {} were expected", request.bytes))
        }
        End::Arrived { adler32: Some(sum), .. }
            if request.adler32.as_ref().is_some_and(|expected| !same_checksum(sum, expected)) =>
        {
            End::Failed(format!("the checksum {sum} arrived, {:?} was expected", request.adler32))
        }
        other => other.clone(),
    };
    match end {
        End::Arrived { .. } => arrived(tx, request, now),
        End::Failed(error) if request.attempt % ATTEMPTS != 0 => {
            let failures = u32::try_from(request.attempt % ATTEMPTS).unwrap_or(1);
            requests::next_attempt(tx, request, &error, now + between.wait(failures))
        }
        End::Failed(error) => evaluate::failed(tx, request, &error, now),
    }
}

fn arrived(tx: &mut Tx<'_>, request: &Request, now: Timestamp) -> Result<()> {
    let there = replicas::at(tx, &request.rse, std::slice::from_ref(&request.did))?;
    match there.get(&request.did) {
        Some(replica) => {
            let replica = Replica { state: ReplicaState::Available, ..replica.clone() };
            replicas::update(tx, std::slice::from_ref(&replica), now)?;
            evaluate::became_available(tx, &[replica], now)
        }
        // Nobody wants it any more: what arrived is nobody's.
        None => requests::delete(tx, request),
    }
}

async fn poll(lake: &Lake, quiet: Duration, between: Backoff) -> Result<()> {
    let now = Timestamp::now();
    let due = lake.store.claim(move |tx| requests::to_poll(tx, now - quiet, POLL_JOBS, now)).await?;
    for request in due {
        let Ok(fts) = fts(lake, &request.principal) else { continue };
        let Some(job_id) = request.job_id.as_deref().and_then(|text| text.parse::<Uuid>().ok()) else { continue };
        let end = match fts.files(job_id).await {
            Ok(files) => match files.into_iter().next().and_then(end_of) {
                Some(end) => end,
                None => continue,
            },
            // The job was never made, or its FTS forgot it: ask for it again, under the same identity.
            Err(FtsError::NotFound { .. }) => {
                let id = request.id.clone();
                let rse = request.rse.clone();
                lake.store
                    .claim(move |tx| tx.request(NewWork::new(QUEUE, id.as_str(), json!({})).lane(rse.as_str())))
                    .await?;
                continue;
            }
            Err(error) => {
                tracing::info!(%error, %job_id, "a transfer could not be asked after");
                continue;
            }
        };
        lake.change(move |tx| match requests::find(tx, &request.id)? {
            Some(current) if current.job_id == request.job_id => ended(tx, &current, &end, between, Timestamp::now()),
            _ => Ok::<_, Error>(()),
        })
        .await?;
    }
    Ok(())
}

fn end_of(file: File) -> Option<End> {
    match file.file_state {
        FileState::Finished => Some(End::Arrived { bytes: None, adler32: None }),
        FileState::Failed | FileState::Canceled => {
            Some(End::Failed(file.reason.unwrap_or_else(|| "the transfer failed without a reason".to_owned())))
        }
        _ => None,
    }
}
