//! SCIM 2.0 (RFC 7643, RFC 7644) beneath the issuer, as far as INDIGO IAM has it: what users and groups have in common.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use dte_http::Problem;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{MEMBERS_BODY, has_admin_scope, scim_about, scim_groups, scim_users};
use crate::Identity;
use crate::model::denial::Denial;
use crate::model::principal::Principal;
use crate::model::scope::ADMIN_SCOPE;
use crate::policy::change::Refusal;
use crate::policy::model::filter::{Filter, PatchPath};
use crate::routes::{Require, Routes};

pub(super) const BASE: &str = "/oidc/scim/v2";
pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// INDIGO IAM's extension, which names the group above.
pub(super) const GROUP_EXTENSION: &str = "urn:indigo-dc:scim:schemas:IndigoGroup";
pub(super) const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const MEDIA: &str = "application/scim+json";
/// Resources of one answer when the client does not say.
const USUAL: usize = 100;
/// More are never given at once.
pub(super) const MOST: usize = 1_000;
/// Operations of one PATCH.
const MOST_OPERATIONS: usize = 1_000;

pub(super) const READS: Require = Require::OneOf(
    &["scim:read", "scim:write", ADMIN_SCOPE],
    "administrators, or clients with scim:read or scim:write",
);
pub(super) const WRITES: Require =
    Require::OneOf(&["scim:write", ADMIN_SCOPE], "administrators, or clients with scim:write");

pub(super) fn routes() -> Routes<Identity> {
    let routes = Routes::new("policy").on_denied(denied).body_limit(MEMBERS_BODY);
    scim_about::scim(scim_groups::scim(scim_users::scim(routes)))
}

/// An error as SCIM words it, with the kind of a 400 or 409 where there is one.
#[derive(Debug)]
pub(super) struct ScimError {
    status: StatusCode,
    kind: Option<&'static str>,
    detail: String,
}

impl ScimError {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        ScimError { status, kind: Some(kind), detail: detail.into() }
    }

    pub(super) fn value(detail: impl Into<String>) -> Self {
        ScimError::new(StatusCode::BAD_REQUEST, "invalidValue", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        ScimError { status: StatusCode::FORBIDDEN, kind: None, detail: detail.into() }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        ScimError { status: StatusCode::NOT_FOUND, kind: None, detail: detail.into() }
    }
}

impl IntoResponse for ScimError {
    fn into_response(self) -> Response {
        let mut body = json!({"schemas": [ERROR], "status": self.status.as_u16().to_string(), "detail": self.detail});
        if let Some(kind) = self.kind {
            body["scimType"] = kind.into();
        }
        answer(self.status, &body)
    }
}

impl From<Problem> for ScimError {
    fn from(problem: Problem) -> Self {
        let kind = match problem.status() {
            StatusCode::CONFLICT => Some("uniqueness"),
            StatusCode::BAD_REQUEST => Some("invalidValue"),
            _ => None,
        };
        ScimError { status: problem.status(), kind, detail: problem.detail().to_owned() }
    }
}

impl From<Refusal> for ScimError {
    fn from(refusal: Refusal) -> Self {
        // A member or manager who does not exist is a wrong value, not a missing resource.
        match refusal {
            Refusal::Illegal { .. } => ScimError { kind: None, ..Problem::from(refusal).into() },
            other => Problem::from(other).into(),
        }
    }
}

fn denied(denial: Denial) -> Response {
    let error = ScimError { status: denial.status(), kind: None, detail: denial.to_string() };
    let mut response = error.into_response();
    if let Some(challenge) = denial.challenge().and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    (status, headers, body.to_string()).into_response()
}

/// `scim:read`, `scim:write`, or an administrator.
pub(super) fn must(principal: &Principal, write: bool) -> Result<(), ScimError> {
    let (read, change) = (has_admin_scope(principal, "scim:read"), has_admin_scope(principal, "scim:write"));
    if principal.is_admin() || change || (read && !write) {
        return Ok(());
    }
    let scope = if write { "scim:write" } else { "scim:read" };
    Err(ScimError::forbidden(format!("this is for administrators, or needs the scope {scope}")))
}

/// A JSON body whose mistakes are SCIM errors.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ScimError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ScimError> {
        let dte_http::Json(value) = dte_http::Json::<Value>::from_request(request, state).await.map_err(syntax)?;
        serde_json::from_value(value).map(Body).map_err(|error| {
            ScimError::new(
                StatusCode::BAD_REQUEST,
                "invalidSyntax",
                format!("the body is not what is expected: {error}"),
            )
        })
    }
}

fn syntax(problem: Problem) -> ScimError {
    ScimError { kind: (problem.status() == StatusCode::BAD_REQUEST).then_some("invalidSyntax"), ..problem.into() }
}

