//! What is inside of archives, what follows a DID, and other small facts of DIDs.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType};
use dte_store::{Row, Tx, Value, params, values};

use super::collections::ChildToAttach;
use super::contents::Child;
use super::did_at;
use super::dids::{self, DidRow};
use crate::error::{Error, Result};

/// Ends of names that are archives, each also with `.DIGITS` behind it.
const ENDS: [&str; 7] = [".zip", ".zipx", ".tar.gz", ".tgz", ".tar.z", ".tar.bz2", ".tbz2"];

/// Whether a file of this name is an archive.
pub(crate) fn is_archive_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let bare = match lower.rsplit_once('.') {
        Some((before, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => before,
        _ => lower.as_str(),
    };
    ENDS.iter().any(|end| bare.ends_with(end))
}

/// Notes what is inside of an archive; files that are not known yet are made, without copies, in scopes that there are. Files
/// of other owners are not marked: what is said of them is for their owners to say.
pub(crate) fn fill(
    tx: &mut Tx<'_>,
    archive: &DidRow,
    children: &[ChildToAttach],
    ignore_duplicate: bool,
    now: Timestamp,
) -> Result<()> {
    let names: Vec<Did> = children.iter().map(|child| child.did.clone()).collect();
    let known = dids::get_many(tx, &names)?;
    if let Some(other) = known.values().find(|row| row.kind != DidType::File) {
        let message = format!("Data identifier '{}' is no file and cannot be inside of an archive", other.did);
        return Err(Error::new(Class::UnsupportedOperation, message));
    }
    let scopes = names.iter().chain([&archive.did]).map(|did| did.scope.clone());
    let owners = dids::scope_owners(tx, scopes)?;
    let fresh: Vec<DidRow> = children
        .iter()
        .filter(|child| !known.contains_key(&child.did))
        .map(|child| DidRow {
            bytes: child.bytes,
            adler32: child.adler32.clone(),
            md5: child.md5.clone(),
            constituent: true,
            ..DidRow::new(child.did.clone(), DidType::File, &archive.account, now)
        })
        .collect();
    dids::insert(tx, &fresh)?;
    let rows: Vec<Vec<Value>> = children
        .iter()
        .map(|child| {
            let row = known.get(&child.did);
            values![
                &archive.did.scope,
                &archive.did.name,
                &child.did.scope,
                &child.did.name,
                child.bytes.or(row.and_then(|row| row.bytes)),
                child.adler32.clone().or(row.and_then(|row| row.adler32.clone())),
                child.md5.clone().or(row.and_then(|row| row.md5.clone()))
            ]
        })
        .collect();
    let columns = ["scope", "name", "child_scope", "child_name", "bytes", "adler32", "md5"];
    let added = tx.insert_new_many("lake_archives", &columns, &rows)?;
    if !ignore_duplicate && usize::try_from(added).unwrap_or(0) < children.len() {
        let message = format!("A file is inside of '{}' already", archive.did);
        return Err(Error::new(Class::FileAlreadyExists, message));
    }
    let owner = owners.get(&archive.did.scope);
    let own = names.iter().filter(|did| owners.get(&did.scope) == owner);
    let rows: Vec<Vec<Value>> = own.map(|did| values![&did.scope, &did.name, true]).collect();
    tx.update_many("lake_dids", &["scope", "name"], &["constituent"], &rows)?;
    tx.execute(
        "UPDATE lake_dids SET is_archive = 1 WHERE scope = ?1 AND name = ?2",
        &params![&archive.did.scope, &archive.did.name],
    )?;
    Ok(())
}

/// What is inside of an archive, in order after a file.
pub(crate) fn page(tx: &mut Tx<'_>, archive: &Did, after: &Did, limit: usize) -> Result<Vec<Child>> {
    Ok(tx.query(
        "SELECT child_scope, child_name, bytes, adler32, md5 FROM lake_archives
         WHERE scope = ?1 AND name = ?2 AND (child_scope, child_name) > (?3, ?4)
         ORDER BY child_scope, child_name LIMIT ?5",
        &params![&archive.scope, &archive.name, &after.scope, &after.name, limit],
        |row: &Row| {
            Ok(Child {
                did: did_at(row, 0)?,
                kind: DidType::File,
                bytes: row.get(2)?,
                adler32: row.get(3)?,
                md5: row.get(4)?,
            })
        },
    )?)
}

/// Accounts that follow a DID.
pub(crate) fn followers(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<String>> {
    let sql = "SELECT account FROM lake_followers WHERE scope = ?1 AND name = ?2 ORDER BY account";
    Ok(tx.query(sql, &params![&did.scope, &did.name], |row| row.get(0))?)
}

pub(crate) fn follow(tx: &mut Tx<'_>, did: &Did, account: &str, now: Timestamp) -> Result<()> {
    dids::get(tx, did)?;
    super::accounts::get(tx, account)?;
    let row = values![&did.scope, &did.name, account, now];
    tx.insert_new_many("lake_followers", &["scope", "name", "account", "created_at"], &[row])?;
    Ok(())
}

pub(crate) fn unfollow(tx: &mut Tx<'_>, did: &Did, account: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM lake_followers WHERE scope = ?1 AND name = ?2 AND account = ?3",
        &params![&did.scope, &did.name, account],
    )?;
    Ok(())
}

/// Datasets in which the file with this identifier is.
pub(crate) fn datasets_by_guid(tx: &mut Tx<'_>, guids: &[String]) -> Result<Vec<Did>> {
    let mut found = std::collections::BTreeSet::new();
    for guid in guids {
        let sql = "SELECT c.scope, c.name FROM lake_dids d
                   JOIN lake_contents c ON c.child_scope = d.scope AND c.child_name = d.name WHERE d.guid = ?1";
        found.extend(tx.query(sql, &params![guid], |row| did_at(row, 0))?);
    }
    Ok(found.into_iter().collect())
}

/// A DID whose end has not come stays.
pub(crate) fn resurrect(tx: &mut Tx<'_>, did: &Did) -> Result<()> {
    dids::get(tx, did)?;
    tx.execute(
        "UPDATE lake_dids SET expired_at = NULL WHERE scope = ?1 AND name = ?2",
        &params![&did.scope, &did.name],
    )?;
    Ok(())
}

/// Somebody used a DID, and perhaps a copy of it.
pub(crate) fn touch(tx: &mut Tx<'_>, did: &Did, rse: Option<&str>, at: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE lake_dids SET accessed_at = ?3, access_cnt = access_cnt + 1 WHERE scope = ?1 AND name = ?2
         AND (accessed_at IS NULL OR accessed_at < ?3)",
        &params![&did.scope, &did.name, at],
    )?;
    if let Some(rse) = rse {
        // What is used is not the least recently used: an end that waits for room comes later.
        tx.execute(
            "UPDATE lake_replicas SET accessed_at = ?4,
                tombstone = CASE WHEN tombstone IS NOT NULL AND tombstone > 0 THEN CAST(?4 AS BIGINT) ELSE tombstone END
             WHERE scope = ?1 AND name = ?2 AND rse = ?3",
            &params![&did.scope, &did.name, rse, at],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_by_name() {
        assert!(is_archive_name("a.zip") && is_archive_name("a.ZIP.12") && is_archive_name("x.tar.gz"));
        assert!(!is_archive_name("a.zip.x") && !is_archive_name("zip") && !is_archive_name("a.tar"));
    }
}
