//! Registrations, consents and exchange policies.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};

use crate::issuer::clients::Registration;
use crate::issuer::model::exchange::ExchangePolicy;

const COLUMNS: &str = "client_id, secret_hash, access_hash, metadata, active, registered_by, created, used";

fn registration(row: &Row) -> Result<Registration, Error> {
    let metadata: serde_json::Value = row.get(3)?;
    Ok(Registration {
        client_id: row.get(0)?,
        secret_hash: row.get(1)?,
        access_hash: row.get(2)?,
        // Written by us; what an older engine wrote and nobody can read any more permits nothing.
        metadata: serde_json::from_value(metadata).unwrap_or_default(),
        active: row.get(4)?,
        registered_by: row.get(5)?,
        created: row.get(6)?,
        used: row.get::<Option<Timestamp>>(7)?.is_some(),
    })
}

pub(crate) fn find(tx: &mut Tx<'_>, client_id: &str) -> Result<Option<Registration>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM identity_programs WHERE client_id = ?1");
    tx.query_opt(&sql, &params![client_id], registration)
}

/// Registrations after `after`, in the order of their ids.
pub(crate) fn page(tx: &mut Tx<'_>, after: &str, limit: usize) -> Result<Vec<Registration>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM identity_programs WHERE client_id > ?1 ORDER BY client_id LIMIT ?2");
    tx.query(&sql, &params![after, limit], registration)
}

pub(crate) fn insert(tx: &mut Tx<'_>, new: &Registration) -> Result<(), Error> {
    let metadata = serde_json::json!(new.metadata).to_string();
    tx.execute(
        "INSERT INTO identity_programs (client_id, secret_hash, access_hash, metadata, active, registered_by, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &params![
            &new.client_id,
            new.secret_hash.clone(),
            new.access_hash.as_slice(),
            metadata,
            new.active,
            new.registered_by.clone(),
            new.created
        ],
    )
    .map(drop)
}

pub(crate) fn update(tx: &mut Tx<'_>, changed: &Registration) -> Result<bool, Error> {
    let metadata = serde_json::json!(changed.metadata).to_string();
    let sql = "UPDATE identity_programs SET metadata = ?2, secret_hash = ?3 WHERE client_id = ?1";
    Ok(tx.execute(sql, &params![&changed.client_id, metadata, changed.secret_hash.clone()])? > 0)
}

pub(crate) fn set_active(tx: &mut Tx<'_>, client_id: &str, active: bool) -> Result<bool, Error> {
    let registered =
        tx.execute("UPDATE identity_programs SET active = ?2 WHERE client_id = ?1", &params![client_id, active])?;
    let made =
        tx.execute("UPDATE identity_clients SET active = ?2 WHERE client_id = ?1", &params![client_id, active])?;
    Ok(registered + made > 0)
}

/// Registrations of one owner.
pub(crate) fn of_owner(tx: &mut Tx<'_>, name: &str, limit: usize) -> Result<Vec<Registration>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM identity_programs WHERE registered_by = ?1 ORDER BY client_id LIMIT ?2");
    tx.query(&sql, &params![name, limit], registration)
}

pub(crate) fn set_owner(tx: &mut Tx<'_>, client_id: &str, name: &str) -> Result<(), Error> {
    let sql = "UPDATE identity_programs SET registered_by = ?2 WHERE client_id = ?1";
    tx.execute(sql, &params![client_id, name]).map(drop)
}

/// Takes a client away with all that it was given.
pub(crate) fn delete(tx: &mut Tx<'_>, client_id: &str) -> Result<bool, Error> {
    let mut gone = 0;
    for table in ["identity_programs", "identity_clients"] {
        gone += tx.execute(&format!("DELETE FROM {table} WHERE client_id = ?1"), &params![client_id])?;
    }
    for table in ["identity_consents", "identity_codes", "identity_devices", "identity_grants"] {
        tx.execute(&format!("DELETE FROM {table} WHERE client_id = ?1"), &params![client_id])?;
    }
    Ok(gone > 0)
}

/// Suspended registrations: few, because administrators make them one by one.
pub(crate) fn suspended(tx: &mut Tx<'_>) -> Result<Vec<String>, Error> {
    tx.query("SELECT client_id FROM identity_programs WHERE active = 0", &params![], |row| row.get(0))
}

