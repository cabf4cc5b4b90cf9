//! Replicas: registering, updating, forgetting, and what is where by dataset.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::date::{self, rfc1123_utc};
use dte_protocol_rucio::{Class, Did, DidType, ReplicaState};
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, Failure, created, done, stream};
use super::dids::no_route;
use super::dids_change::register_owned;
use super::request::{Asking, Call, Fields, check_bulk, did, dids as read_dids, invalid};
use super::{CHANGES, READS, replicas_list};
use crate::Lake;
use crate::error::Error;
use crate::store::register::{CopyToRegister, bury, forget, register, set_states};
use crate::store::replicas::{DatasetReplica, of_dataset};
use crate::store::{contents, dids, rses, search};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    ["/replicas", "/replicas/"]
        .into_iter()
        .fold(routes, |routes, path| {
            routes.post(path, CHANGES, add).put(path, CHANGES, update).delete(path, CHANGES, delete)
        })
        .post("/replicas/list", READS, replicas_list::list)
        .post("/replicas/list/", READS, replicas_list::list)
        .post("/replicas/tombstone", CHANGES, tombstone)
        .post("/replicas/datasets_bulk", READS, datasets_bulk)
        .post("/replicas/dids", READS, super::bad::dids_of_pfns)
        .get("/replicas/rse/{rse}", READS, datasets_at)
        .get("/replicas/{*path}", READS, get)
}

async fn get(State(lake): State<Lake>, _: Asking, Path(path): Path<String>, call: Call) -> Answer {
    let (scope, rest) = path.split_once('/').ok_or_else(no_route)?;
    let end = |end: &str| rest.strip_suffix(end).filter(|name| !name.is_empty());
    match end("/datasets").or(end("/datasets_vp")) {
        Some(name) => datasets(lake, vec![did(scope, name)?]).await,
        None => replicas_list::of_did(lake, did(scope, rest)?, call).await,
    }
}

/// A copy in the words of `POST /replicas`.
pub(super) fn copy_to_register(fields: &Fields) -> Result<CopyToRegister, Failure> {
    let bytes = fields.integer("bytes")?.ok_or_else(|| invalid("'bytes' is a required property"))?;
    let hexadecimal = |key: &str, digits: usize| -> Result<Option<String>, Failure> {
        let Some(text) = fields.text(key)? else { return Ok(None) };
        if text.len() != digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid(&format!("'{text}' is not a {key}")));
        }
        Ok(Some(text.to_ascii_lowercase()))
    };
    let state = match fields.text("state")? {
        None => ReplicaState::Available,
        Some(text) => ReplicaState::parse(&text).ok_or_else(|| invalid(&format!("state {text}")))?,
    };
    if bytes < 0 {
        return Err(invalid("'bytes' is negative"));
    }
    Ok(CopyToRegister {
        did: fields.did()?,
        bytes,
        adler32: hexadecimal("adler32", 8)?,
        md5: hexadecimal("md5", 32)?,
        guid: Fields(fields.dictionary("meta")?).text("guid")?,
        pfn: fields.text("pfn")?,
        state,
        tombstone: fields.text("tombstone")?.and_then(|text| date::parse(&text)),
    })
}

/// `rse` and `files` of a body.
fn rse_and_files(fields: &Fields) -> Result<(String, Vec<Value>), Failure> {
    let files = fields.required_list("files")?;
    check_bulk(files.len())?;
    Ok((fields.required_text("rse")?, files))
}

async fn add(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let (rse, files) = rse_and_files(&fields)?;
    let copies = files
        .iter()
        .map(|item| copy_to_register(&Fields::of(item)?))
        .collect::<Result<Vec<CopyToRegister>, Failure>>()?;
    let ignore = asking.0.admin && fields.truth("ignore_availability", false)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        if ignore {
            dids::scope_owners(tx, copies.iter().map(|copy| copy.did.scope.clone()))?;
            return register(tx, &rse, &copies, &asking.0.account, true, now);
        }
        register_owned(tx, &rse, &copies, &asking.0, now)
    })
    .await?;
    created()
}

async fn update(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let (rse, files) = rse_and_files(&call.dictionary()?)?;
    let wishes = files
        .iter()
        .map(|item| {
            let fields = Fields::of(item)?;
            let letter = fields.required_text("state")?;
            let state = ReplicaState::from_letter(&letter)
                .ok_or_else(|| Failure::new(Class::ValueError, format!("'{letter}' is not a valid ReplicaState")))?;
            Ok((fields.did()?, state))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        owns_all(tx, &asking, wishes.iter().map(|(did, _)| did))?;
        set_states(tx, &rse, &wishes, now)
    })
    .await?;
    done()
}

