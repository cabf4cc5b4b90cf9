//! Storage elements: rows, attributes, protocols, exact usage.

use std::collections::{BTreeMap, BTreeSet};

use dte_base::time::Timestamp;
use dte_protocol_rucio::path::PathFormula;
use dte_protocol_rucio::rse::{Operation, normal_prefix};
use dte_protocol_rucio::{Class, Protocol};
use dte_store::{Row, Tx, params, values};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::expression::{Expression, RseFacts};

pub(crate) const READ: i64 = 4;
pub(crate) const WRITE: i64 = 2;
pub(crate) const DELETE: i64 = 1;

/// A storage element as stored.
#[derive(Clone, Debug)]
pub(crate) struct Rse {
    pub rse: String,
    pub id: String,
    pub rse_type: String,
    pub deterministic: bool,
    pub volatile: bool,
    pub staging_area: bool,
    /// Bits: read 4, write 2, delete 1.
    pub availability: i64,
    /// City, coordinates and the like, by their names on the wire.
    pub details: Map<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Rse {
    pub(crate) fn may(&self, bit: i64) -> bool {
        self.availability & bit != 0
    }
}

const COLUMNS: &str =
    "rse, id, rse_type, deterministic, volatile, staging_area, availability, details, created_at, updated_at";

fn read(row: &Row) -> Result<Rse, dte_store::Error> {
    let details: Value = row.get(7)?;
    Ok(Rse {
        rse: row.get(0)?,
        id: row.get(1)?,
        rse_type: row.get(2)?,
        deterministic: row.get(3)?,
        volatile: row.get(4)?,
        staging_area: row.get(5)?,
        availability: row.get(6)?,
        details: details.as_object().cloned().unwrap_or_default(),
        created_at: row.get(8)?,
        updated_at: row.get(9)?,
    })
}

pub(crate) fn not_found(rse: &str) -> Error {
    Error::new(Class::RSENotFound, format!("RSE '{rse}' cannot be found"))
}

pub(crate) fn get(tx: &mut Tx<'_>, rse: &str) -> Result<Rse> {
    let sql = format!("SELECT {COLUMNS} FROM lake_rses WHERE rse = ?1 AND deleted_at IS NULL");
    tx.query_opt(&sql, &params![rse], read)?.ok_or_else(|| not_found(rse))
}

/// Adds a storage element with its own name as attribute; `false` when the name was ever used.
pub(crate) fn add(tx: &mut Tx<'_>, rse: &Rse) -> Result<bool> {
    let row = values![
        &rse.rse,
        &rse.id,
        &rse.rse_type,
        rse.deterministic,
        rse.volatile,
        rse.staging_area,
        rse.availability,
        Value::Object(rse.details.clone()),
        rse.created_at,
        rse.updated_at
    ];
    let columns: Vec<&str> = COLUMNS.split(", ").collect();
    if tx.insert_new_many("lake_rses", &columns, &[row])? == 0 {
        return Ok(false);
    }
    tx.execute("INSERT INTO lake_rse_attributes (rse, key, value) VALUES (?1, ?1, 'true')", &params![&rse.rse])?;
    tx.execute(
        "INSERT INTO lake_rse_usage (rse, files, bytes, updated_at) VALUES (?1, 0, 0, ?2)",
        &params![&rse.rse, rse.created_at],
    )?;
    Ok(true)
}

pub(crate) fn update(tx: &mut Tx<'_>, rse: &Rse) -> Result<()> {
    tx.execute(
        "UPDATE lake_rses SET rse_type = ?2, deterministic = ?3, volatile = ?4, staging_area = ?5, availability = ?6,
            details = ?7, updated_at = ?8 WHERE rse = ?1",
        &params![
            &rse.rse,
            &rse.rse_type,
            rse.deterministic,
            rse.volatile,
            rse.staging_area,
            rse.availability,
            Value::Object(rse.details.clone()),
            rse.updated_at
        ],
    )?;
    Ok(())
}

/// Removes an empty storage element; its name stays taken.
pub(crate) fn delete(tx: &mut Tx<'_>, rse: &str, now: Timestamp) -> Result<()> {
    get(tx, rse)?;
    if usage(tx, rse)?.files > 0 {
        return Err(Error::new(Class::RSEOperationNotSupported, format!("RSE '{rse}' is not empty")));
    }
    tx.execute("UPDATE lake_rses SET deleted_at = ?2 WHERE rse = ?1", &params![rse, now])?;
    Ok(())
}

/// Everything about all storage elements. They are few; files are many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rses {
    pub rows: BTreeMap<String, Rse>,
    pub attributes: BTreeMap<String, BTreeMap<String, String>>,
}

