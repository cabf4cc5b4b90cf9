//! Versions of acceptable use policies, and who is exempt from accepting them.

use dte_store::{Error, Row, Tx, params, values};

use crate::policy::agreements::Exemption;
use crate::policy::model::aup::{AupVersion, ChangeClass, Owner, Semver, Status};

const COLUMNS: &str = "id, owner, seq, version, status, change_class, document, text_sha256, effective_from, terms, created, \
                       published_at, retired_at, touched";

fn odd(what: &str, text: &str) -> Error {
    Error::Invalid(format!("{text:?} is no {what} of an AUP"))
}

fn version(row: &Row) -> Result<AupVersion, Error> {
    let text = |index: usize| row.get::<String>(index);
    let json = |error: serde_json::Error| Error::Invalid(format!("an AUP cannot be read: {error}"));
    let (owner, number, status, class) = (text(1)?, text(3)?, text(4)?, text(5)?);
    Ok(AupVersion {
        id: text(0)?,
        owner: Owner::parse(&owner).ok_or_else(|| odd("owner", &owner))?,
        seq: row.get(2)?,
        version: Semver::parse(&number).ok_or_else(|| odd("version", &number))?,
        status: Status::named(&status).ok_or_else(|| odd("status", &status))?,
        change_class: ChangeClass::named(&class).ok_or_else(|| odd("class", &class))?,
        document: serde_json::from_str(&text(6)?).map_err(json)?,
        text_sha256: text(7)?,
        effective_from: row.get(8)?,
        terms: serde_json::from_str(&text(9)?).map_err(json)?,
        created: row.get(10)?,
        published_at: row.get(11)?,
        retired_at: row.get(12)?,
        touched: row.get(13)?,
    })
}

pub(crate) fn after(tx: &mut Tx<'_>, changed: i64) -> Result<Vec<AupVersion>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policy_aups WHERE changed > ?1 ORDER BY owner, seq");
    tx.query(&sql, &params![changed], version)
}

/// All versions of an owner, the oldest first.
pub(crate) fn of_owner(tx: &mut Tx<'_>, owner: &Owner) -> Result<Vec<AupVersion>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policy_aups WHERE owner = ?1 ORDER BY seq");
    tx.query(&sql, &params![owner.to_string()], version)
}

pub(crate) fn by_id(tx: &mut Tx<'_>, id: &str) -> Result<Option<AupVersion>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policy_aups WHERE id = ?1");
    tx.query_opt(&sql, &params![id], version)
}

pub(crate) fn put(tx: &mut Tx<'_>, aup: &AupVersion, changed: i64) -> Result<(), Error> {
    let json = |error: serde_json::Error| Error::Invalid(format!("an AUP cannot be written: {error}"));
    let row = values![
        &aup.id,
        aup.owner.to_string(),
        aup.seq,
        aup.version.to_string(),
        aup.status.name(),
        aup.change_class.name(),
        serde_json::to_string(&aup.document).map_err(json)?,
        &aup.text_sha256,
        aup.effective_from,
        serde_json::to_string(&aup.terms).map_err(json)?,
        aup.created,
        aup.published_at,
        aup.retired_at,
        aup.touched,
        changed
    ];
    let columns: Vec<&str> = COLUMNS.split(", ").map(str::trim).chain(["changed"]).collect();
    tx.upsert_many("policy_aups", &columns, &["id"], &[row]).map(drop)
}

fn exemption(row: &Row) -> Result<Exemption, Error> {
    Ok(Exemption { name: row.get(0)?, reason: row.get(1)?, by: row.get(2)?, since: row.get(3)?, ended: row.get(4)? })
}

pub(crate) fn exemptions_after(tx: &mut Tx<'_>, changed: i64) -> Result<Vec<Exemption>, Error> {
    let sql = "SELECT name, reason, by_name, at, ended FROM policy_exemptions WHERE changed > ?1";
    tx.query(sql, &params![changed], exemption)
}

pub(crate) fn put_exemption(tx: &mut Tx<'_>, one: &Exemption, changed: i64) -> Result<(), Error> {
    let columns = ["name", "reason", "by_name", "at", "ended", "changed"];
    let row = values![&one.name, &one.reason, &one.by, one.since, one.ended, changed];
    tx.upsert_many("policy_exemptions", &columns, &["name"], &[row]).map(drop)
}
