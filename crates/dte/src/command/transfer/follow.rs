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
    let (job, files) = wait(fts, id, &bar(), renew).await?;
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
    progress: &ProgressBar,
    renew: impl AsyncFn() -> Result<FtsClient, Failure>,
) -> Result<(Job, Vec<File>), Failure> {
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
                    note(progress, &job, &files);
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use dte_base::secret::Secret;

    use super::*;

    /// Answers each request with what `answers` has next, and notes path and token.
    fn engine(answers: Vec<(u16, String)>) -> (url::Url, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("address")).parse().expect("a URL");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = heard.clone();
        std::thread::spawn(move || {
            for (status, body) in answers {
                let mut reader = BufReader::new(listener.accept().expect("connects").0);
                let mut request = String::new();
                while reader.read_line(&mut request).is_ok_and(|read| read > 2) {}
                let path = request.split(' ').nth(1).unwrap_or_default().rsplit('/').next().unwrap_or_default();
                let token = request.rsplit("earer ").next().unwrap_or_default().split_whitespace().next();
                notes.lock().expect("lock").push(format!("{path} {}", token.unwrap_or_default()));
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
                reader.into_inner().write_all((head + &body).as_bytes()).expect("answers");
            }
        });
        (url, heard)
    }

    #[tokio::test]
    async fn a_token_that_became_too_old_is_replaced() {
        let id = Uuid::from_u128(7);
        let job = |state: &str| (200, format!("{{\"job_id\":\"{id}\",\"job_state\":\"{state}\"}}"));
        let refused = || (401, "{\"message\":\"expired\"}".to_owned());
        let answers = vec![job("ACTIVE"), refused(), job("ACTIVE"), job("FINISHED"), (200, "[]".to_owned())];
        let (url, heard) = engine(answers);
        let with = |token: &str| client(&Remote::at(url.clone(), Secret::new(token)));
        let (job, files) =
            wait(with("old").expect("a client"), id, &ProgressBar::hidden(), async || with("new")).await.expect("ends");
        assert_eq!((job.job_state, files.len()), (JobState::Finished, 0));
        let job = |token: &str| format!("{id} {token}");
        let expected = [job("old"), job("old"), job("new"), job("new"), "files new".to_owned()];
        assert_eq!(*heard.lock().expect("lock"), expected);

        // One that never was good is not asked for again.
        let (url, heard) = engine(vec![refused()]);
        let with = |token: &str| client(&Remote::at(url.clone(), Secret::new(token)));
        let failure = wait(with("wrong").expect("a client"), id, &ProgressBar::hidden(), async || with("new"))
            .await
            .expect_err("is refused");
        assert_eq!((failure.code, heard.lock().expect("lock").len()), (13, 1));
    }
}
