//! `/config/links`, `/config/shares`, `/config/activity_shares`, `/config/audit`: what administrators say of links and of who
//! has how much of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_http::Query;
use dte_identity::Principal;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::ban::{members, storage_element};
use crate::api::error::FtsError;
use crate::model::reader::Reader;
use crate::model::rules::{ANY, LinkRule, Mode, VoShare};
use crate::shared::Shared;
use crate::store::rules::{self, ActivityShares};

/// Where a link stands of which only the name is given, as upstream has it.
const DEFAULT_MIN: i64 = 2;
const DEFAULT_MAX: i64 = 130;
const LONGEST_NAME: usize = 255;
const MOST_ACTIVITIES: usize = 200;

fn end(reader: &Reader<'_>, name: &str) -> Result<String, FtsError> {
    match reader.text(name)?.map(str::trim).filter(|text| !text.is_empty()) {
        None | Some(ANY) => Ok(ANY.to_owned()),
        Some(storage) => storage_element(storage.to_owned()),
    }
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
    let (dn, what) = (principal.subject.to_string(), answer.to_string());
    let write = shared.store.write(move |tx| {
        rules::set_link(tx, &link)?;
        rules::note(tx, &dn, "link", &what, Timestamp::now())
    });
    write.await?;
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
    let dn = principal.subject.to_string();
    let write = shared.store.write(move |tx| {
        rules::forget_link(tx, &name)?;
        rules::note(tx, &dn, "link", &format!("delete {name}"), Timestamp::now())
    });
    write.await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn set_share(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, FtsError> {
    let members = members(&headers, &body)?;
    let reader = Reader::new(&members);
    let vo = reader.text("vo")?.map(str::trim).filter(|vo| !vo.is_empty() && vo.len() <= LONGEST_NAME);
    let vo = vo.ok_or_else(|| FtsError::bad("Missing VO"))?.to_owned();
    let share = reader.integer("share").ok().flatten().and_then(|share| u32::try_from(share).ok());
    let share = share.ok_or_else(|| FtsError::bad("Bad share value"))?;
    let share = VoShare { source: end(&reader, "source")?, destination: end(&reader, "destination")?, vo, share };
    let answer = json!({
        "source": share.source, "destination": share.destination, "vo": share.vo, "share": share.share,
    });
    let (dn, what) = (principal.subject.to_string(), answer.to_string());
    let write = shared.store.write(move |tx| {
        let is_set = rules::set_vo_share(tx, &share)?;
        if is_set {
            rules::note(tx, &dn, "share", &what, Timestamp::now())?;
        }
        Ok::<_, dte_store::Error>(is_set)
    });
    if write.await? {
        return Ok(Json(answer));
    }
    Err(FtsError::bad("The link between these storages has to be configured first (/config/links)"))
}

pub async fn shares(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let shares = shared.store.read(rules::vo_shares).await?;
    let shown = shares.into_iter().map(|share| {
        json!({ "source": share.source, "destination": share.destination, "vo": share.vo, "share": share.share })
    });
    Ok(Json(shown.collect()))
}

#[derive(Debug, Deserialize)]
pub struct Share {
    source: Option<String>,
    destination: Option<String>,
    vo: Option<String>,
}

pub async fn forget_share(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Query(which): Query<Share>,
) -> Result<StatusCode, FtsError> {
    let missing = |name| FtsError::bad(format!("Missing {name} parameter"));
    let end = |text: Option<String>, name| match text {
        None => Err(missing(name)),
        Some(any) if any == ANY => Ok(any),
        Some(storage) => storage_element(storage),
    };
    let (source, destination) = (end(which.source, "source")?, end(which.destination, "destination")?);
    let vo = which.vo.ok_or_else(|| missing("vo"))?;
    let dn = principal.subject.to_string();
    let write = shared.store.write(move |tx| {
        rules::forget_vo_share(tx, &source, &destination, &vo)?;
        rules::note(tx, &dn, "share", &format!("delete {source} {destination} {vo}"), Timestamp::now())
    });
    write.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `{"A": 0.7}`, or `[{"A": 0.7}, {"B": 0.3}]`.
fn weights(share: &Value) -> Result<BTreeMap<String, f64>, FtsError> {
    let one = std::slice::from_ref(share);
    let parts = share.as_array().map_or(one, Vec::as_slice);
    let mut weights = BTreeMap::new();
    for part in parts {
        let part = part.as_object().ok_or_else(|| FtsError::bad("The share has to be a dictionary"))?;
        for (activity, weight) in part {
            if activity.chars().count() > LONGEST_NAME {
                return Err(FtsError::bad(format!("An activity is longer than {LONGEST_NAME} characters")));
            }
            let weight = weight.as_f64().filter(|weight| weight.is_finite() && *weight >= 0.0);
            weights.insert(activity.clone(), weight.ok_or_else(|| FtsError::bad("Bad share value"))?);
        }
    }
    if weights.is_empty() || weights.len() > MOST_ACTIVITIES {
        return Err(FtsError::bad(format!("1 to {MOST_ACTIVITIES} activities have shares")));
    }
    Ok(weights)
}

fn shown_activities(shares: &ActivityShares) -> Value {
    json!({ "vo": shares.vo, "active": shares.active, "share": shares.weights })
}

pub async fn set_activities(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, FtsError> {
    let members = members(&headers, &body)?;
    let reader = Reader::new(&members);
    let vo = reader.text("vo")?.map(str::trim).filter(|vo| !vo.is_empty() && vo.len() <= LONGEST_NAME);
    let vo = vo.ok_or_else(|| FtsError::bad("Missing VO"))?.to_owned();
    let share = reader.get("share").ok_or_else(|| FtsError::bad("Missing share"))?;
    let active = reader.get("active").is_none() || reader.flag("active");
    let shares = ActivityShares { vo, active, weights: weights(share)? };
    let answer = shown_activities(&shares);
    let (dn, what) = (principal.subject.to_string(), answer.to_string());
    let write = shared.store.write(move |tx| {
        rules::set_activity_shares(tx, &shares)?;
        rules::note(tx, &dn, "activity-share", &what, Timestamp::now())
    });
    write.await?;
    Ok(Json(answer))
}

pub async fn activities(State(shared): State<Arc<Shared>>) -> Result<Json<Map<String, Value>>, FtsError> {
    let all = shared.store.read(rules::activity_shares).await?;
    let shown = all.into_iter().map(|s| (s.vo.clone(), json!({ "active": s.active, "share": s.weights })));
    Ok(Json(shown.collect()))
}

pub async fn activities_of(State(shared): State<Arc<Shared>>, Path(vo): Path<String>) -> Result<Json<Value>, FtsError> {
    let all = shared.store.read(rules::activity_shares).await?;
    let missing = || FtsError::new(StatusCode::NOT_FOUND, format!("VO {vo} has no shares of activities"));
    all.iter().find(|shares| shares.vo == vo).map(|shares| Json(shown_activities(shares))).ok_or_else(missing)
}

pub async fn forget_activities(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(vo): Path<String>,
) -> Result<StatusCode, FtsError> {
    let dn = principal.subject.to_string();
    let write = shared.store.write(move |tx| {
        rules::forget_activity_shares(tx, &vo)?;
        rules::note(tx, &dn, "activity-share", &format!("delete {vo}"), Timestamp::now())
    });
    write.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The last changes of configuration.
pub async fn audit(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let changes = shared.store.read(rules::changes).await?;
    let shown = changes.into_iter().map(|(time, [dn, action, config])| {
        json!({ "datetime": dte_protocol_fts::FtsTime::from(time), "dn": dn, "action": action, "config": config })
    });
    Ok(Json(shown.collect()))
}