/// What a list or a single resource is asked for with.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) filter: Option<Filter>,
    start: usize,
    count: usize,
    only: Option<Vec<String>>,
    without: Vec<String>,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = ScimError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ScimError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Asked {
            filter: Option<String>,
            start_index: Option<i64>,
            count: Option<i64>,
            attributes: Option<String>,
            excluded_attributes: Option<String>,
        }
        let dte_http::Query(asked) = dte_http::Query::<Asked>::from_request_parts(parts, state).await?;
        let filter = asked.filter.filter(|text| !text.trim().is_empty()).map(|text| Filter::parse(&text));
        let filter = filter
            .transpose()
            .map_err(|bad| ScimError::new(StatusCode::BAD_REQUEST, "invalidFilter", bad.to_string()))?;
        let names = |text: String| -> Vec<String> {
            let bare = |name: &str| name.trim().rsplit(':').next().unwrap_or_default().to_lowercase();
            text.split(',').map(bare).filter(|name| !name.is_empty()).collect()
        };
        Ok(Wanted {
            filter,
            // RFC 7644: less than 1 means 1, and a negative count means none.
            start: usize::try_from(asked.start_index.unwrap_or(1)).unwrap_or(1).max(1),
            count: asked.count.map_or(USUAL, |count| usize::try_from(count).unwrap_or(0)).min(MOST),
            only: asked.attributes.map(names).filter(|names| !names.is_empty()),
            without: asked.excluded_attributes.map(names).unwrap_or_default(),
        })
    }
}

impl Wanted {
    /// Whether this attribute is looked at or shown.
    pub(super) fn needs(&self, attribute: &str) -> bool {
        let name = attribute.to_lowercase();
        let is_it = |wanted: &String| *wanted == name || wanted.starts_with(&format!("{name}."));
        let shown = self.only.as_ref().is_none_or(|only| only.iter().any(is_it)) && !self.without.contains(&name);
        shown || self.filter.as_ref().is_some_and(|filter| filter.mentions(attribute))
    }

    /// The page of those that fit.
    pub(super) fn list(&self, resources: impl Iterator<Item = Value>) -> Response {
        let (mut total, mut page) = (0, Vec::new());
        for resource in resources.filter(|resource| self.filter.as_ref().is_none_or(|filter| filter.fits(resource))) {
            total += 1;
            if total >= self.start && page.len() < self.count {
                page.push(self.shown(resource));
            }
        }
        let body = json!({
            "schemas": [LIST], "totalResults": total, "startIndex": self.start, "itemsPerPage": page.len(), "Resources": page,
        });
        answer(StatusCode::OK, &body)
    }

    /// The resource with the attributes that were asked for; `id` and `schemas` always.
    pub(super) fn shown(&self, resource: Value) -> Value {
        let Value::Object(map) = resource else { return resource };
        let mut shown = Map::new();
        for (name, value) in map {
            let lower = name.to_lowercase();
            let always = matches!(lower.as_str(), "id" | "schemas");
            if always {
                shown.insert(name, value);
                continue;
            }
            if self.without.contains(&lower) {
                continue;
            }
            match &self.only {
                None => drop(shown.insert(name, value)),
                Some(only) if only.contains(&lower) => drop(shown.insert(name, value)),
                Some(only) => {
                    let subs: Vec<&str> =
                        only.iter().filter_map(|wanted| wanted.strip_prefix(&lower)?.strip_prefix('.')).collect();
                    if !subs.is_empty() {
                        shown.insert(name, with_subs(value, &subs));
                    }
                }
            }
        }
        Value::Object(shown)
    }
}

fn with_subs(value: Value, subs: &[&str]) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(|value| with_subs(value, subs)).collect(),
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(name, _)| subs.contains(&name.to_lowercase().as_str())).collect())
        }
        other => other,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Remove,
    Replace,
}

/// One operation of a PATCH.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) op: Op,
    pub(super) path: Option<PatchPath>,
    pub(super) value: Value,
}

/// The body of a PATCH.
#[derive(Deserialize)]
pub(super) struct Patch {
    #[serde(default)]
    schemas: Vec<String>,
    #[serde(alias = "operations", rename = "Operations")]
    operations: Vec<RawOperation>,
}

#[derive(Deserialize)]
struct RawOperation {
    op: String,
    path: Option<String>,
    #[serde(default)]
    value: Value,
}

impl Patch {
    pub(super) fn operations(self) -> Result<Vec<Operation>, ScimError> {
        if !self.schemas.is_empty() && !self.schemas.iter().any(|schema| schema == PATCH) {
            return Err(ScimError::new(StatusCode::BAD_REQUEST, "invalidSyntax", format!("schemas must name {PATCH}")));
        }
        if self.operations.len() > MOST_OPERATIONS {
            return Err(ScimError::new(
                StatusCode::BAD_REQUEST,
                "tooMany",
                format!("at most {MOST_OPERATIONS} operations"),
            ));
        }
        let one = |raw: RawOperation| {
            let op = match raw.op.to_ascii_lowercase().as_str() {
                "add" => Op::Add,
                "remove" => Op::Remove,
                "replace" => Op::Replace,
                _ => {
                    return Err(ScimError::new(
                        StatusCode::BAD_REQUEST,
                        "invalidSyntax",
                        "op is add, remove or replace",
                    ));
                }
            };
            let path = raw.path.filter(|path| !path.is_empty()).map(|path| PatchPath::parse(&path)).transpose();
            let path = path.map_err(|bad| ScimError::new(StatusCode::BAD_REQUEST, "invalidPath", bad.to_string()))?;
            if path.is_none() && op == Op::Remove {
                return Err(ScimError::new(StatusCode::BAD_REQUEST, "noTarget", "remove needs a path"));
            }
            Ok(Operation { op, path, value: raw.value })
        };
        self.operations.into_iter().map(one).collect()
    }
}

/// An attribute that cannot be changed this way.
pub(super) fn unknown(attribute: &str) -> ScimError {
    ScimError::new(StatusCode::BAD_REQUEST, "invalidPath", format!("{attribute} cannot be changed"))
}
