//! Access tokens that were taken back before they expire.

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
