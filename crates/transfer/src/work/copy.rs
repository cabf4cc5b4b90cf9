//! One copy: what is expected of it, whether it is there already, and the bytes themselves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dte_base::telemetry;
use dte_identity::UserRef;
use dte_protocol_fts::VerifyChecksum;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_storage::third_party::Undone;
use dte_storage::{Checksums, Copied, CopyOrder, Errno, Error as StorageError, Location, Side, copy_verified};
use futures_util::TryStreamExt as _;
use prometheus::IntCounterVec;

use crate::model::failure::Failure;
use crate::model::place::StorageUrl;
use crate::shared::Shared;
use crate::store::begin::Assignment;
use crate::work::storage::{self, Ends};
use crate::work::third_party;

/// Copies this long may have outlived their tokens.
const LONG: Duration = Duration::from_secs(120);
const EACCES: i32 = 13;

static STREAMED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    telemetry::counter("dte_transfer_streamed_bytes_total", "Bytes that went through this process.", &[])
});

/// What is at the destination now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub bytes: u64,
    pub adler32: String,
}

/// Makes the copy, or finds that it is there.
pub async fn run(shared: &Shared, assignment: &Assignment) -> Result<Arrived, Failure> {
    let Assignment { job, file, is_again, is_last_hop } = assignment;
    if !shared.identity.is_welcome(&job.owner) {
        return Err(Failure::user_refused("suspended"));
    }
    let parse = |text: &str, side| {
        let bad = |error| Failure::from(StorageError::new(Errno::EINVAL, format!("{error}")).at(side));
        StorageUrl::parse(text).map_err(bad)
    };
    let source = parse(&file.source, Side::Source)?;
    let destination = parse(&file.destination, Side::Destination)?;
    let ends = storage::open(shared, &job.owner, &source, &destination)?;
    let order = CopyOrder {
        bytes: file
            .user_filesize
            .filter(|_| !job.params.strict_copy)
            .and_then(|b| u64::try_from(b).ok())
            .filter(|b| *b > 0),
        digests: expected(assignment)?,
        overwrite: job.params.overwrite.applies(file.retries > 0, *is_last_hop),
        part: Some(format!("{}-{}", job.job_id, file.file_id)),
        progress: Arc::default(),
        stall: shared.settings.stall.0,
    };
    // A try whose end we did not hear of may have brought the file.
    if *is_again && let Some(arrived) = already_there(&ends, &order).await? {
        return Ok(arrived);
    }
    let started = Instant::now();
    let limit = shared.settings.time_limit(job.params.timeout, order.bytes);
    let outcome = tokio::select! {
        copied = make(shared, &ends, [&file.source_se, &file.dest_se], &order) => copied.map_err(Failure::from),
        () = silence(&order.progress, order.stall * 2) => Err(Failure::new(
            crate::model::failure::Scope::Source,
            Errno::ETIMEDOUT.number(),
            format!("Connection timed out: no byte came in {} seconds", (order.stall * 2).as_secs()),
        )),
        () = tokio::time::sleep(limit) => Err(Failure::timed_out(limit.as_secs())),
    };
    match outcome {
        Ok(copied) => Ok(Arrived { bytes: copied.bytes, adler32: copied.digest().hex() }),
        Err(failure) if failure.errno == EACCES && started.elapsed() > LONG => {
            late(shared, &job.owner, (&source, &destination), &order, failure).await
        }
        Err(failure) => Err(failure),
    }
}

/// By one of the storages itself where it can, else through this process.
async fn make(shared: &Shared, ends: &Ends, names: [&str; 2], order: &CopyOrder) -> Result<Copied, StorageError> {
    if let Some(parties) = &ends.parties {
        match third_party::make(shared, parties, names, &ends.destination, order).await {
            Ok(copied) => return Ok(copied),
            Err(Undone::Failed(error)) => return Err(error),
            Err(Undone::Unsupported(error) | Undone::Declined(error)) if !shared.settings.streamed => {
                return Err(error);
            }
            Err(Undone::Unsupported(_) | Undone::Declined(_)) => {}
        }
    }
    let copied = copy_verified(&ends.source, &ends.destination, order).await?;
    STREAMED.with_label_values::<&str>(&[]).inc_by(copied.bytes);
    Ok(copied)
}

