//! Settings that clients keep here, conventions of metadata, heartbeats, limits of transfers.

use dte_base::time::Timestamp;
use dte_protocol_rucio::Class;
use dte_store::{Tx, params, values};
use serde_json::Value;

use crate::error::{Error, Result};

/// All settings, by section and name.
pub(crate) fn config(tx: &mut Tx<'_>) -> Result<Vec<(String, String, String)>> {
    let sql = "SELECT section, name, value FROM lake_config ORDER BY section, name";
    Ok(tx.query(sql, &params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}

pub(crate) fn set_config(tx: &mut Tx<'_>, all: &[(String, String, String)]) -> Result<()> {
    let rows: Vec<_> = all.iter().map(|(section, name, value)| values![section, name, value]).collect();
    tx.upsert_many("lake_config", &["section", "name", "value"], &["section", "name"], &rows)?;
    Ok(())
}

/// Removes an option, or a whole section.
pub(crate) fn delete_config(tx: &mut Tx<'_>, section: &str, name: Option<&str>) -> Result<()> {
    let sql = "DELETE FROM lake_config WHERE section = ?1 AND (?2 = '' OR name = ?2)";
    match tx.execute(sql, &params![section, name.unwrap_or_default()])? {
        0 => Err(Error::new(Class::ConfigNotFound, format!("No configuration found for section '{section}'"))),
        _ => Ok(()),
    }
}

pub(crate) fn keys(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    Ok(tx.query("SELECT key FROM lake_metadata_keys ORDER BY key", &params![], |row| row.get(0))?)
}

pub(crate) fn add_key(
    tx: &mut Tx<'_>,
    key: &str,
    kind: &str,
    value_type: Option<&str>,
    value_regexp: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let row = values![key, kind, value_type, value_regexp, now];
    let columns = ["key", "key_type", "value_type", "value_regexp", "created_at"];
    match tx.insert_new_many("lake_metadata_keys", &columns, &[row])? {
        0 => Err(Error::new(Class::Duplicate, format!("Key '{key}' already exists!"))),
        _ => Ok(()),
    }
}

/// What values of a key have to look like.
pub(crate) fn key_rule(tx: &mut Tx<'_>, key: &str) -> Result<(Option<String>, Option<String>)> {
    let sql = "SELECT value_type, value_regexp FROM lake_metadata_keys WHERE key = ?1";
    tx.query_opt(sql, &params![key], |row| Ok((row.get(0)?, row.get(1)?)))?
        .ok_or_else(|| Error::new(Class::KeyNotFound, format!("Key '{key}' does not exist")))
}

pub(crate) fn key_values(tx: &mut Tx<'_>, key: &str) -> Result<Vec<String>> {
    let sql = "SELECT value FROM lake_metadata_values WHERE key = ?1 ORDER BY value";
    Ok(tx.query(sql, &params![key], |row| row.get(0))?)
}

pub(crate) fn add_value(tx: &mut Tx<'_>, key: &str, value: &str) -> Result<()> {
    match tx.insert_new_many("lake_metadata_values", &["key", "value"], &[values![key, value]])? {
        0 => Err(Error::new(Class::Duplicate, format!("Key '{key}' has the value '{value}' already"))),
        _ => Ok(()),
    }
}

/// A sign of life of a program.
pub(crate) struct Heartbeat {
    pub executable: String,
    pub hostname: String,
    pub pid: i64,
    pub thread: String,
    pub payload: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub(crate) fn heartbeats(tx: &mut Tx<'_>) -> Result<Vec<Heartbeat>> {
    let sql = "SELECT executable, hostname, pid, thread, payload, created_at, updated_at FROM lake_heartbeats
               ORDER BY executable, hostname, pid, thread LIMIT 10000";
    Ok(tx.query(sql, &params![], |row| {
        Ok(Heartbeat {
            executable: row.get(0)?,
            hostname: row.get(1)?,
            pid: row.get(2)?,
            thread: row.get(3)?,
            payload: row.get(4)?,
            created_at: row.get(5)?,
            updated_at: row.get(6)?,
        })
    })?)
}

/// Notes a sign of life, and forgets those that are older than `before`.
pub(crate) fn beat(tx: &mut Tx<'_>, heart: &Heartbeat, before: Timestamp) -> Result<()> {
    tx.execute("DELETE FROM lake_heartbeats WHERE updated_at < ?1", &params![before])?;
    tx.execute(
        "INSERT INTO lake_heartbeats (executable, hostname, pid, thread, payload, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (executable, hostname, pid, thread)
         DO UPDATE SET payload = excluded.payload, updated_at = excluded.updated_at",
        &params![&heart.executable, &heart.hostname, heart.pid, &heart.thread, heart.payload.clone(), heart.updated_at],
    )?;
    Ok(())
}

/// How many transfers there may be at once.
pub(crate) struct TransferLimit {
    pub id: String,
    pub expression: String,
    pub activity: String,
    pub direction: String,
    pub details: Value,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub(crate) fn transfer_limits(tx: &mut Tx<'_>) -> Result<Vec<TransferLimit>> {
    let sql = "SELECT id, expression, activity, direction, details, created_at, updated_at FROM lake_transfer_limits
               ORDER BY expression, activity, direction";
    Ok(tx.query(sql, &params![], |row| {
        Ok(TransferLimit {
            id: row.get(0)?,
            expression: row.get(1)?,
            activity: row.get(2)?,
            direction: row.get(3)?,
            details: row.get(4)?,
            created_at: row.get(5)?,
            updated_at: row.get(6)?,
        })
    })?)
}

pub(crate) fn set_transfer_limit(tx: &mut Tx<'_>, limit: &TransferLimit) -> Result<()> {
    super::rses::all(tx)?.select(&limit.expression)?;
    tx.execute(
        "INSERT INTO lake_transfer_limits (id, expression, activity, direction, details, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (expression, activity, direction)
         DO UPDATE SET details = excluded.details, updated_at = excluded.updated_at",
        &params![
            &limit.id,
            &limit.expression,
            &limit.activity,
            &limit.direction,
            limit.details.clone(),
            limit.updated_at
        ],
    )?;
    Ok(())
}

pub(crate) fn delete_transfer_limit(tx: &mut Tx<'_>, expression: &str, activity: &str, direction: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM lake_transfer_limits WHERE expression = ?1 AND activity = ?2 AND direction = ?3",
        &params![expression, activity, direction],
    )?;
    Ok(())
}
