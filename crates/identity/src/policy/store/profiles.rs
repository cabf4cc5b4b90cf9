//! What is known of a person besides the name of the account.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params, values};

use crate::policy::profiles::Profile;

const COLUMNS: &str = "name, display, given, family, email, modified, gone";

fn profile(row: &Row) -> Result<(String, Profile), Error> {
    let profile = Profile {
        display: row.get(1)?,
        given: row.get(2)?,
        family: row.get(3)?,
        email: row.get(4)?,
        modified: row.get(5)?,
        gone: row.get(6)?,
    };
    Ok((row.get(0)?, profile))
}

pub(crate) fn after(tx: &mut Tx<'_>, version: i64) -> Result<Vec<(String, Profile)>, Error> {
    tx.query(&format!("SELECT {COLUMNS} FROM policy_profiles WHERE changed > ?1"), &params![version], profile)
}

pub(crate) fn put(tx: &mut Tx<'_>, name: &str, profile: &Profile, version: i64) -> Result<(), Error> {
    let columns = ["name", "display", "given", "family", "email", "modified", "gone", "changed"];
    let modified: Timestamp = profile.modified;
    let row = values![
        name,
        &profile.display,
        &profile.given,
        &profile.family,
        &profile.email,
        modified,
        profile.gone,
        version
    ];
    tx.upsert_many("policy_profiles", &columns, &["name"], &[row]).map(drop)
}

/// Whether an account was deleted: its name is kept only so that it is never given again.
pub(crate) fn is_gone(tx: &mut Tx<'_>, name: &str) -> Result<bool, Error> {
    let sql = "SELECT gone FROM policy_profiles WHERE name = ?1";
    Ok(tx.query_opt(sql, &params![name], |row| row.get::<bool>(0))?.unwrap_or(false))
}
