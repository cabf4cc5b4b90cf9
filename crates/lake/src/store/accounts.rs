//! Accounts and scopes.

use dte_base::time::Timestamp;
use dte_protocol_rucio::Class;
use dte_store::{Row, Tx, params};

use crate::error::{Error, Result};

/// An account as stored.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub account: String,
    pub kind: String,
    pub status: String,
    pub email: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub suspended_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
}

const COLUMNS: &str = "account, kind, status, email, created_at, updated_at, suspended_at, deleted_at";

fn read(row: &Row) -> Result<Account, dte_store::Error> {
    Ok(Account {
        account: row.get(0)?,
        kind: row.get(1)?,
        status: row.get(2)?,
        email: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
        suspended_at: row.get(6)?,
        deleted_at: row.get(7)?,
    })
}

/// Writes down that `account` exists and as whom its background work acts.
pub(crate) fn remember(tx: &mut Tx<'_>, account: &str, principal: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO lake_accounts (account, kind, status, principal, created_at, updated_at)
         VALUES (?1, 'USER', 'ACTIVE', ?2, ?3, ?3)
         ON CONFLICT (account) DO UPDATE SET principal = excluded.principal",
        &params![account, principal, now],
    )?;
    Ok(())
}

pub(crate) fn add(tx: &mut Tx<'_>, account: &str, kind: &str, email: Option<&str>, now: Timestamp) -> Result<()> {
    let row = dte_store::values![account, kind, "ACTIVE", email, now, now];
    let columns = ["account", "kind", "status", "email", "created_at", "updated_at"];
    match tx.insert_new_many("lake_accounts", &columns, &[row])? {
        0 => Err(Error::new(Class::Duplicate, format!("Account ID '{account}' already exists!"))),
        _ => Ok(()),
    }
}

pub(crate) fn get(tx: &mut Tx<'_>, account: &str) -> Result<Account> {
    let sql = format!("SELECT {COLUMNS} FROM lake_accounts WHERE account = ?1");
    tx.query_opt(&sql, &params![account], read)?
        .ok_or_else(|| Error::new(Class::AccountNotFound, format!("Account with ID '{account}' cannot be found")))
}

pub(crate) fn page(tx: &mut Tx<'_>, after: &str, limit: usize) -> Result<Vec<Account>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM lake_accounts WHERE account > ?1 AND status <> 'DELETED' ORDER BY account LIMIT ?2"
    );
    Ok(tx.query(&sql, &params![after, limit], read)?)
}

/// As whom background work of the account acts, as JSON; `None` for one that never came itself.
pub(crate) fn principal(tx: &mut Tx<'_>, account: &str) -> Result<Option<String>> {
    let sql = "SELECT principal FROM lake_accounts WHERE account = ?1";
    Ok(tx.query_opt(sql, &params![account], |row| row.get(0))?.flatten())
}

pub(crate) fn add_scope(tx: &mut Tx<'_>, scope: &str, account: &str, now: Timestamp) -> Result<()> {
    get(tx, account)?;
    let row = dte_store::values![scope, account, now];
    match tx.insert_new_many("lake_scopes", &["scope", "account", "created_at"], &[row])? {
        0 => Err(Error::new(Class::Duplicate, format!("Scope '{scope}' already exists!"))),
        _ => Ok(()),
    }
}

/// The owner of a scope.
pub(crate) fn owner(tx: &mut Tx<'_>, scope: &str) -> Result<String> {
    tx.query_opt("SELECT account FROM lake_scopes WHERE scope = ?1", &params![scope], |row| row.get(0))?
        .ok_or_else(|| Error::new(Class::ScopeNotFound, format!("Scope '{scope}' does not exist")))
}

/// Scopes and their owners, all or of one account.
pub(crate) fn scopes(tx: &mut Tx<'_>, account: Option<&str>) -> Result<Vec<(String, String)>> {
    let map = |row: &Row| Ok((row.get(0)?, row.get(1)?));
    Ok(match account {
        Some(account) => tx.query(
            "SELECT scope, account FROM lake_scopes WHERE account = ?1 ORDER BY scope",
            &params![account],
            map,
        )?,
        None => tx.query("SELECT scope, account FROM lake_scopes ORDER BY scope", &params![], map)?,
    })
}

/// What an account has locked at a storage element.
pub(crate) struct Usage {
    pub rse: String,
    pub files: i64,
    pub bytes: i64,
    pub updated_at: Timestamp,
}

pub(crate) fn usage(tx: &mut Tx<'_>, account: &str) -> Result<Vec<Usage>> {
    Ok(tx.query(
        "SELECT u.rse, u.files, u.bytes, u.updated_at FROM lake_account_usage u JOIN lake_rses r ON r.rse = u.rse
         WHERE u.account = ?1 ORDER BY u.rse",
        &params![account],
        |row| Ok(Usage { rse: row.get(0)?, files: row.get(1)?, bytes: row.get(2)?, updated_at: row.get(3)? }),
    )?)
}

/// Accounts with what they have locked at a storage element: files and bytes.
pub(crate) fn usage_at(tx: &mut Tx<'_>, rse: &str) -> Result<Vec<(String, i64, i64)>> {
    let sql = "SELECT account, files, bytes FROM lake_account_usage WHERE rse = ?1 ORDER BY account";
    Ok(tx.query(sql, &params![rse], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}

/// Adds to what an account has locked.
pub(crate) fn add_usage(
    tx: &mut Tx<'_>,
    account: &str,
    rse: &str,
    files: i64,
    bytes: i64,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO lake_account_usage (account, rse, files, bytes, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (account, rse) DO UPDATE SET files = lake_account_usage.files + excluded.files,
            bytes = lake_account_usage.bytes + excluded.bytes, updated_at = excluded.updated_at",
        &params![account, rse, files, bytes, now],
    )?;
    Ok(())
}
