//! Waiting for the end of a job.

use std::time::Duration;

use dte_protocol_fts::{File, FileState, FtsClient, FtsError, Job, JobState};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::{said, show_with_files};
use crate::failure::Failure;

/// Between two looks at a job.
const PAUSE: Duration = Duration::from_millis(500);
/// So many looks in a row may go wrong when the engine is away for a while.
const MOST_SILENCES: u32 = 120;

/// Shows how far a job is until it has ended; a failure unless all its files arrived.
pub async fn follow(fts: &FtsClient, id: Uuid, as_json: bool) -> Result<(), Failure> {
    let progress = bar();
    let mut silences = 0;
    let (job, files) = loop {
        match look(fts, id).await {
            Ok((job, files)) => {
                silences = 0;
                note(&progress, &job, &files);
                if job.job_state.is_terminal() {
                    break (job, files);
                }
            }
            Err(error) if error.may_pass() && silences < MOST_SILENCES => {
                silences += 1;
                progress.set_message(format!("the engine does not answer: {error}"));
            }
            Err(error) => return Err(said(error)),
        }
        tokio::time::sleep(PAUSE).await;
    };
    progress.finish_and_clear();
    show_with_files(&job, &files, as_json)?;
    match job.job_state {
        JobState::Finished => Ok(()),
        state => Err(Failure::new(format!("{id} ended {state}"))),
    }
}

/// The job before its files: what is said to have ended has files that have ended.
async fn look(fts: &FtsClient, id: Uuid) -> Result<(Job, Vec<File>), FtsError> {
    let job = fts.job(id).await?;
    Ok((job, fts.files(id).await?))
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn note(progress: &ProgressBar, job: &Job, files: &[File]) {
    let of = |states: &[FileState]| files.iter().filter(|file| states.contains(&file.file_state)).count();
    let failed = of(&[FileState::Failed, FileState::Canceled]);
    let done = of(&[FileState::Finished]) + failed;
    let bytes: i64 =
        files.iter().filter(|file| file.file_state == FileState::Finished).filter_map(|file| file.filesize).sum();
    progress.set_length(files.len() as u64);
    progress.set_position(done as u64);
    let bytes = indicatif::HumanBytes(u64::try_from(bytes).unwrap_or(0));
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    progress.set_message(format!("{} {} active, {bytes} arrived{failed}", job.job_state, of(&[FileState::Active])));
}
