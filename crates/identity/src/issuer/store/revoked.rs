//! Access tokens that were taken back before they expire, and times before which nothing that was issued counts.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};

pub(crate) fn insert(tx: &mut Tx<'_>, hash: &[u8], expires: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO identity_revoked (hash, expires) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
    tx.execute(sql, &params![hash, expires]).map(drop)
}

pub(crate) fn all(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<(Vec<u8>, Timestamp)>, Error> {
    let sql = "SELECT hash, expires FROM identity_revoked WHERE expires > ?1";
    tx.query(sql, &params![now], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(crate) fn sweep(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_revoked WHERE expires < ?1", &params![now]).map(drop)
}

/// `client_id` is empty for the whole issuer.
pub(crate) fn set_not_before(tx: &mut Tx<'_>, client_id: &str, at: Timestamp) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_not_before (client_id, at) VALUES (?1, ?2)
         ON CONFLICT (client_id) DO UPDATE SET at = excluded.at",
        &params![client_id, at],
    )
    .map(drop)
}

pub(crate) fn not_before(tx: &mut Tx<'_>) -> Result<Vec<(String, Timestamp)>, Error> {
    tx.query("SELECT client_id, at FROM identity_not_before", &params![], |row| Ok((row.get(0)?, row.get(1)?)))
}
