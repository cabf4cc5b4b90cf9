//! `/iam/aup`: the infrastructure's terms of use as INDIGO IAM has them, one document at a web address.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_http::Json;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::acceptances::signature;
use super::{IamError, is_iam_admin, must_be_iam_admin};
use crate::Identity;
use crate::model::principal::Principal;
use crate::model::scope::ADMIN_SCOPE;
use crate::policy::agreements::{Method, can_agree};
use crate::policy::model::aup::{Accepted, AupVersion, ChangeClass, Document, Owner, Status, Terms, bad_url, current};
use crate::policy::terms::Draft;
use crate::routes::{Require, Routes};

const OPEN: Require = Require::Public("terms of use are for everybody who is asked to accept them");
const READS: Require = Require::OneOf(
    &["iam:admin.read", "iam:admin.write", ADMIN_SCOPE],
    "each the own; administrators, or clients with iam:admin.read or iam:admin.write",
);
const WRITES: Require =
    Require::OneOf(&["iam:admin.write", ADMIN_SCOPE], "administrators, or clients with iam:admin.write");
/// Days before the end at which people are reminded, when nobody says otherwise.
const USUAL_REMINDERS: &[u32] = &[30, 15, 1];

pub(super) fn iam(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/aup", OPEN, show)
        .post("/aup", WRITES, create)
        .patch("/aup", WRITES, change)
        .delete("/aup", WRITES, remove)
        .post("/aup/touch", WRITES, touch)
        .get("/aup/signature", Require::HandlerChecks("people, about themselves"), own_signature)
        .post("/aup/signature", Require::HandlerChecks("people, for themselves"), sign)
        .get("/aup/signature/{id}", READS, signature_of)
        .patch("/aup/signature/{id}", WRITES, sign_for)
        .delete("/aup/signature/{id}", WRITES, unsign)
}

fn no_aup() -> IamError {
    IamError(StatusCode::NOT_FOUND, "AUP is not defined for this organization".to_owned())
}

/// The version in force, and those before it.
fn in_force(identity: &Identity) -> Result<(AupVersion, Vec<AupVersion>), IamError> {
    let state = identity.0.policy.state();
    let all = state.aups_of(&Owner::Infrastructure).to_vec();
    current(&all).cloned().map(|version| (version, all)).ok_or_else(no_aup)
}

fn shown(version: &AupVersion, all: &[AupVersion]) -> Value {
    let published = || all.iter().filter(|other| other.status == Status::Published);
    let since = published().filter_map(|other| other.published_at).min().unwrap_or(version.created);
    let material = published().filter(|other| other.change_class == ChangeClass::Material);
    let asked =
        material.filter_map(|other| other.published_at).chain(published().filter_map(|other| other.touched)).max();
    let reminders: Vec<String> = version.terms.reminders_days.iter().map(u32::to_string).collect();
    json!({
        "id": version.id,
        "url": version.document.url,
        "text": version.document.text(),
        "description": version.document.purpose,
        "signatureValidityInDays": version.terms.signature_validity_days,
        "creationTime": since,
        "lastUpdateTime": asked.unwrap_or(since),
        "aupRemindersInDays": reminders.join(","),
    })
}

async fn show(State(identity): State<Identity>) -> Result<Json<Value>, IamError> {
    let (version, all) = in_force(&identity)?;
    Ok(Json(shown(&version, &all)))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    url: Option<String>,
    text: Option<String>,
    description: Option<String>,
    signature_validity_in_days: Option<i64>,
    aup_reminders_in_days: Option<String>,
}

fn invalid(why: impl Into<String>) -> IamError {
    IamError(StatusCode::BAD_REQUEST, format!("Invalid AUP: {}", why.into()))
}

impl Sent {
    /// What was said, on top of what was there.
    fn draft(self, before: Option<&AupVersion>) -> Result<Draft, IamError> {
        let known = before.map(|version| version.document.clone()).unwrap_or_default();
        let url = self.url.or(known.url.clone()).unwrap_or_default();
        if let Some(why) = bad_url(&url) {
            return Err(invalid(why));
        }
        let validity = match self.signature_validity_in_days {
            Some(days) => u32::try_from(days).map_err(|_| invalid("signatureValidityInDays must be >= 0"))?,
            None if before.is_none() => return Err(invalid("signatureValidityInDays is required")),
            None => before.map_or(0, |version| version.terms.signature_validity_days),
        };
        let reminders = match self.aup_reminders_in_days {
            Some(text) => {
                let days = text.split(',').map(str::trim).filter(|day| !day.is_empty());
                days.map(|day| day.parse().map_err(|_| invalid("aupRemindersInDays is a list of numbers")))
                    .collect::<Result<_, _>>()?
            }
            None => before.map_or_else(|| USUAL_REMINDERS.to_vec(), |version| version.terms.reminders_days.clone()),
        };
        // In this form everything that an owner must say stands at the address, unless it was said here before.
        let or = |text: String, other: &str| if text.trim().is_empty() { other.to_owned() } else { text };
        let text = self.text.filter(|text| !text.trim().is_empty());
        let document = Document {
            name: or(known.name, "this infrastructure"),
            purpose: or(self.description.unwrap_or(known.purpose), &format!("as stated at {url}")),
            security_contact: or(known.security_contact, &url),
            privacy_notices: if known.privacy_notices.is_empty() { vec![url.clone()] } else { known.privacy_notices },
            sla: known.sla,
            extra_clauses: text.map_or(known.extra_clauses, |text| vec![text]),
            url: Some(url),
        };
        let terms = Terms {
            signature_validity_days: validity,
            reminders_days: reminders,
            grace_days: before.map_or(0, |version| version.terms.grace_days),
        };
        let change_class = if before.is_some() { ChangeClass::Editorial } else { ChangeClass::Material };
        Ok(Draft { version: None, change_class, document, terms, effective_from: None })
    }
}

