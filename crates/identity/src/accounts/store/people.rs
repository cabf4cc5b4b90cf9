//! Who is known elsewhere: links between accounts and identities of other providers, and those who ask for an account.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};

/// An identity of another provider that belongs to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) name: String,
    /// The provider's name in the configuration at that time.
    pub(crate) provider: String,
    /// What the provider calls the person; for eyes only.
    pub(crate) shown: String,
    pub(crate) made: Timestamp,
}

const LINK: &str = "issuer, subject, name, provider, shown, made";

fn link(row: &Row) -> Result<Link, Error> {
    Ok(Link {
        issuer: row.get(0)?,
        subject: row.get(1)?,
        name: row.get(2)?,
        provider: row.get(3)?,
        shown: row.get(4)?,
        made: row.get(5)?,
    })
}

pub(crate) fn links(tx: &mut Tx<'_>) -> Result<Vec<Link>, Error> {
    tx.query(&format!("SELECT {LINK} FROM identity_links ORDER BY issuer, subject"), &params![], link)
}

/// Gives false when the identity belongs to an account already.
pub(crate) fn insert_link(tx: &mut Tx<'_>, link: &Link) -> Result<bool, Error> {
    let sql = format!("INSERT INTO identity_links ({LINK}) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING");
    let changed =
        tx.execute(&sql, &params![&link.issuer, &link.subject, &link.name, &link.provider, &link.shown, link.made])?;
    Ok(changed > 0)
}

pub(crate) fn remove_link(tx: &mut Tx<'_>, name: &str, issuer: &str, subject: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM identity_links WHERE name = ?1 AND issuer = ?2 AND subject = ?3";
    Ok(tx.execute(sql, &params![name, issuer, subject])? > 0)
}

pub(crate) fn count_links(tx: &mut Tx<'_>, name: &str) -> Result<i64, Error> {
    tx.query_one("SELECT COUNT(*) FROM identity_links WHERE name = ?1", &params![name], |row| row.get(0))
}

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Open,
    Approved,
    Rejected,
}

impl Decision {
    fn name(self) -> &'static str {
        match self {
            Decision::Open => "open",
            Decision::Approved => "approved",
            Decision::Rejected => "rejected",
        }
    }

    fn of(name: &str) -> Decision {
        match name {
            "open" => Decision::Open,
            "approved" => Decision::Approved,
            _ => Decision::Rejected,
        }
    }
}

/// Somebody whom a provider knows and who asks for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) id: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) provider: String,
    /// What the provider says that they like to be called.
    pub(crate) wanted: String,
    pub(crate) shown: String,
    pub(crate) asked: Timestamp,
    pub(crate) decision: Decision,
    pub(crate) decided_by: Option<String>,
}

const REGISTRATION: &str = "id, issuer, subject, provider, wanted, shown, asked, state, decided_by";

fn registration(row: &Row) -> Result<Registration, Error> {
    Ok(Registration {
        id: row.get(0)?,
        issuer: row.get(1)?,
        subject: row.get(2)?,
        provider: row.get(3)?,
        wanted: row.get(4)?,
        shown: row.get(5)?,
        asked: row.get(6)?,
        decision: Decision::of(&row.get::<String>(7)?),
        decided_by: row.get(8)?,
    })
}

/// Registrations in a state, the newest first, at most `most`; those before `before` (an id) when it is given.
pub(crate) fn registrations(
    tx: &mut Tx<'_>,
    state: Decision,
    before: Option<&str>,
    most: i64,
) -> Result<Vec<Registration>, Error> {
    let sql = format!(
        "SELECT {REGISTRATION} FROM identity_registrations WHERE state = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
    );
    // Ids are of hexadecimal digits: `g` is behind them all.
    tx.query(&sql, &params![state.name(), before.unwrap_or("g"), most], registration)
}

pub(crate) fn count_open(tx: &mut Tx<'_>) -> Result<i64, Error> {
    tx.query_one("SELECT COUNT(*) FROM identity_registrations WHERE state = 'open'", &params![], |row| row.get(0))
}

pub(crate) fn registration_of(tx: &mut Tx<'_>, issuer: &str, subject: &str) -> Result<Option<Registration>, Error> {
    let sql = format!("SELECT {REGISTRATION} FROM identity_registrations WHERE issuer = ?1 AND subject = ?2");
    tx.query_opt(&sql, &params![issuer, subject], registration)
}

pub(crate) fn registration_by_id(tx: &mut Tx<'_>, id: &str) -> Result<Option<Registration>, Error> {
    let sql = format!("SELECT {REGISTRATION} FROM identity_registrations WHERE id = ?1");
    tx.query_opt(&sql, &params![id], registration)
}

pub(crate) fn insert_registration(tx: &mut Tx<'_>, asked: &Registration) -> Result<(), Error> {
    let sql = "INSERT INTO identity_registrations (id, issuer, subject, provider, wanted, shown, asked, state)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    tx.execute(
        sql,
        &params![
            &asked.id,
            &asked.issuer,
            &asked.subject,
            &asked.provider,
            &asked.wanted,
            &asked.shown,
            asked.asked,
            asked.decision.name()
        ],
    )
    .map(drop)
}

/// Somebody who was approved and has no account any more asks again.
pub(crate) fn reopen(tx: &mut Tx<'_>, id: &str) -> Result<(), Error> {
    let sql =
        "UPDATE identity_registrations SET state = 'open', asked = ?2, decided = NULL, decided_by = NULL WHERE id = ?1";
    tx.execute(sql, &params![id, Timestamp::now()]).map(drop)
}

pub(crate) fn decide(tx: &mut Tx<'_>, id: &str, decision: Decision, by: &str) -> Result<(), Error> {
    let sql = "UPDATE identity_registrations SET state = ?2, decided = ?3, decided_by = ?4 WHERE id = ?1";
    tx.execute(sql, &params![id, decision.name(), Timestamp::now(), by]).map(drop)
}
