//! The tables of identity, and nothing else's SQL.

pub(crate) mod audit;
pub(crate) mod erasure;
pub(crate) mod not_before;

use dte_base::time::Timestamp;
use dte_store::{Error, Migration, Row, Tx, params};

use crate::directory::{Ban, Client, NewBan, User};

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, sql: include_str!("0001.sql") }, Migration { version: 2, sql: include_str!("0002.sql") }];

/// Grows with every change of accounts, bans and keys, so that other processes notice.
pub(crate) fn version(tx: &mut Tx<'_>) -> Result<i64, Error> {
    tx.query_one("SELECT number FROM identity_meta WHERE name = 'version'", &params![], |row| row.get(0))
}

pub(crate) fn bump_version(tx: &mut Tx<'_>) -> Result<(), Error> {
    tx.execute("UPDATE identity_meta SET number = number + 1 WHERE name = 'version'", &params![]).map(drop)
}

/// A piece of bytes under a name, written once: gives what stands there in the end.
pub(crate) fn remember(tx: &mut Tx<'_>, name: &str, content: &[u8]) -> Result<Vec<u8>, Error> {
    tx.execute(
        "INSERT INTO identity_meta (name, number, content) VALUES (?1, 0, ?2) ON CONFLICT (name) DO NOTHING",
        &params![name, content],
    )?;
    tx.query_one("SELECT content FROM identity_meta WHERE name = ?1", &params![name], |row| row.get(0))
}

/// A signing key as it lies in the store.
#[derive(Clone, Debug)]
pub(crate) struct SealedKey {
    pub(crate) kid: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) retired: Option<Timestamp>,
    /// When it begins to sign.
    pub(crate) signs_from: Timestamp,
}

/// All keys, in the order of their turns; makes `first` the first key when there is none.
pub(crate) fn keys_or_first(tx: &mut Tx<'_>, first: &SealedKey) -> Result<Vec<SealedKey>, Error> {
    let known = keys(tx)?;
    if !known.is_empty() {
        return Ok(known);
    }
    let now = Timestamp::now();
    tx.execute(
        "INSERT INTO identity_keys (kid, sealed, created) VALUES (?1, ?2, ?3)",
        &params![&first.kid, first.sealed.as_slice(), now],
    )?;
    Ok(vec![first.clone()])
}

pub(crate) fn keys(tx: &mut Tx<'_>) -> Result<Vec<SealedKey>, Error> {
    tx.query(
        "SELECT kid, sealed, retired, signs_from FROM identity_keys ORDER BY signs_from, created, kid",
        &params![],
        |row| Ok(SealedKey { kid: row.get(0)?, sealed: row.get(1)?, retired: row.get(2)?, signs_from: row.get(3)? }),
    )
}

pub(crate) fn users(tx: &mut Tx<'_>) -> Result<Vec<User>, Error> {
    tx.query("SELECT name, admin, active, created FROM identity_users ORDER BY name", &params![], |row| {
        Ok(User { name: row.get(0)?, admin: row.get(1)?, active: row.get(2)?, created: row.get(3)? })
    })
}

/// Whether a local account or client has this name, or an account had it that was erased (`erased`: the name's keyed hash).
pub(crate) fn is_taken(tx: &mut Tx<'_>, name: &str, erased: &[u8]) -> Result<bool, Error> {
    if erasure::is_erased(tx, erased)? {
        return Ok(true);
    }
    let sql = "SELECT name FROM identity_users WHERE name = ?1 UNION SELECT client_id FROM identity_clients WHERE client_id = ?1";
    tx.query_opt(sql, &params![name], |row| row.get::<String>(0)).map(|found| found.is_some())
}

pub(crate) fn insert_user(tx: &mut Tx<'_>, user: &User) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_users (name, admin, active, created) VALUES (?1, ?2, ?3, ?4)",
        &params![&user.name, user.admin, user.active, user.created],
    )
    .map(drop)
}

/// Gives false when there is no such user.
pub(crate) fn update_user(tx: &mut Tx<'_>, name: &str, admin: bool, active: bool) -> Result<bool, Error> {
    let changed =
        tx.execute("UPDATE identity_users SET admin = ?2, active = ?3 WHERE name = ?1", &params![name, admin, active])?;
    Ok(changed > 0)
}

pub(crate) fn clients(tx: &mut Tx<'_>) -> Result<Vec<Client>, Error> {
    let sql = "SELECT client_id, secret_hash, scopes, audiences, active FROM identity_clients ORDER BY client_id";
    tx.query(sql, &params![], |row| {
        let words = |index| row.get::<String>(index).map(|text| text.split_whitespace().map(str::to_owned).collect());
        Ok(Client {
            client_id: row.get(0)?,
            secret_hash: row.get(1)?,
            scopes: words(2)?,
            audiences: words(3)?,
            active: row.get(4)?,
        })
    })
}

pub(crate) fn insert_client(tx: &mut Tx<'_>, client: &Client) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO identity_clients (client_id, secret_hash, scopes, audiences, active, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &params![
            &client.client_id,
            client.secret_hash.as_slice(),
            client.scopes.join(" "),
            client.audiences.join(" "),
            client.active,
            Timestamp::now()
        ],
    )
    .map(drop)
}

const BAN_COLUMNS: &str =
    "id, issuer, subject, client_id, vo, in_group, token_id, reason, created_by, created, lifted, lifted_by";

fn ban(row: &Row) -> Result<Ban, Error> {
    Ok(Ban {
        id: row.get(0)?,
        who: NewBan {
            issuer: row.get(1)?,
            subject: row.get(2)?,
            client_id: row.get(3)?,
            vo: row.get(4)?,
            group: row.get(5)?,
            token_id: row.get(6)?,
            reason: row.get(7)?,
        },
        created_by: row.get(8)?,
        created: row.get(9)?,
        lifted: row.get(10)?,
        lifted_by: row.get(11)?,
    })
}

/// Bans, the newest last; those that were lifted only when asked for.
pub(crate) fn bans(tx: &mut Tx<'_>, lifted_too: bool) -> Result<Vec<Ban>, Error> {
    let filter = if lifted_too { "" } else { "WHERE lifted IS NULL" };
    tx.query(&format!("SELECT {BAN_COLUMNS} FROM identity_bans {filter} ORDER BY id"), &params![], ban)
}

pub(crate) fn insert_ban(tx: &mut Tx<'_>, ban: &Ban) -> Result<(), Error> {
    let who = &ban.who;
    tx.execute(
        "INSERT INTO identity_bans (id, issuer, subject, client_id, vo, in_group, token_id, reason, created_by, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        &params![
            &ban.id,
            who.issuer.clone(),
            who.subject.clone(),
            who.client_id.clone(),
            who.vo.clone(),
            who.group.clone(),
            who.token_id.clone(),
            &who.reason,
            &ban.created_by,
            ban.created
        ],
    )
    .map(drop)
}

/// Gives false when there is no such ban in force.
pub(crate) fn lift_ban(tx: &mut Tx<'_>, id: &str, by: &str) -> Result<bool, Error> {
    let sql = "UPDATE identity_bans SET lifted = ?2, lifted_by = ?3 WHERE id = ?1 AND lifted IS NULL";
    Ok(tx.execute(sql, &params![id, Timestamp::now(), by])? > 0)
}
