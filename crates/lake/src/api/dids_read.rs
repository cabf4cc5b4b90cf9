//! Reading DIDs: one, a scope's, a search, children, parents.

use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::did::is_scope;
use dte_protocol_rucio::{Class, Did, DidType};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, PAGE, json, lines, stream};
use super::request::{Call, malformed};
use crate::Lake;
use crate::error::Error;
use crate::model::filter::{Filter, kinds_of};
use crate::model::literal;
use crate::store::dids::DidRow;
use crate::store::{contents, dids, metadata, search as reading};

pub(super) async fn get(lake: Lake, did: Did, call: Call) -> Answer {
    let dynamic = call.query("dynamic").is_some() || call.query("dynamic_depth").is_some();
    let (row, sums) = lake
        .store
        .read(move |tx| {
            let row = dids::get(tx, &did)?;
            let sums = if dynamic && row.kind.is_collection() { Some(dids::sums(tx, &did)?) } else { None };
            Ok::<_, Error>((row, sums))
        })
        .await?;
    if row.kind == DidType::File {
        return json(&json!({
            "scope": row.did.scope, "name": row.did.name, "type": "FILE", "account": row.account,
            "bytes": row.bytes, "length": 1, "md5": row.md5, "adler32": row.adler32,
        }));
    }
    let (length, bytes) = sums.map_or((row.length, row.bytes), |(length, bytes)| (Some(length), Some(bytes)));
    json(&json!({
        "scope": row.did.scope, "name": row.did.name, "type": row.kind.name(), "account": row.account,
        "open": row.open, "monotonic": row.monotonic, "expired_at": row.expired_at.map(rfc1123_utc),
        "length": length, "bytes": bytes,
    }))
}

pub(super) async fn content(lake: Lake, did: Did) -> Answer {
    stream(Did::new("", ""), move |after| {
        let (lake, did) = (lake.clone(), did.clone());
        async move {
            let page = lake
                .store
                .read(move |tx| {
                    if after.scope.is_empty() {
                        dids::get(tx, &did)?;
                    }
                    contents::page(tx, &did, &after, PAGE)
                })
                .await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|child| child.did.clone())).flatten();
            let values = page
                .iter()
                .map(|child| {
                    json!({"scope": child.did.scope, "name": child.did.name, "type": child.kind.name(),
                        "bytes": child.bytes, "adler32": child.adler32, "md5": child.md5})
                })
                .collect();
            Ok((values, next))
        }
    })
    .await
}

pub(super) async fn history(lake: Lake, did: Did) -> Answer {
    stream(0_i64, move |after| {
        let (lake, did) = (lake.clone(), did.clone());
        async move {
            let page = lake
                .store
                .read(move |tx| {
                    dids::get(tx, &did)?;
                    contents::history_page(tx, &did, after, PAGE)
                })
                .await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|one| one.0)).flatten();
            let values = page
                .iter()
                .map(|(_, child, created, deleted)| {
                    json!({"scope": child.did.scope, "name": child.did.name, "type": child.kind.name(),
                        "bytes": child.bytes, "adler32": child.adler32, "md5": child.md5,
                        "deleted_at": rfc1123_utc(*deleted), "created_at": rfc1123_utc(*created),
                        "updated_at": rfc1123_utc(*deleted)})
                })
                .collect();
            Ok((values, next))
        }
    })
    .await
}

pub(super) async fn parents(lake: Lake, did: Did) -> Answer {
    let found = lake
        .store
        .read(move |tx| {
            dids::get(tx, &did)?;
            contents::parents(tx, &did)
        })
        .await?;
    let values: Vec<Value> = found
        .iter()
        .map(|(parent, kind)| json!({"scope": parent.scope, "name": parent.name, "type": kind.name()}))
        .collect();
    lines(&values)
}

