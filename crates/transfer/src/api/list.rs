//! Jobs and files by what they are: `GET /jobs?…`, `GET /files?…`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use dte_base::time::Timestamp;
use dte_http::Query;
use dte_identity::Principal;
use serde::Deserialize;
use serde_json::Value;

use crate::api::caller::Caller;
use crate::api::error::FtsError;
use crate::api::render::{self, comma_list, members, only};
use crate::shared::Shared;
use crate::store::list::{self, Filter};
use crate::store::row;

const MOST_JOBS: i64 = 500;

#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    user_dn: Option<String>,
    vo_name: Option<String>,
    dlg_id: Option<String>,
    state_in: Option<String>,
    source_se: Option<String>,
    dest_se: Option<String>,
    dest_surl: Option<String>,
    limit: Option<String>,
    time_window: Option<String>,
    fields: Option<String>,
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

impl Wanted {
    /// What is asked for, within what the caller may see.
    fn filter(&self, caller: &Caller) -> Result<Filter, FtsError> {
        let mut cred_id = given(&self.dlg_id);
        let user_dn = given(&self.user_dn);
        if !caller.sees_all() {
            if cred_id.as_ref().is_some_and(|id| *id != caller.delegation_id) {
                return Err(FtsError::forbidden("The provided delegation id does not match your delegation id"));
            }
            if user_dn.as_deref().is_some_and(|dn| dn != caller.user_dn()) {
                return Err(FtsError::bad("The provided user_dn and delegation id do not correspond to the same user"));
            }
            cred_id = Some(caller.delegation_id.clone());
        }
        Ok(Filter {
            cred_id,
            user_dn,
            vo: given(&self.vo_name),
            states: comma_list(self.state_in.as_deref().unwrap_or_default()),
            source_se: given(&self.source_se),
            dest_se: given(&self.dest_se),
            destination: given(&self.dest_surl),
            ended_since: self.window()?.map(|window| Timestamp::now() - window),
            limit: self.limit()?,
        })
    }

    fn limit(&self) -> Result<Option<i64>, FtsError> {
        let Some(text) = given(&self.limit) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(limit) if (0..=MOST_JOBS).contains(&limit) => Ok(Some(limit)),
            _ => Err(FtsError::bad(format!("The limit must be positive and less or equal than {MOST_JOBS}"))),
        }
    }

    /// `HH[:MM]`
    fn window(&self) -> Result<Option<Duration>, FtsError> {
        let Some(text) = given(&self.time_window) else { return Ok(None) };
        let (hours, minutes) = text.split_once(':').unwrap_or((&text, "0"));
        match (hours.parse::<u32>(), minutes.parse::<u32>()) {
            (Ok(hours), Ok(minutes)) => {
                Ok(Some(Duration::from_secs(u64::from(hours) * 3_600 + u64::from(minutes) * 60)))
            }
            _ => Err(FtsError::bad("Invalid time window format: use HH[:MM]")),
        }
    }
}

pub async fn jobs(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Value>>, FtsError> {
    let filter = wanted.filter(&Caller::new(principal))?;
    let fields = comma_list(wanted.fields.as_deref().unwrap_or_default());
    let found = shared.store.read(move |tx| list::jobs(tx, &filter)).await?;
    let shown = found.iter().map(|job| {
        let job = members(&render::job(job, &shared.host));
        if fields.is_empty() { Value::Object(job) } else { only(job, &fields) }
    });
    Ok(Json(shown.collect()))
}

pub async fn files(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<dte_protocol_fts::File>>, FtsError> {
    let filter = wanted.filter(&Caller::new(principal))?;
    let (files, jobs) = shared
        .store
        .read(move |tx| {
            let files = list::files(tx, &filter)?;
            let mut ids: Vec<_> = files.iter().map(|file| file.job_id).collect();
            ids.sort_unstable();
            ids.dedup();
            let jobs = row::jobs(tx, &ids)?;
            Ok::<_, dte_store::Error>((files, jobs))
        })
        .await?;
    let shown = files.iter().filter_map(|file| {
        let job = jobs.iter().find(|job| job.job_id == file.job_id)?;
        Some(render::file(file, job))
    });
    Ok(Json(shown.collect()))
}
