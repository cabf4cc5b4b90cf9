//! The event log: one gap-free order, CloudEvents 1.0, written in the transaction of the change that an event tells of.
//!
//! On SQLite the single writer numbers an event as it is written. On PostgreSQL a number drawn before the commit would let
//! a consumer pass over a transaction that commits late, so writers put unnumbered rows into an outbox and one
//! sequencer (see the file `postgres.rs`) numbers what has committed. Readers see numbered rows only.

mod consumer;
pub(crate) mod postgres;
mod retention;

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::sql::Dialect;
use crate::value::Row;
use crate::{Error, Migration, Store, Tx, params};

pub use consumer::Consumer;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001.sql") }];

/// One event: the CloudEvents 1.0 attributes that we use, and its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the log; zero before it has one.
    #[serde(default)]
    pub seq: i64,
    /// Stable over redelivery.
    pub id: Uuid,
    /// `org.dte.lake.dataset.closed`
    #[serde(rename = "type")]
    pub kind: String,
    /// Which part of which engine: `/rucio`.
    pub source: String,
    /// What it is about: `enso:nino12.1980-01`.
    pub subject: String,
    pub time: Timestamp,
    pub data: Json,
    /// The request that led to it, to find it in logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Event {
    /// An event that happens now.
    pub fn new(kind: impl Into<String>, source: impl Into<String>, subject: impl Into<String>, data: Json) -> Self {
        Event {
            seq: 0,
            id: new_id(),
            kind: kind.into(),
            source: source.into(),
            subject: subject.into(),
            time: Timestamp::now(),
            data,
            request_id: None,
        }
    }

    /// With an identity that the caller derived.
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    pub fn with_request_id(mut self, request: Option<String>) -> Self {
        self.request_id = request;
        self
    }
}

const COLUMNS: &str = "seq, id, type, source, subject, time, data, request_id";

fn read_event(row: &Row) -> Result<Event, Error> {
    Ok(Event {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: row.get(2)?,
        source: row.get(3)?,
        subject: row.get(4)?,
        time: row.get(5)?,
        data: row.get(6)?,
        request_id: row.get(7)?,
    })
}

impl Tx<'_> {
    /// Appends an event; it can be read once this transaction has committed.
    pub fn emit(&mut self, event: Event) -> Result<(), Error> {
        let values =
            params![event.id, event.kind, event.source, event.subject, event.time, event.data, event.request_id];
        self.touched.emitted = true;
        match self.dialect() {
            Dialect::Sqlite => {
                let seq = self.query_one(
                    "INSERT INTO event_log (id, type, source, subject, time, data, request_id)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING seq",
                    &values,
                    |row| row.get::<i64>(0),
                )?;
                self.touched.last_event = Some(seq);
            }
            Dialect::Postgres => {
                self.execute(
                    "INSERT INTO event_outbox (id, type, source, subject, time, data, request_id)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    &values,
                )?;
            }
        }
        Ok(())
    }

    /// Appends events in this order; they can be read once this transaction has committed.
    pub fn emit_many(&mut self, events: Vec<Event>) -> Result<(), Error> {
        if self.dialect() == Dialect::Sqlite {
            return events.into_iter().try_for_each(|event| self.emit(event));
        }
        self.touched.emitted |= !events.is_empty();
        let columns = ["id", "type", "source", "subject", "time", "data", "request_id"];
        let rows: Vec<Vec<crate::Value>> = events
            .into_iter()
            .map(|e| crate::values![e.id, e.kind, e.source, e.subject, e.time, e.data, e.request_id])
            .collect();
        self.insert_many("event_outbox", &columns, &rows).map(|_| ())
    }

    /// Events after `seq` whose type begins with one of `types` (all when empty), in order.
    pub fn events_after(&mut self, seq: i64, limit: usize, types: &[String]) -> Result<Vec<Event>, Error> {
        let mut sql = format!("SELECT {COLUMNS} FROM event_log WHERE seq > ?1");
        let mut values = params![seq, limit].to_vec();
        if !types.is_empty() {
            let mut tests = Vec::new();
            for prefix in types {
                values.push(prefix.into());
                tests.push(format!("substr(type, 1, {}) = ?{}", prefix.chars().count(), values.len()));
            }
            sql.push_str(&format!(" AND ({})", tests.join(" OR ")));
        }
        sql.push_str(" ORDER BY seq LIMIT ?2");
        self.query(&sql, &values, read_event)
    }

    /// The number of the newest event; 0 when there is none.
    pub fn latest_seq(&mut self) -> Result<i64, Error> {
        let found = self.query_opt("SELECT seq FROM event_log ORDER BY seq DESC LIMIT 1", &[], |row| row.get(0))?;
        Ok(found.unwrap_or(0))
    }
}

impl Store {
    /// Events after `seq` whose type begins with one of `types` (all when empty), in order.
    pub async fn events_after(&self, seq: i64, limit: usize, types: &[&str]) -> Result<Vec<Event>, Error> {
        let types: Vec<String> = types.iter().map(|t| (*t).to_owned()).collect();
        self.read(move |tx| tx.events_after(seq, limit, &types)).await
    }

    /// The number of the newest event; 0 when there is none.
    pub async fn latest_seq(&self) -> Result<i64, Error> {
        self.read(|tx| tx.latest_seq()).await
    }
}
