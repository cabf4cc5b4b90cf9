//! What is told of storage elements: limits, measured space, distances, policies.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Protocol};
use dte_store::{Row, Tx, Value, params, values};

use super::rses::{get, protocols};
use crate::error::{Error, Result};

pub(crate) fn limits(tx: &mut Tx<'_>, rse: &str) -> Result<Vec<(String, i64)>> {
    get(tx, rse)?;
    let sql = "SELECT name, value FROM lake_rse_limits WHERE rse = ?1 ORDER BY name";
    Ok(tx.query(sql, &params![rse], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

pub(crate) fn set_limit(tx: &mut Tx<'_>, rse: &str, name: &str, value: i64) -> Result<()> {
    get(tx, rse)?;
    let columns = ["rse", "name", "value"];
    tx.upsert_many("lake_rse_limits", &columns, &["rse", "name"], &[values![rse, name, value]])?;
    Ok(())
}

pub(crate) fn delete_limit(tx: &mut Tx<'_>, rse: &str, name: &str) -> Result<()> {
    get(tx, rse)?;
    tx.execute("DELETE FROM lake_rse_limits WHERE rse = ?1 AND name = ?2", &params![rse, name])?;
    Ok(())
}

/// What a probe measured.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub source: String,
    pub used: i64,
    pub free: Option<i64>,
    pub files: Option<i64>,
    pub updated_at: Timestamp,
}

pub(crate) fn space(tx: &mut Tx<'_>, rse: &str) -> Result<Vec<Space>> {
    let sql = "SELECT source, used, free, files, updated_at FROM lake_rse_space WHERE rse = ?1 ORDER BY source";
    Ok(tx.query(sql, &params![rse], |row| {
        Ok(Space {
            source: row.get(0)?,
            used: row.get(1)?,
            free: row.get(2)?,
            files: row.get(3)?,
            updated_at: row.get(4)?,
        })
    })?)
}

/// Measurements of one storage element that are kept.
const HISTORY: i64 = 1000;

pub(crate) fn set_space(tx: &mut Tx<'_>, rse: &str, space: &Space) -> Result<()> {
    get(tx, rse)?;
    let row = values![rse, &space.source, space.used, space.free, space.files, space.updated_at];
    let columns = ["rse", "source", "used", "free", "files", "updated_at"];
    tx.upsert_many("lake_rse_space", &columns, &["rse", "source"], &[row])?;
    let row = values![rse, &space.source, space.used, space.free, space.updated_at];
    tx.insert_many("lake_rse_space_history", &["rse", "source", "used", "free", "updated_at"], &[row])?;
    tx.execute(
        "DELETE FROM lake_rse_space_history WHERE rse = ?1 AND id <= (SELECT max(id) FROM lake_rse_space_history) - ?2",
        &params![rse, HISTORY],
    )?;
    Ok(())
}

pub(crate) fn space_history(tx: &mut Tx<'_>, rse: &str) -> Result<Vec<Space>> {
    get(tx, rse)?;
    let sql =
        "SELECT source, used, free, updated_at FROM lake_rse_space_history WHERE rse = ?1 ORDER BY id DESC LIMIT ?2";
    Ok(tx.query(sql, &params![rse, HISTORY], |row| {
        Ok(Space { source: row.get(0)?, used: row.get(1)?, free: row.get(2)?, files: None, updated_at: row.get(3)? })
    })?)
}

/// How far one storage element is from another.
#[derive(Clone, Debug)]
pub(crate) struct Distance {
    pub source: String,
    pub destination: String,
    pub distance: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const DISTANCE: &str = "SELECT source, destination, distance, created_at, updated_at FROM lake_distances";

fn read_distance(row: &Row) -> Result<Distance, dte_store::Error> {
    Ok(Distance {
        source: row.get(0)?,
        destination: row.get(1)?,
        distance: row.get(2)?,
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
    })
}

pub(crate) fn distance(tx: &mut Tx<'_>, source: &str, destination: &str) -> Result<Option<Distance>> {
    get(tx, source)?;
    get(tx, destination)?;
    let sql = format!("{DISTANCE} WHERE source = ?1 AND destination = ?2");
    Ok(tx.query_opt(&sql, &params![source, destination], read_distance)?)
}

pub(crate) fn distances(tx: &mut Tx<'_>) -> Result<Vec<Distance>> {
    Ok(tx.query(&format!("{DISTANCE} ORDER BY source, destination"), &params![], read_distance)?)
}

/// How far storage elements are from a destination.
pub(crate) fn distances_to(tx: &mut Tx<'_>, destination: &str) -> Result<Vec<(String, i64)>> {
    let sql = "SELECT source, distance FROM lake_distances WHERE destination = ?1";
    Ok(tx.query(sql, &params![destination], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

pub(crate) fn add_distance(tx: &mut Tx<'_>, from: &str, to: &str, distance: i64, now: Timestamp) -> Result<()> {
    get(tx, from)?;
    get(tx, to)?;
    let row = values![from, to, distance, now, now];
    let columns = ["source", "destination", "distance", "created_at", "updated_at"];
    match tx.insert_new_many("lake_distances", &columns, &[row])? {
        0 => Err(Error::new(Class::Duplicate, format!("Distance from {from} to {to} already exists!"))),
        _ => Ok(()),
    }
}

/// Changes a distance; one that is not there is made, as an update of nothing would help nobody.
pub(crate) fn set_distance(tx: &mut Tx<'_>, from: &str, to: &str, distance: i64, now: Timestamp) -> Result<()> {
    get(tx, from)?;
    get(tx, to)?;
    let sql = "UPDATE lake_distances SET distance = ?3, updated_at = ?4 WHERE source = ?1 AND destination = ?2";
    match tx.execute(sql, &params![from, to, distance, now])? {
        0 => add_distance(tx, from, to, distance, now),
        _ => Ok(()),
    }
}

pub(crate) fn delete_distance(tx: &mut Tx<'_>, from: &str, to: &str) -> Result<()> {
    get(tx, from)?;
    get(tx, to)?;
    tx.execute("DELETE FROM lake_distances WHERE source = ?1 AND destination = ?2", &params![from, to])?;
    Ok(())
}

pub(crate) fn policies(tx: &mut Tx<'_>, rse: &str) -> Result<Vec<String>> {
    get(tx, rse)?;
    let sql = "SELECT policy FROM lake_qos_policies WHERE rse = ?1 ORDER BY policy";
    Ok(tx.query(sql, &params![rse], |row| row.get(0))?)
}

pub(crate) fn add_policy(tx: &mut Tx<'_>, rse: &str, policy: &str) -> Result<()> {
    get(tx, rse)?;
    match tx.insert_new_many("lake_qos_policies", &["rse", "policy"], &[values![rse, policy]])? {
        0 => Err(Error::new(Class::Duplicate, format!("QoS policy {policy} is on {rse} already"))),
        _ => Ok(()),
    }
}

pub(crate) fn delete_policy(tx: &mut Tx<'_>, rse: &str, policy: &str) -> Result<()> {
    get(tx, rse)?;
    tx.execute("DELETE FROM lake_qos_policies WHERE rse = ?1 AND policy = ?2", &params![rse, policy])?;
    Ok(())
}

/// Writes changed protocols: those whose scheme (and host and port, where given) fit.
pub(crate) fn update_protocols(
    tx: &mut Tx<'_>,
    rse: &str,
    scheme: &str,
    hostname: Option<&str>,
    port: Option<u16>,
    by_engine: bool,
    change: impl Fn(&mut Protocol) -> Result<()>,
) -> Result<()> {
    get(tx, rse)?;
    let mut fitting: Vec<Protocol> = protocols(tx, rse)?;
    fitting.retain(|one| {
        one.scheme == scheme
            && hostname.is_none_or(|hostname| one.hostname == hostname)
            && port.is_none_or(|port| one.port == port)
    });
    if fitting.is_empty() {
        let message = format!("RSE '{rse}' does not support protocol '{scheme}'");
        return Err(Error::new(Class::RSEProtocolNotSupported, message));
    }
    for old in fitting {
        let mut new = old.clone();
        change(&mut new)?;
        let domains = serde_json::Value::Object(new.domains.clone());
        let bound: Vec<Value> = values![
            rse,
            scheme,
            &old.hostname,
            old.port,
            dte_protocol_rucio::rse::normal_prefix(&new.prefix),
            &new.implementation,
            domains,
            new.extended_attributes.clone(),
            by_engine
        ];
        tx.execute(
            "UPDATE lake_rse_protocols SET prefix = ?5, implementation = ?6, domains = ?7, extended = ?8,
                by_engine = ?9
             WHERE rse = ?1 AND scheme = ?2 AND hostname = ?3 AND port = ?4",
            &bound,
        )?;
    }
    Ok(())
}

/// Gives an empty storage element another name.
pub(crate) fn rename(tx: &mut Tx<'_>, old: &str, new: &str) -> Result<()> {
    get(tx, old)?;
    if super::rses::usage(tx, old)?.files > 0 {
        let message = format!("RSE '{old}' holds replicas, so its name stays");
        return Err(Error::new(Class::RSEOperationNotSupported, message));
    }
    if tx.query_opt("SELECT 1 FROM lake_rses WHERE rse = ?1", &params![new], |_| Ok(()))?.is_some() {
        return Err(Error::new(Class::Duplicate, format!("RSE '{new}' already exists!")));
    }
    for table in [
        "lake_rses",
        "lake_rse_attributes",
        "lake_rse_protocols",
        "lake_rse_usage",
        "lake_rse_limits",
        "lake_rse_space",
        "lake_rse_space_history",
        "lake_qos_policies",
        "lake_account_limits",
        "lake_account_usage",
    ] {
        tx.execute(&format!("UPDATE {table} SET rse = ?2 WHERE rse = ?1"), &params![old, new])?;
    }
    tx.execute("UPDATE lake_rse_attributes SET key = ?2 WHERE rse = ?2 AND key = ?1", &params![old, new])?;
    tx.execute("UPDATE lake_distances SET source = ?2 WHERE source = ?1", &params![old, new])?;
    tx.execute("UPDATE lake_distances SET destination = ?2 WHERE destination = ?1", &params![old, new])?;
    Ok(())
}