pub(crate) fn all(tx: &mut Tx<'_>) -> Result<Rses> {
    let rows = tx.query(&format!("SELECT {COLUMNS} FROM lake_rses WHERE deleted_at IS NULL"), &params![], read)?;
    let mut attributes: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let triples = tx.query("SELECT rse, key, value FROM lake_rse_attributes", &params![], |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?))
    })?;
    for (rse, key, value) in triples {
        attributes.entry(rse).or_default().insert(key, value);
    }
    Ok(Rses { rows: rows.into_iter().map(|rse| (rse.rse.clone(), rse)).collect(), attributes })
}

impl Rses {
    /// The names that `expression` means, in order.
    pub(crate) fn select(&self, expression: &str) -> Result<Vec<String>> {
        let refused =
            |error: crate::model::expression::BadExpression| Error::new(Class::InvalidRSEExpression, error.to_string());
        let parsed = Expression::parse(expression).map_err(refused)?;
        let facts: Vec<RseFacts> = self.rows.values().map(|rse| self.facts(rse)).collect();
        Ok(parsed.select(&facts).map_err(refused)?.into_iter().collect())
    }

    fn facts(&self, rse: &Rse) -> RseFacts {
        let mut attributes: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in &rse.details {
            attributes.insert(key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        for (key, value) in [
            ("rse_type", rse.rse_type.clone()),
            ("deterministic", rse.deterministic.to_string()),
            ("volatile", rse.volatile.to_string()),
            ("staging_area", rse.staging_area.to_string()),
            ("availability", rse.availability.to_string()),
            ("availability_read", rse.may(READ).to_string()),
            ("availability_write", rse.may(WRITE).to_string()),
            ("availability_delete", rse.may(DELETE).to_string()),
        ] {
            attributes.insert(key.to_owned(), value);
        }
        if let Some(own) = self.attributes.get(&rse.rse) {
            attributes.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        RseFacts { name: rse.rse.clone(), attributes }
    }

    pub(crate) fn attribute(&self, rse: &str, key: &str) -> Option<&str> {
        self.attributes.get(rse)?.get(key).map(String::as_str)
    }

    pub(crate) fn may(&self, rse: &str, bit: i64) -> bool {
        self.rows.get(rse).is_some_and(|rse| rse.may(bit))
    }

    pub(crate) fn formula(&self, rse: &str) -> PathFormula {
        self.attribute(rse, "lfn2pfn_algorithm").and_then(PathFormula::named).unwrap_or_default()
    }
}

pub(crate) fn attributes(tx: &mut Tx<'_>, rse: &str) -> Result<BTreeMap<String, String>> {
    let rows =
        tx.query("SELECT key, value FROM lake_rse_attributes WHERE rse = ?1 ORDER BY key", &params![rse], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(rows.into_iter().collect())
}

pub(crate) fn add_attribute(tx: &mut Tx<'_>, rse: &str, key: &str, value: &str) -> Result<()> {
    get(tx, rse)?;
    let row = values![rse, key, value];
    match tx.insert_new_many("lake_rse_attributes", &["rse", "key", "value"], &[row])? {
        0 => Err(Error::new(Class::Duplicate, format!("RSE attribute '{key}' for RSE '{rse}' already exists!"))),
        _ => Ok(()),
    }
}

pub(crate) fn delete_attribute(tx: &mut Tx<'_>, rse: &str, key: &str) -> Result<()> {
    get(tx, rse)?;
    match tx.execute("DELETE FROM lake_rse_attributes WHERE rse = ?1 AND key = ?2", &params![rse, key])? {
        0 => Err(Error::new(Class::RSEAttributeNotFound, format!("RSE attribute '{key}' cannot be found"))),
        _ => Ok(()),
    }
}

fn read_protocol(row: &Row) -> Result<(String, Protocol), dte_store::Error> {
    let domains: Value = row.get(6)?;
    Ok((
        row.get(0)?,
        Protocol {
            scheme: row.get(1)?,
            hostname: row.get(2)?,
            port: row.get(3)?,
            prefix: row.get(4)?,
            implementation: row.get(5)?,
            domains: domains.as_object().cloned().unwrap_or_default(),
            extended_attributes: row.get(7)?,
        },
    ))
}

const PROTOCOL: &str = "rse, scheme, hostname, port, prefix, implementation, domains, extended";

/// The protocols of one storage element, in the order in which they were added.
pub(crate) fn protocols(tx: &mut Tx<'_>, rse: &str) -> Result<Vec<Protocol>> {
    let sql =
        format!("SELECT {PROTOCOL} FROM lake_rse_protocols WHERE rse = ?1 ORDER BY created_at, scheme, hostname, port");
    Ok(tx.query(&sql, &params![rse], read_protocol)?.into_iter().map(|(_, protocol)| protocol).collect())
}

/// The protocols of all storage elements.
pub(crate) fn all_protocols(tx: &mut Tx<'_>) -> Result<BTreeMap<String, Vec<Protocol>>> {
    let sql = format!("SELECT {PROTOCOL} FROM lake_rse_protocols ORDER BY rse, created_at, scheme, hostname, port");
    let mut all: BTreeMap<String, Vec<Protocol>> = BTreeMap::new();
    for (rse, protocol) in tx.query(&sql, &params![], read_protocol)? {
        all.entry(rse).or_default().push(protocol);
    }
    Ok(all)
}

/// What a protocol is known by: the storage element, scheme, host and port.
pub(crate) type ProtocolKey = (String, String, String, u16);

pub(crate) fn protocol_key(rse: &str, protocol: &Protocol) -> ProtocolKey {
    (rse.to_owned(), protocol.scheme.clone(), protocol.hostname.clone(), protocol.port)
}

/// Protocols that the engine or one of its administrators has set.
pub(crate) fn set_by_engine(tx: &mut Tx<'_>) -> Result<BTreeSet<ProtocolKey>> {
    let sql = "SELECT rse, scheme, hostname, port FROM lake_rse_protocols WHERE by_engine = 1";
    let rows = tx.query(sql, &params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    Ok(rows.into_iter().collect())
}

/// Adds a protocol; `by_engine`: the engine says so itself, or one of its administrators.
pub(crate) fn add_protocol(
    tx: &mut Tx<'_>,
    rse: &str,
    protocol: &Protocol,
    by_engine: bool,
    now: Timestamp,
) -> Result<()> {
    get(tx, rse)?;
    let row = values![
        rse,
        &protocol.scheme,
        &protocol.hostname,
        protocol.port,
        normal_prefix(&protocol.prefix),
        &protocol.implementation,
        Value::Object(protocol.domains.clone()),
        protocol.extended_attributes.clone(),
        now,
        by_engine
    ];
    let columns: Vec<&str> = PROTOCOL.split(", ").chain(["created_at", "by_engine"]).collect();
    match tx.insert_new_many("lake_rse_protocols", &columns, &[row])? {
        0 => {
            let Protocol { scheme, hostname, port, .. } = protocol;
            let message = format!("Protocol '{scheme}' on '{hostname}:{port}' already registered for '{rse}'");
            Err(Error::new(Class::Duplicate, message))
        }
        _ => Ok(()),
    }
}

/// Removes protocols; `hostname` and `port` narrow it.
pub(crate) fn delete_protocols(
    tx: &mut Tx<'_>,
    rse: &str,
    scheme: &str,
    hostname: Option<&str>,
    port: Option<u16>,
) -> Result<()> {
    get(tx, rse)?;
    let gone = tx.execute(
        "DELETE FROM lake_rse_protocols WHERE rse = ?1 AND scheme = ?2
         AND (?3 = '' OR hostname = ?3) AND (?4 < 0 OR port = ?4)",
        &params![rse, scheme, hostname.unwrap_or_default(), port.map_or(-1, i64::from)],
    )?;
    match gone {
        0 => {
            Err(Error::new(Class::RSEProtocolNotSupported, format!("RSE '{rse}' does not support protocol '{scheme}'")))
        }
        _ => Ok(()),
    }
}

/// The protocol with the best priority for `operation`, wide area first.
pub(crate) fn best(protocols: &[Protocol], operation: Operation) -> Option<&Protocol> {
    let ranked = |domain: &'static str| {
        protocols.iter().filter_map(move |p| Some((p.priority(domain, operation)?, p))).min_by_key(|(rank, _)| *rank)
    };
    ranked("wan").or_else(|| ranked("lan")).map(|(_, protocol)| protocol)
}

/// Files and bytes of all replicas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub files: i64,
    pub bytes: i64,
    pub updated_at: Timestamp,
}

pub(crate) fn usage(tx: &mut Tx<'_>, rse: &str) -> Result<Usage> {
    Ok(tx.query_one("SELECT files, bytes, updated_at FROM lake_rse_usage WHERE rse = ?1", &params![rse], |row| {
        Ok(Usage { files: row.get(0)?, bytes: row.get(1)?, updated_at: row.get(2)? })
    })?)
}

pub(crate) fn add_usage(tx: &mut Tx<'_>, rse: &str, files: i64, bytes: i64, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE lake_rse_usage SET files = files + ?2, bytes = bytes + ?3, updated_at = ?4 WHERE rse = ?1",
        &params![rse, files, bytes, now],
    )?;
    Ok(())
}
