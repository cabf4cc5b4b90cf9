//! Rules that ask first, and what targets demand of rules.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, RuleState};
use dte_store::Tx;

use super::dids::DidRow;
use super::place::ground;
use super::rules::Rule;
use super::{evaluate, inject, replace, requests, rses, rules};
use crate::error::{Error, Result};

/// A staging area wants a lifetime; a rule onto tape that never ends is locked.
pub(crate) fn check_targets(tx: &mut Tx<'_>, rule: &mut Rule) -> Result<()> {
    if rule.expires_at.is_some() {
        return Ok(());
    }
    let all = rses::all(tx)?;
    let names = all.select(&rule.expression)?;
    let rows = || names.iter().filter_map(|name| all.rows.get(name));
    if rows().any(|rse| rse.staging_area) {
        let message = "Rules for a staging area must include a lifetime";
        return Err(Error::new(Class::StagingAreaRuleRequiresLifetime, message));
    }
    rule.locked |= rows().any(|rse| rse.rse_type == "TAPE");
    Ok(())
}

/// Whether a rule that asks for approval has to wait for it. Small closed DIDs are approved at once where the storage
/// element says so (`auto_approve_bytes`, `auto_approve_files`).
pub(crate) fn must_wait(tx: &mut Tx<'_>, rule: &Rule, did: &DidRow) -> Result<bool> {
    let all = rses::all(tx)?;
    let names = all.select(&rule.expression)?;
    let [name] = names.as_slice() else {
        let message = "Ask approval is not allowed for rules with multiple RSEs";
        return Err(Error::new(Class::InvalidReplicationRule, message));
    };
    if all.attribute(name, "block_manual_approval").is_some_and(|text| text == "true") {
        return Err(Error::new(
            Class::ManualRuleApprovalBlocked,
            format!("{name} takes no rules that ask for approval"),
        ));
    }
    let below =
        |key: &str, size: Option<i64>| match (all.attribute(name, key).and_then(|text| text.parse::<i64>().ok()), size)
        {
            (Some(most), Some(size)) => Some(size < most),
            (Some(_), None) => Some(false),
            (None, _) => None,
        };
    let checks = [below("auto_approve_bytes", did.bytes), below("auto_approve_files", did.length)];
    let small = checks.iter().flatten().count() > 0 && checks.iter().flatten().all(|small| *small);
    Ok(!small || did.open)
}

/// Somebody says that a rule may be: it is followed from now on, whatever the account's limits.
pub(crate) fn approve(tx: &mut Tx<'_>, mut rule: Rule, now: Timestamp) -> Result<()> {
    if rule.state != RuleState::WaitingApproval {
        let message = format!("The rule {} does not wait for approval", rule.id);
        return Err(Error::new(Class::UnsupportedOperation, message));
    }
    rule.state = RuleState::Replicating;
    rule.ignore_account_limit = true;
    rule.updated_at = now;
    rules::update(tx, &rule)?;
    let ground = ground(tx, &rule)?;
    ground.check(&rule)?;
    inject::apply(tx, &rule, &ground, &rule.did, now)?;
    evaluate::settle(tx, &rule.id, Some(requests::NO_SOURCE), now)?;
    Ok(())
}

/// Somebody says that a rule may not be: it goes.
pub(crate) fn deny(tx: &mut Tx<'_>, rule: Rule, now: Timestamp) -> Result<()> {
    if rule.state != RuleState::WaitingApproval {
        let message = format!("The rule {} does not wait for approval", rule.id);
        return Err(Error::new(Class::UnsupportedOperation, message));
    }
    replace::end_now(tx, rule, now)
}
