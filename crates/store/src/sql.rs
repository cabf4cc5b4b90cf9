//! One SQL text for two engines.
//!
//! Statements are written with `?1 ?2 …`. PostgreSQL wants `$1 $2 …`; migrations also say `BYTES` and `SERIAL_ID` where the
//! engines have different words. Translation looks at whole tokens outside string literals and quoted names.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// Which engine a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// Statements already translated for PostgreSQL.
#[derive(Default)]
pub(crate) struct Translated(RwLock<HashMap<String, Arc<str>>>);

impl Translated {
    pub(crate) fn get(&self, sql: &str) -> Arc<str> {
        if let Some(known) = self.0.read().get(sql) {
            return Arc::clone(known);
        }
        let made: Arc<str> = placeholders(sql).into();
        self.0.write().insert(sql.to_owned(), Arc::clone(&made));
        made
    }
}

/// Copies `sql`, handing what lies outside quotes to `outside`.
fn outside_quotes(sql: &str, mut outside: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    while let Some(start) = rest.find(['\'', '"']) {
        out.push_str(&outside(&rest[..start]));
        let quote = &rest[start..=start];
        let end = rest[start + 1..].find(quote).map_or(rest.len(), |at| start + 1 + at + 1);
        out.push_str(&rest[start..end]);
        rest = &rest[end..];
    }
    out.push_str(&outside(rest));
    out
}

/// `?1` becomes `$1`, outside quotes.
pub(crate) fn placeholders(sql: &str) -> String {
    outside_quotes(sql, |part| part.replace('?', "$"))
}

/// A migration's text in the words of `dialect`.
pub(crate) fn migration(sql: &str, dialect: Dialect) -> String {
    let (bytes, serial) = match dialect {
        Dialect::Sqlite => ("BLOB", "INTEGER PRIMARY KEY AUTOINCREMENT"),
        Dialect::Postgres => ("BYTEA", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    };
    outside_quotes(sql, |part| part.replace("SERIAL_ID", serial).replace("BYTES", bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_outside_quotes_only() {
        assert_eq!(
            placeholders("SELECT '?1', \"a?\" FROM t WHERE a = ?1 AND b = ?12"),
            "SELECT '?1', \"a?\" FROM t WHERE a = $1 AND b = $12"
        );
        assert_eq!(placeholders("SELECT 'it''s ?' , ?2"), "SELECT 'it''s ?' , $2");
        assert_eq!(placeholders("SELECT 'open"), "SELECT 'open");
    }

    #[test]
    fn words_that_differ() {
        let text = "CREATE TABLE t (id SERIAL_ID, body BYTES, note TEXT DEFAULT 'BYTES')";
        assert_eq!(
            migration(text, Dialect::Sqlite),
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB, note TEXT DEFAULT 'BYTES')"
        );
        assert!(migration(text, Dialect::Postgres).contains("body BYTEA"));
    }
}
