//! The sums that are kept with every record, and whose a scope is.

use std::collections::HashMap;
use std::sync::LazyLock;

use dte_store::{Error, Tx, Value, params};

use super::records::kind_at;
use crate::model::summary::{Cell, minute_of_day};
use crate::model::usage::{Kind, Usage};

/// Sums stop here rather than overflow: whoever declares an absurd size spoils their own sum, and nothing else.
const LIMIT: i64 = 4_000_000_000_000_000_000;

/// Adds a use to the sums of its day.
pub fn add(tx: &mut Tx<'_>, usage: &Usage, cost_nano: i64) -> Result<(), Error> {
    let byte_minutes = match usage.kind {
        Kind::Storage => usage.bytes.saturating_mul(minute_of_day(usage.charged)),
        Kind::Compute | Kind::Transfer => 0,
    };
    // In the order of `SUMS`.
    let amounts = [1, usage.cpu_micros, usage.wall_micros, usage.core_micros, usage.bytes, byte_minutes, cost_nano];
    let key = params![usage.charged.day(), &usage.user, &usage.twin, &usage.scope, usage.kind.text()];
    let values: Vec<Value> = key.into_iter().chain(amounts.map(|amount| Value::from(amount.min(LIMIT)))).collect();
    tx.execute(&ADD, &values)?;
    Ok(())
}

/// The columns that are summed up.
const SUMS: [&str; 7] = ["records", "cpu_micros", "wall_micros", "core_micros", "bytes", "byte_minutes", "cost_nano"];

/// What is there, and what comes: of two rows about the same.
static SUM_UP: LazyLock<String> = LazyLock::new(|| {
    let sets: Vec<String> = SUMS
        .iter()
        .map(|c| {
            format!(
                "{c} = CASE WHEN accounting_days.{c} > {LIMIT} - excluded.{c} THEN {LIMIT}
                       ELSE accounting_days.{c} + excluded.{c} END"
            )
        })
        .collect();
    format!("ON CONFLICT (day, account, twin, scope, kind) DO UPDATE SET {}", sets.join(", "))
});

static ADD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO accounting_days (day, account, twin, scope, kind, {})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) {}",
        SUMS.join(", "),
        *SUM_UP
    )
});

static MOVE: LazyLock<String> = LazyLock::new(|| {
    let sums = SUMS.join(", ");
    format!(
        "INSERT INTO accounting_days (day, account, twin, scope, kind, {sums})
         SELECT day, ?2, twin, scope, kind, {sums} FROM accounting_days WHERE account = ?1 {}",
        *SUM_UP
    )
});

/// Puts the sums of an account under another name, with what stands there already.
pub fn rename(tx: &mut Tx<'_>, account: &str, to: &str) -> Result<(), Error> {
    tx.execute(&MOVE, &params![account, to])?;
    tx.execute("DELETE FROM accounting_days WHERE account = ?1", &params![account]).map(drop)
}

/// A run of `twin` wrote into `scope`. A scope that two twins write into belongs to neither.
pub fn claim_scope(tx: &mut Tx<'_>, scope: &str, twin: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO accounting_scopes (scope, twin) VALUES (?1, ?2) ON CONFLICT (scope) DO UPDATE SET twin = ''
         WHERE accounting_scopes.twin <> excluded.twin",
        &params![scope, twin],
    )?;
    Ok(())
}

/// The twin of each scope that has one.
pub fn twins(tx: &mut Tx<'_>) -> Result<HashMap<String, String>, Error> {
    let sql = "SELECT scope, twin FROM accounting_scopes WHERE twin <> ''";
    Ok(tx.query(sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

/// The sums between two days (both included), of one user or of all.
pub fn cells(tx: &mut Tx<'_>, user: Option<&str>, since: &str, until: &str) -> Result<Vec<Cell>, Error> {
    let mut values = params![since, until].to_vec();
    let test = match user {
        Some(user) => {
            values.push(Value::from(user));
            " AND account = ?3"
        }
        None => "",
    };
    let sql = format!(
        "SELECT day, account, twin, scope, kind, records, cpu_micros, wall_micros, core_micros, bytes, byte_minutes, cost_nano
         FROM accounting_days WHERE day >= ?1 AND day <= ?2{test} ORDER BY day"
    );
    tx.query(&sql, &values, |row| {
        Ok(Cell {
            day: row.get(0)?,
            user: row.get(1)?,
            twin: row.get(2)?,
            scope: row.get(3)?,
            kind: kind_at(row, 4)?,
            records: row.get(5)?,
            cpu_micros: row.get(6)?,
            wall_micros: row.get(7)?,
            core_micros: row.get(8)?,
            bytes: row.get(9)?,
            byte_minutes: row.get(10)?,
            cost_nano: row.get(11)?,
        })
    })
}
