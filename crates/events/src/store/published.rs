//! Events from outside.

use std::collections::HashMap;

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_store::{Error, Event, Tx, Value, params, values};
use uuid::Uuid;

use super::marks;
use crate::model::cloudevent::{Envelope, Incoming, Outer, RESERVED_TYPES};

/// Whether an event was taken in now, or had been before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub event: Uuid,
    pub is_duplicate: bool,
}

/// Appends events to the log, each (source, id) once.
pub fn append(
    tx: &mut Tx<'_>,
    incoming: &[Incoming],
    publisher: &str,
    request_id: Option<&str>,
) -> Result<Vec<Receipt>, Error> {
    let now = Timestamp::now();
    let columns = ["source", "id", "event", "publisher", "attributes", "accepted"];
    let mut receipts = Vec::with_capacity(incoming.len());
    for one in incoming {
        let event = derived_id(&["event", &one.source, &one.id]);
        let attributes = serde_json::Value::Object(one.attributes.clone());
        let row = values![&one.source, &one.id, event, publisher, attributes, now];
        let is_new = tx.insert_new_many("events_published", &columns, &[row])? > 0;
        if is_new {
            let mut logged = Event::new(one.kind.clone(), one.source.clone(), one.subject.clone(), one.data.clone());
            logged.time = one.time.unwrap_or(now);
            tx.emit(logged.with_id(event).with_request_id(request_id.map(str::to_owned)))?;
        }
        receipts.push(Receipt { event, is_duplicate: !is_new });
    }
    Ok(receipts)
}

/// Adds to events of the log what came with them from outside.
pub fn envelopes(tx: &mut Tx<'_>, events: Vec<Event>) -> Result<Vec<Envelope>, Error> {
    let foreign: Vec<Value> = events
        .iter()
        .filter(|event| !event.kind.starts_with(RESERVED_TYPES))
        .map(|event| Value::from(event.id))
        .collect();
    let mut outer: HashMap<Uuid, Outer> = HashMap::new();
    for chunk in foreign.chunks(500) {
        let sql = format!(
            "SELECT event, id, publisher, attributes FROM events_published WHERE event IN ({})",
            marks(0, chunk.len())
        );
        let found = tx.query(&sql, chunk, |row| {
            let attributes = match row.get::<serde_json::Value>(3)? {
                serde_json::Value::Object(map) => map,
                _ => serde_json::Map::new(),
            };
            Ok((row.get::<Uuid>(0)?, Outer { id: row.get(1)?, publisher: row.get(2)?, attributes }))
        })?;
        outer.extend(found);
    }
    let wrap = |event: Event| {
        let found = outer.remove(&event.id);
        let is_foreign = !event.kind.starts_with(RESERVED_TYPES);
        // An event from outside whose record is gone belongs to nobody any more: only administrators see it.
        let outer = found.or_else(|| is_foreign.then(|| Outer { id: event.id.to_string(), ..Outer::default() }));
        Envelope { event, outer }
    };
    Ok(events.into_iter().map(wrap).collect())
}

/// Forgets records accepted before `time`, at most `limit`. Answers how many.
pub fn prune(tx: &mut Tx<'_>, time: Timestamp, limit: usize) -> Result<u64, Error> {
    tx.execute(
        "DELETE FROM events_published WHERE event IN
           (SELECT event FROM events_published WHERE accepted < ?1 ORDER BY accepted LIMIT ?2)",
        &params![time, limit],
    )
}