pub(crate) fn note_use(tx: &mut Tx<'_>, client_id: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE identity_programs SET used = ?2 WHERE client_id = ?1 AND used IS NULL";
    tx.execute(sql, &params![client_id, now]).map(drop)
}

/// Forgets registrations of strangers that nobody ever used.
pub(crate) fn sweep_unused(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, Error> {
    let sql = "DELETE FROM identity_programs WHERE used IS NULL AND registered_by IS NULL AND created < ?1";
    tx.execute(sql, &params![before])
}

/// The scopes that a person once let a client have.
pub(crate) fn consent(tx: &mut Tx<'_>, name: &str, client_id: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT scopes FROM identity_consents WHERE name = ?1 AND client_id = ?2";
    let found = tx.query_opt(sql, &params![name, client_id], |row| row.get::<String>(0))?;
    Ok(found.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect())
}

/// Forgets what one person agreed to.
pub(crate) fn forget_consents_of(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_consents WHERE name = ?1", &params![name]).map(drop)
}

/// Forgets what people agreed to, of one client.
pub(crate) fn forget_consents(tx: &mut Tx<'_>, client_id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_consents WHERE client_id = ?1", &params![client_id]).map(drop)
}

/// What a person once let clients have: the client, the scopes, since when.
pub(crate) fn consents(
    tx: &mut Tx<'_>,
    name: &str,
    limit: usize,
) -> Result<Vec<(String, Vec<String>, Timestamp)>, Error> {
    let sql = "SELECT client_id, scopes, given FROM identity_consents WHERE name = ?1 ORDER BY given DESC LIMIT ?2";
    tx.query(sql, &params![name, limit], |row| {
        let scopes: String = row.get(1)?;
        Ok((row.get(0)?, scopes.split_ascii_whitespace().map(str::to_owned).collect(), row.get(2)?))
    })
}

/// Forgets what a person let a client have. Gives false when there was nothing.
pub(crate) fn forget_consent(tx: &mut Tx<'_>, name: &str, client_id: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM identity_consents WHERE name = ?1 AND client_id = ?2";
    Ok(tx.execute(sql, &params![name, client_id])? > 0)
}

pub(crate) fn remember_consent(
    tx: &mut Tx<'_>,
    name: &str,
    client_id: &str,
    scopes: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_consents (name, client_id, scopes, given) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name, client_id) DO UPDATE SET scopes = excluded.scopes, given = excluded.given",
        &params![name, client_id, scopes.join(" "), now],
    )
    .map(drop)
}

/// Notes that a client has used an assertion; gives false when it had before.
pub(crate) fn use_assertion(tx: &mut Tx<'_>, hash: &[u8], expires: Timestamp, now: Timestamp) -> Result<bool, Error> {
    tx.execute("DELETE FROM identity_assertions WHERE expires < ?1", &params![now])?;
    let sql = "INSERT INTO identity_assertions (hash, expires) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
    Ok(tx.execute(sql, &params![hash, expires])? > 0)
}

pub(crate) fn policies(tx: &mut Tx<'_>) -> Result<Vec<ExchangePolicy>, Error> {
    tx.query("SELECT id, policy FROM identity_exchange_policies ORDER BY id", &params![], |row| {
        Ok((row.get::<String>(0)?, row.get::<serde_json::Value>(1)?))
    })
    .map(|rows| {
        let read = |(id, policy)| {
            let policy: ExchangePolicy = serde_json::from_value(policy).ok()?;
            Some(ExchangePolicy { id: Some(id), ..policy })
        };
        rows.into_iter().filter_map(read).collect()
    })
}

pub(crate) fn insert_policy(tx: &mut Tx<'_>, id: &str, policy: &ExchangePolicy) -> Result<(), Error> {
    let text = serde_json::json!(policy).to_string();
    tx.execute("INSERT INTO identity_exchange_policies (id, policy) VALUES (?1, ?2)", &params![id, text]).map(drop)
}

pub(crate) fn delete_policy(tx: &mut Tx<'_>, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM identity_exchange_policies WHERE id = ?1", &params![id])? > 0)
}
