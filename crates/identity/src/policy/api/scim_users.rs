//! `/scim/v2/Users` and `/scim/v2/Me`.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::scim::{
    BASE, Body, MOST, Op, Operation, Patch, READS, ScimError, USER, WRITES, Wanted, answer, must, unknown,
};
use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::groups::is_person;
use crate::policy::profiles::{Person, Profile};
use crate::routes::{Require, Routes};

const ME: Require = Require::HandlerChecks("people, about themselves");

pub(super) fn scim(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/Users", READS, list)
        .post("/Users", WRITES, add)
        .get("/Users/{id}", READS, show)
        .put("/Users/{id}", WRITES, replace)
        .patch("/Users/{id}", WRITES, patch)
        .delete("/Users/{id}", WRITES, remove)
        .get("/Me", ME, me)
        .patch("/Me", ME, patch_me)
}

pub(super) fn rendered(identity: &Identity, person: &Person) -> Value {
    let (name, profile) = (&person.user.name, &person.profile);
    let url = |path: String| identity.0.client.url_of(&format!("{BASE}{path}"));
    let groups: Vec<Value> = person
        .groups
        .iter()
        .map(|group| {
            json!({
                "value": group.id, "display": group.path.trim_start_matches('/'),
                "$ref": url(format!("/Groups/{}", group.id)), "type": "direct",
            })
        })
        .collect();
    let mut body = json!({
        "schemas": [USER],
        "id": name,
        "meta": {
            "resourceType": "User", "created": person.user.created, "lastModified": profile.modified,
            "location": url(format!("/Users/{name}")),
        },
        "userName": name,
        "displayName": profile.shown_name(name),
        "active": person.user.active,
        "groups": groups,
    });
    if !(profile.given.is_empty() && profile.family.is_empty()) {
        let full = format!("{} {}", profile.given, profile.family);
        body["name"] = json!({"givenName": profile.given, "familyName": profile.family, "formatted": full.trim()});
    }
    if !profile.email.is_empty() {
        body["emails"] = json!([{"type": "work", "value": profile.email, "primary": true}]);
    }
    body
}

fn found(identity: &Identity, id: &str) -> Result<Person, ScimError> {
    identity.person(id).ok_or_else(|| ScimError::not_found(format!("there is no user {id}")))
}

fn one(identity: &Identity, wanted: &Wanted, person: &Person) -> Response {
    answer(StatusCode::OK, &wanted.shown(rendered(identity, person)))
}

async fn list(State(identity): State<Identity>, principal: Principal, wanted: Wanted) -> Result<Response, ScimError> {
    must(&principal, false)?;
    let exactly = wanted.filter.as_ref().and_then(|filter| filter.exactly("userName").or(filter.exactly("id")));
    let people = match exactly {
        Some(name) => identity.person(&name.to_lowercase()).into_iter().collect(),
        None => identity.people(),
    };
    Ok(wanted.list(people.iter().map(|person| rendered(&identity, person))))
}

/// A user as a client sends it. What we do not know is ignored, as RFC 7644 section 3.3 allows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    user_name: Option<String>,
    display_name: Option<String>,
    name: Option<SentName>,
    active: Option<Flag>,
    emails: Option<Vec<SentEmail>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentName {
    given_name: Option<String>,
    family_name: Option<String>,
}

#[derive(Deserialize)]
struct SentEmail {
    value: String,
    #[serde(default)]
    primary: bool,
}

/// `true`, or `"True"` as some clients write it.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
struct Flag(bool);

impl TryFrom<Value> for Flag {
    type Error = &'static str;
    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match value {
            Value::Bool(flag) => Ok(Flag(flag)),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Flag(true)),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Flag(false)),
            _ => Err("active is true or false"),
        }
    }
}

impl Sent {
    /// What becomes of a profile when this takes its place.
    fn profile(&self, before: Profile) -> Profile {
        let name = self.name.as_ref();
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        Profile {
            display: text(self.display_name.as_ref()),
            given: text(name.and_then(|name| name.given_name.as_ref())),
            family: text(name.and_then(|name| name.family_name.as_ref())),
            email: primary(self.emails.as_deref().unwrap_or_default()),
            ..before
        }
    }
}

fn primary(emails: &[SentEmail]) -> String {
    let chosen = emails.iter().find(|email| email.primary).or(emails.first());
    chosen.map(|email| email.value.clone()).unwrap_or_default()
}

async fn add(
    State(identity): State<Identity>,
    principal: Principal,
    Body(sent): Body<Sent>,
) -> Result<Response, ScimError> {
    must(&principal, true)?;
    let Some(name) = &sent.user_name else { return Err(ScimError::value("userName is missing")) };
    let profile = sent.profile(Profile::empty(dte_base::time::Timestamp::EPOCH));
    let active = sent.active.is_none_or(|flag| flag.0);
    let person = identity.add_person(name, active, profile, principal.name()).await?;
    let body = rendered(&identity, &person);
    let location = body["meta"]["location"].as_str().unwrap_or_default().to_owned();
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer(StatusCode::CREATED, &body)).into_response())
}

async fn show(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    wanted: Wanted,
) -> Result<Response, ScimError> {
    must(&principal, false)?;
    Ok(one(&identity, &wanted, &found(&identity, &id)?))
}

