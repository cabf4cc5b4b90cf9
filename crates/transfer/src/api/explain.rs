//! `/jobs/{id}/explain`, `/jobs/{id}/files/{file}/explain`: why files are where they are, by the code that decides about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::Principal;
use dte_store::{Error, Tx};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::caller::Caller;
use crate::api::error::FtsError;
use crate::api::jobs::one;
use crate::model::explain::{Facts, MOST_BEFORE, Place, explain};
use crate::model::schedule::Why;
use crate::shared::Shared;
use crate::store::row::{self, FileRow, JobRow};
use crate::store::{COPY_QUEUE, ban, optimum};

/// Files of one answer.
const MOST_FILES: usize = 200;

pub async fn job(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, FtsError> {
    let job = one(&shared, &Caller::new(principal), &id).await?;
    let state = job.state;
    let job_id = job.job_id;
    let (files, open) = answer(&shared, job, move |tx| {
        // Those that have not ended are what people ask about; they come first.
        let mut files = row::open_files(tx, job_id, MOST_FILES)?;
        let open = files.len();
        if files.is_empty() {
            files = row::files(tx, job_id)?;
            files.truncate(MOST_FILES);
        }
        Ok((files, open))
    })
    .await?;
    let is_cut = files.len() == MOST_FILES;
    Ok(Json(json!({ "job_id": job_id, "job_state": state, "open": open, "is_cut": is_cut, "files": files })))
}

pub async fn file(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path((id, file)): Path<(String, String)>,
) -> Result<Json<Value>, FtsError> {
    let job = one(&shared, &Caller::new(principal), &id).await?;
    let missing = || FtsError::new(StatusCode::NOT_FOUND, format!("No file with the id \"{file}\" has been found"));
    let file_id: i64 = file.parse().map_err(|_| missing())?;
    let job_id = job.job_id;
    let find = move |tx: &mut Tx<'_>| {
        let file = row::file(tx, file_id)?.filter(|file| file.job_id == job_id);
        Ok((file.into_iter().collect(), 0))
    };
    let (files, _) = answer(&shared, job, find).await?;
    files.into_iter().next().map(Json).ok_or_else(missing)
}

/// Explains the files that `find` finds.
async fn answer(
    shared: &Arc<Shared>,
    job: JobRow,
    find: impl Fn(&mut Tx<'_>) -> Result<(Vec<FileRow>, usize), Error> + Send + 'static,
) -> Result<(Vec<Value>, usize), FtsError> {
    let is_welcome = shared.identity.is_welcome(&job.owner);
    let reading = Arc::clone(shared);
    let read = shared.store.read(move |tx| {
        let (files, open) = find(tx)?;
        let lines = lines(&reading, tx)?;
        let is_user_banned = ban::is_user_banned(tx, &job.user_dn)?;
        let now = Timestamp::now();
        let mut rationales = BTreeMap::new();
        let mut answers = Vec::with_capacity(files.len());
        for file in files {
            let standing = tx.standing(COPY_QUEUE, &file.file_id.to_string(), MOST_BEFORE)?;
            let link = (file.source_se.clone(), file.dest_se.clone());
            if !rationales.contains_key(&link) {
                let last = optimum::steps(tx, Some(&link.0), Some(&link.1))?.into_iter().next();
                rationales.insert(link.clone(), last.map(|(_, _, told)| told.rationale));
            }
            let facts = Facts {
                state: file.state,
                reason: file.reason.clone(),
                host: file.host.clone(),
                retries: file.retries,
                is_welcome,
                is_user_banned,
                ban: ban::first_banned(tx, &[&file.source_se, &file.dest_se])?,
                why: standing.as_ref().and_then(|standing| lines.get(&standing.lane).cloned()),
                place: match standing {
                    None => Place::NotHandedOver,
                    Some(standing) if standing.is_claimed => Place::Claimed,
                    Some(standing) => Place::Waiting { run_at: standing.run_at, before: standing.before },
                },
                rationale: rationales.get(&link).cloned().flatten(),
                now,
            };
            let (word, because) = explain(&facts);
            answers.push(json!({
                "file_id": file.file_id, "file_state": file.state, "source_surl": file.source,
                "dest_surl": file.destination, "retry": file.retries, "code": word, "because": because,
            }));
        }
        Ok::<_, Error>((answers, open))
    });
    Ok(read.await?)
}

/// What the scheduler would say of each line now.
fn lines(shared: &Shared, tx: &mut Tx<'_>) -> Result<BTreeMap<String, Why>, Error> {
    let (concurrency, per_area) = (shared.settings.concurrency, shared.settings.per_link);
    let lanes = tx.lanes(COPY_QUEUE, concurrency)?;
    // Each mover has places of its own.
    let running = tx.held_by(COPY_QUEUE, shared.store.instance())?;
    let rules = shared.planner.rules(tx, per_area)?;
    let decision = shared.planner.preview(&rules, &lanes, concurrency.saturating_sub(running));
    Ok(lanes.into_iter().map(|lane| lane.name).zip(decision.why).collect())
}
