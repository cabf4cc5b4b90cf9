//! When each signing key signs.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};

pub(crate) fn insert(
    tx: &mut Tx<'_>,
    kid: &str,
    sealed: &[u8],
    created: Timestamp,
    signs_from: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_keys (kid, sealed, created, signs_from) VALUES (?1, ?2, ?3, ?4)",
        &params![kid, sealed, created, signs_from],
    )
    .map(drop)
}

pub(crate) fn retire(tx: &mut Tx<'_>, kid: &str, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE identity_keys SET retired = ?2 WHERE kid = ?1 AND retired IS NULL", &params![kid, now])? > 0)
}

/// Takes a key's turn forward.
pub(crate) fn sign_from(tx: &mut Tx<'_>, kid: &str, at: Timestamp) -> Result<(), Error> {
    tx.execute("UPDATE identity_keys SET signs_from = ?2 WHERE kid = ?1", &params![kid, at]).map(drop)
}

/// Keys in use: id, when made, when it begins to sign.
pub(crate) fn times(tx: &mut Tx<'_>) -> Result<Vec<(String, Timestamp, Timestamp)>, Error> {
    let sql =
        "SELECT kid, created, signs_from FROM identity_keys WHERE retired IS NULL ORDER BY signs_from, created, kid";
    tx.query(sql, &params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}
