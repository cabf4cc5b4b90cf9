//! What follows when something changes: a rule is made, a copy arrives, a copy will not arrive, a lock goes away.

use std::collections::{BTreeMap, BTreeSet};

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, LockState, ReplicaState, RuleState};
use dte_store::{Tx, params};

use super::locks::Lock;
use super::replicas::Replica;
use super::requests::{self, Request, RequestState};
use super::rules::Rule;
use super::{accounts, bad, dids, events, inject, locks, ready, replace, replicas, rules};
use crate::error::Result;
use crate::model::rule::{LockCounts, state_of};

/// Errors of a rule are cut to this many characters.
const ERROR_LENGTH: usize = 245;

/// Brings a rule's state in line with its locks, tells of the change, and answers the rule as it is then.
pub(crate) fn settle(tx: &mut Tx<'_>, id: &str, error: Option<&str>, now: Timestamp) -> Result<Option<Rule>> {
    let Some(mut rule) = rules::find(tx, id)? else { return Ok(None) };
    let pending = inject::any(tx, id)?;
    let before = rule.state;
    rule.state = state_of(before, rule.locks, pending);
    rule.error = match rule.state {
        RuleState::Stuck => error.map(cut).or(rule.error),
        RuleState::Ok => None,
        _ => rule.error,
    };
    rule.stuck_at = match (before, rule.state) {
        (RuleState::Stuck, RuleState::Stuck) => rule.stuck_at,
        (_, RuleState::Stuck) => Some(now),
        _ => None,
    };
    if rule.state == before && error.is_none() {
        return Ok(Some(rule));
    }
    tx.execute(
        "UPDATE lake_rules SET state = ?2, error = ?3, stuck_at = ?4, updated_at = ?5 WHERE id = ?1",
        &params![id, rule.state.letter(), rule.error.clone(), rule.stuck_at, now],
    )?;
    if rule.state != before {
        replace::note(tx, &rule, now)?;
    }
    match rule.state {
        RuleState::Ok if before != RuleState::Ok => {
            replace::release_parents(tx, id, now)?;
            events::rule_ok(tx, &rule)?;
        }
        RuleState::Stuck if before != RuleState::Stuck => events::rule_stuck(tx, &rule, rule.error.as_deref())?,
        _ => {}
    }
    Ok(Some(rule))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(ERROR_LENGTH) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// Moves locks to `state`, keeps the counters of their rules exact, and answers those rules.
pub(crate) fn move_locks(tx: &mut Tx<'_>, all: &[Lock], state: LockState, now: Timestamp) -> Result<BTreeSet<String>> {
    let moving: Vec<&Lock> = all.iter().filter(|lock| lock.state != state).collect();
    locks::set_state(tx, &moving, state)?;
    let mut deltas: BTreeMap<&str, LockCounts> = BTreeMap::new();
    for lock in &moving {
        let delta = deltas.entry(&lock.rule_id).or_default();
        delta.add(lock.state, -1);
        delta.add(state, 1);
    }
    for (rule, delta) in &deltas {
        rules::count(tx, rule, *delta, now)?;
    }
    Ok(deltas.into_keys().map(str::to_owned).collect())
}

/// Copies can be read now: tells of them, makes their locks OK, ends their requests, wakes requests for other copies of
/// the same files that had nothing to read from, and looks whether rules and datasets are ready.
pub(crate) fn became_available(tx: &mut Tx<'_>, copies: &[Replica], now: Timestamp) -> Result<()> {
    if copies.is_empty() {
        return Ok(());
    }
    let files: Vec<Did> = copies.iter().map(|copy| copy.did.clone()).collect();
    bad::recovered(tx, copies, now)?;
    let known = dids::get_many(tx, &files)?;
    for copy in copies {
        let adler32 = known.get(&copy.did).and_then(|row| row.adler32.as_deref());
        let told = events::Copy { did: &copy.did, rse: &copy.rse, bytes: copy.bytes, adler32, account: &copy.account };
        events::replica_available(tx, &told)?;
    }
    let here = |did: &Did, rse: &str| copies.iter().any(|copy| copy.did == *did && copy.rse == rse);
    for request in requests::of_files(tx, &files)?.into_values().flatten() {
        if here(&request.did, &request.rse) {
            requests::fulfil(tx, &request, now)?;
        } else if request.state == RequestState::Failed {
            revive(tx, &request, now)?;
        }
    }
    let mut touched = locks::on_files(tx, &files)?;
    touched.retain(|lock| here(&lock.did, &lock.rse));
    let changed = move_locks(tx, &touched, LockState::Ok, now)?;
    for rule in changed {
        settle(tx, &rule, None, now)?;
    }
    if touched.is_empty() { Ok(()) } else { ready::check_parents(tx, &files, now) }
}

/// Tries a request again whose attempts had been used up: its locks are replicating again.
pub(crate) fn revive(tx: &mut Tx<'_>, request: &Request, now: Timestamp) -> Result<()> {
    requests::retry(tx, request)?;
    let there = replicas::at(tx, &request.rse, std::slice::from_ref(&request.did))?;
    if let Some(replica) = there.get(&request.did)
        && replica.state == ReplicaState::Unavailable
    {
        replicas::update(tx, &[Replica { state: ReplicaState::Copying, ..replica.clone() }], now)?;
    }
    let mut stuck = locks::on_files(tx, std::slice::from_ref(&request.did))?;
    stuck.retain(|lock| lock.rse == request.rse && lock.state == LockState::Stuck);
    for rule in move_locks(tx, &stuck, LockState::Replicating, now)? {
        settle(tx, &rule, None, now)?;
    }
    Ok(())
}

/// A copy will not arrive, for now: its locks are stuck, and so are their rules, with a reason for people.
pub(crate) fn failed(tx: &mut Tx<'_>, request: &Request, error: &str, now: Timestamp) -> Result<()> {
    let reason = format!("{} at {}: {error}", request.did, request.rse);
    requests::give_up(tx, request, error, now + requests::rest(request.rounds))?;
    let there = replicas::at(tx, &request.rse, std::slice::from_ref(&request.did))?;
    if let Some(replica) = there.get(&request.did)
        && replica.state == ReplicaState::Copying
    {
        replicas::update(tx, &[Replica { state: ReplicaState::Unavailable, ..replica.clone() }], now)?;
    }
    let mut waiting = locks::on_files(tx, std::slice::from_ref(&request.did))?;
    waiting.retain(|lock| lock.rse == request.rse && lock.state == LockState::Replicating);
    for rule in move_locks(tx, &waiting, LockState::Stuck, now)? {
        settle(tx, &rule, Some(&reason), now)?;
    }
    Ok(())
}

/// Takes locks of one rule away: counters, the copies' lock counts, tombstones of copies that nobody wants any more.
pub(crate) fn release(tx: &mut Tx<'_>, rule: &Rule, gone: &[Lock], now: Timestamp) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    locks::delete(tx, gone)?;
    let mut delta = LockCounts::default();
    let mut usage: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for lock in gone {
        delta.add(lock.state, -1);
        let sum = usage.entry(&lock.rse).or_default();
        *sum = (sum.0 - 1, sum.1 - lock.bytes);
    }
    rules::count(tx, &rule.id, delta, now)?;
    for (rse, (files, bytes)) in usage {
        accounts::add_usage(tx, &rule.account, rse, files, bytes, now)?;
    }
    let files: Vec<Did> = gone.iter().map(|lock| lock.did.clone()).collect();
    let copies = replicas::of_files(tx, &files)?;
    let mut changed: BTreeMap<(Did, String), Replica> = BTreeMap::new();
    for lock in gone {
        let key = (lock.did.clone(), lock.rse.clone());
        let there = copies.get(&lock.did).into_iter().flatten().find(|copy| copy.rse == lock.rse);
        let Some(copy) = changed.get(&key).or(there) else { continue };
        let mut copy = Replica { lock_cnt: (copy.lock_cnt - 1).max(0), ..copy.clone() };
        if copy.lock_cnt == 0 {
            let unfinished = matches!(copy.state, ReplicaState::Copying | ReplicaState::Unavailable);
            let at_once = rule.purge_replicas || unfinished;
            copy.tombstone = Some(if at_once { Timestamp::EPOCH } else { copy.created_at });
            if unfinished {
                copy.state = ReplicaState::Unavailable;
                if let Some(request) = requests::of_copy(tx, &lock.did, &lock.rse)? {
                    requests::abandon(tx, &request)?;
                }
            }
        }
        changed.insert(key, copy);
    }
    let changed: Vec<Replica> = changed.into_values().collect();
    replicas::update(tx, &changed, now)
}
