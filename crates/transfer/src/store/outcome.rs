//! How the end of a file or job is told to the rest of the engine.
//!
//! * `org.dte.transfer.file.finished`, `org.dte.transfer.file.failed` (also when it was cancelled): subject `JOB/FILE`;
//! * `org.dte.transfer.job.finished` (whatever state it ended in): subject `JOB`.

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobState};
use dte_store::Event;
use serde_json::{Value, json};

use crate::model::state::Tally;
use crate::store::row::{FileRow, JobRow};

const SOURCE: &str = "/fts";
const FILE_FINISHED: &str = "org.dte.transfer.file.finished";
const FILE_FAILED: &str = "org.dte.transfer.file.failed";
const JOB_FINISHED: &str = "org.dte.transfer.job.finished";

/// The reason of jobs of which files failed.
pub const SOME_FAILED: &str = "One or more files failed. Please have a look at the details for more information";
pub const CANCELED_BY_USER: &str = "Job canceled by the user";
pub const STORAGE_BANNED: &str = "Storage banned";
pub const USER_BANNED: &str = "User banned";
pub const WAITED_TOO_LONG: &str = "Job has been canceled because it stayed in the queue for too long";

/// The event that tells of the end of `file`, which is in its final state.
pub fn file_event(job: &JobRow, file: &FileRow) -> Event {
    let kind = if file.state == FileState::Finished { FILE_FINISHED } else { FILE_FAILED };
    let error = if file.state == FileState::Finished { None } else { file.reason.as_deref() };
    let data = json!({
        "job_id": job.job_id,
        "file_id": file.file_id,
        "state": file.state.as_str(),
        "source": file.source,
        "destination": file.destination,
        "bytes": file.bytes,
        "adler32": file.adler32,
        "checksum": file.adler32.as_ref().map(|sum| format!("ADLER32:{sum}")),
        "user": user(job),
        "vo": job.vo,
        "activity": file.activity,
        "submitted": job.submitted,
        "started": file.started,
        "finished": file.finished,
        "retries": file.retries,
        "recoverable": file.recoverable,
        "error": error,
        "metadata": file.metadata,
        "job_metadata": job.params.job_metadata,
    });
    // A file ends once, so its event is the same event however often it is written.
    let id = derived_id(&["transfer.file.ended", &job.job_id.to_string(), &file.file_id.to_string()]);
    Event::new(kind, SOURCE, format!("{}/{}", job.job_id, file.file_id), data).with_id(id)
}

/// The event that tells of the end of a job.
pub fn job_event(job: &JobRow, state: JobState, tally: Tally, reason: Option<&str>, finished: Timestamp) -> Event {
    let data = json!({
        "job_id": job.job_id,
        "state": state.as_str(),
        "reason": reason,
        "files": { "finished": tally.finished, "failed": tally.failed, "canceled": tally.canceled },
        "user": user(job),
        "vo": job.vo,
        "submitted": job.submitted,
        "finished": finished,
        "metadata": job.params.job_metadata,
    });
    let id = derived_id(&["transfer.job.ended", &job.job_id.to_string()]);
    Event::new(JOB_FINISHED, SOURCE, job.job_id.to_string(), data).with_id(id)
}

fn user(job: &JobRow) -> Value {
    json!({ "issuer": job.owner.issuer, "subject": job.owner.subject, "name": job.owner.name })
}

/// The reason that a job shows when it ended in `state`.
pub fn job_reason(state: JobState) -> Option<&'static str> {
    match state {
        JobState::Failed | JobState::FinishedDirty => Some(SOME_FAILED),
        JobState::Canceled => Some(CANCELED_BY_USER),
        _ => None,
    }
}
