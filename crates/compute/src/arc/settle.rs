//! Bringing home what came of a pod: its logs and outputs first, then its outcome.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::description::{JOB_OUTPUT, LOGS, STARTED};
use super::rest::{RestError, in_time};
use super::site::{Inner, Record};
use crate::batch::settle::{TOLD_TO_END, outcome};
use crate::batch::state::JobState;
use crate::host::folder::{EXIT, OUTPUTS};
use crate::report::{Phase, PodReport};
use crate::site::SiteError;

pub(super) const EXIT_FILE: &str = EXIT;
/// Output files of one pod that are brought home.
const MAX_FILES: usize = 100_000;
/// Tries to bring home files that the pod has made such that they cannot be had.
const TRIES: u32 = 3;
/// Why a pod has failed whose files were not to be had.
const OUTPUTS_LOST: &str = "OutputsLost";
/// Bytes of complaints shown.
const COMPLAINT: usize = 2_000;

impl Inner {
    /// The job has ended by `end`, or its pod has while the job goes on. Whoever calls has the pod's turn.
    pub(super) async fn conclude(&self, uid: Uuid, record: &Record, end: JobState) -> Result<(), SiteError> {
        if !self.pods().get(&uid).is_some_and(|entry| entry.is_active()) {
            return Ok(());
        }
        let away = |error| self.away(&error);
        // A job that is gone has taken its folder with it.
        let is_there = end != JobState::Other && record.is_complete;
        let exit = if is_there { self.note_of(&record.job, EXIT_FILE).await.map_err(away)? } else { None };
        let lost = if is_there { self.bring_home(uid, &record.job).await.map_err(away)? } else { None };
        let cancelled = self.pods().get(&uid).and_then(|entry| entry.record.as_ref()?.cancelled.clone());
        let report = match exit {
            Some(report) => with_reason(report, cancelled),
            None => self.without_exit(uid, record, end, cancelled, is_there).await.map_err(away)?,
        };
        let report = match lost {
            Some(why) => without_files(report, &why),
            None => report,
        };
        self.index.save_exit(uid, &report).map_err(self.folder_failed(uid))?;
        if let Some(entry) = self.pods().get_mut(&uid) {
            (entry.said, entry.is_over) = (Some(report), true);
        }
        // Nobody may be listening; who starts to listen asks for the status first.
        drop(self.ended.send(uid));
        Ok(())
    }

    /// Fetches logs and outputs. Answers why some of them will never come, when that was tried often enough.
    async fn bring_home(&self, uid: Uuid, job: &str) -> Result<Option<String>, RestError> {
        let mut lost = None;
        for (from, to) in [(LOGS, self.log_folder(uid)), (OUTPUTS, self.index.outputs(uid))] {
            let why = match self.fetch_tree(job, from, &to).await {
                Ok(()) => continue,
                Err(RestError::Unusable(why)) => why,
                Err(error) => return Err(error),
            };
            let failures = self.pods().get_mut(&uid).map_or(TRIES, |entry| {
                entry.failures += 1;
                entry.failures
            });
            if failures < TRIES {
                return Err(RestError::Unusable(why));
            }
            lost = Some(why);
        }
        Ok(lost)
    }

    /// The runner left no outcome: what the computing element knows has to do.
    async fn without_exit(
        &self,
        uid: Uuid,
        record: &Record,
        end: JobState,
        cancelled: Option<String>,
        is_there: bool,
    ) -> Result<PodReport, RestError> {
        let (mut code, mut said, mut started) = (None, Vec::new(), !is_there && record.is_complete);
        if is_there {
            let (known, error) = self.rest.end_of(&record.job).await?;
            code = known;
            said.push(error);
            started = self.rest.get(&record.job, STARTED, 0).await?.is_some();
            if let Some(reply) = self.rest.get(&record.job, JOB_OUTPUT, 0).await? {
                let text = in_time(reply.text()).await?;
                said.push(text.chars().take(COMPLAINT).collect::<String>().trim().to_owned());
            }
        }
        said.retain(|text| !text.is_empty());
        let end = if cancelled.is_some() { JobState::Cancelled } else { end };
        let verdict = end.verdict("ARC", code.map(|code| (code, 0)), started, &said.join("; "));
        let last = self.pods().get(&uid).and_then(|entry| entry.said.clone());
        Ok(outcome(&record.plan, last, verdict, cancelled, started))
    }

