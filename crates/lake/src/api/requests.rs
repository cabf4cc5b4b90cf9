//! Transfer requests: what is on its way.

use axum::extract::{Path, State};
use dte_identity::Routes;
use dte_protocol_rucio::date::rfc1123_utc;
use dte_protocol_rucio::{Class, Did};
use serde_json::{Value, json};

use super::READS;
use super::answer::{Answer, Failure, PAGE, json, lines, stream};
use super::dids::no_route;
use super::request::{Asking, Call, did};
use crate::Lake;
use crate::error::Error;
use crate::store::past_requests::{self, Ended};
use crate::store::requests::{self, Request, RequestState};
use crate::store::rses::{self, Rses};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes.get("/requests/list", READS, list).get("/requests/history/list", READS, history).get(
        "/requests/{scope}/{*rest}",
        READS,
        get,
    )
}

/// Longest history that one answer has.
const LONGEST_HISTORY: usize = 1000;

fn missing(key: &str) -> Failure {
    Failure::new(Class::ValueError, format!("MissingParameter: '{key}' is missing"))
}

/// The storage elements that `KEY_rse` or `KEY_site` of a query means.
fn ends(call: &Call, all: &Rses, key: &str) -> Result<Vec<String>, Failure> {
    if let Some(rse) = call.query(&format!("{key}_rse")) {
        return Ok(vec![rse.to_owned()]);
    }
    let site = call.query(&format!("{key}_site")).ok_or_else(|| missing(&format!("{key}_rse")))?;
    let at = |rse: &&String| all.attribute(rse, "site") == Some(site);
    Ok(all.rows.keys().filter(at).cloned().collect())
}

/// Letters of states; those that there are none of here stand for nothing.
fn states(call: &Call) -> Result<Vec<String>, Failure> {
    let text = call.query("request_states").ok_or_else(|| missing("request_states"))?;
    Ok(text.split(',').map(|state| state.trim_matches(&['[', ']', '\'', '"', ' '][..]).to_owned()).collect())
}

async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let all = lake.store.read(rses::all).await?;
    let (from, to) = (ends(&call, &all, "src")?, ends(&call, &all, "dst")?);
    let letters = states(&call)?;
    let mut wanted = vec![RequestState::Queued, RequestState::Submitted, RequestState::Failed];
    wanted.retain(|state| letters.iter().any(|letter| letter == state.letter()));
    let all = std::sync::Arc::new(all);
    stream(String::new(), move |after| {
        let (lake, all, from, to, wanted) = (lake.clone(), all.clone(), from.clone(), to.clone(), wanted.clone());
        async move {
            let page = lake.store.read(move |tx| requests::page(tx, &to, &wanted, &after, PAGE)).await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|one| one.id.clone())).flatten();
            let fits = |one: &&Request| one.source_rse.as_ref().is_none_or(|rse| from.contains(rse));
            Ok((page.iter().filter(fits).map(|one| render(one, &all)).collect(), next))
        }
    })
    .await
}

async fn history(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let number = |key: &str, usual: usize| call.query(key).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (offset, limit) = (number("offset", 0).min(LONGEST_HISTORY), number("limit", 100).min(LONGEST_HISTORY));
    let (found, all) =
        lake.store.read(|tx| Ok::<_, Error>((past_requests::ended_page(tx, LONGEST_HISTORY)?, rses::all(tx)?))).await?;
    let (from, to, letters) = (ends(&call, &all, "src")?, ends(&call, &all, "dst")?, states(&call)?);
    let values = found
        .iter()
        .filter(|one| to.contains(&one.rse) && letters.contains(&one.state))
        .filter(|one| one.source_rse.as_ref().is_none_or(|rse| from.contains(rse)))
        .skip(offset)
        .take(limit)
        .map(|one| render_ended(one, &all));
    lines(&values.collect::<Vec<_>>())
}

