//! `/policy/v1/trace` for incident response, and what people may ask about themselves: a copy of all that is kept, and which
//! scopes they would be given.

use axum::extract::State;
use dte_http::{Json, Problem, Query};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Identity;
use crate::audit::Entry;
use crate::model::principal::Principal;
use crate::policy::groups::is_person;
use crate::routes::{Require, Routes};

const PEOPLE: Require = Require::HandlerChecks("people, about themselves");
const TRACERS: Require = Require::HandlerChecks("administrators; people, about what they did themselves");
/// Scopes of one question.
const MOST_SCOPES: usize = 200;

pub(super) fn native(routes: Routes<Identity>) -> Routes<Identity> {
    routes.get("/v1/trace", TRACERS, trace).get("/v1/me/export", PEOPLE, export).get("/v1/me/scopes", PEOPLE, scopes)
}

/// One of them: each is looked for wherever a record names something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    token: Option<String>,
    subject: Option<String>,
    client: Option<String>,
    pod: Option<String>,
    transfer: Option<String>,
    request: Option<String>,
    object: Option<String>,
    #[serde(default)]
    after: i64,
}

async fn trace(
    State(identity): State<Identity>,
    principal: Principal,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    let Asked { token, subject, client, pod, transfer, request, object, after } = asked;
    let named: Vec<(&str, String)> = [
        ("token", token),
        ("subject", subject),
        ("client", client),
        ("pod", pod),
        ("transfer", transfer),
        ("request", request),
        ("object", object),
    ]
    .into_iter()
    .filter_map(|(kind, text)| text.map(|text| (kind, text)))
    .collect();
    let [(kind, text)] = named.as_slice() else {
        return Err(Problem::bad_request("name one of token, subject, client, pod, transfer, request, object"));
    };
    let mut answer = if principal.is_admin() {
        identity.traced(text, after).await?
    } else {
        identity.own_trace(person(&principal)?, text, after).await?
    };
    answer["kind"] = (*kind).into();
    // Reading the trail is itself on record.
    identity.audit().note(Entry::change(principal.name(), "audit.trace", text, json!({"kind": kind})));
    Ok(Json(answer))
}

fn person(principal: &Principal) -> Result<&str, Problem> {
    if is_person(principal) && principal.acting.is_none() {
        return Ok(principal.name());
    }
    Err(Problem::forbidden("people ask about themselves, with a token that is not confined"))
}

type Private = ([(http::HeaderName, HeaderValue); 1], Json<Value>);

async fn export(State(identity): State<Identity>, principal: Principal) -> Result<Private, Problem> {
    let answer = identity.export_of(person(&principal)?).await?;
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)))
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    scope: String,
}

/// `?scope=a b`: which of them a token would get, and what stands between the person and any token.
async fn scopes(
    State(identity): State<Identity>,
    principal: Principal,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let name = person(&principal)?;
    let wanted: Vec<String> = wanted.scope.split_whitespace().take(MOST_SCOPES).map(str::to_owned).collect();
    let obstacle = identity.obstacle(name);
    Ok(Json(json!({
        "permitted": identity.permitted_scopes(name, &wanted).join(" "),
        "obstacle": obstacle.map(|found| json!({"reason": found.reason, "page": identity.0.client.url_of(&found.page)})),
    })))
}
