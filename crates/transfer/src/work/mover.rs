//! The movers: take a file, copy it, record how that ended.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::telemetry;
use dte_base::time::Timestamp;
use dte_store::{Claim, Error, Lane, Outcome, Tx, Worker};
use prometheus::IntCounterVec;

use crate::model::failure::Failure;
use crate::shared::Shared;
use crate::store::begin::{Assignment, Taken, begin};
use crate::store::finish::{Ended, How, finish};
use crate::store::{COPY_QUEUE, cancel};
use crate::work::copy::{self, Arrived};

/// How long a file stays with a process that died.
const LEASE: Duration = Duration::from_secs(15);
/// Another process may have cancelled; this one is told at once.
const LOOK: Duration = Duration::from_secs(5);

static BYTES: LazyLock<IntCounterVec> =
    LazyLock::new(|| telemetry::counter("dte_transfer_bytes_total", "Bytes copied and verified.", &[]));
static FILES: LazyLock<IntCounterVec> =
    LazyLock::new(|| telemetry::counter("dte_transfer_files_total", "Copies by how they ended.", &["outcome"]));

pub fn start(shared: &Arc<Shared>, tasks: &Tasks) {
    let settings = &shared.settings;
    let planning = Arc::clone(shared);
    let plan = move |tx: &mut Tx<'_>, lanes: &[Lane], free: usize| {
        planning.planner.plan(tx, lanes, free, planning.settings.per_link)
    };
    let claimed = Arc::clone(shared);
    let worker = Worker::new(&shared.store, COPY_QUEUE)
        .concurrency(settings.concurrency)
        .planned(plan)
        .when_claimed(move || claimed.planner.claimed())
        .lease(LEASE)
        // What fails here is the database; files that fail are counted in their own rows.
        .max_attempts(u32::MAX);
    let shared = Arc::clone(shared);
    worker.run(tasks, move |claim| {
        let shared = Arc::clone(&shared);
        async move { take(&shared, claim).await.unwrap_or_else(|error| Outcome::Retry { error: error.to_string() }) }
    });
}

async fn take(shared: &Shared, claim: Claim) -> Result<Outcome, Error> {
    let Ok(file_id) = claim.id.parse::<i64>() else {
        return Ok(Outcome::Dead { error: format!("{:?} is not the identifier of a file", claim.id) });
    };
    let taken = Taken { claim: claim.clone(), file_id };
    let write = |taken: Vec<Taken>| {
        let host = shared.host.clone();
        shared.store.claim(move |tx| begin(tx, &taken, &host, Timestamp::now()))
    };
    let Some(assignment) = shared.begins.write(taken, write).await? else { return Ok(Outcome::Done) };
    let mut outcome = tokio::select! {
        outcome = copy::run(shared, &assignment) => outcome,
        stopped = unwanted(shared, &assignment) => match stopped {
            Stop::Ended => {
                FILES.with_label_values(&["cancelled"]).inc();
                return Ok(Outcome::Done);
            }
            Stop::NotWelcome => Err(Failure::user_refused("suspended")),
        },
    };
    // The storage, or the lack of a token, may have said it first, and in other words.
    if outcome.is_err() && !shared.identity.is_welcome(&assignment.job.owner) {
        outcome = Err(Failure::user_refused("suspended"));
    }
    match outcome {
        Ok(arrived) => succeed(shared, claim, assignment, arrived).await,
        Err(failure) => fail(shared, claim, assignment, failure).await,
    }
}

async fn succeed(shared: &Shared, claim: Claim, assignment: Assignment, arrived: Arrived) -> Result<Outcome, Error> {
    let Arrived { bytes, adler32 } = arrived;
    note(shared, Ended { claim, assignment, how: How::Arrived { bytes, adler32 } }).await?;
    FILES.with_label_values(&["finished"]).inc();
    BYTES.with_label_values::<&str>(&[]).inc_by(bytes);
    Ok(Outcome::Done)
}

async fn fail(shared: &Shared, claim: Claim, assignment: Assignment, failure: Failure) -> Result<Outcome, Error> {
    let params = &assignment.job.params;
    let failures = assignment.file.retries + 1;
    let wait = shared.settings.retry_rule().wait(params.retry, params.retry_delay, failures);
    let file_id = assignment.file.file_id;
    let Some(wait) = wait.filter(|_| failure.recoverable) else {
        tracing::info!(file_id, %failure, "a copy failed for good");
        FILES.with_label_values(&["failed"]).inc();
        note(shared, Ended { claim, assignment, how: How::FailedForGood(failure) }).await?;
        return Ok(Outcome::Done);
    };
    tracing::info!(file_id, failures, %failure, "a copy failed and will be tried again");
    FILES.with_label_values(&["retried"]).inc();
    let goes_on = note(shared, Ended { claim, assignment, how: How::FailedForNow(failure) }).await?;
    Ok(if goes_on { Outcome::Later(wait) } else { Outcome::Done })
}

/// Writes down how a try ended. `true` when the work goes on.
async fn note(shared: &Shared, ended: Ended) -> Result<bool, Error> {
    let write = |ended: Vec<Ended>| {
        let host = shared.host.clone();
        shared.store.claim(move |tx| finish(tx, &ended, &host, Timestamp::now()))
    };
    shared.ends.write(ended, write).await
}

enum Stop {
    /// Cancelled, by its submitter or in another way; that is recorded.
    Ended,
    /// Its submitter may not do anything any more.
    NotWelcome,
}

/// Resolves when the copy should not go on.
async fn unwanted(shared: &Shared, assignment: &Assignment) -> Stop {
    let mut cancellations = shared.cancellations();
    let mut changes = shared.identity.watch_changes();
    let file_id = assignment.file.file_id;
    loop {
        // Also the first time: the ban may have come between the look before the copy and the watch.
        changes.borrow_and_update();
        if !shared.identity.is_welcome(&assignment.job.owner) {
            return Stop::NotWelcome;
        }
        tokio::select! {
            Ok(()) = changes.changed() => continue,
            Ok(()) = cancellations.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        match shared.store.read(move |tx| cancel::wanted(tx, file_id)).await {
            Ok(true) => {}
            Ok(false) => return Stop::Ended,
            // The copy goes on; its end is recorded under the lease in any case.
            Err::<_, Error>(error) => {
                tracing::warn!(file_id, %error, "it could not be seen whether a copy is still wanted")
            }
        }
    }
}
