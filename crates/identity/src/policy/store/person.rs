//! What the tables of communities and agreements say of a person, when the person is erased.
//!
//! Rows that other processes hold in memory are marked at once and deleted when the erasure ends: see the module above.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};
use serde_json::Value;

use super::{groups, profiles};
use crate::model::erased::Traces;
use crate::policy::profiles::Profile;

/// Puts the pseudonym wherever the person stands. `identities`: (issuer, subject), the account's own first. Gives how many
/// acceptances are kept under the pseudonym.
pub(crate) fn erase(
    tx: &mut Tx<'_>,
    traces: &Traces,
    identities: &[(String, String)],
    now: Timestamp,
    version: i64,
) -> Result<u64, Error> {
    let (name, pseudonym) = (traces.who.name.as_str(), traces.pseudonym.as_str());
    profiles::put(tx, name, &Profile { gone: true, ..Profile::empty(now) }, version)?;
    groups::leave_all(tx, name, now, version)?;
    for mut group in groups::groups_after(tx, 0)? {
        let before = group.managers.len();
        group.managers.retain(|manager| manager != name);
        if group.managers.len() < before && !group.deleted {
            groups::update_group(tx, &group, version)?;
        }
    }
    tx.execute("DELETE FROM policy_group_requests WHERE name = ?1", &params![name])?;
    let same = [("policy_group_requests", "decided_by"), ("policy_onboarding_steps", "actor")];
    for (table, column) in same {
        let sql = format!("UPDATE {table} SET {column} = ?2 WHERE {column} = ?1");
        tx.execute(&sql, &params![name, pseudonym])?;
    }
    applications(tx, traces)?;
    let sql = "UPDATE policy_exemptions SET ended = 1, reason = '', changed = ?2 WHERE name = ?1";
    tx.execute(sql, &params![name, version])?;
    let sql = "UPDATE policy_exemptions SET by_name = ?2, changed = ?3 WHERE by_name = ?1";
    tx.execute(sql, &params![name, pseudonym, version])?;
    let sql = "UPDATE policy_scope_policies SET account = ?2, deleted = 1, changed = ?3 WHERE account = ?1";
    tx.execute(sql, &params![name, pseudonym, version])?;
    acceptances(tx, traces, identities, version)
}

/// The evidence binds a digest in place of the subject, so it still holds.
fn acceptances(tx: &mut Tx<'_>, traces: &Traces, identities: &[(String, String)], version: i64) -> Result<u64, Error> {
    let mut kept = 0;
    for (issuer, subject) in identities {
        let sql = "UPDATE policy_acceptances SET subject = ?3, changed = ?4 WHERE issuer = ?1 AND subject = ?2";
        kept += tx.execute(sql, &params![issuer, subject, &traces.pseudonym, version])?;
    }
    let sql = "UPDATE policy_acceptances SET actor = ?2, changed = ?3 WHERE actor = ?1";
    tx.execute(sql, &params![&traces.who.name, &traces.pseudonym, version])?;
    Ok(kept)
}

/// Applications of providers and communities: few, so all of them are looked through.
fn applications(tx: &mut Tx<'_>, traces: &Traces) -> Result<(), Error> {
    let sql = "SELECT id, applicant, approvals, document FROM policy_onboarding";
    let rows: Vec<(String, String, Value, Value)> =
        tx.query(sql, &params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    for (id, applicant, mut approvals, mut document) in rows {
        let is_own = applicant == traces.who.name;
        let changed =
            traces.replace_in_approvals(&mut approvals) | (is_own && traces.replace_in_own_document(&mut document));
        if is_own || changed {
            let applicant = if is_own { &traces.pseudonym } else { &applicant };
            let sql = "UPDATE policy_onboarding SET applicant = ?2, approvals = ?3, document = ?4 WHERE id = ?1";
            tx.execute(sql, &params![&id, applicant, approvals.to_string(), document.to_string()])?;
        }
    }
    Ok(())
}

/// The end of an erasure: marked rows go.
pub(crate) fn forget(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    for table in ["policy_profiles", "policy_members", "policy_exemptions"] {
        tx.execute(&format!("DELETE FROM {table} WHERE name = ?1"), &params![name])?;
    }
    Ok(())
}
