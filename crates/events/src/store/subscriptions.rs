//! Subscriptions, how far each is, and what could not be delivered.

use dte_base::time::Timestamp;
use dte_store::{Error, NewWork, Row, Tx, Value, params};
use serde::{Deserialize, Serialize};

use crate::model::subscription::{Protocol, Spec};

/// The queue in which each webhook subscription is one piece of work: whoever holds its lease delivers.
pub const QUEUE: &str = "events.deliver";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Active,
    /// By its owner.
    Paused,
    /// By us: the sink said that it is gone, or the owner may no longer see anything.
    Disabled,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Paused => "paused",
            State::Disabled => "disabled",
        }
    }

    fn parse(text: &str) -> State {
        match text {
            "active" => State::Active,
            "paused" => State::Paused,
            _ => State::Disabled,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: String,
    pub owner: String,
    /// To act for the owner in the background.
    pub owner_reference: serde_json::Value,
    pub spec: Spec,
    pub sealed_secret: Option<Vec<u8>>,
    pub created: Timestamp,
    pub progress: Progress,
}

/// How far a subscription is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    pub state: State,
    /// Everything up to here is done with.
    pub position: i64,
    pub delivered: u64,
    pub retries: u64,
    /// Failed tries of the next event.
    pub failures: u32,
    pub last_error: Option<String>,
    pub last_delivered: Option<Timestamp>,
}

const COLUMNS: &str =
    "id, owner, owner_reference, spec, secret, created, state, position, delivered, retries, failures,
    last_error, last_delivered";

fn read(row: &Row) -> Result<Subscription, Error> {
    let spec: String = row.get(3)?;
    Ok(Subscription {
        id: row.get(0)?,
        owner: row.get(1)?,
        owner_reference: row.get(2)?,
        spec: serde_json::from_str(&spec).map_err(|error| Error::Invalid(format!("a stored subscription: {error}")))?,
        sealed_secret: row.get(4)?,
        created: row.get(5)?,
        progress: Progress {
            state: State::parse(&row.get::<String>(6)?),
            position: row.get(7)?,
            delivered: row.get(8)?,
            retries: row.get(9)?,
            failures: row.get(10)?,
            last_error: row.get(11)?,
            last_delivered: row.get(12)?,
        },
    })
}

pub fn insert(tx: &mut Tx<'_>, new: &Subscription) -> Result<(), Error> {
    let spec = serde_json::to_string(&new.spec).map_err(|error| Error::Invalid(format!("a subscription: {error}")))?;
    tx.execute(
        "INSERT INTO events_subscriptions (id, owner, owner_reference, spec, secret, created, state, position, delivered,
           retries, failures) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0)",
        &params![
            &new.id,
            &new.owner,
            &new.owner_reference,
            spec,
            new.sealed_secret.clone(),
            new.created,
            new.progress.state.text(),
            new.progress.position
        ],
    )?;
    request(tx, new)
}

/// Makes some process deliver, where we deliver.
fn request(tx: &mut Tx<'_>, subscription: &Subscription) -> Result<(), Error> {
    if subscription.spec.protocol != Protocol::Http {
        return Ok(());
    }
    tx.request(NewWork::new(QUEUE, &subscription.id, serde_json::json!({ "subscription": subscription.id })))
}

/// Sees to it that every active subscription has its work.
pub fn request_all(tx: &mut Tx<'_>) -> Result<(), Error> {
    let sql = format!("SELECT {COLUMNS} FROM events_subscriptions WHERE state = 'active' ORDER BY id");
    for one in tx.query(&sql, &[], read)? {
        if one.spec.protocol == Protocol::Http {
            tx.enqueue(NewWork::new(QUEUE, &one.id, serde_json::json!({ "subscription": one.id })))?;
        }
    }
    Ok(())
}

pub fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Subscription>, Error> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM events_subscriptions WHERE id = ?1"), &params![id], read)
}

