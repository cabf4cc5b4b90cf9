//! What the lake tells: each event in the transaction of the change that it tells of.

use std::cell::RefCell;

use dte_protocol_rucio::Did;
use dte_store::{Event, Tx};
use serde_json::{Value, json};

use super::dids::DidRow;
use super::rules::Rule;
use crate::error::Result;

/// Where the events come from.
pub(crate) const SOURCE: &str = "/rucio";

pub(crate) const REPLICA_AVAILABLE: &str = "org.dte.lake.replica.available";
pub(crate) const DATASET_CLOSED: &str = "org.dte.lake.dataset.closed";
pub(crate) const DATASET_READY: &str = "org.dte.lake.dataset.ready";
pub(crate) const CONTAINER_CLOSED: &str = "org.dte.lake.container.closed";
pub(crate) const DID_ERASED: &str = "org.dte.lake.did.erased";
pub(crate) const FILE_LOST: &str = "org.dte.lake.file.lost";
pub(crate) const RULE_OK: &str = "org.dte.lake.rule.ok";
pub(crate) const RULE_STUCK: &str = "org.dte.lake.rule.stuck";

fn emit(tx: &mut Tx<'_>, kind: &str, did: &Did, data: Value) -> Result<()> {
    let event = Event::new(kind, SOURCE, did.to_string(), data).with_request_id(request());
    Ok(tx.emit(event)?)
}

thread_local! {
    /// The request for which this database thread runs a transaction at the moment.
    static REQUEST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`, which is part of a transaction, so that its events carry the request's id.
pub(crate) fn for_request<T>(id: Option<String>, body: impl FnOnce() -> T) -> T {
    REQUEST.with_borrow_mut(|current| *current = id);
    let answer = body();
    REQUEST.with_borrow_mut(|current| *current = None);
    answer
}

fn request() -> Option<String> {
    REQUEST.with_borrow(Clone::clone)
}

/// A copy can be read.
pub(crate) struct Copy<'a> {
    pub did: &'a Did,
    pub rse: &'a str,
    pub bytes: i64,
    pub adler32: Option<&'a str>,
    pub account: &'a str,
}

pub(crate) fn replica_available(tx: &mut Tx<'_>, copy: &Copy<'_>) -> Result<()> {
    let data = json!({
        "scope": copy.did.scope, "name": copy.did.name, "rse": copy.rse,
        "bytes": copy.bytes, "adler32": copy.adler32, "account": copy.account,
    });
    emit(tx, REPLICA_AVAILABLE, copy.did, data)
}

pub(crate) fn closed(tx: &mut Tx<'_>, row: &DidRow, files: i64, bytes: i64) -> Result<()> {
    let kind = if row.kind == dte_protocol_rucio::DidType::Dataset { DATASET_CLOSED } else { CONTAINER_CLOSED };
    let data = json!({
        "scope": row.did.scope, "name": row.did.name, "account": row.account, "files": files, "bytes": bytes,
    });
    emit(tx, kind, &row.did, data)
}

pub(crate) fn dataset_ready(tx: &mut Tx<'_>, row: &DidRow) -> Result<()> {
    let data = json!({
        "scope": row.did.scope, "name": row.did.name, "account": row.account,
        "files": row.length, "bytes": row.bytes,
    });
    emit(tx, DATASET_READY, &row.did, data)
}

/// The last copy of a file is gone.
pub(crate) fn lost(tx: &mut Tx<'_>, did: &Did, rse: &str) -> Result<()> {
    emit(tx, FILE_LOST, did, json!({"scope": did.scope, "name": did.name, "rse": rse}))
}

/// A DID has come to its end.
pub(crate) fn erased(tx: &mut Tx<'_>, row: &DidRow) -> Result<()> {
    let data = json!({"scope": row.did.scope, "name": row.did.name, "account": row.account});
    emit(tx, DID_ERASED, &row.did, data)
}

pub(crate) fn rule_ok(tx: &mut Tx<'_>, rule: &Rule) -> Result<()> {
    emit(tx, RULE_OK, &rule.did, rule_data(rule))
}

pub(crate) fn rule_stuck(tx: &mut Tx<'_>, rule: &Rule, error: Option<&str>) -> Result<()> {
    let mut data = rule_data(rule);
    data["error"] = json!(error);
    emit(tx, RULE_STUCK, &rule.did, data)
}

fn rule_data(rule: &Rule) -> Value {
    json!({
        "rule_id": rule.id, "scope": rule.did.scope, "name": rule.did.name, "account": rule.account,
        "rse_expression": rule.expression, "copies": rule.copies,
    })
}