async fn create(
    State(identity): State<Identity>,
    principal: Principal,
    Json(sent): Json<Sent>,
) -> Result<(StatusCode, Json<Value>), IamError> {
    must_be_iam_admin(&principal, true)?;
    let draft = sent.draft(None)?;
    let made = identity.put_aup(&Owner::Infrastructure, draft, true, principal.name()).await?;
    Ok((StatusCode::CREATED, Json(shown(&made, std::slice::from_ref(&made)))))
}

/// A changed text is a new version, an editorial one: `touch` asks everybody again.
async fn change(
    State(identity): State<Identity>,
    principal: Principal,
    Json(sent): Json<Sent>,
) -> Result<Json<Value>, IamError> {
    must_be_iam_admin(&principal, true)?;
    let (before, _) = in_force(&identity)?;
    identity.put_aup(&Owner::Infrastructure, sent.draft(Some(&before))?, false, principal.name()).await?;
    show(State(identity)).await
}

async fn remove(State(identity): State<Identity>, principal: Principal) -> Result<StatusCode, IamError> {
    must_be_iam_admin(&principal, true)?;
    if identity.retire_all_aups(&Owner::Infrastructure, principal.name()).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(no_aup())
}

async fn touch(State(identity): State<Identity>, principal: Principal) -> Result<Json<Value>, IamError> {
    must_be_iam_admin(&principal, true)?;
    identity.touch_aup(&Owner::Infrastructure, principal.name()).await?.ok_or_else(no_aup)?;
    show(State(identity)).await
}

/// The newest signature of a subject, if there is one.
fn signature_at(identity: &Identity, issuer: &str, subject: &str) -> Result<Value, IamError> {
    let (version, all) = in_force(identity)?;
    let state = identity.0.policy.state();
    let newest: Option<Timestamp> =
        state.accepted(issuer, subject, &Owner::Infrastructure).iter().map(|one: &Accepted| one.at).max();
    let at = newest
        .ok_or_else(|| IamError(StatusCode::NOT_FOUND, format!("AUP signature not found for user '{subject}'")))?;
    Ok(json!({
        "aup": shown(&version, &all),
        "account": {"uuid": subject, "username": subject, "name": subject},
        "signatureTime": at,
    }))
}

async fn own_signature(State(identity): State<Identity>, principal: Principal) -> Result<Json<Value>, IamError> {
    Ok(Json(signature_at(&identity, &principal.issuer, &principal.subject)?))
}

async fn sign(
    State(identity): State<Identity>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<StatusCode, IamError> {
    let (version, _) = in_force(&identity)?;
    if !can_agree(&principal) || principal.acting.is_some() || principal.scopes.have_capabilities() {
        let why = "people sign for themselves, with a token that is not confined";
        return Err(IamError(StatusCode::FORBIDDEN, why.to_owned()));
    }
    let signature = signature(&principal, &principal.issuer, &principal.subject, Method::Api, &headers);
    identity.accept(&[version.id], signature).await?;
    Ok(StatusCode::CREATED)
}

fn known(identity: &Identity, id: &str) -> Result<(), IamError> {
    match identity.directory().users.contains_key(id) {
        true => Ok(()),
        false => Err(IamError(StatusCode::NOT_FOUND, format!("Account not found for id: {id}"))),
    }
}

async fn signature_of(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, IamError> {
    let own = principal.issuer == identity.issuer() && principal.subject == id;
    if !own && !is_iam_admin(&principal, false) {
        must_be_iam_admin(&principal, false)?;
    }
    known(&identity, &id)?;
    Ok(Json(signature_at(&identity, identity.issuer(), &id)?))
}

/// On behalf of somebody. 201, as INDIGO IAM answers.
async fn sign_for(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, IamError> {
    must_be_iam_admin(&principal, true)?;
    known(&identity, &id)?;
    let (version, _) = in_force(&identity)?;
    let signature = signature(&principal, identity.issuer(), &id, Method::OnBehalf, &headers);
    identity.accept(&[version.id], signature).await?;
    Ok(StatusCode::CREATED)
}

async fn unsign(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, IamError> {
    must_be_iam_admin(&principal, true)?;
    known(&identity, &id)?;
    signature_at(&identity, identity.issuer(), &id)?;
    let signature = signature(&principal, identity.issuer(), &id, Method::OnBehalf, &headers);
    identity.revoke_all(&Owner::Infrastructure, signature).await?;
    Ok(StatusCode::NO_CONTENT)
}
