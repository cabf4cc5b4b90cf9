//! Giving files their locks: decides where the copies of a rule shall be, and writes down what follows: locks, copies in
//! the making, requests for transfers, counters. One transaction, a handful of statements however many files.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, Grouping, LockState, ReplicaState};
use dte_store::Tx;

use super::contents::Child;
use super::limits::{Allowance, Full};
use super::locks::Lock;
use super::replicas::Replica;
use super::requests::Wanted;
use super::rses::{READ, Rses, WRITE};
use super::rules::Rule;
use super::{accounts, limits, locks, people, replicas, requests, rses, rules};
use crate::error::{Error, Result};
use crate::model::placement::{Candidate, choose};
use crate::model::rule::{LockCounts, Need, need};

/// A file that shall have copies.
#[derive(Clone, Debug)]
pub(crate) struct FileToPlace {
    pub did: Did,
    pub bytes: i64,
    pub adler32: Option<String>,
}

impl From<&Child> for FileToPlace {
    fn from(child: &Child) -> Self {
        FileToPlace { did: child.did.clone(), bytes: child.bytes.unwrap_or(0), adler32: child.adler32.clone() }
    }
}

/// What the rule's expressions mean at this moment.
pub(crate) struct Ground {
    candidates: Vec<Candidate>,
    /// Storage elements that may be read from; `None` is all that are readable.
    sources: Option<BTreeSet<String>>,
    all: Rses,
    /// What the rule's account may still lock; spent in one transaction.
    allowance: RefCell<Allowance>,
}

/// Reads the storage elements and resolves the expressions of a rule.
pub(crate) fn ground(tx: &mut Tx<'_>, rule: &Rule) -> Result<Ground> {
    let all = rses::all(tx)?;
    let names = all.select(&rule.expression)?;
    let candidates: Vec<Candidate> = names
        .into_iter()
        .filter_map(|rse| {
            let weight = match &rule.weight {
                None => 1.0,
                Some(key) => all.attribute(&rse, key)?.parse().ok().filter(|weight: &f64| *weight > 0.0)?,
            };
            let writable = rule.ignore_availability || all.may(&rse, WRITE);
            Some(Candidate { rse, writable, weight })
        })
        .collect();
    if candidates.is_empty() {
        let key = rule.weight.clone().unwrap_or_default();
        return Err(Error::new(Class::InvalidRuleWeight, format!("No RSE has a usable value of the attribute {key}")));
    }
    let sources = match &rule.source_expression {
        None => None,
        Some(expression) => Some(all.select(expression).map_err(|error| source_error(&error))?.into_iter().collect()),
    };
    let names: Vec<String> = candidates.iter().map(|candidate| candidate.rse.clone()).collect();
    let unlimited = rule.ignore_account_limit || rule.account == "root" || people::is_admin(tx, &rule.account)?;
    let allowance = RefCell::new(limits::allowance(tx, &rule.account, &names, &all, unlimited)?);
    Ok(Ground { candidates, sources, all, allowance })
}

fn source_error(error: &Error) -> Error {
    Error::new(Class::InvalidSourceReplicaExpression, error.to_string())
}

impl Ground {
    /// Fails when there can never be enough copies.
    pub(crate) fn check(&self, rule: &Rule) -> Result<()> {
        if !self.candidates.iter().any(|candidate| candidate.writable) {
            return Err(Error::new(Class::RSEWriteBlocked, "RSE excluded due to write restrictions."));
        }
        let size = self.candidates.len();
        if size < rule.copies as usize {
            return Err(shortage(rule, size));
        }
        // Who has nothing left anywhere is told now, also where there are no files yet.
        let allowance = self.allowance.borrow();
        let open = self.candidates.iter().filter(|one| allowance.refuses(&one.rse, 0, 0).is_none()).count();
        if open < rule.copies as usize {
            return Err(Full::Account.error(&rule.account));
        }
        Ok(())
    }

