//! `/policy/v1/aups`: terms of use of the infrastructure, of communities and of providers, and their versions.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_http::{Json, Problem};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::model::aup::{
    AupVersion, ChangeClass, Document, Owner, Semver, Status, Terms, base_clauses, current,
};
use crate::policy::terms::Draft;
use crate::routes::{Require, Routes};

const KEEPERS: Require = Require::HandlerChecks("administrators; managers of the community for its own");
/// What everybody may read: who shall agree must be able to read it first.
const OPEN: Require = Require::Public("terms of use are for everybody who is asked to accept them");

pub(super) fn native(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/v1/aups", OPEN, list)
        .get("/v1/aups/{owner}", OPEN, show)
        .get("/v1/aups/{owner}/versions", KEEPERS, versions)
        .post("/v1/aups/{owner}/versions", KEEPERS, draft)
        .get("/v1/aups/{owner}/versions/{version}", OPEN, version)
        .put("/v1/aups/{owner}/versions/{version}", KEEPERS, redraft)
        .post("/v1/aups/{owner}/versions/{version}", KEEPERS, act)
        .get("/v1/exemptions", Require::Admin, exemptions)
        .put("/v1/exemptions/{name}", Require::Admin, exempt)
        .delete("/v1/exemptions/{name}", Require::Admin, end_exemption)
}

fn owner_of(text: &str) -> Result<Owner, Problem> {
    Owner::parse(text).ok_or_else(|| {
        Problem::not_found(format!("{text:?} owns no AUP: it is infrastructure, vo:NAME or provider:NAME"))
    })
}

/// An owner whose terms the principal keeps.
fn kept(identity: &Identity, principal: &Principal, owner: &str) -> Result<Owner, Problem> {
    let owner = owner_of(owner)?;
    let may = match &owner {
        Owner::Vo(name) => identity.manages(principal, &format!("/{name}")),
        Owner::Infrastructure | Owner::Provider(_) => principal.is_admin(),
    };
    if may { Ok(owner) } else { Err(Problem::forbidden(format!("this is for those who keep the terms of {owner}"))) }
}

/// A version with its whole text.
pub(super) fn with_text(version: &AupVersion) -> Value {
    let mut body = json!(version);
    body["text"] = version.document.text().into();
    body
}

async fn list(State(identity): State<Identity>) -> Json<Value> {
    let state = identity.0.policy.state();
    let each = |(owner, versions): (&Owner, &[AupVersion])| {
        current(versions).map(|current| json!({"owner": owner, "current": current}))
    };
    let items: Vec<Value> = state.aups().filter_map(each).collect();
    Json(json!({"items": items, "base_clauses": base_clauses().collect::<Vec<_>>()}))
}

async fn show(State(identity): State<Identity>, Path(owner): Path<String>) -> Result<Json<Value>, Problem> {
    let owner = owner_of(&owner)?;
    let state = identity.0.policy.state();
    let current = current(state.aups_of(&owner));
    current
        .map(|version| Json(with_text(version)))
        .ok_or_else(|| Problem::not_found(format!("{owner} has no AUP in force")))
}

async fn versions(
    State(identity): State<Identity>,
    principal: Principal,
    Path(owner): Path<String>,
) -> Result<Json<Value>, Problem> {
    let owner = kept(&identity, &principal, &owner)?;
    Ok(Json(json!({"items": identity.0.policy.state().aups_of(&owner)})))
}

/// A version by its number or id.
fn find(identity: &Identity, owner: &Owner, name: &str) -> Result<AupVersion, Problem> {
    let state = identity.0.policy.state();
    let is_it = |version: &&AupVersion| version.id == name || version.version.to_string() == name;
    let found = state.aups_of(owner).iter().find(is_it).cloned();
    found.ok_or_else(|| Problem::not_found(format!("{owner} has no version {name}")))
}

async fn version(
    State(identity): State<Identity>,
    principal: Option<Principal>,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let owner = owner_of(&owner)?;
    let found = find(&identity, &owner, &name)?;
    if found.status == Status::Draft {
        let keeper = principal.ok_or_else(|| Problem::not_found(format!("{owner} has no version {name}")))?;
        kept(&identity, &keeper, &owner.to_string())?;
    }
    Ok(Json(with_text(&found)))
}

#[derive(Deserialize)]
struct Wanted {
    version: Option<String>,
    #[serde(default = "material")]
    change_class: ChangeClass,
    effective_from: Option<Timestamp>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    purpose: String,
    #[serde(default)]
    security_contact: String,
    #[serde(default)]
    privacy_notices: Vec<String>,
    #[serde(default)]
    sla: Vec<String>,
    #[serde(default)]
    extra_clauses: Vec<String>,
    url: Option<String>,
    #[serde(flatten)]
    terms: Terms,
}

fn material() -> ChangeClass {
    ChangeClass::Material
}

impl Wanted {
    fn draft(self) -> Result<Draft, Problem> {
        let version = self.version.map(|text| {
            Semver::parse(&text).ok_or_else(|| Problem::bad_request(format!("version {text:?} is not like 1.0.0")))
        });
        Ok(Draft {
            version: version.transpose()?,
            change_class: self.change_class,
            document: Document {
                name: self.name,
                purpose: self.purpose,
                security_contact: self.security_contact,
                privacy_notices: self.privacy_notices,
                sla: self.sla,
                extra_clauses: self.extra_clauses,
                url: self.url,
            },
            terms: self.terms,
            effective_from: self.effective_from,
        })
    }
}

async fn draft(
    State(identity): State<Identity>,
    principal: Principal,
    Path(owner): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let owner = kept(&identity, &principal, &owner)?;
    let made = identity.draft_aup(&owner, wanted.draft()?, principal.name()).await?;
    Ok((StatusCode::CREATED, Json(with_text(&made))))
}

async fn redraft(
    State(identity): State<Identity>,
    principal: Principal,
    Path((owner, name)): Path<(String, String)>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, Problem> {
    let owner = kept(&identity, &principal, &owner)?;
    let found = find(&identity, &owner, &name)?;
    Ok(Json(with_text(&identity.redraft_aup(&found.id, wanted.draft()?, principal.name()).await?)))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Reviewed {
    /// Of the text that was reviewed.
    text_sha256: Option<String>,
}

/// `…/versions/1.0.0:publish` and `:retire`.
async fn act(
    State(identity): State<Identity>,
    principal: Principal,
    Path((owner, action)): Path<(String, String)>,
    Json(reviewed): Json<Option<Reviewed>>,
) -> Result<Json<Value>, Problem> {
    let owner = kept(&identity, &principal, &owner)?;
    let (name, action) = action.rsplit_once(':').unwrap_or((&action, ""));
    let found = find(&identity, &owner, name)?;
    let digest = reviewed.unwrap_or_default().text_sha256;
    let done = match action {
        "publish" => identity.publish_aup(&found.id, digest.as_deref(), principal.name()).await?,
        "retire" => identity.retire_aup(&found.id, principal.name()).await?,
        _ => return Err(Problem::not_found("a version is published with :publish and retired with :retire")),
    };
    Ok(Json(with_text(&done)))
}

async fn exemptions(State(identity): State<Identity>) -> Json<Value> {
    let state = identity.0.policy.state();
    let mut items: Vec<_> = state.exemptions().collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Json(json!({"items": items}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
}

async fn exempt(
    State(identity): State<Identity>,
    principal: Principal,
    Path(name): Path<String>,
    Json(why): Json<Reason>,
) -> Result<StatusCode, Problem> {
    identity.exempt(&name, Some(&why.reason), principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_exemption(
    State(identity): State<Identity>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    identity.exempt(&name, None, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
