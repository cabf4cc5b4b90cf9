//! The tables of how people come in: passwords, second factors, started logins, sessions, links, registrations.

pub(crate) mod people;
pub(crate) mod steps;

use dte_base::time::Timestamp;
use dte_store::{Error, Migration, Tx, params};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001.sql") }];

/// Forgets all ways in of an account that is gone.
pub(crate) fn forget(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    steps::end_sessions(tx, name, None)?;
    remove_factor(tx, name)?;
    tx.execute("DELETE FROM identity_passwords WHERE name = ?1", &params![name])?;
    tx.execute("DELETE FROM identity_links WHERE name = ?1", &params![name]).map(drop)
}

/// Forgets what else is known of a person who is erased: how they asked for the account, and that they decided about others.
/// `identities`: (issuer, subject) at other providers.
pub(crate) fn erase(
    tx: &mut Tx<'_>,
    name: &str,
    pseudonym: &str,
    identities: &[(String, String)],
) -> Result<(), Error> {
    forget(tx, name)?;
    for (issuer, subject) in identities {
        let sql = "DELETE FROM identity_registrations WHERE issuer = ?1 AND subject = ?2";
        tx.execute(sql, &params![issuer, subject])?;
    }
    let sql = "UPDATE identity_registrations SET decided_by = ?2 WHERE decided_by = ?1";
    tx.execute(sql, &params![name, pseudonym]).map(drop)
}

pub(crate) fn password(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>, Error> {
    tx.query_opt("SELECT hash FROM identity_passwords WHERE name = ?1", &params![name], |row| row.get(0))
}

pub(crate) fn set_password(tx: &mut Tx<'_>, name: &str, hash: &str) -> Result<(), Error> {
    let sql = "INSERT INTO identity_passwords (name, hash, changed) VALUES (?1, ?2, ?3)
               ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, changed = excluded.changed";
    tx.execute(sql, &params![name, hash, Timestamp::now()]).map(drop)
}

/// A second factor as it lies in the store.
#[derive(Clone, Debug)]
pub(crate) struct SealedFactor {
    pub(crate) sealed: Vec<u8>,
    pub(crate) confirmed: bool,
    /// The last time step whose code was used.
    pub(crate) last_step: i64,
}

pub(crate) fn factor(tx: &mut Tx<'_>, name: &str) -> Result<Option<SealedFactor>, Error> {
    let sql = "SELECT sealed, confirmed, last_step FROM identity_second_factors WHERE name = ?1";
    tx.query_opt(sql, &params![name], |row| {
        let confirmed: Option<Timestamp> = row.get(1)?;
        Ok(SealedFactor { sealed: row.get(0)?, confirmed: confirmed.is_some(), last_step: row.get(2)? })
    })
}

/// Puts a factor there that is still to be confirmed, in place of another such one.
pub(crate) fn offer_factor(tx: &mut Tx<'_>, name: &str, sealed: &[u8]) -> Result<(), Error> {
    let sql = "INSERT INTO identity_second_factors (name, sealed, confirmed, last_step) VALUES (?1, ?2, NULL, 0)
               ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, last_step = 0";
    tx.execute(sql, &params![name, sealed]).map(drop)
}

pub(crate) fn confirm_factor(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    tx.execute("UPDATE identity_second_factors SET confirmed = ?2 WHERE name = ?1", &params![name, Timestamp::now()])
        .map(drop)
}

/// Uses a time step up.
pub(crate) fn use_step(tx: &mut Tx<'_>, name: &str, step: i64) -> Result<(), Error> {
    tx.execute("UPDATE identity_second_factors SET last_step = ?2 WHERE name = ?1", &params![name, step]).map(drop)
}

/// Gives false when there was none.
pub(crate) fn remove_factor(tx: &mut Tx<'_>, name: &str) -> Result<bool, Error> {
    tx.execute("DELETE FROM identity_recovery_codes WHERE name = ?1", &params![name])?;
    Ok(tx.execute("DELETE FROM identity_second_factors WHERE name = ?1", &params![name])? > 0)
}

pub(crate) fn set_recovery_codes(tx: &mut Tx<'_>, name: &str, hashes: &[Vec<u8>]) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_recovery_codes WHERE name = ?1", &params![name])?;
    for hash in hashes {
        let sql = "INSERT INTO identity_recovery_codes (hash, name) VALUES (?1, ?2)";
        tx.execute(sql, &params![hash.as_slice(), name])?;
    }
    Ok(())
}

/// Gives false when there is no such code (any more).
pub(crate) fn use_recovery_code(tx: &mut Tx<'_>, name: &str, hash: &[u8]) -> Result<bool, Error> {
    let sql = "DELETE FROM identity_recovery_codes WHERE hash = ?1 AND name = ?2";
    Ok(tx.execute(sql, &params![hash, name])? > 0)
}

pub(crate) fn recovery_codes_left(tx: &mut Tx<'_>, name: &str) -> Result<i64, Error> {
    tx.query_one("SELECT COUNT(*) FROM identity_recovery_codes WHERE name = ?1", &params![name], |row| row.get(0))
}
