//! The tables of communities and agreements, and nothing else's SQL.
//!
//! Every row that is held in memory carries the number of the change that wrote it (`changed`), so that a process reads
//! only what is new, however much there is. Such rows are never deleted, only marked.

pub(crate) mod acceptances;
pub(crate) mod aups;
pub(crate) mod groups;
pub(crate) mod onboarding;
pub(crate) mod person;
pub(crate) mod profiles;
pub(crate) mod scope_policies;
pub(crate) mod trace;

use dte_store::{Error, Migration, Tx, params};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("0001.sql") },
    Migration { version: 2, sql: include_str!("0002.sql") },
    Migration { version: 3, sql: include_str!("0003.sql") },
    Migration { version: 4, sql: include_str!("0004.sql") },
    Migration { version: 5, sql: include_str!("0005.sql") },
];

/// The number of the last change.
pub(crate) fn version(tx: &mut Tx<'_>) -> Result<i64, Error> {
    tx.query_one("SELECT number FROM policy_meta WHERE name = 'version'", &params![], |row| row.get(0))
}

/// The number of the change that is about to be made. Changes follow each other by this row.
pub(crate) fn next_version(tx: &mut Tx<'_>) -> Result<i64, Error> {
    let sql = "UPDATE policy_meta SET number = number + 1 WHERE name = 'version' RETURNING number";
    tx.query_one(sql, &params![], |row| row.get(0))
}
