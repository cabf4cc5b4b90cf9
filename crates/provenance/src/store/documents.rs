//! Documents that people put here, and the list of all documents.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, Value, params};

use super::Scope;
use crate::model::merge::merge;

/// A document as it was put here.
#[derive(Clone, Debug)]
pub struct Stored {
    pub owner: String,
    pub body: serde_json::Value,
}

/// How a change of a document ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// It belongs to somebody else, or is the engine's own record of a run.
    Forbidden,
    Unknown,
}

pub fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Stored>, Error> {
    tx.query_opt("SELECT owner, body FROM provenance_documents WHERE id = ?1", &params![id], |row| {
        Ok(Stored { owner: row.get(0)?, body: row.get(1)? })
    })
}

/// Makes a document, or unites `body` with what is there.
pub fn put(tx: &mut Tx<'_>, id: &str, body: &serde_json::Value, user: &str, scope: &Scope) -> Result<Changed, Error> {
    let is_run = tx.query_opt("SELECT 1 FROM provenance_runs WHERE id = ?1", &params![id], |_| Ok(()))?.is_some();
    if is_run {
        return Ok(Changed::Forbidden);
    }
    let now = Timestamp::now();
    match get(tx, id)? {
        None => {
            tx.execute(
                "INSERT INTO provenance_documents (id, owner, body, created, changed) VALUES (?1, ?2, ?3, ?4, ?4)",
                &params![id, user, body, now],
            )?;
        }
        Some(known) if !scope.covers(&known.owner) => return Ok(Changed::Forbidden),
        Some(mut known) => {
            merge(&mut known.body, body);
            tx.execute(
                "UPDATE provenance_documents SET body = ?2, changed = ?3 WHERE id = ?1",
                &params![id, known.body, now],
            )?;
        }
    }
    Ok(Changed::Done)
}

/// Removes a document of a person. What the engine itself recorded stays.
pub fn delete(tx: &mut Tx<'_>, id: &str, scope: &Scope) -> Result<Changed, Error> {
    match get(tx, id)? {
        Some(known) if scope.covers(&known.owner) => {
            tx.execute("DELETE FROM provenance_documents WHERE id = ?1", &params![id])?;
            Ok(Changed::Done)
        }
        Some(_) => Ok(Changed::Forbidden),
        // Whose it would be is nobody's business.
        None if *scope == Scope::All => Ok(Changed::Unknown),
        None => Ok(Changed::Forbidden),
    }
}

/// Ids of runs and of documents after `after`, in order.
pub fn list(tx: &mut Tx<'_>, scope: &Scope, after: &str, limit: usize) -> Result<Vec<String>, Error> {
    let mut values = params![after, limit].to_vec();
    let test = match scope {
        Scope::All => "",
        Scope::Of(name) => {
            values.push(Value::from(name));
            " AND owner = ?3"
        }
    };
    let sql = format!(
        "SELECT id FROM (SELECT id, owner FROM provenance_runs UNION ALL SELECT id, owner FROM provenance_documents) AS known
         WHERE id > ?1{test} ORDER BY id LIMIT ?2"
    );
    tx.query(&sql, &values, |row| row.get(0))
}
