//! `/policy/v1/providers` and `/policy/v1/communities`: applications, and the steps that they take.

use axum::extract::{Path, State as Holder};
use dte_http::{Json, Page, PageOf, Problem};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::groups::is_person;
use crate::policy::model::onboarding::{BASELINE, Kind, Role, State};
use crate::policy::onboarding::{Application, Grounds, Wish};
use crate::policy::store::onboarding as table;
use crate::routes::{Require, Routes};

const OWN: Require = Require::HandlerChecks("applicants their own; administrators all");

macro_rules! kind {
    ($routes:expr, $path:literal, $kind:expr) => {
        $routes
            .get(
                concat!("/v1/", $path),
                OWN,
                async |Holder(identity): Holder<Identity>, principal: Principal, page: Page| {
                    list(&identity, $kind, &principal, &page).await
                },
            )
            .post(
                concat!("/v1/", $path),
                OWN,
                async |Holder(identity): Holder<Identity>, principal: Principal, Json(wanted): Json<Wanted>| {
                    add(&identity, $kind, &principal, wanted).await
                },
            )
            .get(
                concat!("/v1/", $path, "/{id}"),
                OWN,
                async |Holder(identity): Holder<Identity>, principal: Principal, Path(id): Path<String>| {
                    show(&identity, $kind, &principal, &id).await
                },
            )
            .put(
                concat!("/v1/", $path, "/{id}"),
                OWN,
                async |Holder(identity): Holder<Identity>,
                       principal: Principal,
                       Path(id): Path<String>,
                       Json(sent): Json<Redraft>| {
                    redraft(&identity, $kind, &principal, &id, sent).await
                },
            )
            .post(
                concat!("/v1/", $path, "/{id}"),
                OWN,
                async |Holder(identity): Holder<Identity>,
                       principal: Principal,
                       Path(id): Path<String>,
                       Json(sent): Json<Asked>| { act(&identity, $kind, &principal, &id, sent).await },
            )
    };
}

pub(super) fn native(routes: Routes<Identity>) -> Routes<Identity> {
    let routes = routes.get("/v1/baseline", Require::Authenticated, async || Json(json!({"questions": BASELINE})));
    kind!(kind!(routes, "providers", Kind::Provider), "communities", Kind::Community)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default)]
    document: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redraft {
    version: i64,
    document: Value,
}

/// With `…/{id}:approve`, `as`; with `…/{id}:STATE` the state that it shall have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    version: i64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    evidence: Vec<String>,
    #[serde(rename = "as")]
    role: Option<Role>,
}

async fn list(
    identity: &Identity,
    kind: Kind,
    principal: &Principal,
    page: &Page,
) -> Result<Json<PageOf<Application>>, Problem> {
    let applicant = match (principal.is_admin(), is_person(principal)) {
        (true, _) => None,
        (false, true) => Some(principal.name().to_owned()),
        (false, false) => return Err(Problem::forbidden("people see their own applications, administrators all")),
    };
    let (after, limit) = (page.after.clone().unwrap_or_default(), page.limit + 1);
    let found = identity.0.store.read(move |tx| table::list(tx, kind, applicant.as_deref(), &after, limit)).await?;
    Ok(Json(PageOf::cut(found, page, |one| one.id.clone())))
}

async fn add(
    identity: &Identity,
    kind: Kind,
    principal: &Principal,
    wanted: Wanted,
) -> Result<(StatusCode, Json<Application>), Problem> {
    if !is_person(principal) {
        return Err(Problem::forbidden("people apply, with a token that is not confined"));
    }
    let document = if wanted.document.is_null() { json!({}) } else { wanted.document };
    Ok((StatusCode::CREATED, Json(identity.apply_for(kind, &wanted.name, document, principal.name()).await?)))
}

/// An application that the principal may see; another's is as if it were not there.
async fn visible(identity: &Identity, kind: Kind, principal: &Principal, id: &str) -> Result<Application, Problem> {
    let wanted = id.to_owned();
    let found = identity.0.store.read(move |tx| table::by_id(tx, kind, &wanted)).await?;
    let may = |one: &Application| principal.is_admin() || (is_person(principal) && one.applicant == principal.name());
    found.filter(may).ok_or_else(|| Problem::not_found(format!("there is no application {id}")))
}

async fn show(identity: &Identity, kind: Kind, principal: &Principal, id: &str) -> Result<Json<Value>, Problem> {
    let found = visible(identity, kind, principal, id).await?;
    let wanted = found.id.clone();
    let steps = identity.0.store.read(move |tx| table::steps(tx, &wanted)).await?;
    let mut body = json!(found);
    body["allowed"] = json!(found.state.allowed());
    body["missing"] = json!(kind.missing(&found.document));
    body["steps"] = json!(steps);
    Ok(Json(body))
}

async fn redraft(
    identity: &Identity,
    kind: Kind,
    principal: &Principal,
    id: &str,
    sent: Redraft,
) -> Result<Json<Application>, Problem> {
    let found = visible(identity, kind, principal, id).await?;
    if found.applicant != principal.name() {
        return Err(Problem::forbidden("the applicant says what is applied for"));
    }
    let wish = Wish::Redraft(sent.document);
    Ok(Json(identity.step_application(kind, id, sent.version, wish, Grounds::default(), principal.name()).await?))
}

async fn act(
    identity: &Identity,
    kind: Kind,
    principal: &Principal,
    id_and_action: &str,
    sent: Asked,
) -> Result<Json<Application>, Problem> {
    let (id, action) = id_and_action.split_once(':').unwrap_or((id_and_action, ""));
    let found = visible(identity, kind, principal, id).await?;
    let wish = match (action, State::named(action), sent.role) {
        ("approve", _, Some(role)) => Wish::Approve(role),
        ("approve", _, None) => return Err(Problem::bad_request("as: in what capacity do you approve?")),
        (_, Some(state), _) => Wish::Become(state),
        _ => return Err(Problem::not_found("an application is moved with :approve or with :STATE")),
    };
    let is_applicants = matches!(&wish, Wish::Become(state) if state.is_applicants());
    if !(is_applicants && found.applicant == principal.name()) {
        principal.must_be_admin()?;
    }
    let grounds = Grounds { reason: sent.reason, evidence: sent.evidence };
    Ok(Json(identity.step_application(kind, id, sent.version, wish, grounds, principal.name()).await?))
}
