//! `/iam/scope_policies`, as INDIGO IAM has it.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_http::Json;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{IamError, must_be_iam_admin};
use crate::Identity;
use crate::model::principal::Principal;
use crate::model::scope::ADMIN_SCOPE;
use crate::policy::groups::bounded;
use crate::policy::model::scopes::{Matching, Rule, ScopePolicy};
use crate::routes::{Require, Routes};

const READS: Require = Require::OneOf(
    &["iam:admin.read", "iam:admin.write", ADMIN_SCOPE],
    "administrators, or clients with iam:admin.read or iam:admin.write",
);
const WRITES: Require =
    Require::OneOf(&["iam:admin.write", ADMIN_SCOPE], "administrators, or clients with iam:admin.write");

pub(super) fn iam(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/scope_policies", READS, list)
        .post("/scope_policies", WRITES, add)
        .get("/scope_policies/{id}", READS, show)
        .put("/scope_policies/{id}", WRITES, replace)
        .delete("/scope_policies/{id}", WRITES, remove)
}

fn shown(identity: &Identity, policy: &ScopePolicy) -> Value {
    let state = identity.0.policy.state();
    let group = policy.group_id.as_ref().map(|id| {
        let name = state.group(id).map(|group| group.path.trim_start_matches('/').to_owned());
        json!({"uuid": id, "name": name})
    });
    json!({
        "id": policy.id,
        "description": policy.description,
        "creationTime": policy.created,
        "lastUpdateTime": policy.updated,
        "rule": policy.rule.name(),
        "matchingPolicy": policy.matching.name(),
        "account": policy.account.as_ref().map(|name| json!({"uuid": name, "username": name})),
        "group": group,
        "scopes": (!policy.scopes.is_empty()).then_some(&policy.scopes),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    #[serde(default)]
    description: Option<String>,
    rule: String,
    matching_policy: Option<String>,
    account: Option<Named>,
    group: Option<Named>,
    scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Named {
    uuid: String,
}

impl Sent {
    fn policy(self) -> Result<ScopePolicy, IamError> {
        let invalid = |why: &str| IamError(StatusCode::BAD_REQUEST, format!("Invalid scope policy: {why}"));
        let matching = self.matching_policy.as_deref().unwrap_or("EQ");
        Ok(ScopePolicy {
            id: 0,
            description: bounded("description", &self.description.unwrap_or_default())?,
            rule: Rule::named(&self.rule).ok_or_else(|| invalid("rule is PERMIT or DENY"))?,
            matching: Matching::named(matching).ok_or_else(|| invalid("matchingPolicy is EQ, REGEXP or PATH"))?,
            account: self.account.map(|named| named.uuid),
            group_id: self.group.map(|named| named.uuid),
            scopes: self.scopes.unwrap_or_default(),
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
            deleted: false,
        })
    }
}

async fn list(State(identity): State<Identity>, principal: Principal) -> Result<Json<Value>, IamError> {
    must_be_iam_admin(&principal, false)?;
    let policies: Vec<ScopePolicy> =
        identity.0.policy.state().scope_policies().iter().map(|ready| ready.policy.clone()).collect();
    Ok(Json(policies.iter().map(|policy| shown(&identity, policy)).collect()))
}

async fn show(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<i64>,
) -> Result<Json<Value>, IamError> {
    must_be_iam_admin(&principal, false)?;
    let found = identity.0.policy.state().scope_policies().iter().find(|ready| ready.policy.id == id).cloned();
    let found = found.ok_or_else(|| IamError(StatusCode::NOT_FOUND, format!("No scope policy found for id: {id}")))?;
    Ok(Json(shown(&identity, &found.policy)))
}

async fn add(
    State(identity): State<Identity>,
    principal: Principal,
    Json(sent): Json<Sent>,
) -> Result<(StatusCode, Json<Value>), IamError> {
    must_be_iam_admin(&principal, true)?;
    let made = identity.put_scope_policy(None, sent.policy()?, principal.name()).await?;
    Ok((StatusCode::CREATED, Json(shown(&identity, &made))))
}

async fn replace(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<i64>,
    Json(sent): Json<Sent>,
) -> Result<StatusCode, IamError> {
    must_be_iam_admin(&principal, true)?;
    identity.put_scope_policy(Some(id), sent.policy()?, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<i64>,
) -> Result<StatusCode, IamError> {
    must_be_iam_admin(&principal, true)?;
    identity.delete_scope_policy(id, principal.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
