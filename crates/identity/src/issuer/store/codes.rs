//! Authorisation codes and device codes: both single use, both only as keyed hashes.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};
use serde_json::Value;

use crate::issuer::grant::Granted;

/// A code that waits to be redeemed, or was.
pub(crate) struct Code {
    pub(crate) grant_id: String,
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    pub(crate) granted: Granted,
    pub(crate) expires: Timestamp,
    pub(crate) used: bool,
}

/// A device that waits for a person.
pub(crate) struct Device {
    pub(crate) hash: Vec<u8>,
    pub(crate) client_id: String,
    pub(crate) challenge: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) state: DeviceState,
    pub(crate) expires: Timestamp,
}

pub(crate) enum DeviceState {
    Waiting,
    Denied,
    Granted(Granted),
}

fn granted(value: Value) -> Result<Granted, Error> {
    serde_json::from_value(value).map_err(|error| Error::Invalid(format!("a stored grant cannot be read: {error}")))
}

pub(crate) fn insert_code(tx: &mut Tx<'_>, hash: &[u8], code: &Code) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_codes (hash, grant_id, client_id, redirect_uri, challenge, granted, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &params![
            hash,
            &code.grant_id,
            &code.client_id,
            &code.redirect_uri,
            code.challenge.clone(),
            serde_json::json!(code.granted),
            code.expires
        ],
    )
    .map(drop)
}

pub(crate) fn find_code(tx: &mut Tx<'_>, hash: &[u8]) -> Result<Option<Code>, Error> {
    let sql = "SELECT grant_id, client_id, redirect_uri, challenge, granted, expires, used FROM identity_codes WHERE hash = ?1";
    tx.query_opt(sql, &params![hash], |row| {
        Ok(Code {
            grant_id: row.get(0)?,
            client_id: row.get(1)?,
            redirect_uri: row.get(2)?,
            challenge: row.get(3)?,
            granted: granted(row.get(4)?)?,
            expires: row.get(5)?,
            used: row.get::<Option<Timestamp>>(6)?.is_some(),
        })
    })
}

/// Takes away codes and devices that were granted to a client and not redeemed yet, where `is_of` says so. Gives how many.
pub(crate) fn take_granted(
    tx: &mut Tx<'_>,
    client_id: Option<&str>,
    is_of: impl Fn(&Granted) -> bool,
) -> Result<usize, Error> {
    let (filter, client) = match client_id {
        Some(client) => ("client_id = ?1", client),
        None => ("client_id <> ?1", ""),
    };
    let sql = format!("SELECT hash, granted FROM identity_codes WHERE {filter} AND used IS NULL");
    let mut codes = tx.query(&sql, &params![client], |row| Ok((row.get::<Vec<u8>>(0)?, granted(row.get(1)?)?)))?;
    codes.retain(|(_, granted)| is_of(granted));
    for (hash, _) in &codes {
        tx.execute("DELETE FROM identity_codes WHERE hash = ?1", &params![hash.as_slice()])?;
    }
    let sql = format!("{DEVICE} WHERE {filter} AND state = 'granted'");
    let mut devices = tx.query(&sql, &params![client], device)?;
    devices.retain(|one| matches!(&one.state, DeviceState::Granted(granted) if is_of(granted)));
    for one in &devices {
        delete_device(tx, &one.hash)?;
    }
    Ok(codes.len() + devices.len())
}

pub(crate) fn mark_code(tx: &mut Tx<'_>, hash: &[u8], now: Timestamp) -> Result<(), Error> {
    tx.execute("UPDATE identity_codes SET used = ?2 WHERE hash = ?1 AND used IS NULL", &params![hash, now]).map(drop)
}

/// Used codes stay so long that a replay is noticed.
pub(crate) fn sweep(tx: &mut Tx<'_>, codes_before: Timestamp, now: Timestamp) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_codes WHERE expires < ?1", &params![codes_before])?;
    tx.execute("DELETE FROM identity_devices WHERE expires < ?1", &params![now]).map(drop)
}

/// Gives false when the user code is taken.
pub(crate) fn insert_device(tx: &mut Tx<'_>, device: &Device, user_hash: &[u8]) -> Result<bool, Error> {
    tx.execute("DELETE FROM identity_devices WHERE expires < ?1", &params![Timestamp::now()])?;
    let wanted = serde_json::json!({"scopes": device.scopes, "audiences": device.audiences});
    let made = tx.execute(
        "INSERT INTO identity_devices (hash, user_hash, client_id, challenge, wanted, state, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6) ON CONFLICT (user_hash) DO NOTHING",
        &params![
            device.hash.as_slice(),
            user_hash,
            &device.client_id,
            device.challenge.clone(),
            wanted,
            device.expires
        ],
    )?;
    Ok(made > 0)
}

const DEVICE: &str = "SELECT hash, client_id, challenge, wanted, state, granted, expires FROM identity_devices";

fn device(row: &Row) -> Result<Device, Error> {
    let wanted: Value = row.get(3)?;
    let list = |name: &str| {
        let items = wanted[name].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let state = match (row.get::<String>(4)?.as_str(), row.get::<Option<Value>>(5)?) {
        ("granted", Some(value)) => DeviceState::Granted(granted(value)?),
        ("waiting", _) => DeviceState::Waiting,
        _ => DeviceState::Denied,
    };
    Ok(Device {
        hash: row.get(0)?,
        client_id: row.get(1)?,
        challenge: row.get(2)?,
        scopes: list("scopes"),
        audiences: list("audiences"),
        state,
        expires: row.get(6)?,
    })
}

pub(crate) fn find_device(tx: &mut Tx<'_>, hash: &[u8]) -> Result<Option<Device>, Error> {
    tx.query_opt(&format!("{DEVICE} WHERE hash = ?1"), &params![hash], device)
}

pub(crate) fn find_device_of_user(tx: &mut Tx<'_>, user_hash: &[u8]) -> Result<Option<Device>, Error> {
    tx.query_opt(&format!("{DEVICE} WHERE user_hash = ?1"), &params![user_hash], device)
}

/// What the person decided; gives false when somebody has decided already.
pub(crate) fn decide_device(tx: &mut Tx<'_>, user_hash: &[u8], granted: Option<&Granted>) -> Result<bool, Error> {
    let state = if granted.is_some() { "granted" } else { "denied" };
    let granted = granted.map(|granted| serde_json::json!(granted).to_string());
    let sql = "UPDATE identity_devices SET state = ?2, granted = ?3 WHERE user_hash = ?1 AND state = 'waiting'";
    Ok(tx.execute(sql, &params![user_hash, state, granted])? > 0)
}

pub(crate) fn delete_device(tx: &mut Tx<'_>, hash: &[u8]) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM identity_devices WHERE hash = ?1", &params![hash])? > 0)
}