/// Subscriptions in the order of their ids; of one owner, or of all.
pub fn list(tx: &mut Tx<'_>, owner: Option<&str>, after: &str, limit: usize) -> Result<Vec<Subscription>, Error> {
    let (test, mut values) = match owner {
        Some(owner) => ("owner = ?3 AND", vec![Value::from(owner)]),
        None => ("", vec![]),
    };
    let sql = format!("SELECT {COLUMNS} FROM events_subscriptions WHERE {test} id > ?1 ORDER BY id LIMIT ?2");
    let mut all = params![after, limit].to_vec();
    all.append(&mut values);
    tx.query(&sql, &all, read)
}

pub fn count(tx: &mut Tx<'_>, owner: &str) -> Result<u64, Error> {
    tx.query_one("SELECT COUNT(*) FROM events_subscriptions WHERE owner = ?1", &params![owner], |row| row.get(0))
}

pub fn delete(tx: &mut Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM events_subscriptions WHERE id = ?1", &params![id])?;
    tx.execute("DELETE FROM events_dead_letters WHERE subscription = ?1", &params![id])?;
    tx.forget_work(QUEUE, id)?;
    Ok(())
}

/// Pauses, resumes or disables. Resuming forgets earlier failures and delivers at once.
pub fn set_state(tx: &mut Tx<'_>, id: &str, state: State, error: Option<&str>) -> Result<(), Error> {
    tx.execute(
        "UPDATE events_subscriptions SET state = ?2, failures = 0, last_error = ?3 WHERE id = ?1",
        &params![id, state.text(), error],
    )?;
    if state == State::Active
        && let Some(subscription) = get(tx, id)?
    {
        request(tx, &subscription)?;
    }
    Ok(())
}

/// Goes elsewhere in the log: back to deliver again, forward to leave out.
pub fn seek(tx: &mut Tx<'_>, id: &str, position: i64) -> Result<(), Error> {
    let sql = "UPDATE events_subscriptions SET position = ?2, failures = 0 WHERE id = ?1";
    tx.execute(sql, &params![id, position])?;
    if let Some(subscription) = get(tx, id)? {
        request(tx, &subscription)?;
    }
    Ok(())
}

/// The subscriber has everything up to `position`. Never goes back.
pub fn acknowledge(tx: &mut Tx<'_>, id: &str, position: i64) -> Result<(), Error> {
    tx.execute(
        "UPDATE events_subscriptions SET position = ?2, last_delivered = ?3 WHERE id = ?1 AND position < ?2",
        &params![id, position, Timestamp::now()],
    )?;
    Ok(())
}

/// We are done up to `to`, having delivered `delivered` events. Nothing happens (`false`) when the position moved in the
/// meantime, by a seek or by another process, or the subscription is not active.
pub fn advance(tx: &mut Tx<'_>, id: &str, from: i64, to: i64, delivered: u64) -> Result<bool, Error> {
    let changed = tx.execute(
        "UPDATE events_subscriptions SET position = ?3, delivered = delivered + ?4, failures = 0, last_error = NULL,
           last_delivered = CASE WHEN ?4 > 0 THEN ?5 ELSE last_delivered END
         WHERE id = ?1 AND position = ?2 AND state = 'active'",
        &params![id, from, to, delivered, Timestamp::now()],
    )?;
    Ok(changed > 0)
}

/// The event after the position could not be delivered; answers how often that was so by now.
pub fn note_failure(tx: &mut Tx<'_>, id: &str, position: i64, error: &str) -> Result<u32, Error> {
    let noted = tx.query_opt(
        "UPDATE events_subscriptions SET failures = failures + 1, retries = retries + 1, last_error = ?3
         WHERE id = ?1 AND position = ?2 RETURNING failures",
        &params![id, position, error],
        |row| row.get(0),
    )?;
    Ok(noted.unwrap_or(0))
}

/// The sink asked for patience: shown, but not counted as a failure.
pub fn note_pause(tx: &mut Tx<'_>, id: &str, position: i64, error: &str) -> Result<(), Error> {
    let sql = "UPDATE events_subscriptions SET retries = retries + 1, last_error = ?3 WHERE id = ?1 AND position = ?2";
    tx.execute(sql, &params![id, position, error])?;
    Ok(())
}
