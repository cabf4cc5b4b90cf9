//! `/opendata`: collections for everybody. Names, sizes and descriptions only: bytes are for those who may read them.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::{Require, Routes};
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::{Class, Did};
use serde_json::{Value, json};

use super::answer::{Answer, Failure, PAGE, created, json, no_content};
use super::dids::no_route;
use super::files::FileMerge;
use super::request::{Asking, Call, did, invalid};
use super::settings::quiet;
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::opendata::{self, OpenData};

const OPEN: Require = Require::Public("what its owner and an administrator made public");

/// Files that one answer names.
const MOST_FILES: usize = 10_000;

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/opendata/dids", READS, list)
        .get("/opendata/public/dids", OPEN, list_public)
        .get("/opendata/public/dids/{scope}/{*name}", OPEN, get_public)
        .get("/opendata/dids/{scope}/{*name}", READS, get)
        .post("/opendata/dids/{scope}/{*name}", CHANGES, add)
        .put("/opendata/dids/{scope}/{*name}", CHANGES, update)
        .delete("/opendata/dids/{scope}/{*name}", CHANGES, delete)
}

fn state_name(letter: &str) -> &'static str {
    match letter {
        "P" => "PUBLIC",
        "S" => "SUSPENDED",
        _ => "DRAFT",
    }
}

fn state_letter(text: &str) -> Result<&'static str, Failure> {
    match text.to_ascii_uppercase().as_str() {
        "D" | "DRAFT" => Ok("D"),
        "P" | "PUBLIC" => Ok("P"),
        "S" | "SUSPENDED" => Ok("S"),
        _ => Err(Failure::new(Class::OpenDataInvalidState, format!("'{text}' is not a state of open data"))),
    }
}

async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let state = call.query("state").map(state_letter).transpose()?;
    some(lake, state, &call).await
}

async fn list_public(State(lake): State<Lake>, call: Call) -> Answer {
    some(lake, Some("P"), &call).await
}

async fn some(lake: Lake, state: Option<&'static str>, call: &Call) -> Answer {
    let number = |key: &str, usual: usize| call.query(key).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (offset, limit) = (number("offset", 0), number("limit", MOST_FILES));
    let found = lake.store.read(move |tx| opendata::list(tx, state)).await?;
    let dids: Vec<Value> = found
        .iter()
        .skip(offset)
        .take(limit)
        .map(|one| {
            json!({"scope": one.did.scope, "name": one.did.name, "state": state_name(&one.state),
                "created_at": rfc1123_utc(one.created_at), "updated_at": rfc1123_utc(one.updated_at)})
        })
        .collect();
    json(&json!({"total": found.len(), "offset": offset, "dids": dids}))
}

async fn get(State(lake): State<Lake>, _: Asking, Path((scope, name)): Path<(String, String)>, call: Call) -> Answer {
    show(lake, did(&scope, &name)?, &call, false).await
}

async fn get_public(State(lake): State<Lake>, Path((scope, name)): Path<(String, String)>, call: Call) -> Answer {
    show(lake, did(&scope, &name)?, &call, true).await
}

async fn show(lake: Lake, did: Did, call: &Call, public: bool) -> Answer {
    let wants = |key: &str, usual: bool| call.query(key).map_or(usual, |word| matches!(word, "1" | "true" | "True"));
    let with_files = wants("files", false);
    let wanted = did.clone();
    let (one, files) = lake
        .store
        .read(move |tx| {
            let one = opendata::get(tx, &wanted)?;
            let mut files = Vec::new();
            if with_files && (!public || one.state == "P") {
                let mut merge = FileMerge::open(tx, std::slice::from_ref(&wanted), true)?;
                while files.len() < MOST_FILES {
                    let page = merge.next(tx, PAGE)?;
                    let full = page.len() == PAGE;
                    files.extend(page);
                    if !full {
                        break;
                    }
                }
            }
            Ok::<_, Error>((one, files))
        })
        .await?;
    if public && one.state != "P" {
        let message = format!("Open data identifier '{did}' not found");
        return Err(Failure::new(Class::OpenDataDataIdentifierNotFound, message));
    }
    let mut value = json!({"scope": one.did.scope, "name": one.did.name, "state": state_name(&one.state),
        "created_at": rfc1123_utc(one.created_at), "updated_at": rfc1123_utc(one.updated_at), "rule": null});
    if wants("doi", true) {
        value["doi"] = json!(one.doi);
    }
    if wants("record_id", true) {
        value["record_id"] = json!(one.record_id);
    }
    if wants("meta", false) {
        value["meta"] = one.meta.clone().unwrap_or_else(|| json!({}));
    }
    if with_files {
        let entry = |one: &super::files::MergedFile| {
            json!({"scope": one.file.did.scope, "name": one.file.did.name, "bytes": one.file.bytes,
                "adler32": one.file.adler32})
        };
        value["files"] = files.iter().map(entry).collect();
    }
    json(&value)
}

async fn add(State(lake): State<Lake>, asking: Asking, Path((scope, name)): Path<(String, String)>) -> Answer {
    asking.0.needs_admin("add open data").map_err(quiet)?;
    let (did, now) = (did(&scope, &name)?, Timestamp::now());
    lake.change(move |tx| opendata::add(tx, &did, now)).await?;
    created()
}

async fn delete(State(lake): State<Lake>, asking: Asking, Path((scope, name)): Path<(String, String)>) -> Answer {
    asking.0.needs_admin("remove open data").map_err(quiet)?;
    let did = did(&scope, &name)?;
    lake.change(move |tx| opendata::delete(tx, &did)).await?;
    no_content()
}

/// `10.NUMBER/TEXT`.
fn is_doi(text: &str) -> bool {
    const LONGEST: usize = 255;
    let parts = text.strip_prefix("10.").and_then(|rest| rest.split_once('/'));
    text.len() <= LONGEST
        && parts.is_some_and(|(prefix, rest)| {
            prefix.len() >= 4 && prefix.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !rest.is_empty()
        })
}

async fn update(
    State(lake): State<Lake>,
    asking: Asking,
    Path((scope, name)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("update open data").map_err(quiet)?;
    let did = did(&scope, &name).map_err(|_| no_route())?;
    let fields = call.dictionary()?;
    let state = fields.text("state")?.map(|text| state_letter(&text)).transpose()?;
    let meta = match fields.get("meta") {
        None => None,
        Some(Value::String(text)) => {
            Some(serde_json::from_str::<Value>(text).map_err(|_| invalid("'meta' is no JSON"))?)
        }
        Some(other) => Some(other.clone()),
    };
    let doi = fields.text("doi")?;
    if let Some(other) = doi.as_deref().filter(|doi| !is_doi(doi)) {
        return Err(Failure::new(Class::OpenDataError, format!("'{other}' is not a DOI such as 10.1234/abc")));
    }
    let record_id = fields.integer("record_id")?;
    let now = Timestamp::now();
    let after = lake
        .change(move |tx| {
            let old = opendata::get(tx, &did)?;
            let one = OpenData {
                state: state.map_or(old.state.clone(), str::to_owned),
                meta: meta.clone().or(old.meta.clone()),
                doi: doi.clone().or(old.doi.clone()),
                record_id: record_id.or(old.record_id),
                updated_at: now,
                ..old
            };
            opendata::update(tx, &one)?;
            Ok::<_, Error>(one)
        })
        .await?;
    json(&json!({"scope": after.did.scope, "name": after.did.name, "state_new": state_name(&after.state),
        "meta_new": after.meta, "doi_new": after.doi, "record_id_new": after.record_id}))
}