/// The DIDs at the top of a scope, or one DID with what is in it.
pub(super) async fn scope(lake: Lake, scope: String, call: Call) -> Answer {
    if !is_scope(&scope) {
        return Err(malformed("the scope").into());
    }
    let entry = |row: &DidRow, parent: Option<&Did>, level: u32| {
        json!({"scope": row.did.scope, "name": row.did.name, "type": row.kind.name(), "parent": parent,
            "level": level, "bytes": row.bytes})
    };
    if let Some(name) = call.query("name") {
        let recursive = call.query("recursive").is_some_and(|word| !matches!(word, "0" | "False" | "false"));
        return super::dids_more::tree(lake, Did::new(scope, name), recursive).await;
    }
    stream(String::new(), move |after| {
        let (lake, scope) = (lake.clone(), scope.clone());
        async move {
            let first = after.is_empty();
            let page = lake
                .store
                .read(move |tx| {
                    if first {
                        crate::store::accounts::owner(tx, &scope)?;
                    }
                    reading::top_page(tx, &scope, &after, PAGE)
                })
                .await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|row| row.did.name.clone())).flatten();
            Ok((page.iter().map(|row| entry(row, None, 0)).collect(), next))
        }
    })
    .await
}

/// Keys of a search's query that are no criteria.
const SEARCH_WORDS: [&str; 5] = ["type", "filters", "long", "recursive", "limit"];

pub(super) async fn search(lake: Lake, scope: String, call: Call) -> Answer {
    let kinds = kinds_of(call.query("type").unwrap_or("collection"))?;
    let groups = match call.query("filters") {
        Some(text) => literal::parse(text)
            .ok_or_else(|| Failure::new(Class::DIDFilterSyntaxError, "filters is not a Python literal"))?,
        None => Value::Object(
            call.pairs()
                .iter()
                .filter(|(key, _)| !SEARCH_WORDS.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), Value::String(value.clone())))
                .collect(),
        ),
    };
    let filter = Filter::parse(&groups)?;
    let kinds = filter.kinds(kinds);
    let long = call.query("long").is_some_and(|word| !matches!(word, "0" | "False" | "false"));
    let limit = call.query("limit").and_then(|limit| limit.parse::<usize>().ok()).unwrap_or(usize::MAX);
    stream((String::new(), limit), move |(after, left)| {
        let (lake, scope, kinds, filter) = (lake.clone(), scope.clone(), kinds.clone(), filter.clone());
        async move {
            let hint = filter.name_hint();
            let (page, free) = lake
                .store
                .read(move |tx| {
                    let page = reading::page(tx, &scope, &kinds, &hint, &after, PAGE)?;
                    let names: Vec<Did> = page.iter().map(|row| row.did.clone()).collect();
                    let free = metadata::get_many(tx, &names)?;
                    Ok::<_, Error>((page, free))
                })
                .await?;
            let matching = page.iter().filter(|row| {
                let mut facts = columns(row);
                facts.extend(free.get(&row.did).cloned().unwrap_or_default());
                filter.matches(&facts)
            });
            let values: Vec<Value> = matching.take(left).map(|row| found(row, long)).collect();
            let left = left.saturating_sub(values.len());
            let last = page.last().map(|row| (row.did.name.clone(), left));
            let next = last.filter(|_| page.len() == PAGE && left > 0);
            Ok((values, next))
        }
    })
    .await
}

fn found(row: &DidRow, long: bool) -> Value {
    if !long {
        return Value::String(row.did.name.clone());
    }
    json!({"scope": row.did.scope, "name": row.did.name, "did_type": row.kind.name(), "bytes": row.bytes,
        "length": row.length})
}

/// The columns that can be searched.
fn columns(row: &DidRow) -> Map<String, Value> {
    let mut map = super::metadata::columns(row);
    map.insert("created_at".to_owned(), json!(row.created_at.to_string()));
    map.insert("updated_at".to_owned(), json!(row.updated_at.to_string()));
    map.insert("closed_at".to_owned(), json!(row.closed_at.map(|at| at.to_string())));
    map.insert("expired_at".to_owned(), json!(row.expired_at.map(|at| at.to_string())));
    map
}