/// What was refused at the end of a long copy may only have been the check with a token that was good when it began.
async fn late(
    shared: &Shared,
    user: &UserRef,
    (source, destination): (&StorageUrl, &StorageUrl),
    order: &CopyOrder,
    failure: Failure,
) -> Result<Arrived, Failure> {
    let ends = storage::open(shared, user, source, destination)?;
    already_there(&ends, order).await?.ok_or(failure)
}

/// Resolves when no byte at all has moved for `limit`. Once bytes move, the copy itself watches them.
async fn silence(progress: &AtomicU64, limit: Duration) {
    tokio::time::sleep(limit).await;
    if progress.load(Ordering::Relaxed) > 0 {
        std::future::pending::<()>().await;
    }
}

/// The checksums that the submitter stated and wants compared.
fn expected(assignment: &Assignment) -> Result<Vec<Digest>, Failure> {
    let params = &assignment.job.params;
    let Some((name, value)) = assignment.file.checksum.split_once(':') else { return Ok(Vec::new()) };
    if params.strict_copy || params.verify_checksum == VerifyChecksum::None {
        return Ok(Vec::new());
    }
    let wrong = |text: String| Failure::from(StorageError::new(Errno::EINVAL, text).at(Side::Transfer));
    let algorithm =
        Algorithm::parse(name).ok_or_else(|| wrong(format!("checksum algorithm {name} is not supported")))?;
    // Written with and without leading zeros, in either case.
    let padded = format!("{:0>width$}", value.trim().to_ascii_lowercase(), width = algorithm.length() * 2);
    let digest =
        Digest::from_hex(algorithm, &padded).ok_or_else(|| wrong(format!("{value} is not a value of {name}")))?;
    Ok(vec![digest])
}

/// Whether the destination holds just what this copy would bring there.
async fn already_there(ends: &Ends, order: &CopyOrder) -> Result<Option<Arrived>, Failure> {
    let (from, to) = (Side::Source, Side::Destination);
    let there = match ends.destination.store.stat(&ends.destination.path).await {
        Ok(stat) if !stat.is_folder => stat,
        Ok(_) => return Ok(None),
        Err(error) if error.errno == Errno::ENOENT => return Ok(None),
        Err(error) => return Err(error.at(to).into()),
    };
    let here = ends.source.store.stat(&ends.source.path).await.map_err(|error| error.at(from))?;
    let Some(bytes) = there.bytes.filter(|_| here.bytes == there.bytes) else { return Ok(None) };
    if order.bytes.is_some_and(|expected| expected != bytes) {
        return Ok(None);
    }
    let wanted = match order.digests.iter().find(|digest| digest.algorithm() == Algorithm::Adler32) {
        Some(stated) => stated.clone(),
        None => adler32(&ends.source).await.map_err(|error| error.at(from))?,
    };
    let found = adler32(&ends.destination).await.map_err(|error| error.at(to))?;
    Ok((found == wanted).then(|| Arrived { bytes, adler32: found.hex() }))
}

/// The storage's own word, else computed.
async fn adler32(place: &Location) -> Result<Digest, StorageError> {
    if let Some(stated) = place.store.checksum(&place.path, Algorithm::Adler32).await? {
        return Ok(stated);
    }
    let mut reading = place.store.read(&place.path, None).await?;
    let mut sums = Checksums::of([Algorithm::Adler32]);
    while let Some(piece) = reading.stream.try_next().await? {
        sums.update(&piece);
    }
    Ok(Digest::adler32(sums.adler32().unwrap_or(1)))
}
