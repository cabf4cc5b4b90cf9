//! Dead letters: events that a sink would not take.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};
use serde::Serialize;

/// An event that could not be delivered.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    /// Place in the log; names the letter within its subscription.
    pub seq: i64,
    /// The event in structured form, as it was sent.
    pub event: serde_json::Value,
    pub error: String,
    pub attempts: u32,
    pub died: Timestamp,
}

/// Keeps an undeliverable event and goes on behind it. `false` when the position moved in the meantime.
pub fn bury(tx: &mut Tx<'_>, subscription: &str, from: i64, letter: &DeadLetter) -> Result<bool, Error> {
    let moved = tx.execute(
        "UPDATE events_subscriptions SET position = ?3, failures = 0 WHERE id = ?1 AND position = ?2",
        &params![subscription, from, letter.seq],
    )?;
    if moved == 0 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO events_dead_letters (subscription, seq, event, error, attempts, died) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (subscription, seq) DO UPDATE SET error = excluded.error, attempts = excluded.attempts, died = excluded.died",
        &params![subscription, letter.seq, &letter.event, &letter.error, letter.attempts, letter.died],
    )?;
    Ok(true)
}

pub fn list(tx: &mut Tx<'_>, subscription: &str, after: i64, limit: usize) -> Result<Vec<DeadLetter>, Error> {
    tx.query(
        "SELECT seq, event, error, attempts, died FROM events_dead_letters
         WHERE subscription = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
        &params![subscription, after, limit],
        |row| {
            Ok(DeadLetter {
                seq: row.get(0)?,
                event: row.get(1)?,
                error: row.get(2)?,
                attempts: row.get(3)?,
                died: row.get(4)?,
            })
        },
    )
}

pub fn get(tx: &mut Tx<'_>, subscription: &str, seq: i64) -> Result<Option<DeadLetter>, Error> {
    Ok(list(tx, subscription, seq - 1, 1)?.into_iter().find(|letter| letter.seq == seq))
}

pub fn count(tx: &mut Tx<'_>, subscription: &str) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) FROM events_dead_letters WHERE subscription = ?1";
    tx.query_one(sql, &params![subscription], |row| row.get(0))
}

/// Throws a letter away. `false` when there is none.
pub fn remove(tx: &mut Tx<'_>, subscription: &str, seq: i64) -> Result<bool, Error> {
    let sql = "DELETE FROM events_dead_letters WHERE subscription = ?1 AND seq = ?2";
    Ok(tx.execute(sql, &params![subscription, seq])? > 0)
}

/// Notes that another try failed too.
pub fn note_failure(tx: &mut Tx<'_>, subscription: &str, seq: i64, error: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE events_dead_letters SET error = ?3, attempts = attempts + 1, died = ?4 WHERE subscription = ?1 AND seq = ?2",
        &params![subscription, seq, error, Timestamp::now()],
    )?;
    Ok(())
}
