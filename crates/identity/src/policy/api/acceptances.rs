//! `/policy/v1/acceptances` and `/policy/v1/me/requirements`: who accepted what, and what is asked of whom.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dte_base::time::Timestamp;
use dte_http::{Json, Page, PageOf, Problem, Query};
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::aups::with_text;
use super::{IAM_READ, OWN, has_admin_scope};
use crate::Identity;
use crate::model::principal::Principal;
use crate::policy::agreements::{Method, Record, Requirement, Signature, can_agree};
use crate::policy::groups::is_person;
use crate::policy::model::aup::{Need, Owner};
use crate::policy::store::acceptances::{self as table, Filter};
use crate::routes::{Require, Routes};

/// Records that are read at once for an export.
const AT_ONCE: usize = 1_000;
/// Records of one export; the rest follows with `after`.
const MOST_EXPORTED: usize = 100_000;
/// The export's signature: a token of this issuer with the SHA-256 of the body.
const SIGNATURE: HeaderName = HeaderName::from_static("dte-signature");

pub(super) fn native(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/v1/acceptances", OWN, list)
        .post("/v1/acceptances", Require::HandlerChecks("people for themselves; administrators on behalf"), accept)
        .post(
            "/v1/acceptances:revoke",
            Require::HandlerChecks("people for themselves; administrators on behalf"),
            revoke,
        )
        .get("/v1/acceptances:export", Require::Admin, export)
        .get("/v1/me/requirements", Require::HandlerChecks("people, about themselves"), mine)
}

/// How the request was made, for the evidence.
pub(super) fn signature(
    principal: &Principal,
    issuer: &str,
    subject: &str,
    method: Method,
    headers: &HeaderMap,
) -> Signature {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let language = text(ACCEPT_LANGUAGE).split([',', ';']).next().unwrap_or_default().trim();
    Signature {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        method,
        actor: principal.name().to_owned(),
        user_agent: text(USER_AGENT).to_owned(),
        locale: language.to_owned(),
    }
}

#[derive(Deserialize)]
struct Asked {
    subject: Option<String>,
    owner: Option<String>,
    /// `valid` shows what counts now; `all` (the default) every record.
    state: Option<String>,
}

async fn list(
    State(identity): State<Identity>,
    principal: Principal,
    page: Page,
    Query(asked): Query<Asked>,
) -> Result<Json<PageOf<Value>>, Problem> {
    let of_own_vo = match asked.owner.as_deref().and_then(Owner::parse) {
        Some(Owner::Vo(name)) => identity.manages(&principal, &format!("/{name}")),
        _ => false,
    };
    let is_admin = principal.is_admin() || has_admin_scope(&principal, IAM_READ);
    let filter = if is_admin || of_own_vo {
        Filter { issuer: None, subject: asked.subject, owner: asked.owner }
    } else if is_person(&principal) && asked.subject.as_deref().is_none_or(|subject| subject == principal.subject) {
        let own = principal.user_ref();
        Filter { issuer: Some(own.issuer), subject: Some(own.subject), owner: asked.owner }
    } else {
        return Err(Problem::forbidden("each sees the own acceptances, and administrators all"));
    };
    let only_valid = match asked.state.as_deref() {
        None | Some("all") => false,
        Some("valid") => true,
        Some(_) => return Err(Problem::bad_request("state is valid or all")),
    };
    let after = after(&page)?;
    let limit = page.limit + 1;
    let found = identity.0.store.read(move |tx| table::list(tx, &filter, after, limit)).await?;
    let PageOf { items, next } = PageOf::cut(found, &page, |record| record.seq.to_string());
    let now = Timestamp::now();
    let shown = items.iter().filter(|record| !only_valid || counts(&identity, record, now)).map(Record::shown);
    Ok(Json(PageOf { items: shown.collect(), next }))
}

fn after(page: &Page) -> Result<i64, Problem> {
    page.after.as_deref().map_or(Ok(0), |text| text.parse().map_err(|_| Problem::bad_request("after is a number")))
}

/// Whether this is the record by which the subject is covered now.
fn counts(identity: &Identity, record: &Record, now: Timestamp) -> bool {
    let Some(owner) = Owner::parse(&record.owner) else { return false };
    let state = identity.0.policy.state();
    let accepted = state.accepted(&record.issuer, &record.subject, &owner);
    let is_it = accepted.iter().any(|known| known.seq == record.aup_seq && known.at == record.at);
    let own: Vec<_> = accepted.iter().copied().filter(|known| known.seq == record.aup_seq).collect();
    is_it && crate::policy::model::aup::need_acceptance(state.aups_of(&owner), &own, now) == Need::Covered
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    versions: Vec<String>,
    /// Default: who asks.
    subject: Option<String>,
}

