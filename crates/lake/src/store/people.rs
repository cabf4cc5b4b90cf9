//! What administrators say of accounts: status, attributes, identities.

use dte_base::time::Timestamp;
use dte_protocol_rucio::Class;
use dte_store::{Tx, params, values};

use super::accounts::get;
use crate::error::{Error, Result};

/// Sets the address or the status of an account.
pub(crate) fn set_email(tx: &mut Tx<'_>, account: &str, email: Option<&str>, now: Timestamp) -> Result<()> {
    get(tx, account)?;
    let sql = "UPDATE lake_accounts SET email = ?2, updated_at = ?3 WHERE account = ?1";
    tx.execute(sql, &params![account, email, now])?;
    Ok(())
}

pub(crate) fn set_kind(tx: &mut Tx<'_>, account: &str, kind: &str, now: Timestamp) -> Result<()> {
    get(tx, account)?;
    let sql = "UPDATE lake_accounts SET kind = ?2, updated_at = ?3 WHERE account = ?1";
    tx.execute(sql, &params![account, kind, now])?;
    Ok(())
}

pub(crate) fn set_status(tx: &mut Tx<'_>, account: &str, status: &str, now: Timestamp) -> Result<()> {
    get(tx, account)?;
    let at = |wanted: &str| (status == wanted).then_some(now);
    tx.execute(
        "UPDATE lake_accounts SET status = ?2, suspended_at = ?3, deleted_at = ?4, updated_at = ?5 WHERE account = ?1",
        &params![account, status, at("SUSPENDED"), at("DELETED"), now],
    )?;
    Ok(())
}

pub(crate) fn attributes(tx: &mut Tx<'_>, account: &str) -> Result<Vec<(String, String)>> {
    get(tx, account)?;
    let sql = "SELECT key, value FROM lake_account_attributes WHERE account = ?1 ORDER BY key";
    Ok(tx.query(sql, &params![account], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

pub(crate) fn add_attribute(tx: &mut Tx<'_>, account: &str, key: &str, value: &str) -> Result<()> {
    get(tx, account)?;
    let row = values![account, key, value];
    match tx.insert_new_many("lake_account_attributes", &["account", "key", "value"], &[row])? {
        0 => {
            let message = format!("Key '{key}' already exists for account '{account}'!");
            Err(Error::new(Class::Duplicate, message))
        }
        _ => Ok(()),
    }
}

pub(crate) fn delete_attribute(tx: &mut Tx<'_>, account: &str, key: &str) -> Result<()> {
    get(tx, account)?;
    let sql = "DELETE FROM lake_account_attributes WHERE account = ?1 AND key = ?2";
    match tx.execute(sql, &params![account, key])? {
        0 => Err(Error::new(Class::AccountNotFound, format!("Account '{account}' has no attribute '{key}'"))),
        _ => Ok(()),
    }
}

/// Whether the account has the attribute `admin`. (A name alone is no right: also `root` is what the engine says it is.)
pub(crate) fn is_admin(tx: &mut Tx<'_>, account: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM lake_account_attributes WHERE account = ?1 AND key = 'admin' AND value = 'true'";
    Ok(tx.query_opt(sql, &params![account], |_| Ok(()))?.is_some())
}

/// Accounts that have an attribute with this value.
pub(crate) fn with_attribute(tx: &mut Tx<'_>, key: &str, value: &str) -> Result<Vec<String>> {
    let sql = "SELECT account FROM lake_account_attributes WHERE key = ?1 AND value = ?2";
    Ok(tx.query(sql, &params![key, value], |row| row.get(0))?)
}

/// One way in which the person of an account is known elsewhere.
pub(crate) struct Known {
    pub identity: String,
    pub kind: String,
    pub email: Option<String>,
}

pub(crate) fn identities(tx: &mut Tx<'_>, account: &str) -> Result<Vec<Known>> {
    let sql = "SELECT identity, kind, email FROM lake_identities WHERE account = ?1 ORDER BY identity, kind";
    Ok(tx.query(sql, &params![account], |row| {
        Ok(Known { identity: row.get(0)?, kind: row.get(1)?, email: row.get(2)? })
    })?)
}

/// The accounts of an identity, its usual one first; of any kind when `kind` is empty.
pub(crate) fn accounts_of(tx: &mut Tx<'_>, identity: &str, kind: &str) -> Result<Vec<(String, bool)>> {
    let sql =
        "SELECT DISTINCT i.account, i.is_default FROM lake_identities i JOIN lake_accounts a ON a.account = i.account
               WHERE i.identity = ?1 AND (?2 = '' OR i.kind = ?2) AND a.status = 'ACTIVE'
               ORDER BY i.is_default DESC, i.account";
    Ok(tx.query(sql, &params![identity, kind], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

pub(crate) fn add_identity(
    tx: &mut Tx<'_>,
    account: &str,
    known: &Known,
    is_default: bool,
    now: Timestamp,
) -> Result<()> {
    get(tx, account)?;
    let row = values![&known.identity, &known.kind, account, known.email.clone(), is_default, now];
    let columns = ["identity", "kind", "account", "email", "is_default", "created_at"];
    match tx.insert_new_many("lake_identities", &columns, &[row])? {
        0 => {
            let message = format!("Identity pair '{}','{}' already exists!", known.identity, known.kind);
            Err(Error::new(Class::Duplicate, message))
        }
        _ => Ok(()),
    }
}

pub(crate) fn delete_identity(tx: &mut Tx<'_>, account: &str, identity: &str, kind: &str) -> Result<()> {
    get(tx, account)?;
    let sql = "DELETE FROM lake_identities WHERE account = ?1 AND identity = ?2 AND kind = ?3";
    match tx.execute(sql, &params![account, identity, kind])? {
        0 => {
            let message = format!("Identity ('{identity}','{kind}') does not exist!");
            Err(Error::Exception(
                dte_protocol_rucio::Exception::new(Class::IdentityError, message).at(http::StatusCode::NOT_FOUND),
            ))
        }
        _ => Ok(()),
    }
}

/// Gives a scope to another account.
pub(crate) fn move_scope(tx: &mut Tx<'_>, scope: &str, account: &str) -> Result<()> {
    super::accounts::owner(tx, scope)?;
    get(tx, account)?;
    tx.execute("UPDATE lake_scopes SET account = ?2 WHERE scope = ?1", &params![scope, account])?;
    Ok(())
}
