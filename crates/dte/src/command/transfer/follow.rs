//! Waiting for the end of a job.

use std::time::{Duration, Instant};

use dte_protocol_fts::{File, FileState, FtsClient, FtsError, Job, JobState};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::{client, said, show_with_files};
use crate::cli::Common;
use crate::failure::Failure;
use crate::remote::Remote;

/// Between two looks at a job.
const PAUSE: Duration = Duration::from_millis(500);
/// So many looks in a row may go wrong when the engine is away for a while.
const MOST_SILENCES: u32 = 120;

/// Looking at the files of a job, of which there may be thousands, takes no more than one part in so many of the time.
const FILES_SHARE: u32 = 20;

/// Shows how far a job is until it has ended; a failure unless all its files arrived.
pub async fn follow(common: &Common, fts: FtsClient, id: Uuid) -> Result<(), Failure> {
    let renew = async || client(&Remote::find(common).await?);
    let (job, files) = wait(fts, id, renew).await?;
    show_with_files(&job, &files, common.json)?;
    match job.job_state {
        JobState::Finished => Ok(()),
        state => Err(Failure::new(format!("{id} ended {state}"))),
    }
}

/// The job when it has ended. A token that has become too old meanwhile is replaced with what `renew` gives.
async fn wait(
    mut fts: FtsClient,
    id: Uuid,
    renew: impl AsyncFn() -> Result<FtsClient, Failure>,
) -> Result<(Job, Vec<File>), Failure> {
    let progress = bar();
    let (mut silences, mut is_let_in) = (0, false);
    let mut due = Instant::now();
    loop {
        let began = Instant::now();
        match look(&fts, id, !progress.is_hidden() && began >= due).await {
            Ok((job, files)) => {
                (silences, is_let_in) = (0, true);
                if let Some(files) = files {
                    if job.job_state.is_terminal() {
                        progress.finish_and_clear();
                        return Ok((job, files));
                    }
                    due = Instant::now() + began.elapsed() * FILES_SHARE;
                    note(&progress, &job, &files);
                }
            }
            Err(FtsError::Forbidden { .. }) if is_let_in => {
                is_let_in = false;
                fts = renew().await?;
                continue;
            }
            Err(error) if error.may_pass() && silences < MOST_SILENCES => {
                silences += 1;
                progress.set_message(format!("the engine does not answer: {error}"));
            }
            Err(error) => return Err(said(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The job before its files: what is said to have ended has files that have ended.
async fn look(fts: &FtsClient, id: Uuid, wants_files: bool) -> Result<(Job, Option<Vec<File>>), FtsError> {
    let job = fts.job(id).await?;
    let files = if wants_files || job.job_state.is_terminal() { Some(fts.files(id).await?) } else { None };
    Ok((job, files))
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