async fn replace(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    wanted: Wanted,
    Body(sent): Body<Sent>,
) -> Result<Response, ScimError> {
    must(&principal, true)?;
    let person = found(&identity, &id)?;
    same_name(&person, sent.user_name.as_deref())?;
    let active = sent.active.map_or(person.user.active, |flag| flag.0);
    let person = identity.set_person(&id, active, sent.profile(person.profile), principal.name()).await?;
    Ok(one(&identity, &wanted, &person))
}

fn same_name(person: &Person, name: Option<&str>) -> Result<(), ScimError> {
    match name {
        Some(name) if !name.eq_ignore_ascii_case(&person.user.name) => {
            Err(ScimError::new(StatusCode::BAD_REQUEST, "mutability", "userName is given once and for all"))
        }
        _ => Ok(()),
    }
}

async fn patch(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    wanted: Wanted,
    Body(patch): Body<Patch>,
) -> Result<Response, ScimError> {
    must(&principal, true)?;
    let person = found(&identity, &id)?;
    let person = apply(&identity, person, patch.operations()?, principal.name()).await?;
    Ok(one(&identity, &wanted, &person))
}

async fn remove(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, ScimError> {
    must(&principal, true)?;
    found(&identity, &id)?;
    identity.delete_person(&id, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The account of a person who asks with all of its rights.
fn own(identity: &Identity, principal: &Principal) -> Result<Person, ScimError> {
    if !is_person(principal) {
        return Err(ScimError::forbidden("only people have a page about themselves"));
    }
    found(identity, principal.name())
}

async fn me(State(identity): State<Identity>, principal: Principal, wanted: Wanted) -> Result<Response, ScimError> {
    Ok(one(&identity, &wanted, &own(&identity, &principal)?))
}

async fn patch_me(
    State(identity): State<Identity>,
    principal: Principal,
    wanted: Wanted,
    Body(patch): Body<Patch>,
) -> Result<Response, ScimError> {
    if principal.acting.is_some() {
        return Err(ScimError::forbidden("people change what is known of them, not services that act for them"));
    }
    let person = own(&identity, &principal)?;
    let operations = patch.operations()?;
    let about_active = operations.iter().any(|operation| match &operation.path {
        Some(path) => path.path.attribute.eq_ignore_ascii_case("active"),
        None => operation.value.as_object().is_some_and(|map| map.keys().any(|key| key.eq_ignore_ascii_case("active"))),
    });
    if about_active {
        return Err(ScimError::forbidden("administrators activate and deactivate accounts"));
    }
    let person = apply(&identity, person, operations, principal.name()).await?;
    Ok(one(&identity, &wanted, &person))
}

async fn apply(identity: &Identity, person: Person, operations: Vec<Operation>, by: &str) -> Result<Person, ScimError> {
    let name = person.user.name.clone();
    let mut draft = person;
    for operation in operations {
        let Operation { op, path, value } = operation;
        match path {
            Some(path) => set(&mut draft, op, &path.path.attribute, path.path.sub.as_deref(), value)?,
            None => {
                let Value::Object(map) = value else {
                    return Err(ScimError::value("without a path the value is an object of attributes"));
                };
                for (attribute, value) in map.into_iter().take(MOST) {
                    let (attribute, sub) = match attribute.split_once('.') {
                        Some((attribute, sub)) if !attribute.contains(':') => (attribute, Some(sub)),
                        _ => (attribute.as_str(), None),
                    };
                    set(&mut draft, op, attribute, sub, value)?;
                }
            }
        }
    }
    let active = draft.user.active;
    Ok(identity.set_person(&name, active, draft.profile, by).await?)
}

/// One attribute of a draft.
fn set(draft: &mut Person, op: Op, attribute: &str, sub: Option<&str>, value: Value) -> Result<(), ScimError> {
    let wrong = |error: serde_json::Error| ScimError::value(format!("{attribute}: {error}"));
    let text = |value: Value| match (op, value) {
        (Op::Remove, _) | (_, Value::Null) => Ok(String::new()),
        (_, Value::String(text)) => Ok(text),
        _ => Err(ScimError::value(format!("{attribute} is a text"))),
    };
    let profile = &mut draft.profile;
    match (attribute.to_ascii_lowercase().as_str(), sub.map(str::to_ascii_lowercase).as_deref()) {
        ("active", None) if op != Op::Remove => {
            draft.user.active = serde_json::from_value::<Flag>(value).map_err(wrong)?.0;
        }
        ("displayname", None) => profile.display = text(value)?,
        ("name", None) if op == Op::Remove => (profile.given, profile.family) = (String::new(), String::new()),
        ("name", None) => {
            let name: SentName = serde_json::from_value(value).map_err(wrong)?;
            if let Some(given) = name.given_name {
                profile.given = given;
            }
            if let Some(family) = name.family_name {
                profile.family = family;
            }
        }
        ("name", Some("givenname")) => profile.given = text(value)?,
        ("name", Some("familyname")) => profile.family = text(value)?,
        ("emails", Some("value")) => profile.email = text(value)?,
        ("emails", None) if op == Op::Remove => profile.email.clear(),
        ("emails", None) => {
            let list = if value.is_array() { value } else { Value::Array(vec![value]) };
            profile.email = primary(&serde_json::from_value::<Vec<SentEmail>>(list).map_err(wrong)?);
        }
        ("username", None) if op != Op::Remove => same_name(draft, Some(&text(value)?))?,
        ("schemas" | "id" | "meta", None) if op != Op::Remove => {}
        _ => return Err(unknown(attribute)),
    }
    Ok(())
}
