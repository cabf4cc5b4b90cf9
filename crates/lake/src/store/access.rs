//! The named readers of scopes.

use dte_store::{Tx, Value, params, values};

use crate::error::Result;
use crate::model::access::Reader;

/// The readers of a scope, in order; none: everybody.
pub(crate) fn readers(tx: &mut Tx<'_>, scope: &str) -> Result<Vec<Reader>> {
    let sql = "SELECT reader FROM lake_scope_readers WHERE scope = ?1 ORDER BY reader";
    Ok(tx.query(sql, &params![scope], |row| {
        let text: String = row.get(0)?;
        // What cannot be read must not open the scope.
        Reader::parse(&text).ok_or(dte_store::Error::Column { index: 0, wanted: "an account or a group" })
    })?)
}

/// Names the readers of a scope, in place of those that were named.
pub(crate) fn set_readers(tx: &mut Tx<'_>, scope: &str, readers: &[Reader]) -> Result<()> {
    tx.execute("DELETE FROM lake_scope_readers WHERE scope = ?1", &params![scope])?;
    let rows: Vec<Vec<Value>> = readers.iter().map(|reader| values![scope, reader.text()]).collect();
    tx.insert_new_many("lake_scope_readers", &["scope", "reader"], &rows)?;
    Ok(())
}
