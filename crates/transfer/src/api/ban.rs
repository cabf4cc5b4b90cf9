//! `/ban/se` and `/ban/dn`: storages and submitters that are kept out.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use dte_base::time::Timestamp;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use crate::api::error::FtsError;
use crate::model::ban::BanStatus;
use crate::model::place::storage_key;
use crate::model::reader::Reader;
use crate::shared::Shared;
use crate::store::ban::{self, Enforced, StorageBan, Subject, UserBan};

/// Pieces that a request waits for.
const MOST_PIECES: usize = 50;

#[derive(Debug, Deserialize)]
pub struct Which {
    storage: Option<String>,
    user_dn: Option<String>,
}

/// JSON, or the fields of a form.
pub fn members(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, FtsError> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return Ok(form_urlencoded::parse(body).map(|(name, value)| (name.into(), value.into())).collect());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(FtsError::bad("Expecting a dictionary")),
        Err(_) => Err(FtsError::bad("Badly formatted JSON request")),
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    members.get(name).and_then(Value::as_str).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// `scheme://host`, under the one name that a storage has.
pub fn storage_element(text: String) -> Result<String, FtsError> {
    storage_key(&text).ok_or_else(|| FtsError::bad(format!("Invalid storage: {text} (wanted: scheme://host)")))
}

pub async fn ban_storage(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<BTreeSet<Uuid>>, FtsError> {
    let members = members(&headers, &body)?;
    let storage = text(&members, "storage").ok_or_else(|| FtsError::bad("Missing storage parameter"))?;
    let storage = storage_element(storage)?;
    let may_submit = Reader::new(&members).flag("allow_submit");
    let word = text(&members, "status").unwrap_or_else(|| "cancel".to_owned()).to_ascii_lowercase();
    let status = match (word.as_str(), may_submit) {
        ("cancel", false) => BanStatus::Cancel,
        ("cancel", true) => return Err(FtsError::bad("allow_submit and status = CANCEL can not be combined")),
        ("wait", false) => BanStatus::Wait,
        ("wait", true) => BanStatus::WaitAs,
        _ => return Err(FtsError::bad("status can only be cancel or wait")),
    };
    let ban = StorageBan {
        storage: storage.clone(),
        status,
        message: text(&members, "message"),
        added: Timestamp::now(),
        admin: principal.subject.to_string(),
    };
    let jobs = shared.store.write(move |tx| ban::ban_storage(tx, &ban)).await?;
    enforce(&shared, Subject::Storage(storage)).await?;
    Ok(Json(jobs))
}

pub async fn ban_user(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<BTreeSet<Uuid>>, FtsError> {
    let members = members(&headers, &body)?;
    let user_dn = text(&members, "user_dn").ok_or_else(|| FtsError::bad("Missing dn parameter"))?;
    if user_dn == *principal.subject {
        return Err(FtsError::new(StatusCode::CONFLICT, "The user tried to ban (her|his)self"));
    }
    let ban = UserBan {
        user_dn: user_dn.clone(),
        message: text(&members, "message"),
        added: Timestamp::now(),
        admin: principal.subject.to_string(),
    };
    let jobs = shared.store.write(move |tx| ban::ban_user(tx, &ban)).await?;
    enforce(&shared, Subject::User(user_dn)).await?;
    Ok(Json(jobs))
}

/// Does at once what can be done in a while; the work that was declared does the rest.
async fn enforce(shared: &Shared, subject: Subject) -> Result<(), FtsError> {
    for _ in 0..MOST_PIECES {
        let asked = subject.clone();
        let piece = shared.store.write(move |tx| ban::enforce(tx, &asked, Timestamp::now())).await?;
        shared.note_cancellation();
        if piece == Enforced::All {
            break;
        }
    }
    Ok(())
}

pub async fn lift_storage(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Result<StatusCode, FtsError> {
    let storage = which.storage.ok_or_else(|| FtsError::bad("Missing storage parameter"))?;
    lift(&shared, Subject::Storage(storage_element(storage)?)).await
}

pub async fn lift_user(State(shared): State<Arc<Shared>>, Query(which): Query<Which>) -> Result<StatusCode, FtsError> {
    let user_dn = which.user_dn.ok_or_else(|| FtsError::bad("Missing user_dn parameter"))?;
    lift(&shared, Subject::User(user_dn)).await
}

async fn lift(shared: &Shared, subject: Subject) -> Result<StatusCode, FtsError> {
    shared.store.write(move |tx| ban::lift(tx, &subject)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn time(at: Timestamp) -> Value {
    json!(dte_protocol_fts::FtsTime::from(at))
}

pub async fn storages(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let bans = shared.store.read(ban::storages).await?;
    let shown = bans.into_iter().map(|ban| {
        json!({
            "se": ban.storage, "vo": "*", "status": ban.status.as_str(), "message": ban.message,
            "addition_time": time(ban.added), "admin_dn": ban.admin,
        })
    });
    Ok(Json(shown.collect()))
}

pub async fn users(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let bans = shared.store.read(ban::users).await?;
    let shown = bans.into_iter().map(|ban| {
        json!({
            "dn": ban.user_dn, "status": BanStatus::Cancel.as_str(), "message": ban.message,
            "addition_time": time(ban.added), "admin_dn": ban.admin,
        })
    });
    Ok(Json(shown.collect()))
}
