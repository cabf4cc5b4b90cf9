//! Revocation times.

use dte_store::{Error, Migration, Tx, params};

use crate::not_before::{NewNotBefore, NotBefore};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("not_before.sql") }];

pub(crate) fn all(tx: &mut Tx<'_>) -> Result<Vec<NotBefore>, Error> {
    let sql = "SELECT id, issuer, client_id, subject, issued_before, reason, created_by, created FROM identity_not_before ORDER BY id";
    tx.query(sql, &params![], |row| {
        let rule = NewNotBefore {
            issuer: row.get(1)?,
            client_id: row.get(2)?,
            subject: row.get(3)?,
            before: row.get(4)?,
            reason: row.get(5)?,
        };
        Ok(NotBefore { id: row.get(0)?, rule, created_by: row.get(6)?, created: row.get(7)? })
    })
}

pub(crate) fn insert(tx: &mut Tx<'_>, made: &NotBefore) -> Result<(), Error> {
    let rule = &made.rule;
    tx.execute(
        "INSERT INTO identity_not_before (id, issuer, client_id, subject, issued_before, reason, created_by, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &params![
            &made.id,
            &rule.issuer,
            rule.client_id.clone(),
            rule.subject.clone(),
            rule.before,
            &rule.reason,
            &made.created_by,
            made.created
        ],
    )
    .map(drop)
}

/// Gives false when there is none.
pub(crate) fn delete(tx: &mut Tx<'_>, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM identity_not_before WHERE id = ?1", &params![id])? > 0)
}
