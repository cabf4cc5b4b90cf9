//! Registering copies, and what their owners say of them later.

use std::collections::{HashMap, HashSet};

use dte_base::time::Timestamp;
use dte_protocol_rucio::path::PathFormula;
use dte_protocol_rucio::rse::Operation;
use dte_protocol_rucio::{Class, Did, DidType, LockState, Protocol, ReplicaState};
use dte_store::Tx;

use super::dids::{self, DidRow};
use super::replicas::{self, Replica};
use super::rses::{self, WRITE};
use super::{evaluate, locks, requests};
use crate::error::{Error, Result};

/// A copy as a client registers it.
#[derive(Clone, Debug)]
pub(crate) struct CopyToRegister {
    pub did: Did,
    pub bytes: i64,
    pub adler32: Option<String>,
    pub md5: Option<String>,
    pub guid: Option<String>,
    pub pfn: Option<String>,
    pub state: ReplicaState,
    pub tombstone: Option<Timestamp>,
}

/// Registers copies at a storage element, and with them the files that are not known yet. A copy that is there already
/// stays as it is, and so does what is known of a file: the first registration wins.
pub(crate) fn register(
    tx: &mut Tx<'_>,
    rse: &str,
    copies: &[CopyToRegister],
    account: &str,
    ignore_availability: bool,
    now: Timestamp,
) -> Result<()> {
    let row = rses::get(tx, rse)?;
    if row.volatile {
        return Err(Error::new(Class::UnsupportedOperation, format!("Cannot add replicas on volatile RSE '{rse}'")));
    }
    if !row.may(WRITE) && !ignore_availability {
        let message = format!("The RSE '{rse}' is not available for write");
        return Err(Error::new(Class::ResourceTemporaryUnavailable, message));
    }
    let protocols = rses::protocols(tx, rse)?;
    let formula = rses::attributes(tx, rse)?.get("lfn2pfn_algorithm").and_then(|name| PathFormula::named(name));
    let formula = formula.unwrap_or_default();
    let names: Vec<Did> = copies.iter().map(|copy| copy.did.clone()).collect();
    let known = dids::get_many(tx, &names)?;
    let there = replicas::at(tx, rse, &names)?;
    let (mut files, mut added, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for copy in copies {
        if !seen.insert(&copy.did) {
            continue;
        }
        let bytes = match known.get(&copy.did) {
            Some(file) if file.kind != DidType::File => {
                let message = format!("Data identifier '{}' is a {}", copy.did, file.kind.name());
                return Err(Error::new(Class::DataIdentifierAlreadyExists, message));
            }
            Some(file) => file.bytes.unwrap_or(copy.bytes),
            None => {
                files.push(new_file(copy, account, now));
                copy.bytes
            }
        };
        let path = path(&protocols, row.deterministic, formula, copy)?;
        if there.contains_key(&copy.did) {
            continue;
        }
        added.push(Replica {
            did: copy.did.clone(),
            rse: rse.to_owned(),
            state: copy.state,
            bytes,
            path,
            lock_cnt: 0,
            tombstone: copy.tombstone,
            account: account.to_owned(),
            created_at: now,
        });
    }
    dids::insert(tx, &files)?;
    replicas::insert(tx, &added)?;
    added.retain(|replica| replica.state == ReplicaState::Available);
    evaluate::became_available(tx, &added, now)
}

fn new_file(copy: &CopyToRegister, account: &str, now: Timestamp) -> DidRow {
    DidRow {
        bytes: Some(copy.bytes),
        adler32: copy.adler32.clone(),
        md5: copy.md5.clone(),
        guid: copy.guid.clone(),
        ..DidRow::new(copy.did.clone(), DidType::File, account, now)
    }
}

/// The path to store: none where it follows from the name; then a PFN that is given must be the one that follows.
fn path(
    protocols: &[Protocol],
    deterministic: bool,
    formula: PathFormula,
    copy: &CopyToRegister,
) -> Result<Option<String>> {
    let Some(pfn) = &copy.pfn else {
        if deterministic {
            return Ok(None);
        }
        let message = format!("PFN needed for '{}' at this non deterministic RSE", copy.did);
        return Err(Error::new(Class::InvalidPath, message));
    };
    let writers = ["wan", "lan"].into_iter().flat_map(|domain| {
        protocols.iter().filter(move |protocol| protocol.priority(domain, Operation::Write).is_some())
    });
    let mut paths = writers.filter_map(|protocol| protocol.path_of(pfn)).map(|path| path.trim_start_matches('/'));
    if deterministic {
        let expected = formula.path(&copy.did.scope, &copy.did.name);
        return match paths.any(|path| path == expected) {
            true => Ok(None),
            false => {
                let expected: Vec<String> = protocols.iter().map(|protocol| protocol.pfn(&expected)).collect();
                let message = format!("The PFN '{pfn}' is not one of the expected {expected:?}");
                Err(Error::new(Class::InvalidPath, message))
            }
        };
    }
    let clean = |path: &&str| !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match paths.find(clean) {
        Some(path) => Ok(Some(path.to_owned())),
        None => Err(Error::new(Class::InvalidPath, format!("The PFN '{pfn}' fits no protocol of this RSE"))),
    }
}

/// Sets the states of copies at a storage element, with what follows for their locks.
pub(crate) fn set_states(tx: &mut Tx<'_>, rse: &str, wishes: &[(Did, ReplicaState)], now: Timestamp) -> Result<()> {
    rses::get(tx, rse)?;
    let names: Vec<Did> = wishes.iter().map(|(did, _)| did.clone()).collect();
    let there: HashMap<Did, Replica> = replicas::at(tx, rse, &names)?;
    let (mut available, mut lost, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for (did, state) in wishes {
        let replica = there.get(did).ok_or_else(|| {
            Error::new(
                Class::ReplicaNotFound,
                format!("No row found for scope: {} name: {} rse: {rse}", did.scope, did.name),
            )
        })?;
        if replica.state == *state {
            continue;
        }
        let allowed = match state {
            ReplicaState::BeingDeleted => replica.lock_cnt == 0,
            ReplicaState::TemporaryUnavailable => replica.state == ReplicaState::Available,
            _ => true,
        };
        if !allowed {
            let message = format!("Replica of '{did}' at {rse} cannot become {}", state.name());
            return Err(Error::new(Class::UnsupportedOperation, message));
        }
        let replica = Replica { state: *state, ..replica.clone() };
        match state {
            ReplicaState::Available => available.push(replica.clone()),
            ReplicaState::Unavailable | ReplicaState::Bad => lost.push(did.clone()),
            _ => {}
        }
        changed.push(replica);
    }
    replicas::update(tx, &changed, now)?;
    evaluate::became_available(tx, &available, now)?;
    let mut stuck = locks::on_files(tx, &lost)?;
    stuck.retain(|lock| lock.rse == rse);
    for rule in evaluate::move_locks(tx, &stuck, LockState::Stuck, now)? {
        evaluate::settle(tx, &rule, Some("the copy was declared to be unavailable"), now)?;
    }
    Ok(())
}

/// Takes copies out of the catalogue whose bytes are gone; nothing may lock them.
pub(crate) fn forget(tx: &mut Tx<'_>, rse: &str, files: &[Did], now: Timestamp) -> Result<()> {
    rses::get(tx, rse)?;
    let there = unlocked(tx, rse, files)?;
    for replica in &there {
        if let Some(request) = requests::of_copy(tx, &replica.did, rse)? {
            requests::abandon(tx, &request)?;
        }
    }
    replicas::delete(tx, &there, now)
}

/// Marks copies as free to be deleted at once.
pub(crate) fn bury(tx: &mut Tx<'_>, rse: &str, files: &[Did], now: Timestamp) -> Result<()> {
    rses::get(tx, rse)?;
    let mut there = unlocked(tx, rse, files)?;
    for replica in &mut there {
        replica.tombstone = Some(Timestamp::EPOCH);
    }
    replicas::update(tx, &there, now)
}

/// The copies of these files, all there and none locked.
fn unlocked(tx: &mut Tx<'_>, rse: &str, files: &[Did]) -> Result<Vec<Replica>> {
    let mut there = replicas::at(tx, rse, files)?;
    files
        .iter()
        .map(|did| {
            let replica = there
                .remove(did)
                .ok_or_else(|| Error::new(Class::ReplicaNotFound, format!("Replica of '{did}' at {rse} not found")))?;
            if replica.lock_cnt > 0 {
                return Err(Error::new(Class::ReplicaIsLocked, format!("Replica of '{did}' at {rse} is locked.")));
            }
            Ok(replica)
        })
        .collect()
}
