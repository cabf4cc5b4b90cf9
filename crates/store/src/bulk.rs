//! Set-based writes: many rows in one statement on PostgreSQL, one prepared statement run many times on SQLite (where a
//! statement costs no round trip). Table and column names come from our own code, never from users.

use crate::sql::Dialect;
use crate::{Error, Tx, Value};

/// PostgreSQL takes at most 65 535 parameters a statement.
const MAX_PARAMETERS: usize = 32_000;

impl Tx<'_> {
    /// Inserts all rows; a row whose key exists already fails the transaction.
    pub fn insert_many(&mut self, table: &str, columns: &[&str], rows: &[Vec<Value>]) -> Result<u64, Error> {
        self.insert_rows(table, columns, rows, "")
    }

    /// Inserts the rows whose key is new and says how many those were.
    pub fn insert_new_many(&mut self, table: &str, columns: &[&str], rows: &[Vec<Value>]) -> Result<u64, Error> {
        self.insert_rows(table, columns, rows, " ON CONFLICT DO NOTHING")
    }

    /// Inserts the rows; where the key (`key_columns`, a unique index) exists, sets the other columns. Two rows of one call
    /// must not share a key.
    pub fn upsert_many(
        &mut self,
        table: &str,
        columns: &[&str],
        key_columns: &[&str],
        rows: &[Vec<Value>],
    ) -> Result<u64, Error> {
        let sets: Vec<String> =
            columns.iter().filter(|c| !key_columns.contains(c)).map(|c| format!("{c} = excluded.{c}")).collect();
        let keys = key_columns.join(", ");
        let conflict = if sets.is_empty() {
            format!(" ON CONFLICT ({keys}) DO NOTHING")
        } else {
            format!(" ON CONFLICT ({keys}) DO UPDATE SET {}", sets.join(", "))
        };
        self.insert_rows(table, columns, rows, &conflict)
    }

    /// Sets `set_columns` of the rows with the given keys. Each row holds the keys first, then the new values.
    pub fn update_many(
        &mut self,
        table: &str,
        key_columns: &[&str],
        set_columns: &[&str],
        rows: &[Vec<Value>],
    ) -> Result<u64, Error> {
        let width = key_columns.len() + set_columns.len();
        check_width(table, width, rows)?;
        if self.dialect() == Dialect::Sqlite {
            let sets = numbered(set_columns, key_columns.len(), ", ");
            let keys = numbered(key_columns, 0, " AND ");
            let sql = format!("UPDATE {table} SET {sets} WHERE {keys}");
            return rows.iter().try_fold(0, |changed, row| Ok(changed + self.execute(&sql, row)?));
        }
        let keys: Vec<String> = key_columns.iter().map(|c| format!("{table}.{c} = incoming.{c}")).collect();
        let names: Vec<&str> = key_columns.iter().chain(set_columns).copied().collect();
        let mut changed = 0;
        for chunk in rows.chunks(MAX_PARAMETERS / width.max(1)) {
            let casts: Vec<&str> = (0..width).map(|column| cast_of(chunk, column)).collect();
            // A column that is null in all rows has no type that could be named.
            let set = |(column, name): (usize, &&str)| {
                let null = chunk.iter().all(|row| row[key_columns.len() + column] == Value::Null);
                if null { format!("{name} = NULL") } else { format!("{name} = incoming.{name}") }
            };
            let sets: Vec<String> = set_columns.iter().enumerate().map(set).collect();
            let sql = format!(
                "UPDATE {table} SET {} FROM (VALUES {}) AS incoming ({}) WHERE {}",
                sets.join(", "),
                placeholders(chunk.len(), width, &casts),
                names.join(", "),
                keys.join(" AND ")
            );
            changed += self.execute(&sql, &chunk.concat())?;
        }
        Ok(changed)
    }

    fn insert_rows(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: &[Vec<Value>],
        conflict: &str,
    ) -> Result<u64, Error> {
        let width = columns.len();
        check_width(table, width, rows)?;
        let names = columns.join(", ");
        let casts = vec![""; width];
        let rows_a_statement = match self.dialect() {
            Dialect::Sqlite => 1,
            Dialect::Postgres => MAX_PARAMETERS / width.max(1),
        };
        let mut changed = 0;
        for chunk in rows.chunks(rows_a_statement) {
            let marks = placeholders(chunk.len(), width, &casts);
            let sql = format!("INSERT INTO {table} ({names}) VALUES {marks}{conflict}");
            changed += match chunk {
                [row] => self.execute(&sql, row)?,
                many => self.execute(&sql, &many.concat())?,
            };
        }
        Ok(changed)
    }
}

fn check_width(table: &str, width: usize, rows: &[Vec<Value>]) -> Result<(), Error> {
    match rows.iter().find(|row| row.len() != width) {
        Some(row) => Err(Error::Invalid(format!("{table}: {} values for {width} columns", row.len()))),
        None => Ok(()),
    }
}

/// `a = ?1, b = ?2`, counting from `before + 1`.
fn numbered(columns: &[&str], before: usize, separator: &str) -> String {
    let parts: Vec<String> = columns.iter().enumerate().map(|(i, c)| format!("{c} = ?{}", before + i + 1)).collect();
    parts.join(separator)
}

/// `(?1, ?2), (?3, ?4)`.
fn placeholders(rows: usize, width: usize, casts: &[&str]) -> String {
    let mut text = String::with_capacity(rows * width * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for (column, cast) in casts.iter().enumerate() {
            let separator = if column == 0 { "" } else { ", " };
            text.push_str(&format!("{separator}?{}{cast}", row * width + column + 1));
        }
        text.push(')');
    }
    text
}

/// PostgreSQL cannot guess the types of a bare `VALUES` list, so they are named after what the rows hold.
fn cast_of(rows: &[Vec<Value>], column: usize) -> &'static str {
    let first = rows.iter().map(|row| &row[column]).find(|value| **value != Value::Null);
    match first {
        Some(Value::Int(_)) => "::bigint",
        Some(Value::Blob(_)) => "::bytea",
        _ => "::text",
    }
}
