//! Making, filling and emptying collections, and what rules make of it.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType, Grouping, Notification, RuleState};
use dte_store::Tx;

use super::contents::Child;
use super::dids::DidRow;
use super::place::{FileToPlace, ground, place};
use super::rules::Rule;
use super::{approval, archives, contents, dids, evaluate, events, inject, locks, ready, remove, requests, rules};
use crate::error::{Error, Result};
use crate::model::rule::LockCounts;

/// A child as a client names it; what it states of the file must be true.
#[derive(Clone, Debug)]
pub(crate) struct ChildToAttach {
    pub did: Did,
    pub bytes: Option<i64>,
    pub adler32: Option<String>,
    pub md5: Option<String>,
}

impl From<Did> for ChildToAttach {
    fn from(did: Did) -> Self {
        ChildToAttach { did, bytes: None, adler32: None, md5: None }
    }
}

fn unsupported(message: String) -> Error {
    Error::new(Class::UnsupportedOperation, message)
}

/// Attaches children to an open collection and gives new files their locks, in one transaction.
pub(crate) fn attach(
    tx: &mut Tx<'_>,
    parent: &Did,
    children: &[ChildToAttach],
    ignore_duplicate: bool,
    now: Timestamp,
) -> Result<()> {
    let row = dids::get(tx, parent)?;
    if row.kind == DidType::File && archives::is_archive_name(&parent.name) {
        return archives::fill(tx, &row, children, ignore_duplicate, now);
    }
    if row.kind == DidType::File {
        return Err(unsupported(format!("Data identifier '{parent}' is a file")));
    }
    if !row.open {
        return Err(unsupported(format!("Data identifier '{parent}' is closed")));
    }
    let names: Vec<Did> = children.iter().map(|child| child.did.clone()).collect();
    let known = dids::get_many(tx, &names)?;
    let there = contents::attached(tx, parent, &names)?;
    let mut fresh: Vec<Child> = Vec::with_capacity(children.len());
    for child in children {
        let found = known.get(&child.did).ok_or_else(|| dids::not_found(&child.did))?;
        check_child(&row, found, child)?;
        let twice = there.iter().any(|one| one.did == child.did) || fresh.iter().any(|one| one.did == child.did);
        if twice && ignore_duplicate {
            continue;
        }
        if twice {
            let class = if row.kind == DidType::Dataset { Class::FileAlreadyExists } else { Class::DuplicateContent };
            return Err(Error::new(
                class,
                format!("Data identifier '{}' is attached to '{parent}' already", child.did),
            ));
        }
        fresh.push(Child {
            did: child.did.clone(),
            kind: found.kind,
            bytes: found.bytes,
            adler32: found.adler32.clone(),
            md5: found.md5.clone(),
        });
    }
    if row.kind == DidType::Container {
        check_container(tx, parent, &fresh)?;
    }
    if fresh.is_empty() {
        return Ok(());
    }
    contents::insert(tx, parent, &fresh, now)?;
    for rule in rules::covering(tx, parent)? {
        if !matches!(rule.state, RuleState::Suspended | RuleState::WaitingApproval) {
            evaluate_attached(tx, &rule, &row, &fresh, now)?;
        }
    }
    Ok(())
}

fn check_child(parent: &DidRow, found: &DidRow, child: &ChildToAttach) -> Result<()> {
    match (parent.kind, found.kind) {
        (DidType::Dataset, DidType::File) if super::bad::is_lost(found) => {
            return Err(unsupported(format!("File '{}' is lost", child.did)));
        }
        (DidType::Dataset, DidType::File) => {}
        (DidType::Dataset, _) => return Err(dids::not_found(&child.did)),
        (_, DidType::File) => {
            let message = format!("File '{}' cannot be attached to the container '{}'", child.did, parent.did);
            return Err(unsupported(message));
        }
        _ => return Ok(()),
    }
    let same_text = |stated: &Option<String>, stored: &Option<String>| match (stated, stored) {
        (Some(stated), Some(stored)) => {
            stated.trim_start_matches('0').eq_ignore_ascii_case(stored.trim_start_matches('0'))
        }
        _ => true,
    };
    let same_size = child.bytes.is_none() || found.bytes.is_none() || child.bytes == found.bytes;
    if same_size && same_text(&child.adler32, &found.adler32) && same_text(&child.md5, &found.md5) {
        return Ok(());
    }
    let message = format!(
        "File '{}' is not what is registered: {:?} bytes, adler32 {:?} were stated; {:?} bytes, adler32 {:?} are known",
        child.did, child.bytes, child.adler32, found.bytes, found.adler32
    );
    Err(Error::new(Class::FileConsistencyMismatch, message))
}

