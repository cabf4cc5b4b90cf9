//! `/iam/api/exchange/policies`: who may exchange whose tokens, as INDIGO IAM's administrators write it.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use dte_base::id::new_id;
use dte_http::{Json, Problem};
use http::StatusCode;
use serde_json::json;

use crate::audit::Entry;
use crate::issuer::model::exchange::ExchangePolicy;
use crate::issuer::store::clients as table;
use crate::{Error, Identity, Principal};

/// More policies than this are no policy.
const MOST: usize = 1_000;

pub(super) async fn list(State(identity): State<Identity>) -> Json<Vec<ExchangePolicy>> {
    Json(identity.directory().rules.policies.clone())
}

pub(super) async fn add(
    State(identity): State<Identity>,
    principal: Principal,
    Json(policy): Json<ExchangePolicy>,
) -> Result<Response, Problem> {
    if identity.directory().rules.policies.len() >= MOST {
        return Err(Problem::conflict(format!("there are {MOST} exchange policies already")));
    }
    let id = new_id().to_string();
    let policy = ExchangePolicy { id: Some(id.clone()), ..policy };
    let entry = Entry::change(principal.name(), "exchange_policy.add", &id, json!(policy));
    let stored = policy.clone();
    identity.change(vec![entry], move |tx| Ok(table::insert_policy(tx, &id, &stored)?)).await?;
    Ok((StatusCode::CREATED, Json(policy)).into_response())
}

pub(super) async fn delete(
    State(identity): State<Identity>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let entry = Entry::change(principal.name(), "exchange_policy.delete", &id, serde_json::Value::Null);
    identity
        .change(
            vec![entry],
            move |tx| {
                if table::delete_policy(tx, &id)? { Ok(()) } else { Err(Error::NoPolicy(id.clone())) }
            },
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