    fn readable(&self, replica: &Replica) -> bool {
        replica.state == ReplicaState::Available
            && self.sources.as_ref().is_none_or(|sources| sources.contains(&replica.rse))
            && self.all.may(&replica.rse, READ)
    }
}

fn shortage(rule: &Rule, size: usize) -> Error {
    let copies = rule.copies;
    let message =
        format!("Target RSE set not sufficient for number of copies. ({copies} copies requested, RSE set size {size})");
    Error::new(Class::InsufficientTargetRSEs, message)
}

/// One decision: a lock, and what has to happen for it.
struct Decision {
    file: usize,
    rse: String,
    need: Need,
}

/// Gives the files their locks where they have none of this rule yet. `group`: the dataset in which they are (for files on
/// their own, the file). Answers how many locks came in each state. The rule's own state is left to `settle`.
pub(crate) fn place(
    tx: &mut Tx<'_>,
    rule: &Rule,
    ground: &Ground,
    group: &Did,
    files: &[FileToPlace],
    now: Timestamp,
) -> Result<LockCounts> {
    let dids: Vec<Did> = files.iter().map(|file| file.did.clone()).collect();
    let have = locks::places(tx, &rule.id, &dids)?;
    let copies = replicas::of_files(tx, &dids)?;
    let mut decisions = Vec::new();
    let mut placed = Vec::new();
    match rule.grouping {
        Grouping::None => {
            for index in 0..files.len() {
                let file = &files[index];
                let used = have.get(&file.did).cloned().unwrap_or_default();
                decide(rule, ground, &file.did.to_string(), &used, files, &[index], &copies, &have, &mut decisions)?;
            }
        }
        Grouping::All | Grouping::Dataset => {
            let key = if rule.grouping == Grouping::All { &rule.did } else { group };
            let used = locks::placed(tx, &rule.id, key)?;
            let every: Vec<usize> = (0..files.len()).collect();
            let chosen = decide(rule, ground, &key.to_string(), &used, files, &every, &copies, &have, &mut decisions)?;
            placed = chosen.into_iter().map(|rse| (key.clone(), rse)).collect();
        }
    }
    locks::note_placed(tx, &rule.id, &rule.account, &placed, now)?;
    write(tx, rule, files, &copies, &decisions, now)
}

/// Chooses storage elements for a group of files and decides what each file needs there.
#[expect(clippy::too_many_arguments, reason = "the facts of one decision, read in one place")]
fn decide(
    rule: &Rule,
    ground: &Ground,
    key: &str,
    used: &BTreeSet<String>,
    files: &[FileToPlace],
    group: &[usize],
    copies: &HashMap<Did, Vec<Replica>>,
    have: &HashMap<Did, BTreeSet<String>>,
    decisions: &mut Vec<Decision>,
) -> Result<Vec<String>> {
    let mut coverage: BTreeMap<String, u64> = BTreeMap::new();
    let mut bytes = 0;
    for index in group {
        let file = &files[*index];
        bytes += u64::try_from(file.bytes).unwrap_or(0);
        for replica in copies.get(&file.did).into_iter().flatten() {
            if matches!(
                replica.state,
                ReplicaState::Available | ReplicaState::Copying | ReplicaState::TemporaryUnavailable
            ) {
                *coverage.entry(replica.rse.clone()).or_default() += u64::try_from(file.bytes).unwrap_or(0);
            }
        }
    }
    let total = i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut full = None;
    let allowed: Vec<Candidate> = ground
        .candidates
        .iter()
        .filter(|candidate| {
            let fresh = total - coverage.get(&candidate.rse).map_or(0, |held| i64::try_from(*held).unwrap_or(0));
            let (locked, new) = locked_by(files, group, have, &candidate.rse);
            let refusal = match new {
                // What is locked already stays.
                0 => None,
                _ => ground.allowance.borrow().refuses(&candidate.rse, total - locked, fresh),
            };
            full = full.or(refusal);
            refusal.is_none()
        })
        .cloned()
        .collect();
    let chosen = choose(rule.copies as usize, &allowed, used, &coverage, bytes, key);
    if chosen.len() < rule.copies as usize {
        return Err(full.map_or_else(|| shortage(rule, chosen.len()), |full| full.error(&rule.account)));
    }
    for index in group {
        let file = &files[*index];
        let there = copies.get(&file.did).map(Vec::as_slice).unwrap_or_default();
        let missing = (rule.copies as usize).saturating_sub(have.get(&file.did).map_or(0, BTreeSet::len));
        let fresh = chosen.iter().filter(|rse| !have.get(&file.did).is_some_and(|own| own.contains(*rse)));
        for rse in fresh.take(missing) {
            let state = there.iter().find(|replica| replica.rse == *rse).map(|replica| replica.state);
            let has_source = there.iter().any(|replica| replica.rse != *rse && ground.readable(replica));
            let writable = rule.ignore_availability || ground.all.may(rse, WRITE);
            let fresh = if state.is_none() { file.bytes } else { 0 };
            ground.allowance.borrow_mut().spend(rse, file.bytes, fresh);
            decisions.push(Decision { file: *index, rse: rse.clone(), need: need(state, has_source, writable) });
        }
    }
    Ok(chosen)
}