/// Containers take collections of one kind, and never themselves, at any depth.
fn check_container(tx: &mut Tx<'_>, parent: &Did, fresh: &[Child]) -> Result<()> {
    if fresh.windows(2).any(|pair| pair[0].kind != pair[1].kind) {
        return Err(unsupported(format!("Mixed collection is not allowed: '{parent}'")));
    }
    if fresh.iter().all(|child| child.kind != DidType::Container) {
        return Ok(());
    }
    let above = contents::ancestors(tx, parent)?;
    match fresh.iter().find(|child| above.contains(&child.did)) {
        Some(child) if child.did == *parent => Err(unsupported(format!("Self-append is not valid: '{parent}'"))),
        Some(child) => {
            Err(unsupported(format!("Circular attachment detected: '{}' is already a parent of '{parent}'", child.did)))
        }
        None => Ok(()),
    }
}

/// Locks for what was attached. Where a rule cannot be followed now (no storage element matches any more), the attachment
/// stands, and the rule's own work says why it is stuck.
fn evaluate_attached(tx: &mut Tx<'_>, rule: &Rule, parent: &DidRow, fresh: &[Child], now: Timestamp) -> Result<()> {
    match try_to_place(tx, rule, parent, fresh, now) {
        Err(Error::Exception(_)) => {
            let mut todo = Vec::new();
            for dataset in match parent.kind {
                DidType::Dataset => vec![parent.did.clone()],
                _ => below_all(tx, fresh)?,
            } {
                todo.push((dataset, Did::new("", "")));
            }
            inject::add(tx, &rule.id, &todo)?;
        }
        other => other?,
    }
    evaluate::settle(tx, &rule.id, Some(requests::NO_SOURCE), now)?;
    Ok(())
}

fn try_to_place(tx: &mut Tx<'_>, rule: &Rule, parent: &DidRow, fresh: &[Child], now: Timestamp) -> Result<()> {
    let ground = ground(tx, rule)?;
    if parent.kind == DidType::Dataset {
        let files: Vec<FileToPlace> = fresh.iter().map(FileToPlace::from).collect();
        place(tx, rule, &ground, &parent.did, &files, now)?;
        return Ok(());
    }
    fresh.iter().try_for_each(|child| inject::apply(tx, rule, &ground, &child.did, now))
}

fn below_all(tx: &mut Tx<'_>, children: &[Child]) -> Result<Vec<Did>> {
    let mut all = Vec::new();
    for child in children {
        all.extend(contents::datasets_below(tx, &child.did)?);
    }
    Ok(all)
}

/// Detaches children, from open and closed collections; locks that only held through the parent go.
pub(crate) fn detach(tx: &mut Tx<'_>, parent: &Did, children: &[Did], now: Timestamp) -> Result<()> {
    let row = dids::get(tx, parent)?;
    let found = contents::attached(tx, parent, children)?;
    if found.is_empty() {
        let message = format!("Data identifier '{parent}' has no such child data identifiers.");
        return Err(Error::new(Class::DataIdentifierNotFound, message));
    }
    if let Some(missing) = children.iter().find(|child| !found.iter().any(|one| one.did == **child)) {
        let message = format!("Data identifier '{missing}' not found under '{parent}'");
        return Err(Error::new(Class::DataIdentifierNotFound, message));
    }
    let mut files: Vec<Did> = Vec::new();
    for child in &found {
        match child.kind {
            DidType::File => files.push(child.did.clone()),
            _ => files.extend(files_below(tx, &child.did)?),
        }
    }
    let covering = rules::covering(tx, parent)?;
    contents::delete(tx, parent, children, now)?;
    if row.length.is_some() {
        let (length, bytes) = dids::sums(tx, parent)?;
        tx.execute(
            "UPDATE lake_dids SET length = ?3, bytes = ?4 WHERE scope = ?1 AND name = ?2",
            &dte_store::params![&parent.scope, &parent.name, length, bytes],
        )?;
    }
    for rule in covering {
        let mut gone = Vec::new();
        for lock in locks::of_rule(tx, &rule.id, &files)? {
            if !contents::ancestors(tx, &lock.did)?.contains(&rule.did) {
                gone.push(lock);
            }
        }
        evaluate::release(tx, &rule, &gone, now)?;
        evaluate::settle(tx, &rule.id, None, now)?;
    }
    // What waited for the detached files waits no longer, neither here nor there.
    ready::check_below(tx, parent, now)?;
    for child in found.iter().filter(|child| child.kind.is_collection()) {
        ready::check_below(tx, &child.did, now)?;
    }
    Ok(())
}

/// All files below a collection.
fn files_below(tx: &mut Tx<'_>, did: &Did) -> Result<Vec<Did>> {
    const PAGE: usize = 1000;
    let mut files = Vec::new();
    for dataset in contents::datasets_below(tx, did)? {
        let mut after = Did::new("", "");
        loop {
            let page = contents::page(tx, &dataset, &after, PAGE)?;
            let full = page.len() == PAGE;
            if let Some(last) = page.last() {
                after = last.did.clone();
            }
            files.extend(page.into_iter().map(|child| child.did));
            if !full {
                break;
            }
        }
    }
    Ok(files)
}