/// Whose agreement it is: the own, or with an administrator's right that of a local account.
fn agreeing(
    identity: &Identity,
    principal: &Principal,
    subject: Option<&str>,
    headers: &HeaderMap,
) -> Result<Signature, Problem> {
    match subject {
        Some(other) if other != principal.subject => {
            principal.must_be_admin()?;
            if !identity.directory().users.contains_key(other) {
                return Err(Problem::not_found(format!("there is no account {other}")));
            }
            Ok(signature(principal, identity.issuer(), other, Method::OnBehalf, headers))
        }
        _ => {
            if !can_agree(principal) || principal.acting.is_some() || principal.scopes.have_capabilities() {
                return Err(Problem::forbidden("people accept for themselves, with a token that is not confined"));
            }
            Ok(signature(principal, &principal.issuer, &principal.subject, Method::Api, headers))
        }
    }
}

async fn accept(
    State(identity): State<Identity>,
    principal: Principal,
    headers: HeaderMap,
    Json(wanted): Json<Acceptance>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let signature = agreeing(&identity, &principal, wanted.subject.as_deref(), &headers)?;
    let made = identity.accept(&wanted.versions, signature).await?;
    Ok((StatusCode::CREATED, Json(json!({"items": made.iter().map(Record::shown).collect::<Vec<_>>()}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    version: String,
    subject: Option<String>,
}

async fn revoke(
    State(identity): State<Identity>,
    principal: Principal,
    headers: HeaderMap,
    Json(wanted): Json<Revocation>,
) -> Result<Json<Value>, Problem> {
    let signature = agreeing(&identity, &principal, wanted.subject.as_deref(), &headers)?;
    Ok(Json(identity.revoke(&wanted.version, signature).await?.shown()))
}

#[derive(Deserialize)]
struct Format {
    #[serde(default = "jsonl")]
    format: String,
    owner: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    after: i64,
}

fn jsonl() -> String {
    "jsonl".to_owned()
}

const CSV_HEAD: &str = "seq,id,kind,issuer,subject,owner,aup_version_id,text_sha256,at,method,actor,evidence_hash\r\n";

fn csv_row(record: &Record) -> String {
    let fields = [
        record.seq.to_string(),
        record.id.clone(),
        record.kind.name().to_owned(),
        record.issuer.clone(),
        record.subject.clone(),
        record.owner.clone(),
        record.aup_id.clone(),
        record.text_sha256.clone(),
        record.at.to_string(),
        record.method.name().to_owned(),
        record.actor.clone(),
        hex::encode(&record.evidence),
    ];
    let quoted = |field: &String| {
        // A spreadsheet would run what begins like a formula.
        let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        format!("\"{guard}{}\"", field.replace('"', "\"\""))
    };
    format!("{}\r\n", fields.iter().map(quoted).collect::<Vec<_>>().join(","))
}

async fn export(
    State(identity): State<Identity>,
    principal: Principal,
    Query(wanted): Query<Format>,
) -> Result<Response, Problem> {
    let is_csv = match wanted.format.as_str() {
        "csv" => true,
        "jsonl" => false,
        _ => return Err(Problem::bad_request("format is csv or jsonl")),
    };
    let filter = Filter { issuer: None, subject: wanted.subject, owner: wanted.owner };
    let (mut text, mut count, mut after) = (String::new(), 0, wanted.after);
    if is_csv {
        text.push_str(CSV_HEAD);
    }
    loop {
        let filter = filter.clone();
        let page = identity.0.store.read(move |tx| table::list(tx, &filter, after, AT_ONCE)).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        count += page.len();
        for record in &page {
            if is_csv { text.push_str(&csv_row(record)) } else { text.push_str(&format!("{}\n", record.shown())) }
        }
        if count >= MOST_EXPORTED {
            break;
        }
    }
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), identity.issuer().into());
    claims.insert("iat".to_owned(), Timestamp::now().as_seconds().into());
    claims.insert("records".to_owned(), count.into());
    claims.insert("sha256".to_owned(), hex::encode(Sha256::digest(text.as_bytes())).into());
    let keys = identity.0.keys.read().clone();
    let signed =
        keys.signing().and_then(|key| key.sign(&claims).ok()).and_then(|text| HeaderValue::from_str(&text).ok());
    let signed = signed.ok_or_else(|| Problem::internal("the export cannot be signed"))?;
    // Reading what people agreed to is itself noted.
    let detail = json!({"records": count});
    identity.audit().note(crate::audit::Entry::change(principal.name(), "acceptances.export", "acceptances", detail));
    let kind = if is_csv { "text/csv; charset=utf-8" } else { "application/jsonl" };
    let mut response = (StatusCode::OK, text).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(SIGNATURE, signed);
    Ok(response)
}

async fn mine(State(identity): State<Identity>, principal: Principal) -> Result<Json<Value>, Problem> {
    if !can_agree(&principal) {
        return Err(Problem::forbidden("programs are asked to accept nothing"));
    }
    let each = |requirement: &Requirement| {
        let mut body = with_text(&requirement.version);
        let (need, until) = match requirement.need {
            Need::Covered => ("accepted", None),
            Need::Until(end) => ("grace", Some(end)),
            Need::Now => ("required", None),
        };
        body["need"] = need.into();
        body["grace_until"] = json!(until);
        body
    };
    let found = identity.requirements(&principal.issuer, &principal.subject);
    let page = identity.0.client.url_of(crate::policy::AUP_PAGE);
    Ok(Json(json!({"items": found.iter().map(each).collect::<Vec<_>>(), "page": page})))
}
