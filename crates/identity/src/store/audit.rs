//! The audit table: each record is linked to the one before.
//!
//! The link is over what the record says and over a salt of its own. When a person is erased, their records are written anew
//! under the pseudonym, the salts are destroyed and the links stay: what follows is still bound to what was written then, a
//! seal binds what stands there now, and nobody can find out from a link what the record said.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params, values};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::audit::Entry;
use crate::model::known::subject_of;
use crate::vault::AuditKey;

/// One stored record.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
    /// The column by which the trail is searched.
    pub(crate) subject: Option<String>,
    pub(crate) body: String,
    pub(crate) link: Vec<u8>,
    pub(crate) salt: Option<Vec<u8>>,
    /// The seal of a record from which a person was erased.
    pub(crate) erased: Option<Vec<u8>>,
}

/// Bytes of a record's salt.
const SALT: usize = 16;

/// Appends records to the chain.
pub(crate) fn append(tx: &mut Tx<'_>, key: &AuditKey, entries: &[Entry]) -> Result<(), Error> {
    let (mut seq, mut link) = last(tx)?.unwrap_or((0, Vec::new()));
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        seq += 1;
        let body = entry.body.to_string();
        let salt: [u8; SALT] = rand::random();
        link = key.link(&link, seq, entry.at, &body, Some(&salt));
        rows.push(values![seq, entry.at, entry.subject.clone(), body, link.as_slice(), salt.as_slice()]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.insert_many("identity_audit", &["seq", "at", "subject", "body", "link", "salt"], &rows)?;
    put_end(tx, key, seq, &link)
}

/// Where the end of the chain is kept, in the transaction that moves it.
const END: &str = "audit end";

fn put_end(tx: &mut Tx<'_>, key: &AuditKey, seq: i64, link: &[u8]) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_meta (name, number, content) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET number = excluded.number, content = excluded.content",
        &params![END, seq, key.seal_end(seq, link).as_slice()],
    )
    .map(drop)
}

/// The sealed end: the number of the last record, and the seal.
pub(crate) fn end(tx: &mut Tx<'_>) -> Result<Option<(i64, Vec<u8>)>, Error> {
    tx.query_opt("SELECT number, content FROM identity_meta WHERE name = ?1", &params![END], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The last record's number and link.
pub(crate) fn last(tx: &mut Tx<'_>) -> Result<Option<(i64, Vec<u8>)>, Error> {
    tx.query_opt("SELECT seq, link FROM identity_audit ORDER BY seq DESC LIMIT 1", &params![], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The link of a record.
pub(crate) fn link_at(tx: &mut Tx<'_>, seq: i64) -> Result<Option<Vec<u8>>, Error> {
    tx.query_opt("SELECT link FROM identity_audit WHERE seq = ?1", &params![seq], |row| row.get(0))
}

/// Seals the end of a chain that was begun before ends were sealed.
pub(crate) fn adopt(tx: &mut Tx<'_>, key: &AuditKey) -> Result<(), Error> {
    match (end(tx)?, last(tx)?) {
        (None, Some((seq, link))) => put_end(tx, key, seq, &link),
        _ => Ok(()),
    }
}

/// Records after `seq`, in order.
pub(crate) fn after(tx: &mut Tx<'_>, seq: i64, limit: i64) -> Result<Vec<Stored>, Error> {
    let sql =
        "SELECT seq, at, subject, body, link, salt, erased FROM identity_audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    tx.query(sql, &params![seq, limit], |row| {
        Ok(Stored {
            seq: row.get(0)?,
            at: row.get(1)?,
            subject: row.get(2)?,
            body: row.get(3)?,
            link: row.get(4)?,
            salt: row.get(5)?,
            erased: row.get(6)?,
        })
    })
}

impl Stored {
    /// Whether the record is the one that was written there, or what an erasure left of it.
    pub(crate) fn is_ours(&self, key: &AuditKey, before: &[u8]) -> bool {
        // The link binds what the record says; by the column it is found.
        let says: Option<Value> = serde_json::from_str(&self.body).ok();
        if says.is_none_or(|body| subject_of(&body) != self.subject.as_deref()) {
            return false;
        }
        match &self.erased {
            Some(seal) => {
                let expected = key.seal_erased(before, self.seq, self.at, &self.body, &self.link);
                bool::from(expected.ct_eq(seal))
            }
            None => key.link(before, self.seq, self.at, &self.body, self.salt.as_deref()) == self.link,
        }
    }
}

/// Writes a record anew under a pseudonym, and destroys its salt. What was altered before stays as it is, for
/// [`crate::audit::Audit::verify`] to tell. Says whether it was written.
pub(crate) fn erase(tx: &mut Tx<'_>, key: &AuditKey, seq: i64, body: &Value) -> Result<bool, Error> {
    let Some(known) = after(tx, seq - 1, 1)?.into_iter().find(|known| known.seq == seq) else { return Ok(false) };
    let before = link_at(tx, seq - 1)?.unwrap_or_default();
    if !known.is_ours(key, &before) {
        return Ok(false);
    }
    let (subject, body) = (subject_of(body).map(str::to_owned), body.to_string());
    let seal = key.seal_erased(&before, seq, known.at, &body, &known.link);
    let sql = "UPDATE identity_audit SET body = ?2, erased = ?3, salt = NULL, subject = ?4 WHERE seq = ?1";
    Ok(tx.execute(sql, &params![seq, body, seal.as_slice(), subject])? > 0)
}

/// Records about a subject after `seq`, in order.
pub(crate) fn of_subject(
    tx: &mut Tx<'_>,
    subject: &str,
    seq: i64,
    limit: i64,
) -> Result<Vec<(i64, Timestamp, Value)>, Error> {
    let sql = "SELECT seq, at, body FROM identity_audit WHERE subject = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    tx.query(sql, &params![subject, seq, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}
