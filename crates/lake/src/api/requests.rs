//! Transfer requests: what is on its way.

use axum::extract::{Path, State};
use dte_identity::Routes;
use dte_protocol_rucio::Class;
use dte_protocol_rucio::date::rfc1123_utc;
use serde_json::json;

use super::READS;
use super::answer::{Answer, Failure, json};
use super::dids::no_route;
use super::request::{Asking, did};
use crate::Lake;
use crate::error::Error;
use crate::store::{requests, rses};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes.get("/requests/{scope}/{*rest}", READS, get)
}

/// The name may contain slashes; the storage element is the last part.
async fn get(State(lake): State<Lake>, _: Asking, Path((scope, rest)): Path<(String, String)>) -> Answer {
    let (name, rse) = rest.rsplit_once('/').ok_or_else(no_route)?;
    let (did, rse) = (did(&scope, name)?, rse.to_owned());
    let wanted = (did.clone(), rse.clone());
    let (found, all) = lake
        .store
        .read(move |tx| Ok::<_, Error>((requests::of_copy(tx, &wanted.0, &wanted.1)?, rses::all(tx)?)))
        .await?;
    let Some(request) = found else {
        return Err(Failure::new(Class::RequestNotFound, format!("No request found for DID {did} at RSE {rse}")));
    };
    let id_of = |rse: &str| all.rows.get(rse).map(|rse| rse.id.clone());
    json(&json!({
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
    }))
}