/// The caller may write the scopes of these files.
fn owns_all<'d>(
    tx: &mut dte_store::Tx<'_>,
    asking: &Asking,
    files: impl Iterator<Item = &'d Did>,
) -> crate::error::Result<()> {
    for (scope, owner) in dids::scope_owners(tx, files.map(|did| did.scope.clone()))? {
        asking.0.needs_scope(&scope, &owner, &format!("update file replicas in the scope {scope}"))?;
    }
    Ok(())
}

/// Only takes copies out of the catalogue; their bytes are somebody else's affair, so only administrators may.
async fn delete(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("delete file replicas")?;
    let (rse, files) = rse_and_files(&call.dictionary()?)?;
    let files = read_dids(&files)?;
    let now = Timestamp::now();
    lake.change(move |tx| forget(tx, &rse, &files, now)).await?;
    done()
}

async fn tombstone(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("set tombstones").map_err(|denied| denied.at(StatusCode::FORBIDDEN))?;
    let list = call.dictionary()?.required_list("replicas")?;
    check_bulk(list.len())?;
    let copies = list
        .iter()
        .map(|item| {
            let fields = Fields::of(item)?;
            Ok((fields.required_text("rse")?, fields.did()?))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let now = Timestamp::now();
    lake.change(move |tx| copies.iter().try_for_each(|(rse, did)| bury(tx, rse, std::slice::from_ref(did), now)))
        .await?;
    created()
}

fn dataset_replica(dataset: &dids::DidRow, length: i64, bytes: i64, at: &DatasetReplica) -> Value {
    let state = if at.available_length >= length { "AVAILABLE" } else { "UNAVAILABLE" };
    json!({
        "scope": dataset.did.scope, "name": dataset.did.name, "rse_id": at.rse_id, "rse": at.rse,
        "available_bytes": at.available_bytes, "available_length": at.available_length,
        "bytes": bytes, "length": length, "state": state,
        "created_at": rfc1123_utc(at.created_at), "updated_at": rfc1123_utc(at.updated_at), "accessed_at": null,
    })
}

/// Where datasets are; containers stand for the datasets below them.
async fn datasets(lake: Lake, wanted: Vec<Did>) -> Answer {
    let todo = lake
        .store
        .read(move |tx| {
            let known = dids::get_many(tx, &wanted)?;
            let mut todo = Vec::new();
            for did in &wanted {
                match known.get(did).map(|row| row.kind) {
                    Some(DidType::Dataset) => todo.push(did.clone()),
                    Some(DidType::Container) => todo.extend(contents::datasets_below(tx, did)?),
                    _ => {}
                }
            }
            Ok::<_, Error>(todo)
        })
        .await?;
    const AT_ONCE: usize = 50;
    stream(0_usize, move |start| {
        let lake = lake.clone();
        let end = todo.len().min(start + AT_ONCE);
        let part = todo[start..end].to_vec();
        let next = (end < todo.len()).then_some(end);
        async move {
            let values = lake.store.read(move |tx| of_datasets(tx, &part, None)).await?;
            Ok((values, next))
        }
    })
    .await
}

fn of_datasets(tx: &mut dte_store::Tx<'_>, part: &[Did], rse: Option<&str>) -> crate::error::Result<Vec<Value>> {
    let mut values = Vec::new();
    for did in part {
        let row = dids::get(tx, did)?;
        let (length, bytes) = match (row.length, row.bytes) {
            (Some(length), Some(bytes)) => (length, bytes),
            _ => dids::sums(tx, did)?,
        };
        let places = of_dataset(tx, did)?;
        let wanted = places.iter().filter(|at| rse.is_none_or(|rse| rse == at.rse));
        values.extend(wanted.map(|at| dataset_replica(&row, length, bytes, at)));
    }
    Ok(values)
}

async fn datasets_bulk(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let list = call.dictionary()?.required_list("dids")?;
    if list.is_empty() {
        return Err(Failure::new(Class::ValueError, "List of DIDs is empty"));
    }
    datasets(lake, read_dids(&list)?).await
}

async fn datasets_at(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    const AT_ONCE: usize = 100;
    let limit = call.query("limit").and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
    stream((Did::new("", ""), limit), move |(after, left)| {
        let (lake, rse) = (lake.clone(), rse.clone());
        async move {
            lake.store
                .read(move |tx| {
                    rses::get(tx, &rse)?;
                    let page = search::datasets_at(tx, &rse, &after, AT_ONCE.min(left))?;
                    let left = left - page.len();
                    let more = page.len() == AT_ONCE && left > 0;
                    let next = page.last().filter(|_| more).map(|last| (last.clone(), left));
                    Ok::<_, Error>((of_datasets(tx, &page, Some(&rse))?, next))
                })
                .await
        }
    })
    .await
}
