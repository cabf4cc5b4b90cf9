//! Who was erased: the pseudonym, a keyed hash of the name so that it is never given again, and, for as long as tokens of the
//! account may turn up, what to look for, encrypted.

use dte_base::time::Timestamp;
use dte_store::{Error, Migration, Row, Tx, params};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("erasure.sql") }];

/// One erasure.
#[derive(Clone, Debug)]
pub(crate) struct Erased {
    pub(crate) pseudonym: String,
    /// Encrypted; nothing once it is forgotten.
    pub(crate) traces: Option<Vec<u8>>,
    /// The last record of the audit trail that was looked through.
    pub(crate) reached: i64,
    pub(crate) begun: Timestamp,
    pub(crate) finished: Option<Timestamp>,
}

const COLUMNS: &str = "pseudonym, traces, reached, begun, finished";

fn erased(row: &Row) -> Result<Erased, Error> {
    Ok(Erased {
        pseudonym: row.get(0)?,
        traces: row.get(1)?,
        reached: row.get(2)?,
        begun: row.get(3)?,
        finished: row.get(4)?,
    })
}

pub(crate) fn insert(tx: &mut Tx<'_>, one: &Erased, name_hash: &[u8]) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_erasures (pseudonym, name_hash, traces, reached, begun) VALUES (?1, ?2, ?3, ?4, ?5)",
        &params![&one.pseudonym, name_hash, one.traces.clone(), one.reached, one.begun],
    )
    .map(drop)
}

/// Whether an account of this name was erased.
pub(crate) fn is_erased(tx: &mut Tx<'_>, name_hash: &[u8]) -> Result<bool, Error> {
    pseudonym_of(tx, name_hash).map(|found| found.is_some())
}

pub(crate) fn pseudonym_of(tx: &mut Tx<'_>, name_hash: &[u8]) -> Result<Option<String>, Error> {
    let sql = "SELECT pseudonym FROM identity_erasures WHERE name_hash = ?1";
    tx.query_opt(sql, &params![name_hash], |row| row.get(0))
}

pub(crate) fn find(tx: &mut Tx<'_>, pseudonym: &str) -> Result<Option<Erased>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM identity_erasures WHERE pseudonym = ?1");
    tx.query_opt(&sql, &params![pseudonym], erased)
}

/// All erasures after one, in the order of their pseudonyms.
pub(crate) fn page(tx: &mut Tx<'_>, after: &str, limit: usize) -> Result<Vec<Erased>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM identity_erasures WHERE pseudonym > ?1 ORDER BY pseudonym LIMIT ?2");
    tx.query(&sql, &params![after, limit], erased)
}

/// Those whose late records are still looked for.
pub(crate) fn unfinished(tx: &mut Tx<'_>) -> Result<Vec<Erased>, Error> {
    tx.query(&format!("SELECT {COLUMNS} FROM identity_erasures WHERE traces IS NOT NULL"), &params![], erased)
}

pub(crate) fn reach(tx: &mut Tx<'_>, pseudonym: &str, seq: i64) -> Result<(), Error> {
    let sql = "UPDATE identity_erasures SET reached = ?2 WHERE pseudonym = ?1 AND reached < ?2";
    tx.execute(sql, &params![pseudonym, seq]).map(drop)
}

/// Forgets what was looked for.
pub(crate) fn finish(tx: &mut Tx<'_>, pseudonym: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE identity_erasures SET traces = NULL, finished = ?2 WHERE pseudonym = ?1";
    tx.execute(sql, &params![pseudonym, now]).map(drop)
}

/// Takes an account out of the tables of accounts and bans. Gives how many bans and rules are about the pseudonym now.
pub(crate) fn forget_account(tx: &mut Tx<'_>, issuer: &str, name: &str, pseudonym: &str) -> Result<u64, Error> {
    tx.execute("DELETE FROM identity_users WHERE name = ?1", &params![name])?;
    tx.execute("DELETE FROM identity_login_codes WHERE name = ?1", &params![name])?;
    let mut kept = 0;
    for table in ["identity_bans", "identity_not_before"] {
        // What names no issuer holds for namesakes elsewhere too, so it stays as it is.
        let own = format!("UPDATE {table} SET subject = ?3 WHERE subject = ?2 AND issuer = ?1");
        kept += tx.execute(&own, &params![issuer, name, pseudonym])?;
        tx.execute(&format!("UPDATE {table} SET created_by = ?2 WHERE created_by = ?1"), &params![name, pseudonym])?;
    }
    tx.execute("UPDATE identity_bans SET lifted_by = ?2 WHERE lifted_by = ?1", &params![name, pseudonym])?;
    Ok(kept)
}