fn render_ended(one: &Ended, all: &Rses) -> Value {
    let id_of = |rse: &str| all.rows.get(rse).map(|rse| rse.id.clone());
    json!({
        "id": one.id, "request_type": "TRANSFER", "scope": one.did.scope, "name": one.did.name, "did_type": "FILE",
        "dest_rse_id": id_of(&one.rse), "dest_rse": one.rse, "source_rse_id": one.source_rse.as_deref().and_then(id_of),
        "source_rse": one.source_rse, "attributes": {"activity": one.activity, "bytes": one.bytes},
        "state": if one.state == "D" { "DONE" } else { "FAILED" }, "activity": one.activity, "bytes": one.bytes,
        "md5": null, "adler32": one.adler32, "dest_url": null, "external_id": one.job_id, "external_host": null,
        "transfertool": "fts3", "retry_count": one.attempt - 1, "err_msg": one.error, "previous_attempt_id": null,
        "rule_id": one.rule_id, "account": one.account, "requested_at": rfc1123_utc(one.requested_at),
        "submitted_at": one.submitted_at.map(rfc1123_utc), "started_at": null,
        "transferred_at": rfc1123_utc(one.ended_at), "created_at": rfc1123_utc(one.requested_at),
        "updated_at": rfc1123_utc(one.ended_at),
    })
}

/// The name may contain slashes; the storage element is the last part.
async fn get(State(lake): State<Lake>, _: Asking, Path((scope, rest)): Path<(String, String)>) -> Answer {
    let (path, rse) = rest.rsplit_once('/').ok_or_else(no_route)?;
    // `history/SCOPE/NAME…/RSE` asks for the past, unless it is the scope that is named so.
    if let Some((past, name)) = path.split_once('/').filter(|_| scope == "history") {
        return ended(lake, did(past, name)?, rse.to_owned()).await;
    }
    let (did, rse) = (did(&scope, path)?, rse.to_owned());
    let wanted = (did.clone(), rse.clone());
    let (found, all) = lake
        .store
        .read(move |tx| Ok::<_, Error>((requests::of_copy(tx, &wanted.0, &wanted.1)?, rses::all(tx)?)))
        .await?;
    let Some(request) = found else {
        return Err(Failure::new(Class::RequestNotFound, format!("No request found for DID {did} at RSE {rse}")));
    };
    json(&render(&request, &all))
}

async fn ended(lake: Lake, did: Did, rse: String) -> Answer {
    let (wanted, place) = (did.clone(), rse.clone());
    let (found, all) = lake
        .store
        .read(move |tx| Ok::<_, Error>((past_requests::ended_of_copy(tx, &wanted, &place)?, rses::all(tx)?)))
        .await?;
    let missing = || Failure::new(Class::RequestNotFound, format!("No request found for DID {did} at RSE {rse}"));
    json(&render_ended(&found.ok_or_else(missing)?, &all))
}

fn render(request: &Request, all: &Rses) -> Value {
    let id_of = |rse: &str| all.rows.get(rse).map(|rse| rse.id.clone());
    json!({
        "id": request.id, "request_type": "TRANSFER", "scope": request.did.scope, "name": request.did.name,
        "did_type": "FILE", "dest_rse_id": id_of(&request.rse), "dest_rse": request.rse,
        "source_rse_id": request.source_rse.as_deref().and_then(id_of), "source_rse": request.source_rse,
        "attributes": {"activity": request.activity, "source_replica_expression": request.source_expression,
            "lifetime": null, "ds_scope": null, "ds_name": null, "bytes": request.bytes, "md5": null,
            "adler32": request.adler32, "priority": request.priority, "allow_tape_source": true},
        "state": request.state.name(), "activity": request.activity, "bytes": request.bytes, "md5": null,
        "adler32": request.adler32, "dest_url": request.dest_url, "external_id": request.job_id,
        "external_host": null, "transfertool": "fts3", "retry_count": request.attempt - 1,
        "err_msg": request.error, "previous_attempt_id": null, "rule_id": request.rule_id,
        "account": request.account, "priority": request.priority,
        "requested_at": rfc1123_utc(request.requested_at), "submitted_at": request.submitted_at.map(rfc1123_utc),
        "started_at": null, "transferred_at": null, "estimated_at": null, "estimated_started_at": null,
        "estimated_transferred_at": null, "staging_started_at": null, "staging_finished_at": null,
        "submitter_id": null, "last_processed_by": null, "last_processed_at": null,
        "created_at": rfc1123_utc(request.requested_at), "updated_at": rfc1123_utc(request.requested_at),
    })
}
