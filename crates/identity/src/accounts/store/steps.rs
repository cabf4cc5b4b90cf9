//! Logins that have begun and are not finished, and the sessions that come of them.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};

use crate::session::{SESSION_IDLE, SESSION_LONGEST};

/// Begun logins that are kept at once: strangers can begin as many as they like.
const MOST_STEPS: i64 = 10_000;

/// Notes a begun login. Gives false when there are too many of them.
pub(crate) fn put(tx: &mut Tx<'_>, hash: &[u8], sealed: &[u8], expires: Timestamp) -> Result<bool, Error> {
    tx.execute("DELETE FROM identity_login_steps WHERE expires < ?1", &params![Timestamp::now()])?;
    let many: i64 = tx.query_one("SELECT COUNT(*) FROM identity_login_steps", &params![], |row| row.get(0))?;
    if many >= MOST_STEPS {
        return Ok(false);
    }
    let sql = "INSERT INTO identity_login_steps (hash, sealed, expires) VALUES (?1, ?2, ?3)
               ON CONFLICT (hash) DO UPDATE SET sealed = excluded.sealed, expires = excluded.expires";
    tx.execute(sql, &params![hash, sealed, expires])?;
    Ok(true)
}

pub(crate) fn peek(tx: &mut Tx<'_>, hash: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let sql = "SELECT sealed, expires FROM identity_login_steps WHERE hash = ?1";
    let found = tx.query_opt(sql, &params![hash], |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<Timestamp>(1)?)))?;
    Ok(found.filter(|(_, expires)| *expires > Timestamp::now()).map(|(sealed, _)| sealed))
}

/// Gives a begun login, once.
pub(crate) fn take(tx: &mut Tx<'_>, hash: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let sql = "DELETE FROM identity_login_steps WHERE hash = ?1 RETURNING sealed, expires";
    let found = tx.query_opt(sql, &params![hash], |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<Timestamp>(1)?)))?;
    Ok(found.filter(|(_, expires)| *expires > Timestamp::now()).map(|(sealed, _)| sealed))
}

/// Begins a session, and says how the person came in and with which browser.
pub(crate) fn begin_session(tx: &mut Tx<'_>, hash: &[u8], name: &str, way: &str, agent: &str) -> Result<(), Error> {
    let now = Timestamp::now();
    tx.execute(
        "DELETE FROM identity_sessions WHERE used < ?1 OR begun < ?2",
        &params![now - SESSION_IDLE, now - SESSION_LONGEST],
    )?;
    tx.execute(
        "DELETE FROM identity_session_facts WHERE hash NOT IN (SELECT hash FROM identity_sessions)",
        &params![],
    )?;
    tx.execute(
        "INSERT INTO identity_sessions (hash, name, begun, used) VALUES (?1, ?2, ?3, ?3)",
        &params![hash, name, now],
    )?;
    tx.execute("INSERT INTO identity_session_facts (hash, way, agent) VALUES (?1, ?2, ?3)", &params![hash, way, agent])
        .map(drop)
}

/// A session of somebody.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) hash: Vec<u8>,
    pub(crate) begun: Timestamp,
    pub(crate) used: Timestamp,
    pub(crate) way: Option<String>,
    pub(crate) agent: Option<String>,
}

/// Sessions of an account that are not over, the last used first.
pub(crate) fn sessions(tx: &mut Tx<'_>, name: &str) -> Result<Vec<Seen>, Error> {
    let now = Timestamp::now();
    let sql = "SELECT s.hash, s.begun, s.used, f.way, f.agent FROM identity_sessions s
               LEFT JOIN identity_session_facts f ON f.hash = s.hash
               WHERE s.name = ?1 AND s.used >= ?2 AND s.begun >= ?3 ORDER BY s.used DESC";
    tx.query(sql, &params![name, now - SESSION_IDLE, now - SESSION_LONGEST], |row| {
        Ok(Seen { hash: row.get(0)?, begun: row.get(1)?, used: row.get(2)?, way: row.get(3)?, agent: row.get(4)? })
    })
}

/// When a session began, and how; nothing is said of how when it was a link.
pub(crate) fn beginning(tx: &mut Tx<'_>, hash: &[u8]) -> Result<Option<(Timestamp, Option<String>)>, Error> {
    let sql = "SELECT s.begun, f.way FROM identity_sessions s
               LEFT JOIN identity_session_facts f ON f.hash = s.hash WHERE s.hash = ?1";
    tx.query_opt(sql, &params![hash], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(crate) fn end_session(tx: &mut Tx<'_>, name: &str, hash: &[u8]) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM identity_sessions WHERE hash = ?1 AND name = ?2", &params![hash, name])? > 0)
}

/// Ends all sessions of an account but one, and forgets login codes and begun logins that could make another.
pub(crate) fn end_sessions(tx: &mut Tx<'_>, name: &str, but: Option<&[u8]>) -> Result<u64, Error> {
    tx.execute("DELETE FROM identity_login_codes WHERE name = ?1", &params![name])?;
    match but {
        Some(kept) => tx.execute("DELETE FROM identity_sessions WHERE name = ?1 AND hash <> ?2", &params![name, kept]),
        None => tx.execute("DELETE FROM identity_sessions WHERE name = ?1", &params![name]),
    }
}

/// Whoever's it was.
pub(crate) fn end_any_session(tx: &mut Tx<'_>, hash: &[u8]) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_sessions WHERE hash = ?1", &params![hash]).map(drop)
}
