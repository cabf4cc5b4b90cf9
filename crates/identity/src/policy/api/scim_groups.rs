//! `/scim/v2/Groups`. A group's `displayName` is its path without the first slash, as in INDIGO IAM.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use dte_base::time::Timestamp;
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::scim::{
    BASE, Body, GROUP, GROUP_EXTENSION, Op, Operation, Patch, READS, ScimError, WRITES, Wanted, answer, must, unknown,
};
use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::groups::{GroupRecord, MOST_AT_ONCE, Step};
use crate::policy::model::filter::PatchPath;
use crate::policy::model::membership::{Event, parent};
use crate::routes::Routes;

pub(super) fn scim(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/Groups", READS, list)
        .post("/Groups", WRITES, add)
        .get("/Groups/{id}", READS, show)
        .put("/Groups/{id}", WRITES, replace)
        .patch("/Groups/{id}", WRITES, patch)
        .delete("/Groups/{id}", WRITES, remove)
}

fn rendered(identity: &Identity, group: &GroupRecord, with_members: bool) -> Value {
    let url = |path: &str| identity.0.client.url_of(&format!("{BASE}{path}"));
    let reference = |group: &GroupRecord| json!({"value": group.id, "display": shown_path(&group.path), "$ref": url(&format!("/Groups/{}", group.id))});
    let state = identity.0.policy.state();
    let mut extension = json!({"description": group.description});
    if let Some(above) = parent(&group.path).and_then(|path| state.group_at(path)) {
        extension["parentGroup"] = reference(above);
    }
    let mut body = json!({
        "schemas": [GROUP, GROUP_EXTENSION],
        "id": group.id,
        "meta": {
            "resourceType": "Group", "created": group.created, "lastModified": group.modified,
            "location": url(&format!("/Groups/{}", group.id)),
        },
        "displayName": shown_path(&group.path),
        GROUP_EXTENSION: extension,
    });
    if with_members {
        let users = url("/Users/");
        let each =
            |name: &str| json!({"value": name, "display": name, "type": "User", "$ref": format!("{users}{name}")});
        drop(state);
        body["members"] = members(identity, &group.id).iter().map(|name| each(name)).collect();
    }
    body
}

