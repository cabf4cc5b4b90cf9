//! `/config/links`: what administrators say of links.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::api::audit::noted;
use crate::api::ban::{members, storage_element};
use crate::api::error::FtsError;
use crate::model::reader::Reader;
use crate::model::rules::{ANY, LinkRule, Mode};
use crate::shared::Shared;
use crate::store::rules;

/// Where a link stands of which only the name is given, as upstream has it.
const DEFAULT_MIN: i64 = 2;
const DEFAULT_MAX: i64 = 130;
pub(super) const LONGEST_NAME: usize = 255;

/// A storage that a request names, or any.
pub(super) fn end(reader: &Reader<'_>, name: &str) -> Result<String, FtsError> {
    match reader.text(name)?.map(str::trim).filter(|text| !text.is_empty()) {
        None | Some(ANY) => Ok(ANY.to_owned()),
        Some(storage) => storage_element(storage.to_owned()),
    }
}

/// The VO that a request names.
pub(super) fn vo(reader: &Reader<'_>) -> Result<String, FtsError> {
    let vo = reader.text("vo")?.map(str::trim).filter(|vo| !vo.is_empty() && vo.len() <= LONGEST_NAME);
    vo.map(str::to_owned).ok_or_else(|| FtsError::bad("Missing VO"))
}

fn shown(link: &LinkRule) -> Value {
    json!({
        "source": link.source, "destination": link.destination, "symbolicname": link.name,
        "min_active": link.min_active, "max_active": link.max_active, "optimizer_mode": link.mode.number(),
        "tcp_buffer_size": 0, "nostreams": 0, "no_delegation": false,
    })
}

fn read_link(members: &Map<String, Value>) -> Result<LinkRule, FtsError> {
    const KNOWN: [&str; 6] = ["symbolicname", "source", "destination", "min_active", "max_active", "optimizer_mode"];
    let reader = Reader::new(members);
    let name = reader.text("symbolicname")?.map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| FtsError::bad("Missing symbolicname"))?;
    if name.len() > LONGEST_NAME || name.contains('/') {
        return Err(FtsError::bad("Invalid symbolicname"));
    }
    for (field, value) in members {
        let is_nothing = value.is_null() || *value == json!(0) || *value == json!(false);
        match field.as_str() {
            known if KNOWN.contains(&known) => {}
            "tcp_buffer_size" | "nostreams" | "no_delegation" if is_nothing => {}
            "tcp_buffer_size" | "nostreams" | "no_delegation" => {
                return Err(FtsError::bad(format!("Field {field} is not supported here")));
            }
            _ => return Err(FtsError::bad(format!("Field {field} unknown"))),
        }
    }
    let number = |field: &str, default: i64| {
        let number =
            reader.integer(field).map_err(|_| FtsError::bad(format!("Field {field} is expected to be int")))?;
        let number = u32::try_from(number.unwrap_or(default));
        number.map_err(|_| FtsError::bad(format!("Field {field} is expected to be int")))
    };
    let (min_active, max_active) = (number("min_active", DEFAULT_MIN)?, number("max_active", DEFAULT_MAX)?);
    if min_active > max_active {
        return Err(FtsError::bad("max_active is lower than min_active"));
    }
    let mode = number("optimizer_mode", Mode::Normal.number())?;
    let mode = Mode::from_number(i64::from(mode)).ok_or_else(|| FtsError::bad("optimizer_mode must be 0 to 3"))?;
    let (source, destination) = (end(&reader, "source")?, end(&reader, "destination")?);
    Ok(LinkRule { name: name.to_owned(), source, destination, min_active, max_active, mode })
}

pub async fn set(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), FtsError> {
    let members = members(&headers, &body)?;
    let link = read_link(&members)?;
    let answer = shown(&link);
    noted(&shared, &principal, "link", answer.to_string(), move |tx| Ok(rules::set_link(tx, &link)?)).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

pub async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let links = shared.store.read(rules::links).await?;
    Ok(Json(links.iter().map(shown).collect()))
}

fn no_link(name: &str) -> FtsError {
    FtsError::new(StatusCode::NOT_FOUND, format!("Link {name} does not exist"))
}

pub async fn one(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Json<Value>, FtsError> {
    let links = shared.store.read(rules::links).await?;
    links.iter().find(|link| link.name == name).map(|link| Json(shown(link))).ok_or_else(|| no_link(&name))
}

pub async fn forget(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<StatusCode, FtsError> {
    let what = format!("delete {name}");
    noted(&shared, &principal, "link", what, move |tx| Ok(rules::forget_link(tx, &name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