    /// Fetches a folder of the session folder with all that is beneath it.
    pub(super) async fn fetch_tree(&self, job: &str, from: &str, to: &Path) -> Result<(), RestError> {
        let own = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| RestError::Own(format!("{path}: {error}"))
        };
        let mut open: Vec<(String, PathBuf)> = vec![(from.to_owned(), to.to_path_buf())];
        let mut count = 0;
        while let Some((beneath, folder)) = open.pop() {
            let (files, folders) = self.rest.list(job, &beneath).await?;
            if !files.is_empty() || !folders.is_empty() {
                tokio::fs::create_dir_all(&folder).await.map_err(own(&folder))?;
            }
            count += files.len() + folders.len();
            if count > MAX_FILES {
                return Err(RestError::Unusable(format!("the pod has more than {MAX_FILES} output files")));
            }
            open.extend(folders.into_iter().map(|name| (format!("{beneath}/{name}"), folder.join(name))));
            for name in files {
                self.fetch(job, &format!("{beneath}/{name}"), &folder.join(&name)).await?;
            }
        }
        Ok(())
    }

    /// Fetches what a file has more than its copy here. A copy that is as long is left.
    pub(super) async fn fetch_on(&self, job: &str, from: &str, to: &Path) -> Result<(), RestError> {
        let known = tokio::fs::metadata(to).await.map_or(0, |about| about.len());
        match self.rest.get(job, from, known).await? {
            Some(reply) => write(reply, to, known).await,
            None => Ok(()),
        }
    }

    async fn fetch(&self, job: &str, from: &str, to: &Path) -> Result<(), RestError> {
        match self.rest.get(job, from, 0).await? {
            Some(reply) => write(reply, to, 0).await,
            None => Err(RestError::Unusable(format!("the computing element lists {from} and does not have it"))),
        }
    }
}

/// Writes an answer to a file, from the byte on that was asked for; an answer that begins at the beginning is the whole file.
async fn write(reply: dte_http::Reply, to: &Path, known: u64) -> Result<(), RestError> {
    let own = |error: std::io::Error| RestError::Own(format!("{}: {error}", to.display()));
    let is_rest = known > 0 && reply.status == http::StatusCode::PARTIAL_CONTENT;
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).write(true).append(is_rest).truncate(!is_rest).mode(0o600);
    let mut file = options.open(to).await.map_err(own)?;
    let mut pieces = reply.body.into_data_stream();
    loop {
        let next = async { Ok::<_, RestError>(pieces.next().await) };
        let Some(piece) = in_time(next).await? else { break };
        let piece = piece.map_err(|error| RestError::Answer(format!("a file that broke off: {error}")))?;
        file.write_all(&piece).await.map_err(own)?;
    }
    file.flush().await.map_err(own)
}

/// A pod without all its files has not done what it was for.
fn without_files(mut report: PodReport, why: &str) -> PodReport {
    if report.phase != Phase::Failed {
        (report.phase, report.reason) = (Phase::Failed, Some(OUTPUTS_LOST.to_owned()));
    }
    let said = report.message.take().into_iter().chain([format!("files of the pod are lost: {why}")]);
    report.message = Some(said.collect::<Vec<_>>().join("; "));
    report
}

/// A runner that was told to end does not know why.
fn with_reason(mut report: PodReport, cancelled: Option<String>) -> PodReport {
    let was_told = report.phase == Phase::Failed && report.reason.as_deref() == Some(TOLD_TO_END);
    if was_told {
        report.reason = Some(cancelled.unwrap_or_else(|| "Cancelled".into()));
    }
    report
}