/// Closes a collection, tells of it, and looks whether the dataset is ready.
pub(crate) fn close(tx: &mut Tx<'_>, did: &Did, now: Timestamp) -> Result<()> {
    let row = dids::get(tx, did)?;
    let (files, bytes) = dids::close(tx, did, now)?;
    events::closed(tx, &row, files, bytes)?;
    ready::check(tx, [did.clone()], now)
}

/// A rule as a client declares it.
#[derive(Clone, Debug)]
pub(crate) struct RuleToMake {
    pub account: String,
    /// As whom its transfers are made, as JSON.
    pub principal: String,
    pub copies: u32,
    pub expression: String,
    pub grouping: Grouping,
    pub weight: Option<String>,
    pub locked: bool,
    /// Seconds.
    pub lifetime: Option<i64>,
    pub source_expression: Option<String>,
    pub activity: String,
    pub notification: Notification,
    pub purge_replicas: bool,
    pub ignore_availability: bool,
    pub priority: i64,
    pub comments: Option<String>,
    pub meta: Option<String>,
    /// Limits of the account do not matter.
    pub ignore_account_limit: bool,
    /// Waits until somebody says that it may be.
    pub ask_approval: bool,
    pub subscription: Option<String>,
}

/// Makes a rule on a DID and gives its files their locks; answers the rule's id. After a refusal the transaction has to be
/// undone; where it goes on, see [`make_rule_or_nothing`].
pub(crate) fn make_rule(tx: &mut Tx<'_>, did: &Did, wish: &RuleToMake, now: Timestamp) -> Result<String> {
    let row = dids::get(tx, did)?;
    let rule = declare(wish, &row, now)?;
    follow(tx, rule, wish, &row, now)
}

/// Makes a rule in a transaction that goes on where the rule is refused: nothing of it stays then.
pub(crate) fn make_rule_or_nothing(tx: &mut Tx<'_>, did: &Did, wish: &RuleToMake, now: Timestamp) -> Result<String> {
    let row = dids::get(tx, did)?;
    let rule = declare(wish, &row, now)?;
    let id = rule.id.clone();
    let made = follow(tx, rule, wish, &row, now);
    if let (Err(Error::Exception(_)), Some(ghost)) = (&made, rules::find(tx, &id)?) {
        rules::update(tx, &Rule { locked: false, expires_at: Some(now), updated_at: now, ..ghost })?;
        while remove::step(tx, &id, now)? {}
    }
    made
}

/// The rule that is wished for.
fn declare(wish: &RuleToMake, row: &DidRow, now: Timestamp) -> Result<Rule> {
    if wish.copies == 0 {
        return Err(Error::new(
            Class::InvalidValueForKey,
            "The number of copies for a replication rule should be greater than 0.",
        ));
    }
    let seconds = |lifetime: i64| now + std::time::Duration::from_secs(u64::try_from(lifetime).unwrap_or(0));
    Ok(Rule {
        id: new_id().simple().to_string(),
        account: wish.account.clone(),
        principal: wish.principal.clone(),
        did: row.did.clone(),
        kind: row.kind,
        state: RuleState::Replicating,
        error: None,
        expression: wish.expression.clone(),
        copies: wish.copies,
        grouping: wish.grouping,
        weight: wish.weight.clone(),
        locked: wish.locked,
        locks: LockCounts::default(),
        source_expression: wish.source_expression.clone(),
        activity: wish.activity.clone(),
        notification: wish.notification,
        purge_replicas: wish.purge_replicas,
        ignore_availability: wish.ignore_availability,
        priority: wish.priority,
        comments: wish.comments.clone(),
        meta: wish.meta.clone(),
        expires_at: wish.lifetime.map(seconds),
        stuck_at: None,
        created_at: now,
        updated_at: now,
        ignore_account_limit: wish.ignore_account_limit,
        child: None,
        subscription: wish.subscription.clone(),
        eol_at: None,
    })
}

/// Writes a rule down and gives the files their locks.
fn follow(tx: &mut Tx<'_>, mut rule: Rule, wish: &RuleToMake, row: &DidRow, now: Timestamp) -> Result<String> {
    approval::check_targets(tx, &mut rule)?;
    if wish.ask_approval && approval::must_wait(tx, &rule, row)? {
        rule.state = RuleState::WaitingApproval;
        return rules::insert(tx, &rule).map(|()| rule.id);
    }
    rule.ignore_account_limit |= wish.ask_approval;
    let ground = ground(tx, &rule)?;
    ground.check(&rule)?;
    rules::insert(tx, &rule)?;
    inject::apply(tx, &rule, &ground, &row.did, now)?;
    evaluate::settle(tx, &rule.id, Some(requests::NO_SOURCE), now)?;
    Ok(rule.id)
}
