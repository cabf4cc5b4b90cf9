//! What people granted to programs: one row for each family of refresh tokens, and for each access token that came alone.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};

use crate::issuer::grant::Granted;

/// One family.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) granted: Granted,
    /// The number of the token that is good now; 0: there is none, only an access token.
    pub(crate) number: i64,
    pub(crate) rotated: Timestamp,
    pub(crate) created: Timestamp,
    pub(crate) used: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) ended: bool,
}

pub(crate) fn insert(tx: &mut Tx<'_>, family: &Family) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_grants (id, client_id, name, granted, number, rotated, created, used, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        &params![
            &family.id,
            &family.client_id,
            &family.granted.user,
            serde_json::json!(family.granted),
            family.number,
            family.rotated,
            family.created,
            family.used,
            family.expires
        ],
    )
    .map(drop)
}

const FAMILY: &str =
    "SELECT id, client_id, granted, number, rotated, created, used, expires, ended FROM identity_grants";

fn family(row: &Row) -> Result<Family, Error> {
    let granted = serde_json::from_value(row.get(2)?)
        .map_err(|error| Error::Invalid(format!("a stored grant cannot be read: {error}")))?;
    Ok(Family {
        id: row.get(0)?,
        client_id: row.get(1)?,
        granted,
        number: row.get(3)?,
        rotated: row.get(4)?,
        created: row.get(5)?,
        used: row.get(6)?,
        expires: row.get(7)?,
        ended: row.get::<Option<Timestamp>>(8)?.is_some(),
    })
}

pub(crate) fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<Family>, Error> {
    tx.query_opt(&format!("{FAMILY} WHERE id = ?1"), &params![id], family)
}

/// The grants of a person that are not over, the ones that were used last first.
pub(crate) fn live(tx: &mut Tx<'_>, name: &str, now: Timestamp, limit: usize) -> Result<Vec<Family>, Error> {
    let sql =
        format!("{FAMILY} WHERE name = ?1 AND ended IS NULL AND expires > ?2 ORDER BY used DESC, id DESC LIMIT ?3");
    tx.query(&sql, &params![name, now, limit], family)
}

/// The ids of the grants of a person that are not over: to a client, or to any.
pub(crate) fn live_ids(
    tx: &mut Tx<'_>,
    name: &str,
    client_id: Option<&str>,
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let sql = "SELECT id, client_id FROM identity_grants WHERE name = ?1 AND ended IS NULL AND expires > ?2";
    let read = |row: &Row| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
    let found = tx.query(sql, &params![name, now], read)?;
    let is_meant = |client: &str| client_id.is_none_or(|wanted| wanted == client);
    Ok(found.into_iter().filter(|(_, client)| is_meant(client)).map(|(id, _)| id).collect())
}

/// Notes a use, and with `rotate` that the next token is the good one.
pub(crate) fn note_use(tx: &mut Tx<'_>, id: &str, rotate: bool, now: Timestamp) -> Result<(), Error> {
    let sql = if rotate {
        "UPDATE identity_grants SET used = ?2, number = number + 1, rotated = ?2 WHERE id = ?1"
    } else {
        "UPDATE identity_grants SET used = ?2 WHERE id = ?1"
    };
    tx.execute(sql, &params![id, now]).map(drop)
}

pub(crate) fn end(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE identity_grants SET ended = ?2 WHERE id = ?1 AND ended IS NULL", &params![id, now])? > 0)
}

pub(crate) fn sweep(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_grants WHERE expires < ?1", &params![now]).map(drop)
}