fn shown_path(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// Plain members who count now.
fn members(identity: &Identity, id: &str) -> BTreeSet<String> {
    let now = Timestamp::now();
    let state = identity.0.policy.state();
    let plain = state.members_of(id).filter(|(_, role, standing)| role.is_empty() && standing.counts(now));
    plain.map(|(name, _, _)| name.to_owned()).collect()
}

fn found(identity: &Identity, id: &str) -> Result<GroupRecord, ScimError> {
    let group = identity.0.policy.state().group(id).cloned();
    group.ok_or_else(|| ScimError::not_found(format!("there is no group {id}")))
}

fn one(identity: &Identity, wanted: &Wanted, id: &str) -> Result<Response, ScimError> {
    let body = rendered(identity, &found(identity, id)?, wanted.needs("members"));
    Ok(answer(StatusCode::OK, &wanted.shown(body)))
}

async fn list(State(identity): State<Identity>, principal: Principal, wanted: Wanted) -> Result<Response, ScimError> {
    must(&principal, false)?;
    let groups: Vec<GroupRecord> = {
        let state = identity.0.policy.state();
        match wanted.filter.as_ref().and_then(|filter| filter.exactly("displayName")) {
            Some(name) => state.group_at(&format!("/{name}")).cloned().into_iter().collect(),
            None => state.groups_after("").cloned().collect(),
        }
    };
    let with_members = wanted.needs("members");
    Ok(wanted.list(groups.iter().map(|group| rendered(&identity, group, with_members))))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    display_name: Option<String>,
    members: Option<Vec<SentMember>>,
    #[serde(rename = "urn:indigo-dc:scim:schemas:IndigoGroup")]
    extension: Option<Extension>,
}

#[derive(Deserialize)]
struct SentMember {
    value: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extension {
    parent_group: Option<ParentGroup>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct ParentGroup {
    value: String,
}

/// The names, each once.
fn names(members: Vec<SentMember>) -> Result<BTreeSet<String>, ScimError> {
    if members.len() > MOST_AT_ONCE {
        return Err(ScimError::new(
            StatusCode::BAD_REQUEST,
            "tooMany",
            format!("at most {MOST_AT_ONCE} members at once"),
        ));
    }
    let one = |member: SentMember| match member.kind.as_deref() {
        Some(kind) if !kind.eq_ignore_ascii_case("user") => {
            Err(ScimError::value("members are users; groups stand beneath groups by their names"))
        }
        _ => Ok(member.value),
    };
    members.into_iter().map(one).collect()
}

fn members_of(value: Value) -> Result<BTreeSet<String>, ScimError> {
    let list = if value.is_array() { value } else { Value::Array(vec![value]) };
    let sent: Vec<SentMember> =
        serde_json::from_value(list).map_err(|error| ScimError::value(format!("members: {error}")))?;
    names(sent)
}

async fn add(
    State(identity): State<Identity>,
    principal: Principal,
    Body(sent): Body<Sent>,
) -> Result<Response, ScimError> {
    must(&principal, true)?;
    let Some(name) = &sent.display_name else { return Err(ScimError::value("displayName is missing")) };
    let above = sent.extension.as_ref().and_then(|extension| extension.parent_group.as_ref());
    let path = match above {
        Some(above) => {
            let group = identity.0.policy.state().group(&above.value).cloned();
            let group = group.ok_or_else(|| ScimError::value(format!("there is no group {}", above.value)))?;
            // With its parent named, the name may be the last part or all of it.
            let whole = format!("{}/", shown_path(&group.path));
            format!("{}/{}", group.path, name.strip_prefix(&whole).unwrap_or(name))
        }
        None => name.clone(),
    };
    let description = sent.extension.and_then(|extension| extension.description).unwrap_or_default();
    let wanted = names(sent.members.unwrap_or_default())?;
    let steps: Vec<Step> = wanted.into_iter().map(|name| step(name, Event::Admit)).collect();
    identity.check_steps(&steps).map_err(|refusal| ScimError::value(refusal.to_string()))?;
    let group = identity.add_group(&path, &description, &[], principal.name()).await?;
    if !steps.is_empty() {
        identity.step_members(&group.id, steps, principal.name()).await?;
    }
    let body = rendered(&identity, &group, true);
    let location = body["meta"]["location"].as_str().unwrap_or_default().to_owned();
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer(StatusCode::CREATED, &body)).into_response())
}

fn step(name: String, event: Event) -> Step {
    Step { name, role: String::new(), event, expires: None }
}

async fn show(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    wanted: Wanted,
) -> Result<Response, ScimError> {
    must(&principal, false)?;
    one(&identity, &wanted, &id)
}

/// A group as it shall be.
struct Draft {
    group: GroupRecord,
    description: Option<String>,
    members: BTreeSet<String>,
}

impl Draft {
    fn of(identity: &Identity, id: &str) -> Result<Self, ScimError> {
        let group = found(identity, id)?;
        Ok(Draft { members: members(identity, id), description: None, group })
    }

    fn same_name(&self, name: &str) -> Result<(), ScimError> {
        if name.trim_start_matches('/') == shown_path(&self.group.path) {
            return Ok(());
        }
        Err(ScimError::new(StatusCode::BAD_REQUEST, "mutability", "displayName is given once and for all"))
    }

    fn set(&mut self, op: Op, attribute: &str, path: Option<&PatchPath>, value: Value) -> Result<(), ScimError> {
        let sub = path.and_then(|path| path.path.sub.as_deref());
        match (attribute.to_ascii_lowercase().as_str(), sub) {
            ("members", None) => self.set_members(op, path, value),
            ("displayname", None) if op != Op::Remove => self.same_name(value.as_str().unwrap_or_default()),
            ("description", None) => {
                self.description = Some(value.as_str().unwrap_or_default().to_owned());
                Ok(())
            }
            ("schemas" | "id" | "meta", None) if op != Op::Remove => Ok(()),
            (name, None) if name == GROUP_EXTENSION.to_ascii_lowercase() && op != Op::Remove => {
                if let Some(text) = value["description"].as_str() {
                    self.description = Some(text.to_owned());
                }
                Ok(())
            }
            _ => Err(unknown(attribute)),
        }
    }

    fn set_members(&mut self, op: Op, path: Option<&PatchPath>, value: Value) -> Result<(), ScimError> {
        let which = path.and_then(|path| path.which.as_ref());
        match (op, which) {
            (Op::Add, None) => self.members.extend(members_of(value)?),
            (Op::Replace, None) => self.members = members_of(value)?,
            (Op::Remove, None) if value.is_null() => self.members.clear(),
            (Op::Remove, None) => {
                let gone = members_of(value)?;
                self.members.retain(|name| !gone.contains(name));
            }
            (Op::Remove, Some(filter)) => {
                let fits = |name: &String| filter.fits(&json!({"value": name, "display": name, "type": "User"}));
                self.members.retain(|name| !fits(name));
            }
            (Op::Add | Op::Replace, Some(_)) => {
                return Err(ScimError::new(
                    StatusCode::BAD_REQUEST,
                    "invalidPath",
                    "members are added and removed whole",
                ));
            }
        }
        Ok(())
    }

    /// Makes it so: those who are new are let in, those who are not named any more leave.
    async fn save(self, identity: &Identity, by: &str) -> Result<(), ScimError> {
        let before = members(identity, &self.group.id);
        let leave = before.difference(&self.members).map(|name| step(name.clone(), Event::Leave));
        let admit = self.members.difference(&before).map(|name| step(name.clone(), Event::Admit));
        let steps: Vec<Step> = leave.chain(admit).collect();
        identity.check_steps(&steps).map_err(|refusal| ScimError::value(refusal.to_string()))?;
        if !steps.is_empty() {
            identity.step_members(&self.group.id, steps, by).await?;
        }
        if let Some(description) = &self.description {
            identity.set_group(&self.group.id, Some(description), None, by).await?;
        }
        Ok(())
    }
}

async fn replace(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    wanted: Wanted,
    Body(sent): Body<Sent>,
) -> Result<Response, ScimError> {
    must(&principal, true)?;
    let mut draft = Draft::of(&identity, &id)?;
    if let Some(name) = &sent.display_name {
        draft.same_name(name)?;
    }
    draft.members = names(sent.members.unwrap_or_default())?;
    draft.description = sent.extension.and_then(|extension| extension.description);
    draft.save(&identity, principal.name()).await?;
    one(&identity, &wanted, &id)
}

async fn patch(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    wanted: Wanted,
    Body(patch): Body<Patch>,
) -> Result<Response, ScimError> {
    must(&principal, true)?;
    let mut draft = Draft::of(&identity, &id)?;
    for Operation { op, path, value } in patch.operations()? {
        match &path {
            Some(path) => draft.set(op, &path.path.attribute, Some(path), value)?,
            None => {
                let Value::Object(map) = value else {
                    return Err(ScimError::value("without a path the value is an object of attributes"));
                };
                for (attribute, value) in map {
                    draft.set(op, &attribute, None, value)?;
                }
            }
        }
    }
    draft.save(&identity, principal.name()).await?;
    one(&identity, &wanted, &id)
}

async fn remove(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, ScimError> {
    must(&principal, true)?;
    found(&identity, &id)?;
    identity.delete_group(&id, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
