//! The only place with this service's SQL. Functions take a transaction; whoever calls them decides where it begins.

pub(crate) mod access;
pub(crate) mod accounts;
pub(crate) mod approval;
pub(crate) mod archives;
pub(crate) mod bad;
pub(crate) mod collections;
pub(crate) mod contents;
pub(crate) mod dids;
pub(crate) mod evaluate;
pub(crate) mod events;
pub(crate) mod exceptions;
pub(crate) mod filters;
pub(crate) mod inject;
pub(crate) mod limits;
pub(crate) mod locks;
pub(crate) mod metadata;
pub(crate) mod opendata;
pub(crate) mod past_requests;
pub(crate) mod people;
pub(crate) mod place;
pub(crate) mod ready;
pub(crate) mod register;
pub(crate) mod remove;
pub(crate) mod replace;
pub(crate) mod replicas;
pub(crate) mod requests;
pub(crate) mod rse_facts;
pub(crate) mod rses;
pub(crate) mod rules;
pub(crate) mod search;
pub(crate) mod settings;
pub(crate) mod subscriptions;
pub(crate) mod undertake;

use dte_protocol_rucio::Did;
use dte_store::{Migration, Row, Tx, Value};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("0001.sql") },
    Migration { version: 2, sql: include_str!("0002.sql") },
    Migration { version: 3, sql: include_str!("0003.sql") },
    Migration { version: 4, sql: include_str!("0004.sql") },
    Migration { version: 5, sql: include_str!("0005.sql") },
    Migration { version: 6, sql: include_str!("0006.sql") },
    Migration { version: 7, sql: include_str!("0007.sql") },
    Migration { version: 8, sql: include_str!("0008.sql") },
];

/// Waits for its turn. Transactions that change the catalogue take it first and hold it until they commit: on PostgreSQL,
/// where they run at `READ COMMITTED`, they thereby follow each other as they do on SQLite, and nobody reads what another is
/// about to change. (Optimistic transactions would run again and again: a rule's counters are touched by each of its files.)
pub(crate) fn turn(tx: &mut Tx<'_>) -> Result<(), dte_store::Error> {
    match tx.execute("UPDATE lake_turn SET taken = taken + 1 WHERE id = 1", &[])? {
        0 => Err(dte_store::Error::NotFound),
        _ => Ok(()),
    }
}

/// DIDs that one statement asks for at most.
const AT_ONCE: usize = 256;

/// Runs a query that joins `wanted (scope, name)` for all `dids`, in as few statements as the engines like.
///
/// `sql` follows the `WITH` clause; its own parameters `head` are `?1 …`.
pub(crate) fn query_wanted<T>(
    tx: &mut Tx<'_>,
    sql: &str,
    head: &[Value],
    dids: &[Did],
    map: impl Fn(&Row) -> Result<T, dte_store::Error>,
) -> Result<Vec<T>, dte_store::Error> {
    let mut answers = Vec::new();
    for chunk in dids.chunks(AT_ONCE) {
        // Few sizes, so that few statements are prepared; what is too many is a name that cannot exist.
        let width = chunk.len().next_power_of_two();
        let mut values = head.to_vec();
        let mut marks = String::with_capacity(width * 12);
        for index in 0..width {
            let at = values.len();
            marks.push_str(&format!("{}(?{}, ?{})", if index == 0 { "" } else { ", " }, at + 1, at + 2));
            let (scope, name) = chunk.get(index).map_or(("", ""), |did| (did.scope.as_str(), did.name.as_str()));
            values.push(scope.into());
            values.push(name.into());
        }
        let statement = format!("WITH wanted (scope, name) AS (VALUES {marks}) {sql}");
        answers.extend(tx.query(&statement, &values, &map)?);
    }
    Ok(answers)
}

/// The DID in two neighbouring columns.
pub(crate) fn did_at(row: &Row, index: usize) -> Result<Did, dte_store::Error> {
    Ok(Did { scope: row.get(index)?, name: row.get(index + 1)? })
}

/// A letter of an enumeration in a column.
pub(crate) fn letter<T>(row: &Row, index: usize, read: impl Fn(&str) -> Option<T>) -> Result<T, dte_store::Error> {
    let text: String = row.get(index)?;
    read(&text).ok_or(dte_store::Error::Column { index, wanted: "a known letter" })
}
