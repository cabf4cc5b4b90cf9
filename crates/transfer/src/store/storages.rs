//! What an administrator says of storages.

use dte_store::{Error, Row, Tx, params};

use crate::model::rules::{ANY, StorageRule};
use crate::model::support::TpcSupport;
use crate::store::rules::{changed, read_storage};

fn support(row: &Row, index: usize) -> Result<TpcSupport, Error> {
    row.get::<String>(index)?.parse().map_err(|_| Error::Column { index, wanted: "a word of tpc_support" })
}

/// What was said of this storage, or else of all; the default when nothing was.
pub fn support_of(tx: &mut Tx<'_>, storage: &str) -> Result<TpcSupport, Error> {
    let sql = "SELECT storage, tpc_support FROM transfer_storages WHERE storage = ?1 OR storage = ?2";
    let said = tx.query(sql, &params![storage, ANY], |row| Ok((row.get::<String>(0)?, support(row, 1)?)))?;
    Ok(said.into_iter().max_by_key(|(name, _)| name == storage).map(|(_, support)| support).unwrap_or_default())
}

/// All storages of which something was said, by name.
pub fn all(tx: &mut Tx<'_>) -> Result<Vec<(String, TpcSupport, StorageRule)>, Error> {
    let sql = "SELECT storage, tpc_support, inbound_max_active, outbound_max_active, inbound_max_throughput,
                 outbound_max_throughput FROM transfer_storages ORDER BY storage";
    tx.query(sql, &[], |row| Ok((row.get(0)?, support(row, 1)?, read_storage(row, 2)?)))
}

pub fn set(tx: &mut Tx<'_>, storage: &str, support: TpcSupport, rule: &StorageRule) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO transfer_storages (storage, tpc_support, inbound_max_active, outbound_max_active,
           inbound_max_throughput, outbound_max_throughput) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (storage) DO UPDATE SET tpc_support = excluded.tpc_support,
           inbound_max_active = excluded.inbound_max_active, outbound_max_active = excluded.outbound_max_active,
           inbound_max_throughput = excluded.inbound_max_throughput,
           outbound_max_throughput = excluded.outbound_max_throughput",
        &params![
            storage,
            support.as_str(),
            rule.inbound_max_active,
            rule.outbound_max_active,
            rule.inbound_max_throughput,
            rule.outbound_max_throughput
        ],
    )?;
    changed(tx)
}

pub fn forget(tx: &mut Tx<'_>, storage: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM transfer_storages WHERE storage = ?1", &params![storage])?;
    changed(tx)
}
