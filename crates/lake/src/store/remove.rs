//! The end of a rule, in steps: its locks go, then it goes itself.

use dte_base::time::Timestamp;
use dte_protocol_rucio::Did;
use dte_store::{NewWork, Tx, params};
use serde_json::json;

use super::{evaluate, inject, locks, ready, replace, rules};
use crate::error::Result;

/// The queue that removes rules; the work's id is the rule's.
pub(crate) const QUEUE: &str = "lake.remove";
/// Locks that go in one transaction.
const STEP: usize = 500;

/// Sees to it that the rule is removed.
pub(crate) fn request(tx: &mut Tx<'_>, rule: &str) -> Result<()> {
    tx.request(NewWork::new(QUEUE, rule, json!({})))?;
    Ok(())
}

/// One step; answers whether there is more to do. A rule whose life was prolonged in the meantime stays.
pub(crate) fn step(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<bool> {
    let Some(rule) = rules::find(tx, id)? else { return Ok(false) };
    if rule.locked || rule.child.is_some() || rule.expires_at.is_none_or(|at| at > now) {
        return Ok(false);
    }
    inject::forget(tx, id)?;
    let page = locks::page(tx, id, &(Did::new("", ""), String::new()), STEP)?;
    evaluate::release(tx, &rule, &page, now)?;
    if page.len() == STEP {
        return Ok(true);
    }
    locks::forget_placed(tx, id)?;
    tx.execute("DELETE FROM lake_rules WHERE id = ?1", &params![id])?;
    // Nobody waits for a rule that is no more.
    replace::release_parents(tx, id, now)?;
    // What waited for this rule alone waits no longer.
    ready::check_below(tx, &rule.did, now)?;
    Ok(false)
}
