//! `POST /jobs`, `PUT /jobs`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_identity::{Principal, StorageOp};
use dte_protocol_fts::Submitted;
use dte_protocol_fts::identifier::deterministic_job_id;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use serde_json::Value;

use crate::api::caller::Caller;
use crate::api::error::FtsError;
use crate::model::place::StorageUrl;
use crate::model::submission::{self, NewJob};
use crate::shared::Shared;
use crate::store::submit::{Inserted, insert};
use crate::work::storage::may_use_bucket;

/// Larger bodies are read off the threads that serve requests.
const LARGE: usize = 256 << 10;

pub async fn submit(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Submitted>, FtsError> {
    let now = Timestamp::now();
    let job = read(&headers, body, shared.settings.max_files, now).await?;
    let caller = Caller::new(principal);
    check_tokens(&job, caller.principal())?;
    check_storage_rights(&shared, &job, caller.principal())?;
    let job_id = match &job.sid {
        Some(sid) => deterministic_job_id(caller.vo(), sid),
        None => new_id(),
    };
    let submitter = caller.submitter();
    let job = Arc::new(job);
    match shared.store.write(move |tx| insert(tx, job_id, &job, &submitter, now)).await? {
        Inserted::New => Ok(Json(Submitted { job_id })),
        Inserted::Banned(name) => Err(FtsError::forbidden(format!("{name} is banned"))),
        Inserted::Exists => Err(FtsError::new(StatusCode::CONFLICT, "The sid provided by the user is duplicated")),
    }
}

/// JSON; some clients announce a form and send JSON in URL encoding.
async fn read(headers: &HeaderMap, body: Bytes, most: usize, now: Timestamp) -> Result<NewJob, FtsError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = if kind.contains("x-www-form-urlencoded") && body.first() == Some(&b'%') {
        percent_decode(&body).collect::<Vec<u8>>().into()
    } else {
        body
    };
    if body.len() < LARGE {
        return Ok(submission::parse(&body, most, now)?);
    }
    let parsed = tokio::task::spawn_blocking(move || submission::parse(&body, most, now)).await;
    let parsed = parsed.map_err(|_| FtsError::new(StatusCode::INTERNAL_SERVER_ERROR, "the submission was not read"))?;
    Ok(parsed?)
}

/// Tokens that come with the files are not kept: the mover acts for the submitter with tokens of its own. So they can
/// only be the submitter's.
fn check_tokens(job: &NewJob, principal: &Principal) -> Result<(), FtsError> {
    for token in &job.tokens {
        let claims = claims_of(token).ok_or_else(|| FtsError::bad("Failed to validate access-token"))?;
        if let Some(missing) = ["iss", "nbf", "exp", "scope", "aud"].iter().find(|claim| claims.get(**claim).is_none())
        {
            return Err(FtsError::bad(format!("Token does not contain a {missing} claim")));
        }
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        let issuer = text("iss");
        if issuer.trim_end_matches('/') != principal.issuer.trim_end_matches('/') {
            return Err(FtsError::bad(format!("Transfer access-token has unknown issuer: issuer={issuer}")));
        }
        if text("sub") != principal.subject {
            return Err(FtsError::bad("Transfer access-token belongs to another user"));
        }
    }
    Ok(())
}

/// The claims of a token, unverified.
fn claims_of(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

/// Nobody gets by way of a transfer what their token would not let them do at our own edge. A service that acts for a user was
/// given that user's business; the edge asks again at the time of the copy.
fn check_storage_rights(shared: &Shared, job: &NewJob, principal: &Principal) -> Result<(), FtsError> {
    let check = |url: &StorageUrl, op: StorageOp| -> Result<(), FtsError> {
        if url.is_object() {
            let may = may_use_bucket(shared, &principal.user_ref(), url);
            return may.map_err(|error| FtsError::forbidden(error.to_string()));
        }
        if url.address().origin() != shared.client.public_url().origin() {
            return Ok(());
        }
        let Some(path) = url.edge_path() else {
            let text = format!("Invalid value within the request: Not a storage of this engine ({})", url.as_str());
            return Err(FtsError::bad(text));
        };
        if principal.acting.is_some() {
            return Ok(());
        }
        principal.may_storage(op, &path).map_err(|denial| FtsError::forbidden(format!("{}: {denial}", url.as_str())))
    };
    for file in &job.files {
        check(&file.source, StorageOp::Read)?;
        check(&file.destination, StorageOp::Create)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims() {
        let token = format!("x.{}.y", URL_SAFE_NO_PAD.encode(r#"{"iss":"i"}"#));
        assert_eq!(claims_of(&token), Some(serde_json::json!({"iss": "i"})));
        assert_eq!(claims_of("nonsense"), None);
        assert_eq!(claims_of("a.b.c"), None);
    }
}
