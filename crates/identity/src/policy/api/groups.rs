//! `/policy/v1/groups`: communities, groups and their members.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_http::{Json, Page, PageOf, Problem, Query};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{MANAGERS, MEMBERS_BODY, OWN};
use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::change::Refusal;
use crate::policy::groups::{GroupRecord, Step, is_person};
use crate::policy::model::membership::{self, Event, group_path, parent};
use crate::routes::{Require, Routes};

pub(super) fn native(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/v1/groups", Require::Authenticated, list)
        .post("/v1/groups", MANAGERS, add)
        .get("/v1/groups/{id}", Require::Authenticated, show)
        .patch("/v1/groups/{id}", MANAGERS, set)
        .delete("/v1/groups/{id}", MANAGERS, remove)
        .get("/v1/groups/{id}/members", MANAGERS, members)
        .delete(
            "/v1/groups/{id}/members/{name}",
            Require::HandlerChecks("the person, and managers of the group"),
            leave,
        )
        .get("/v1/me/groups", OWN, mine)
        .body_limit(MEMBERS_BODY)
        .post("/v1/groups/{id}/members", MANAGERS, step)
}

fn shown(identity: &Identity, principal: &Principal, group: &GroupRecord) -> Value {
    let mut body = json!({
        "id": group.id, "path": group.path, "description": group.description,
        "created": group.created, "modified": group.modified,
    });
    if identity.manages(principal, &group.path) {
        body["managers"] = json!(group.managers);
    }
    body
}

fn found(identity: &Identity, id: &str) -> Result<GroupRecord, Problem> {
    let group = identity.0.policy.state().group(id).cloned();
    group.ok_or_else(|| Problem::not_found(format!("there is no group {id}")))
}

/// A group that the principal manages.
fn managed(identity: &Identity, principal: &Principal, id: &str) -> Result<GroupRecord, Problem> {
    let group = found(identity, id)?;
    must_manage(identity, principal, &group.path)?;
    Ok(group)
}

fn must_manage(identity: &Identity, principal: &Principal, path: &str) -> Result<(), Problem> {
    if identity.manages(principal, path) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this is for administrators and for managers of {path}")))
}

#[derive(Deserialize)]
struct Filter {
    path: Option<String>,
}

async fn list(
    State(identity): State<Identity>,
    principal: Principal,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Json<PageOf<Value>>, Problem> {
    let groups: Vec<GroupRecord> = {
        let state = identity.0.policy.state();
        match filter.path {
            Some(path) => state.group_at(&path).cloned().into_iter().collect(),
            None => {
                state.groups_after(page.after.as_deref().unwrap_or_default()).take(page.limit + 1).cloned().collect()
            }
        }
    };
    let PageOf { items, next } = PageOf::cut(groups, &page, |group| group.path.clone());
    let items = items.iter().map(|group| shown(&identity, &principal, group)).collect();
    Ok(Json(PageOf { items, next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    path: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    managers: Vec<String>,
}

async fn add(
    State(identity): State<Identity>,
    principal: Principal,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let path = group_path(&wanted.path).map_err(Problem::bad_request)?;
    match parent(&path) {
        Some(above) => must_manage(&identity, &principal, above)?,
        None => principal.must_be_admin()?,
    }
    let group = identity.add_group(&path, &wanted.description, &wanted.managers, principal.name()).await?;
    Ok((StatusCode::CREATED, Json(shown(&identity, &principal, &group))))
}

async fn show(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let group = found(&identity, &id)?;
    Ok(Json(shown(&identity, &principal, &group)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    description: Option<String>,
    managers: Option<Vec<String>>,
}

async fn set(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    Json(wanted): Json<Settings>,
) -> Result<Json<Value>, Problem> {
    managed(&identity, &principal, &id)?;
    let (description, managers) = (wanted.description.as_deref(), wanted.managers.as_deref());
    let group = identity.set_group(&id, description, managers, principal.name()).await?;
    Ok(Json(shown(&identity, &principal, &group)))
}

async fn remove(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let group = found(&identity, &id)?;
    match parent(&group.path) {
        Some(above) => must_manage(&identity, &principal, above)?,
        None => principal.must_be_admin()?,
    }
    identity.delete_group(&id, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct Member {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    state: membership::State,
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

async fn members(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    page: Page,
) -> Result<Json<PageOf<Member>>, Problem> {
    managed(&identity, &principal, &id)?;
    // `name role`: neither has a space.
    let after = page.after.clone().unwrap_or_default();
    let after = after.split_once(' ').unwrap_or((&after, ""));
    let now = Timestamp::now();
    let state = identity.0.policy.state();
    let rows = state.members_after(&id, after).take(page.limit + 1);
    let each = |(name, role, standing): (&str, &str, crate::policy::memory::Standing)| Member {
        name: name.to_owned(),
        role: role.to_owned(),
        state: standing.state.at(standing.expires, now),
        since: standing.since,
        expires: standing.expires,
    };
    let rows = rows.map(each).collect();
    Ok(Json(PageOf::cut(rows, &page, |member| format!("{} {}", member.name, member.role))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    #[serde(default = "admit")]
    event: Event,
    members: Vec<StepWanted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepWanted {
    name: String,
    #[serde(default)]
    role: String,
    expires: Option<Timestamp>,
}

fn admit() -> Event {
    Event::Admit
}

async fn step(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    Json(wanted): Json<Steps>,
) -> Result<StatusCode, Problem> {
    managed(&identity, &principal, &id)?;
    if matches!(wanted.event, Event::Request | Event::Warn | Event::Expire) {
        return Err(Problem::bad_request(
            "event is admit, decline, renew, suspend, resume or leave; people ask for themselves, and time expires",
        ));
    }
    let event = wanted.event;
    let each = |step: StepWanted| Step { name: step.name, role: step.role, event, expires: step.expires };
    let steps = wanted.members.into_iter().map(each).collect();
    identity.step_members(&id, steps, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct WhichRole {
    #[serde(default)]
    role: String,
}

async fn leave(
    State(identity): State<Identity>,
    principal: Principal,
    Path((id, name)): Path<(String, String)>,
    Query(which): Query<WhichRole>,
) -> Result<StatusCode, Problem> {
    let group = found(&identity, &id)?;
    if !(is_person(&principal) && principal.name() == name) {
        must_manage(&identity, &principal, &group.path)?;
    }
    let role = membership::role(&which.role).map_err(Problem::bad_request)?;
    let known = identity.0.policy.state().members_of(&id).any(|(known, its, _)| known == name && its == role);
    if !known {
        return Err(Refusal::NoSuch(format!("member {name} of {}", group.path)).into());
    }
    let step = Step { name, role, event: Event::Leave, expires: None };
    identity.step_members(&id, vec![step], principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn mine(State(identity): State<Identity>, principal: Principal) -> Result<Json<Value>, Problem> {
    if principal.issuer != identity.issuer() {
        return Err(Problem::forbidden("groups of other issuers' people are known to those issuers"));
    }
    let now = Timestamp::now();
    let state = identity.0.policy.state();
    let each = |(group, role, standing): (&GroupRecord, &str, crate::policy::memory::Standing)| {
        json!({
            "id": group.id, "path": group.path, "role": role, "since": standing.since, "expires": standing.expires,
            "state": standing.state.at(standing.expires, now), "manager": state.manages(principal.name(), &group.path),
        })
    };
    let groups: Vec<Value> = state.memberships_of(principal.name()).into_iter().map(each).collect();
    Ok(Json(json!({"groups": groups})))
}
