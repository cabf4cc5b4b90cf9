//! `DELETE /jobs/{id}`, `DELETE /jobs/{id}/files/{file}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use dte_base::time::Timestamp;
use dte_identity::Principal;
use dte_protocol_fts::JobType;
use serde_json::Value;

use crate::api::caller::Caller;
use crate::api::error::FtsError;
use crate::api::jobs::{Element, Ids, answer, elements, one};
use crate::api::render::{self, comma_list, members};
use crate::shared::Shared;
use crate::store::cancel::{self, Cancelled};
use crate::store::row;

pub async fn jobs(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(ids): Path<String>,
) -> Result<Response, FtsError> {
    let ids = Ids::parse(&ids)?;
    let caller = Arc::new(Caller::new(principal));
    let mut over = Vec::new();
    for job_id in ids.uuids() {
        // Large jobs in pieces, so that others' transactions come between.
        loop {
            let (asking, now) = (Arc::clone(&caller), Timestamp::now());
            let piece = shared.store.write(move |tx| match row::job(tx, job_id)?.filter(|job| asking.may_see(job)) {
                Some(job) => cancel::job(tx, &job, now).map(Some),
                None => Ok::<_, dte_store::Error>(None),
            });
            match piece.await? {
                Some(Cancelled::More) => {}
                Some(Cancelled::WasOver) => {
                    over.push(job_id);
                    break;
                }
                Some(Cancelled::Done) | None => break,
            }
        }
    }
    let uuids = ids.uuids();
    let jobs = shared.store.read(move |tx| row::jobs(tx, &uuids)).await?;
    shared.note_cancellation();
    let elements = elements(&ids, &jobs, &caller, |job| {
        let body = members(&render::job(job, &shared.host));
        if over.contains(&job.job_id) { Element::unchanged(body) } else { Element::ok(body) }
    });
    Ok(answer(&ids, elements))
}

pub async fn files(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path((id, files)): Path<(String, String)>,
) -> Result<Json<Value>, FtsError> {
    let job = one(&shared, &Caller::new(principal), &id).await?;
    if job.job_type != JobType::Normal {
        return Err(FtsError::bad(format!("Job with type '{}' can not be modified", job.job_type)));
    }
    let is_list = files.contains(',');
    let wrong = |text: &String| FtsError::bad(format!("Invalid file id: {text}"));
    let ids = comma_list(&files)
        .iter()
        .map(|text| text.parse::<i64>().map_err(|_| wrong(text)))
        .collect::<Result<Vec<_>, _>>()?;
    let now = Timestamp::now();
    let states = shared.store.write(move |tx| cancel::files(tx, &job, &ids, now)).await?;
    shared.note_cancellation();
    let mut words: Vec<Value> = states
        .iter()
        .map(|state| state.map_or("File does not belong to the job", |state| state.as_str()).into())
        .collect();
    Ok(Json(if !is_list && words.len() == 1 { words.remove(0) } else { words.into() }))
}
