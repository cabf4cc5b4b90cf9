//! `POST /events`: CloudEvents from outside, one (structured or binary) or a batch. The answer comes when they are on disk.

use std::collections::BTreeMap;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dte_http::{Json, Problem, current_request_id};
use dte_identity::Principal;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::State;
use crate::model::cloudevent::{BATCH, Incoming, STRUCTURED, decode_header};
use crate::store::published;

/// Events in one batch; it is one transaction.
const MOST: usize = 1_000;

pub async fn post(
    Shared(state): Shared<State>,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let incoming = read(&headers, &body)?;
    if incoming.len() > MOST {
        return Err(Problem::too_large(format!("a batch may hold at most {MOST} events")));
    }
    let publisher = principal.name().to_owned();
    let request = current_request_id().map(|id| id.to_string());
    let told: Vec<String> = incoming.iter().map(|event| event.id.clone()).collect();
    let receipts =
        state.store.write(move |tx| published::append(tx, &incoming, &publisher, request.as_deref())).await?;
    let duplicates = receipts.iter().filter(|receipt| receipt.is_duplicate).count();
    let status = if duplicates == receipts.len() && duplicates > 0 { StatusCode::OK } else { StatusCode::ACCEPTED };
    let events: Vec<Value> = told
        .iter()
        .zip(&receipts)
        .map(|(id, receipt)| json!({"id": id, "event": receipt.event, "duplicate": receipt.is_duplicate}))
        .collect();
    let accepted = receipts.len() - duplicates;
    Ok((status, Json(json!({"accepted": accepted, "duplicates": duplicates, "events": events}))).into_response())
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Incoming>, Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|text| text.split(';').next()).map(|text| text.trim().to_ascii_lowercase());
    let json = || {
        serde_json::from_slice::<Value>(body)
            .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))
    };
    let one = |value: Value| Incoming::parse(value).map_err(|error| Problem::unprocessable(error.to_string()));
    match media.as_deref() {
        Some(STRUCTURED) => Ok(vec![one(json()?)?]),
        Some(BATCH) => match json()? {
            Value::Array(list) => list
                .into_iter()
                .enumerate()
                .map(|(at, value)| {
                    Incoming::parse(value).map_err(|error| Problem::unprocessable(format!("event {at}: {error}")))
                })
                .collect(),
            _ => Err(Problem::bad_request("a batch is a JSON array")),
        },
        _ if headers.contains_key("ce-specversion") => Ok(vec![binary(headers, content_type, body)?]),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("send {STRUCTURED}, {BATCH}, or binary mode with ce- headers"),
        )),
    }
}

fn binary(headers: &HeaderMap, content_type: Option<&str>, body: &[u8]) -> Result<Incoming, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let text = value.to_str().ok().and_then(decode_header);
        let text = text.ok_or_else(|| Problem::bad_request(format!("header {name} is not percent-encoded text")))?;
        attributes.insert(attribute.to_owned(), text);
    }
    Incoming::from_binary(&attributes, content_type, body).map_err(|error| Problem::unprocessable(error.to_string()))
}
