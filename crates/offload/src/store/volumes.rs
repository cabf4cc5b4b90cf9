//! A pod as it was handed over, with its variables and what its volumes hold, from its acceptance until its end. It is sealed:
//! secrets are among it.

use dte_store::{Error, Migration, Store, Tx, params};
use uuid::Uuid;

pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, sql: "CREATE TABLE offload_volumes (uid TEXT PRIMARY KEY, sealed BYTES NOT NULL);" }];

pub fn keep(tx: &mut Tx<'_>, uid: Uuid, sealed: &[u8]) -> Result<(), Error> {
    tx.execute("INSERT INTO offload_volumes (uid, sealed) VALUES (?1, ?2)", &params![uid, sealed.to_vec()]).map(drop)
}

pub async fn find(store: &Store, uid: Uuid) -> Result<Option<Vec<u8>>, Error> {
    let sql = "SELECT sealed FROM offload_volumes WHERE uid = ?1";
    store.read(move |tx| tx.query_opt(sql, &params![uid], |row| row.get::<Vec<u8>>(0))).await
}

pub fn forget(tx: &mut Tx<'_>, uid: Uuid) -> Result<(), Error> {
    tx.execute("DELETE FROM offload_volumes WHERE uid = ?1", &params![uid]).map(drop)
}
