//! What an administrator says of storages.

use dte_store::{Error, Row, Tx, params};

use crate::model::support::TpcSupport;

fn support(row: &Row, index: usize) -> Result<TpcSupport, Error> {
    row.get::<String>(index)?.parse().map_err(|_| Error::Column { index, wanted: "a word of tpc_support" })
}

/// What was said of this storage; the default when nothing was.
pub fn support_of(tx: &mut Tx<'_>, storage: &str) -> Result<TpcSupport, Error> {
    let sql = "SELECT tpc_support FROM transfer_storages WHERE storage = ?1";
    Ok(tx.query_opt(sql, &params![storage], |row| support(row, 0))?.unwrap_or_default())
}

/// All storages of which something was said, by name.
pub fn all(tx: &mut Tx<'_>) -> Result<Vec<(String, TpcSupport)>, Error> {
    let sql = "SELECT storage, tpc_support FROM transfer_storages ORDER BY storage";
    tx.query(sql, &[], |row| Ok((row.get(0)?, support(row, 1)?)))
}

pub fn set(tx: &mut Tx<'_>, storage: &str, support: TpcSupport) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO transfer_storages (storage, tpc_support) VALUES (?1, ?2)
         ON CONFLICT (storage) DO UPDATE SET tpc_support = excluded.tpc_support",
        &params![storage, support.as_str()],
    )
    .map(|_| ())
}

pub fn forget(tx: &mut Tx<'_>, storage: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM transfer_storages WHERE storage = ?1", &params![storage]).map(|_| ())
}
