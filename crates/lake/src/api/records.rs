//! Records that people leave: what was used (traces), what shall live longer (lifetime exceptions), what is for everybody
//! (open data).

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_identity::{Require, Routes};
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::did::{is_name, is_scope};
use dte_protocol_rucio::{Class, Did};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, created_json, lines};
use super::bad::moment;
use super::request::{Asking, Call, check_bulk, dids as read_dids, invalid};
use super::settings::quiet;
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::exceptions::{self, LifetimeException};
use crate::store::{archives, dids};

/// Clients send traces without saying who they are.
const TRACES: Require = Require::Public("clients tell what they used without a token; only times of use are changed");

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .post("/traces/", TRACES, trace)
        .post("/traces", TRACES, trace)
        .post("/nongrid_traces/", TRACES, trace)
        .post("/nongrid_traces", TRACES, trace)
        .get("/lifetime_exceptions/", READS, list)
        .post("/lifetime_exceptions/", CHANGES, add)
        .get("/lifetime_exceptions/{id}", READS, get)
        .put("/lifetime_exceptions/{id}", CHANGES, decide)
}

/// Kinds of traces that say that somebody used something.
const USES: [&str; 7] = ["download", "touch", "get", "get_sm", "sm_get", "get_sm_a", "sm_get_a"];
/// Ends of uses that count.
const ENDS: [&str; 3] = ["DONE", "FOUND_ROOT", "ALREADY_DONE"];

/// Notes when files, copies and datasets were last used. What is malformed is dropped, as clients cannot do anything about it.
async fn trace(State(lake): State<Lake>, call: Call) -> Answer {
    let list = match call.either()? {
        Value::Array(list) => list,
        one => vec![one],
    };
    check_bulk(list.len())?;
    let now = Timestamp::now();
    let uses: Vec<(Did, Option<String>)> = list.iter().flat_map(uses_of).collect();
    if !uses.is_empty() {
        lake.change(move |tx| {
            for (did, rse) in &uses {
                archives::touch(tx, did, rse.as_deref(), now)?;
            }
            Ok::<_, Error>(())
        })
        .await?;
    }
    created()
}

fn uses_of(trace: &Value) -> Vec<(Did, Option<String>)> {
    let text = |key: &str| trace[key].as_str().filter(|text| !text.is_empty());
    let counts = text("eventType").is_some_and(|kind| USES.contains(&kind))
        && text("clientState").is_none_or(|end| ENDS.contains(&end));
    let did = |scope: &str, name: &str| {
        let (scope, name) = (text(scope)?, text(name)?);
        (is_scope(scope) && is_name(name)).then(|| Did::new(scope, name))
    };
    let rse = text("remoteSite").map(str::to_owned);
    let file = did("scope", "filename").map(|did| (did, rse));
    let dataset = did("datasetScope", "dataset").map(|did| (did, None));
    if counts { file.into_iter().chain(dataset).collect() } else { Vec::new() }
}

fn render(one: &LifetimeException) -> Value {
    let state = match one.state.as_str() {
        "A" => "APPROVED",
        "R" => "REJECTED",
        _ => "WAITING",
    };
    json!({"id": one.id, "scope": one.did.scope, "name": one.did.name, "did_type": one.kind.name(),
        "account": one.account, "pattern": one.pattern, "comments": one.comments, "state": state,
        "expires_at": one.expires_at.map(rfc1123_utc), "created_at": rfc1123_utc(one.created_at),
        "updated_at": rfc1123_utc(one.updated_at)})
}

async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let id = call.query("exception_id").map(str::to_owned);
    let found = lake.store.read(move |tx| exceptions::list(tx, id.as_deref())).await?;
    lines(&found.iter().map(render).collect::<Vec<_>>())
}

async fn get(State(lake): State<Lake>, _: Asking, Path(id): Path<String>) -> Answer {
    let found = lake.store.read(move |tx| exceptions::list(tx, Some(&id))).await?;
    if found.is_empty() {
        return Err(Failure::new(Class::LifetimeExceptionNotFound, "No such exception"));
    }
    lines(&found.iter().map(render).collect::<Vec<_>>())
}

/// Somebody wishes that data live longer. Administrators decide.
async fn add(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let wanted = read_dids(&fields.required_list("dids")?)?;
    let expires_at = match fields.text("expires_at")? {
        None => None,
        Some(text) => Some(
            moment(&text.replace(' ', "T"))
                .or_else(|| moment(&text))
                .ok_or_else(|| invalid("'expires_at' is not a time"))?,
        ),
    };
    let (pattern, comments) = (fields.text("pattern")?, fields.text("comments")?);
    let (account, now, id) = (asking.0.account.clone(), Timestamp::now(), new_id().simple().to_string());
    let key = id.clone();
    let names = wanted.clone();
    let known = lake
        .change(move |tx| {
            let known = dids::get_many(tx, &names)?;
            let rows: Vec<LifetimeException> = names
                .iter()
                .filter_map(|did| known.get(did))
                .map(|row| LifetimeException {
                    id: key.clone(),
                    did: row.did.clone(),
                    kind: row.kind,
                    account: account.clone(),
                    pattern: pattern.clone(),
                    comments: comments.clone(),
                    state: "W".to_owned(),
                    expires_at,
                    created_at: now,
                    updated_at: now,
                })
                .collect();
            exceptions::add(tx, &rows)?;
            Ok::<_, Error>(known)
        })
        .await?;
    let entry = |did: &Did| json!({"scope": did.scope, "name": did.name, "did_type": known.get(did).map(|row| row.kind.name())});
    let (there, unknown): (Vec<&Did>, Vec<&Did>) = wanted.iter().partition(|did| known.contains_key(did));
    let there: Vec<Value> = there.into_iter().map(entry).collect();
    let unknown: Vec<Value> = unknown.into_iter().map(entry).collect();
    let mut made: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    if !there.is_empty() {
        made.insert(id, there);
    }
    let mut answer = Map::new();
    answer.insert("exceptions".to_owned(), json!(made));
    answer.insert("unknown".to_owned(), json!(unknown));
    answer.insert("not_affected".to_owned(), json!([]));
    created_json(&Value::Object(answer))
}

async fn decide(State(lake): State<Lake>, asking: Asking, Path(id): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("decide about lifetime exceptions").map_err(quiet)?;
    let state = match call.dictionary()?.required_text("state")?.as_str() {
        "A" | "APPROVED" => "A",
        "R" | "REJECTED" => "R",
        other => return Err(invalid(&format!("state {other}"))),
    };
    let now = Timestamp::now();
    lake.change(move |tx| exceptions::decide(tx, &id, state, now)).await?;
    created()
}
