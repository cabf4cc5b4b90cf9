//! `dataset.ready`: a closed dataset whose files are wherever rules want them. Told once for each dataset, because the
//! moment is stored with the dataset in the transaction that tells of it.
//!
//! A dataset is covered by the rules on itself and on all containers above it. A rule on the dataset counts by its own state. A
//! rule on a container above it counts by its locks on the files of this dataset only, so that one dataset need not wait
//! for another. A closed dataset that no rule covers is ready. What becomes of rules later does not matter any more.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, DidType, RuleState};
use dte_store::{Tx, params};

use super::{contents, dids, events, inject, locks, rules};
use crate::error::Result;

/// Looks at the datasets that contain these files.
pub(crate) fn check_parents(tx: &mut Tx<'_>, files: &[Did], now: Timestamp) -> Result<()> {
    let parents = contents::parents_of_many(tx, files)?;
    check(tx, parents, now)
}

/// Looks at the collection itself, and at datasets below it.
pub(crate) fn check_below(tx: &mut Tx<'_>, did: &Did, now: Timestamp) -> Result<()> {
    let below = contents::datasets_below(tx, did)?;
    check(tx, below, now)
}

/// Tells of those of `datasets` that are ready and were not told of.
pub(crate) fn check(tx: &mut Tx<'_>, datasets: impl IntoIterator<Item = Did>, now: Timestamp) -> Result<()> {
    for dataset in datasets {
        let Some(row) = dids::find(tx, &dataset)? else { continue };
        if row.kind != DidType::Dataset || row.open || row.ready_at.is_some() || !is_satisfied(tx, &dataset)? {
            continue;
        }
        tx.execute(
            "UPDATE lake_dids SET ready_at = ?3 WHERE scope = ?1 AND name = ?2",
            &params![&dataset.scope, &dataset.name, now],
        )?;
        events::dataset_ready(tx, &row)?;
    }
    Ok(())
}

fn is_satisfied(tx: &mut Tx<'_>, dataset: &Did) -> Result<bool> {
    for rule in rules::covering(tx, dataset)? {
        let satisfied = match rule.state {
            RuleState::Ok => true,
            RuleState::Suspended | RuleState::WaitingApproval => false,
            _ if rule.did == *dataset => false,
            _ => !inject::is_pending(tx, &rule.id, dataset)? && !locks::any_open_in(tx, &rule.id, dataset)?,
        };
        if !satisfied {
            return Ok(false);
        }
    }
    Ok(true)
}
