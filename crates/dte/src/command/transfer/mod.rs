//! `dte transfer`: copies from storage to storage, through the API that FTS clients use.

mod follow;
mod submit;

use dte_protocol_fts::{File, FtsClient, FtsError, Job};
use dte_protocol_fts::{FtsTime, JobState};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::{Common, Transfer, TransferList};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

pub async fn transfer(common: &Common, command: Transfer) -> Result<(), Failure> {
    // What is wrong with a file of pairs is said before an engine is looked for.
    let submission = match &command {
        Transfer::Submit(wanted) => Some((submit::read(wanted)?, wanted.wait)),
        _ => None,
    };
    let remote = Remote::find(common).await?;
    let fts = client(&remote)?;
    if let Some((submission, is_awaited)) = submission {
        return submit::submit(common, fts, &submission, is_awaited).await;
    }
    match command {
        Transfer::Submit(_) => Ok(()),
        Transfer::List(wanted) => list(&remote, &wanted, common.json).await,
        Transfer::Show { job } => show_job(&fts, job, common.json).await,
        Transfer::Files { job, state } => files(&fts, job, &state, common.json).await,
        Transfer::Cancel { jobs } => cancel(&fts, &jobs, common.json).await,
        Transfer::Explain { what } => explain(&remote, &what, common.json).await,
        Transfer::Follow { job } => follow::follow(common, fts, job).await,
    }
}

fn client(remote: &Remote) -> Result<FtsClient, Failure> {
    Ok(FtsClient::new(remote.client.clone(), remote.base("/fts")?, remote.token.clone()))
}

/// What people read, without what only programs need.
fn said(error: FtsError) -> Failure {
    match error {
        FtsError::NotFound { message } => Failure::new(message).with_code(NOT_THERE),
        FtsError::Forbidden { message } => Failure::new(message).with_code(NOT_ALLOWED),
        other => other.into(),
    }
}

/// The exit codes of no such job and of somebody else's (ENOENT, EACCES).
const NOT_THERE: u8 = 2;
const NOT_ALLOWED: u8 = 13;

fn time(time: Option<FtsTime>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| time.to_string())
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("–").to_owned()
}

async fn list(remote: &Remote, wanted: &TransferList, as_json: bool) -> Result<(), Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &wanted.limit.to_string());
    let mut states = wanted.state.clone();
    if wanted.all && states.is_empty() {
        states = JobState::ALL.iter().map(ToString::to_string).collect();
    }
    if !states.is_empty() {
        query.append_pair("state_in", &states.join(","));
    }
    for (name, value) in [("source_se", &wanted.source), ("dest_se", &wanted.destination)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let jobs: Vec<Job> = remote.get(&format!("/fts/jobs?{}", query.finish())).await?;
    if as_json {
        return show::json(&jobs);
    }
    let row = |job: &Job| {
        vec![
            job.job_id.to_string(),
            job.job_state.to_string(),
            or_dash(job.user_dn.as_deref()),
            time(job.submit_time),
            job.priority.map_or_else(String::new, |priority| priority.to_string()),
            or_dash(job.source_se.as_deref()),
            or_dash(job.dest_se.as_deref()),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    show::table(&["JOB", "STATE", "USER", "SUBMITTED", "PRIORITY", "FROM", "TO"], &rows);
    Ok(())
}

async fn show_job(fts: &FtsClient, id: Uuid, as_json: bool) -> Result<(), Failure> {
    let job = fts.job(id).await.map_err(said)?;
    let files = fts.files(id).await.map_err(said)?;
    show_with_files(&job, &files, as_json)
}

fn show_with_files(job: &Job, files: &[File], as_json: bool) -> Result<(), Failure> {
    if as_json {
        let mut about = serde_json::to_value(job)?;
        about["files"] = json!(files);
        return show::json(&about);
    }
    let reason = job.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
    show::line(format!("{} {}{reason}", job.job_id, job.job_state));
    show::line(format!(
        "submitted {} by {}, ended {}, priority {}",
        time(job.submit_time),
        or_dash(job.user_dn.as_deref()),
        time(job.job_finished),
        job.priority.unwrap_or_default()
    ));
    table(files);
    Ok(())
}

fn table(files: &[File]) {
    let row = |file: &File| {
        vec![
            file.file_id.to_string(),
            file.file_state.to_string(),
            file.retry.unwrap_or_default().to_string(),
            file.filesize.map_or_else(|| "–".to_owned(), |bytes| bytes.to_string()),
            file.throughput.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}")),
            file.source_surl.clone(),
            file.dest_surl.clone(),
            or_dash(file.reason.as_deref()),
        ]
    };
    let rows: Vec<Vec<String>> = files.iter().map(row).collect();
    show::table(&["FILE", "STATE", "RETRIES", "BYTES", "MIB/S", "FROM", "TO", "REASON"], &rows);
}

async fn files(fts: &FtsClient, id: Uuid, states: &[String], as_json: bool) -> Result<(), Failure> {
    let mut files = fts.files(id).await.map_err(said)?;
    files.retain(|file| states.is_empty() || states.iter().any(|state| state == file.file_state.as_str()));
    if as_json {
        return show::json(&files);
    }
    table(&files);
    Ok(())
}

async fn cancel(fts: &FtsClient, ids: &[Uuid], as_json: bool) -> Result<(), Failure> {
    let mut ended = Vec::new();
    for id in ids {
        let job = fts.cancel(*id).await.map_err(said)?;
        if !as_json {
            show::line(format!("{id} {}", job.job_state));
        }
        ended.push(job);
    }
    if as_json { show::json(&ended) } else { Ok(()) }
}

async fn explain(remote: &Remote, what: &str, as_json: bool) -> Result<(), Failure> {
    let wrong = || Failure::new(format!("{what:?} is neither JOB nor JOB/FILE")).with_code(2);
    let (job, file) = what.split_once('/').map_or((what, None), |(job, file)| (job, Some(file)));
    let job: Uuid = job.parse().map_err(|_| wrong())?;
    let file: Option<u64> = file.map(str::parse).transpose().map_err(|_| wrong())?;
    let path = match file {
        Some(file) => format!("/fts/jobs/{job}/files/{file}/explain"),
        None => format!("/fts/jobs/{job}/explain"),
    };
    let answer: Value = remote.get(&path).await?;
    if as_json {
        return show::json(&answer);
    }
    let one = std::slice::from_ref(&answer);
    for file in answer["files"].as_array().map_or(one, Vec::as_slice) {
        let [id, state, because] = ["file_id", "file_state", "because"].map(|key| show::cell(&file[key]));
        show::line(format!("{id} {state}: {because}"));
    }
    if answer["is_cut"] == true {
        show::line("There are more; ask for one with JOB/FILE.");
    }
    Ok(())
}
