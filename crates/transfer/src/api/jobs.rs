//! Jobs by their identifiers: `/jobs/{id}` and what is below it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use dte_http::Query;
use dte_identity::Principal;
use dte_protocol_fts::Retry;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::api::caller::{Caller, not_enough};
use crate::api::error::{FtsError, status_text};
use crate::api::render::{self, comma_list, members, only};
use crate::model::params::clamp_priority;
use crate::shared::Shared;
use crate::store::cancel::set_priority;
use crate::store::row::{self, FileRow, JobRow};

/// Jobs of one request.
const MOST_IDS: usize = 10_000;

/// The identifiers of a request.
pub struct Ids {
    pub texts: Vec<String>,
    /// A list is answered with a list; a comma at the end of a single one makes it a list.
    pub is_list: bool,
}

impl Ids {
    pub fn parse(text: &str) -> Result<Ids, FtsError> {
        let texts = comma_list(text);
        if texts.len() > MOST_IDS {
            return Err(FtsError::bad(format!("At most {MOST_IDS} jobs can be asked for at once")));
        }
        Ok(Ids { texts, is_list: text.contains(',') })
    }

    pub fn uuids(&self) -> Vec<Uuid> {
        self.texts.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

/// One element of an answer: a job, or why there is none.
pub struct Element {
    pub status: StatusCode,
    pub body: Map<String, Value>,
}

impl Element {
    pub fn ok(mut body: Map<String, Value>) -> Element {
        body.insert("http_status".to_owned(), "200 Ok".into());
        body.insert("http_message".to_owned(), Value::Null);
        Element { status: StatusCode::OK, body }
    }

    /// A job that had ended before: said inside the answer, which is a success.
    pub fn unchanged(mut body: Map<String, Value>) -> Element {
        body.insert("http_status".to_owned(), status_text(StatusCode::NOT_MODIFIED).into());
        body.insert("http_message".to_owned(), "The job is in a terminal state".into());
        Element { status: StatusCode::OK, body }
    }

    fn failed(id: &str, status: StatusCode, message: String) -> Element {
        let mut body = Map::new();
        body.insert("job_id".to_owned(), id.into());
        body.insert("http_status".to_owned(), status_text(status).into());
        body.insert("http_message".to_owned(), message.into());
        Element { status, body }
    }
}

/// What is answered about each identifier, in the order asked for.
pub fn elements(
    ids: &Ids,
    jobs: &[JobRow],
    caller: &Caller,
    mut found: impl FnMut(&JobRow) -> Element,
) -> Vec<Element> {
    let each = |id: &String| {
        let job = id.parse::<Uuid>().ok().and_then(|uuid| jobs.iter().find(|job| job.job_id == uuid));
        match job {
            None => Element::failed(id, StatusCode::NOT_FOUND, no_job(id)),
            Some(job) if !caller.may_see(job) => Element::failed(id, StatusCode::FORBIDDEN, not_enough(job.job_id)),
            Some(job) => found(job),
        }
    };
    ids.texts.iter().map(each).collect()
}

fn no_job(id: &str) -> String {
    format!("No job with the id \"{id}\" has been found")
}

/// One element as itself, several as a list; a list with a failure is a 207.
pub fn answer(ids: &Ids, mut elements: Vec<Element>) -> Response {
    if !ids.is_list && elements.len() == 1 {
        let Element { status, body } = elements.remove(0);
        return (status, Json(body)).into_response();
    }
    let failed = elements.iter().any(|element| !element.status.is_success());
    let status = if failed { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    let bodies: Vec<Map<String, Value>> = elements.into_iter().map(|element| element.body).collect();
    (status, Json(bodies)).into_response()
}

#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// Which fields of the files are wanted as well.
    files: Option<String>,
}

pub async fn status(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(ids): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, FtsError> {
    let ids = Ids::parse(&ids)?;
    let fields = wanted.files.as_deref().map(comma_list);
    let (uuids, with_files) = (ids.uuids(), fields.is_some());
    let (jobs, files) = shared
        .store
        .read(move |tx| {
            let files = if with_files { row::files_of(tx, &uuids)? } else { Vec::new() };
            Ok::<_, dte_store::Error>((row::jobs(tx, &uuids)?, files))
        })
        .await?;
    let elements = elements(&ids, &jobs, &Caller::new(principal), |job| {
        let mut body = members(&render::job(job, &shared.host));
        if let Some(fields) = &fields {
            body.insert("files".to_owned(), some_fields(&files, job, fields).into());
        }
        Element::ok(body)
    });
    Ok(answer(&ids, elements))
}

fn some_fields(files: &[FileRow], job: &JobRow, fields: &[String]) -> Vec<Value> {
    let of_job = files.iter().filter(|file| file.job_id == job.job_id);
    of_job.map(|file| only(members(&render::file(file, job)), fields)).collect()
}

/// The job of a request that names one.
pub async fn one(shared: &Shared, caller: &Caller, id: &str) -> Result<JobRow, FtsError> {
    let missing = || FtsError::new(StatusCode::NOT_FOUND, no_job(id));
    let uuid: Uuid = id.parse().map_err(|_| missing())?;
    let job = shared.store.read(move |tx| row::job(tx, uuid)).await?.ok_or_else(missing)?;
    caller.must_see(&job)?;
    Ok(job)
}

pub async fn files(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Vec<dte_protocol_fts::File>>, FtsError> {
    let job = one(&shared, &Caller::new(principal), &id).await?;
    let job_id = job.job_id;
    let files = shared.store.read(move |tx| row::files(tx, job_id)).await?;
    Ok(Json(files.iter().map(|file| render::file(file, &job)).collect()))
}

/// Deletions and the like, of which transfers have none.
pub async fn data_management(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Vec<Value>>, FtsError> {
    one(&shared, &Caller::new(principal), &id).await?;
    Ok(Json(Vec::new()))
}

pub async fn retries(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path((id, file)): Path<(String, String)>,
) -> Result<Json<Vec<Retry>>, FtsError> {
    let job = one(&shared, &Caller::new(principal), &id).await?;
    let missing = || FtsError::new(StatusCode::NOT_FOUND, format!("No file with the id \"{file}\" has been found"));
    let file_id: i64 = file.parse().map_err(|_| missing())?;
    let found = shared
        .store
        .read(move |tx| match row::file(tx, file_id)?.filter(|file| file.job_id == job.job_id) {
            Some(_) => row::retries(tx, file_id).map(Some),
            None => Ok::<_, dte_store::Error>(None),
        })
        .await?;
    found.map(Json).ok_or_else(missing)
}

/// One member of a job, bare.
pub async fn field(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path((id, field)): Path<(String, String)>,
) -> Result<Json<Value>, FtsError> {
    let job = one(&shared, &Caller::new(principal), &id).await?;
    let value = members(&render::job(&job, &shared.host)).remove(&field);
    value.map(Json).ok_or_else(|| FtsError::new(StatusCode::NOT_FOUND, "No such field"))
}

/// `{"params": {"priority": 4}}`: the one thing about a job that can be changed.
pub async fn modify(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(ids): Path<String>,
    dte_http::Json(change): dte_http::Json<Value>,
) -> Result<Response, FtsError> {
    let ids = Ids::parse(&ids)?;
    let priority = match change.pointer("/params/priority") {
        // Zero is what clients send who do not mean it.
        None | Some(Value::Null) => None,
        Some(value) => match value.as_i64().or_else(|| value.as_str()?.parse().ok()) {
            Some(0) => None,
            Some(priority) => Some(clamp_priority(priority)),
            None => return Err(FtsError::bad("Invalid priority value")),
        },
    };
    let caller = Arc::new(Caller::new(principal));
    let (uuids, asking) = (ids.uuids(), Arc::clone(&caller));
    let (jobs, files) = shared
        .store
        .write(move |tx| {
            for job in row::jobs(tx, &uuids)? {
                if let Some(priority) = priority.filter(|_| asking.may_see(&job)) {
                    set_priority(tx, job.job_id, priority)?;
                }
            }
            Ok::<_, dte_store::Error>((row::jobs(tx, &uuids)?, row::files_of(tx, &uuids)?))
        })
        .await?;
    let elements = elements(&ids, &jobs, &caller, |job| {
        let mut body = members(&render::job(job, &shared.host));
        if job.state.is_terminal() {
            return Element::unchanged(body);
        }
        let of_job = files.iter().filter(|file| file.job_id == job.job_id);
        let of_job: Vec<Value> = of_job.map(|file| Value::Object(members(&render::file(file, job)))).collect();
        body.insert("files".to_owned(), of_job.into());
        Element::ok(body)
    });
    Ok(answer(&ids, elements))
}
