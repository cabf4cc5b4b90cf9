//! The only place with this service's SQL.

pub mod alerts;
pub mod forecasts;
pub mod observations;
pub mod runs;
pub mod sources;
pub mod troubles;
pub mod twins;

use dte_store::Migration;

pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001.sql") }];

/// Where the events of this service come from.
pub const SOURCE: &str = "/twins";

/// Queues of durable work.
pub mod queue {
    /// Makes the world as the document says: scope, containers, rules, program, watch.
    pub const APPLY: &str = "workflow.apply";
    /// Takes in the files of one source, in order.
    pub const OBSERVE: &str = "workflow.observe";
    /// Runs one model, arrival by arrival.
    pub const MODEL: &str = "workflow.model";
    /// Tells a webhook of an alert.
    pub const WEBHOOK: &str = "workflow.webhook";
    /// Looks now and then for what no event told.
    pub const SWEEP: &str = "workflow.sweep";
}

use dte_store::{Error, NewWork, Tx};
use serde_json::json;

/// The source must be looked at from now on.
pub fn request_observe(tx: &mut Tx<'_>, twin: &str, source: &str) -> Result<(), Error> {
    let payload = json!({ "twin": twin, "part": source });
    tx.request(NewWork::new(queue::OBSERVE, format!("{twin}/{source}"), payload))
}

/// The model must be looked at from now on.
pub fn request_model(tx: &mut Tx<'_>, twin: &str, model: &str) -> Result<(), Error> {
    let payload = json!({ "twin": twin, "part": model });
    tx.request(NewWork::new(queue::MODEL, format!("{twin}/{model}"), payload))
}

/// The document must be applied from now on.
pub fn request_apply(tx: &mut Tx<'_>, twin: &str) -> Result<(), Error> {
    tx.request(NewWork::new(queue::APPLY, twin, json!({ "twin": twin, "part": "" })))
}