/// Bytes of a group that a rule has locked at a storage element, and files that it has not.
fn locked_by(files: &[FileToPlace], group: &[usize], have: &HashMap<Did, BTreeSet<String>>, rse: &str) -> (i64, usize) {
    group.iter().fold((0, 0), |(bytes, new), index| {
        let file = &files[*index];
        match have.get(&file.did).is_some_and(|own| own.contains(rse)) {
            true => (bytes + file.bytes, new),
            false => (bytes, new + 1),
        }
    })
}

fn write(
    tx: &mut Tx<'_>,
    rule: &Rule,
    files: &[FileToPlace],
    copies: &HashMap<Did, Vec<Replica>>,
    decisions: &[Decision],
    now: Timestamp,
) -> Result<LockCounts> {
    let mut counts = LockCounts::default();
    let mut new_locks = Vec::with_capacity(decisions.len());
    let (mut added, mut changed, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    let mut usage: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for Decision { file, rse, need } in decisions {
        let file = &files[*file];
        let state = need.lock_state();
        counts.add(state, 1);
        let sum = usage.entry(rse).or_default();
        *sum = (sum.0 + 1, sum.1 + file.bytes);
        new_locks.push(Lock {
            rule_id: rule.id.clone(),
            did: file.did.clone(),
            rse: rse.clone(),
            account: rule.account.clone(),
            state,
            bytes: file.bytes,
        });
        let coming = if state == LockState::Stuck { ReplicaState::Unavailable } else { ReplicaState::Copying };
        match copies.get(&file.did).into_iter().flatten().find(|replica| replica.rse == *rse) {
            Some(there) => {
                let state = if *need == Need::Transfer { ReplicaState::Copying } else { there.state };
                changed.push(Replica { state, lock_cnt: there.lock_cnt + 1, tombstone: None, ..there.clone() });
            }
            None => added.push(Replica {
                did: file.did.clone(),
                rse: rse.clone(),
                state: coming,
                bytes: file.bytes,
                path: None,
                lock_cnt: 1,
                tombstone: None,
                account: rule.account.clone(),
                created_at: now,
            }),
        }
        match need {
            Need::Transfer => wanted.push((Wanted::new(rule, file, rse), true)),
            // Waits for a copy to read from; asked again when one appears.
            Need::Impossible => wanted.push((Wanted::new(rule, file, rse), false)),
            Need::Nothing | Need::Wait => {}
        }
    }
    locks::insert(tx, &new_locks, now)?;
    replicas::insert(tx, &added)?;
    replicas::update(tx, &changed, now)?;
    requests::want(tx, &wanted, now)?;
    for (rse, (files, bytes)) in usage {
        accounts::add_usage(tx, &rule.account, rse, files, bytes, now)?;
    }
    rules::count(tx, &rule.id, counts, now)?;
    Ok(counts)
}
