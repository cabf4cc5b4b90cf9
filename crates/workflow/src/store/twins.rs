//! Twins as declared, and their versions.

use std::collections::BTreeMap;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_store::{Error, Row, Tx, params};

use crate::model::pod::Program;

/// Where a twin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The document is accepted, the world is being made so.
    Applying,
    Active,
    /// Deleted; its data and its record stay.
    Deleted,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            State::Applying => "applying",
            State::Active => "active",
            State::Deleted => "deleted",
        }
    }

    fn parse(text: &str) -> Result<State, Error> {
        match text {
            "applying" => Ok(State::Applying),
            "active" => Ok(State::Active),
            "deleted" => Ok(State::Deleted),
            other => Err(Error::Invalid(format!("a stored twin is {other:?}"))),
        }
    }
}

/// The programs of a twin by model. A program that was named by DID has no checksum before it was looked at.
pub type Programs = BTreeMap<String, Program>;

/// A twin as declared.
#[derive(Clone, Debug)]
pub struct Twin {
    pub name: String,
    pub version: i64,
    pub document: String,
    /// Where the document's relative paths begin.
    pub base: Option<String>,
    pub digest: String,
    pub owner: UserRef,
    pub state: State,
    pub programs: Programs,
    pub created: Timestamp,
    pub applied: Timestamp,
    /// CPU and wall time of all runs, in microseconds.
    pub cpu: i64,
    pub wall: i64,
}

const COLUMNS: &str = "name, version, document, base, digest, owner, state, programs, created, applied, cpu, wall";

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Invalid(format!("a stored twin: {error}")))
}

fn text<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Invalid(error.to_string()))
}

fn read(row: &Row) -> Result<Twin, Error> {
    Ok(Twin {
        name: row.get(0)?,
        version: row.get(1)?,
        document: row.get(2)?,
        base: row.get(3)?,
        digest: row.get(4)?,
        owner: json(&row.get::<String>(5)?)?,
        state: State::parse(&row.get::<String>(6)?)?,
        programs: json(&row.get::<String>(7)?)?,
        created: row.get(8)?,
        applied: row.get(9)?,
        cpu: row.get(10)?,
        wall: row.get(11)?,
    })
}

/// The twin, also when it is deleted.
pub fn get(tx: &mut Tx<'_>, name: &str) -> Result<Option<Twin>, Error> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM workflow_twins WHERE name = ?1"), &params![name], read)
}

/// Twins in the order of their names, those of `owner` only if given; deleted ones are left out.
pub fn list(tx: &mut Tx<'_>, owner: Option<&str>, after: &str, limit: usize) -> Result<Vec<Twin>, Error> {
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM workflow_twins
             WHERE name > ?1 AND state <> 'deleted' AND (owner_name = ?2 OR ?3 = 1) ORDER BY name LIMIT ?4"
        ),
        &params![after, owner.unwrap_or_default(), owner.is_none(), limit],
        read,
    )
}

/// Names of all twins that are alive.
pub fn alive(tx: &mut Tx<'_>) -> Result<Vec<String>, Error> {
    tx.query("SELECT name FROM workflow_twins WHERE state = 'active' ORDER BY name", &[], |row| row.get(0))
}

/// Writes a new twin or a new version of one.
pub fn put(tx: &mut Tx<'_>, twin: &Twin, by: &str) -> Result<(), Error> {
    let (owner, programs) = (text(&twin.owner)?, text(&twin.programs)?);
    tx.execute(
        "INSERT INTO workflow_twins
           (name, version, document, base, digest, owner, owner_name, state, programs, created, applied, cpu, wall)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, document = excluded.document,
           base = excluded.base, digest = excluded.digest, owner = excluded.owner, owner_name = excluded.owner_name,
           state = excluded.state, programs = excluded.programs, applied = excluded.applied",
        &params![
            &twin.name,
            twin.version,
            &twin.document,
            twin.base.clone(),
            &twin.digest,
            &owner,
            &twin.owner.name,
            twin.state.as_str(),
            &programs,
            twin.created,
            twin.applied
        ],
    )?;
    tx.execute(
        "INSERT INTO workflow_versions (twin, version, document, base, programs, applied_by, applied)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (twin, version) DO NOTHING",
        &params![&twin.name, twin.version, &twin.document, twin.base.clone(), &programs, by, twin.applied],
    )?;
    Ok(())
}

pub fn set_state(tx: &mut Tx<'_>, name: &str, state: State) -> Result<(), Error> {
    tx.execute("UPDATE workflow_twins SET state = ?2 WHERE name = ?1", &params![name, state.as_str()])?;
    Ok(())
}

/// The world is as this version says.
pub fn activate(tx: &mut Tx<'_>, name: &str, version: i64, programs: &Programs) -> Result<bool, Error> {
    let programs = text(programs)?;
    let changed = tx.execute(
        "UPDATE workflow_twins SET state = 'active', programs = ?3 WHERE name = ?1 AND version = ?2 AND state <> 'deleted'",
        &params![name, version, &programs],
    )?;
    Ok(changed > 0)
}

/// Adds to what the twin has used, in microseconds.
pub fn charge(tx: &mut Tx<'_>, name: &str, cpu: i64, wall: i64) -> Result<(), Error> {
    tx.execute(
        "UPDATE workflow_twins SET cpu = cpu + ?2, wall = wall + ?3 WHERE name = ?1",
        &params![name, cpu, wall],
    )?;
    Ok(())
}
