//! `/iam/group_requests`: how people ask to be let into a group, as INDIGO IAM has it.

use axum::extract::{Path, State};
use dte_http::{Json, Query};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{IamError, OWN, is_iam_admin};
use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::groups::{GroupRequest, RequestStatus, is_person};
use crate::policy::store::groups::{self as table, RequestFilter};
use crate::routes::{Require, Routes};

/// Requests that one answer lists.
const MOST: usize = 1_000;
const DECIDES: Require = Require::HandlerChecks("administrators and managers of the group");

pub(super) fn iam(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/group_requests", OWN, list)
        .post("/group_requests", Require::HandlerChecks("people, for themselves"), ask)
        .get("/group_requests/{id}", OWN, show)
        .delete("/group_requests/{id}", OWN, remove)
        .post("/group_requests/{id}/approve", DECIDES, approve)
        .post("/group_requests/{id}/reject", DECIDES, reject)
}

fn shown(request: &GroupRequest) -> Value {
    json!({
        "uuid": request.id,
        "userUuid": request.name,
        "username": request.name,
        "userFullName": request.name,
        "groupUuid": request.group_id,
        "groupName": request.group_path.trim_start_matches('/'),
        "notes": request.notes,
        "motivation": request.motivation,
        "status": request.status.name(),
        "creationTime": request.created,
        "lastUpdateTime": request.updated,
    })
}

fn not_found(id: &str) -> IamError {
    IamError(StatusCode::NOT_FOUND, format!("there is no group request {id}"))
}

/// A request that the principal may see; others are as if they were not there.
async fn visible(identity: &Identity, principal: &Principal, id: &str, write: bool) -> Result<GroupRequest, IamError> {
    let wanted = id.to_owned();
    let request = identity.0.store.read(move |tx| table::request_by_id(tx, &wanted)).await?;
    let request = request.ok_or_else(|| not_found(id))?;
    let own = is_person(principal) && request.name == principal.name();
    if own || decides(identity, principal, &request, write) { Ok(request) } else { Err(not_found(id)) }
}

fn decides(identity: &Identity, principal: &Principal, request: &GroupRequest, write: bool) -> bool {
    is_iam_admin(principal, write) || identity.manages(principal, &request.group_path)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    username: Option<String>,
    group_name: Option<String>,
    status: Option<RequestStatus>,
    #[serde(default)]
    after: String,
}

async fn list(
    State(identity): State<Identity>,
    principal: Principal,
    Query(filter): Query<Filter>,
) -> Result<Json<Value>, IamError> {
    let path = filter.group_name.map(|name| format!("/{}", name.trim_start_matches('/')));
    let manages_it = path.as_deref().is_some_and(|path| identity.manages(&principal, path));
    let name = if is_iam_admin(&principal, false) || manages_it {
        filter.username
    } else if is_person(&principal) {
        Some(principal.name().to_owned())
    } else {
        return Err(IamError(StatusCode::FORBIDDEN, "a person's own requests are for people".to_owned()));
    };
    let wanted = RequestFilter { name, group_path: path, status: filter.status };
    let after = filter.after;
    let found = identity.0.store.read(move |tx| table::requests(tx, &wanted, &after, MOST)).await?;
    let shown: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({"totalResults": shown.len(), "itemsPerPage": shown.len(), "startIndex": 1, "Resources": shown})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    group_name: String,
    #[serde(default)]
    notes: String,
}

async fn ask(
    State(identity): State<Identity>,
    principal: Principal,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, IamError> {
    if !is_person(&principal) {
        return Err(IamError(StatusCode::FORBIDDEN, "people ask for themselves".to_owned()));
    }
    let request = identity.request_group(&wanted.group_name, principal.name(), &wanted.notes).await?;
    Ok(Json(shown(&request)))
}

async fn show(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, IamError> {
    Ok(Json(shown(&visible(&identity, &principal, &id, false).await?)))
}

async fn remove(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, IamError> {
    let request = visible(&identity, &principal, &id, true).await?;
    let admin = is_iam_admin(&principal, true);
    let own = is_person(&principal) && request.name == principal.name();
    if !own && !admin {
        return Err(IamError(StatusCode::FORBIDDEN, "it is another person's request".to_owned()));
    }
    identity.delete_request(&id, principal.name(), admin).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn approve(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, IamError> {
    decide(&identity, &principal, &id, true, None).await
}

#[derive(Deserialize)]
struct Why {
    motivation: Option<String>,
}

async fn reject(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Json<Value>, IamError> {
    decide(&identity, &principal, &id, false, why.motivation.as_deref()).await
}

async fn decide(
    identity: &Identity,
    principal: &Principal,
    id: &str,
    yes: bool,
    motivation: Option<&str>,
) -> Result<Json<Value>, IamError> {
    let request = visible(identity, principal, id, true).await?;
    if !decides(identity, principal, &request, true) {
        return Err(IamError(StatusCode::FORBIDDEN, "this is for managers of the group".to_owned()));
    }
    Ok(Json(shown(&identity.decide_request(id, yes, motivation, principal.name()).await?)))
}
