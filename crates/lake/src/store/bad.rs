//! Copies that are bad: recovered from another one, or, where there is none, lost.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, LockState, ReplicaState};
use dte_store::{Row, Tx, Value, params, values};

use super::dids::DidRow;
use super::place::FileToPlace;
use super::replicas::Replica;
use super::requests::Wanted;
use super::{contents, did_at, dids, evaluate, locks, replicas, requests, rses, rules};
use crate::error::{Error, Result};

/// What was said of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadState {
    Bad,
    Lost,
    Recovered,
    Suspicious,
    TemporaryUnavailable,
}

impl BadState {
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            BadState::Bad => "B",
            BadState::Lost => "L",
            BadState::Recovered => "R",
            BadState::Suspicious => "S",
            BadState::TemporaryUnavailable => "T",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            BadState::Bad => "BAD",
            BadState::Lost => "LOST",
            BadState::Recovered => "RECOVERED",
            BadState::Suspicious => "SUSPICIOUS",
            BadState::TemporaryUnavailable => "TEMPORARY_UNAVAILABLE",
        }
    }

    /// Reads the letter or the name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Bad, Self::Lost, Self::Recovered, Self::Suspicious, Self::TemporaryUnavailable]
            .into_iter()
            .find(|state| text == state.letter() || text == state.name())
    }
}

/// Who says what of copies.
pub(crate) struct Report<'r> {
    pub state: BadState,
    pub reason: &'r str,
    pub account: &'r str,
    pub expires_at: Option<Timestamp>,
    pub now: Timestamp,
}

/// Longest reason that is kept.
const LONGEST_REASON: usize = 255;

fn note(tx: &mut Tx<'_>, copy: &Replica, report: &Report<'_>) -> Result<()> {
    let reason: String = report.reason.chars().take(LONGEST_REASON).collect();
    let columns =
        ["scope", "name", "rse", "state", "reason", "account", "bytes", "expires_at", "created_at", "updated_at"];
    let row = values![
        &copy.did.scope,
        &copy.did.name,
        &copy.rse,
        report.state.letter(),
        &reason,
        report.account,
        copy.bytes,
        report.expires_at,
        report.now,
        report.now
    ];
    tx.insert_many("lake_bad_replicas", &columns, &[row])?;
    Ok(())
}

fn become_state(tx: &mut Tx<'_>, did: &Did, rse: &str, from: BadState, to: BadState, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE lake_bad_replicas SET state = ?5, updated_at = ?6
         WHERE scope = ?1 AND name = ?2 AND rse = ?3 AND state = ?4",
        &params![&did.scope, &did.name, rse, from.letter(), to.letter(), now],
    )?;
    Ok(())
}

/// Says what is reported of the copy of a file; answers what was in the way, in words.
pub(crate) fn declare(tx: &mut Tx<'_>, did: &Did, rse: &str, report: &Report<'_>) -> Result<Option<&'static str>> {
    let there = replicas::at(tx, rse, std::slice::from_ref(did))?;
    let Some(copy) = there.get(did) else { return Ok(Some("Unknown replica")) };
    match report.state {
        BadState::Bad if copy.state == ReplicaState::Bad => return Ok(Some("Already declared")),
        BadState::Bad => bad(tx, copy, report)?,
        BadState::TemporaryUnavailable => {
            if !matches!(copy.state, ReplicaState::Available | ReplicaState::TemporaryUnavailable) {
                return Ok(Some("Already declared"));
            }
            let away = Replica { state: ReplicaState::TemporaryUnavailable, ..copy.clone() };
            replicas::update(tx, &[away], report.now)?;
            note(tx, copy, report)?;
        }
        _ => note(tx, copy, report)?,
    }
    Ok(None)
}

fn bad(tx: &mut Tx<'_>, copy: &Replica, report: &Report<'_>) -> Result<()> {
    note(tx, copy, report)?;
    let all = replicas::of_files(tx, std::slice::from_ref(&copy.did))?;
    let others = all.get(&copy.did).map(Vec::as_slice).unwrap_or_default();
    let good = |other: &Replica| matches!(other.state, ReplicaState::Available | ReplicaState::TemporaryUnavailable);
    let rescue = others.iter().any(|other| other.rse != copy.rse && good(other));
    if rescue { recover(tx, copy, report.now) } else { lose(tx, copy, report.now) }
}

/// Brings the copy again from another one, for the rules that want it. One that nobody wants may go.
fn recover(tx: &mut Tx<'_>, copy: &Replica, now: Timestamp) -> Result<()> {
    let mut own = locks::on_files(tx, std::slice::from_ref(&copy.did))?;
    own.retain(|lock| lock.rse == copy.rse);
    let Some(first) = own.first().cloned() else {
        let gone = Replica { state: ReplicaState::Bad, tombstone: Some(Timestamp::EPOCH), ..copy.clone() };
        return replicas::update(tx, &[gone], now);
    };
    let coming = Replica { state: ReplicaState::Copying, ..copy.clone() };
    replicas::update(tx, &[coming], now)?;
    for rule in evaluate::move_locks(tx, &own, LockState::Replicating, now)? {
        // A copy from anywhere is better than none.
        tx.execute("UPDATE lake_rules SET source_expression = NULL WHERE id = ?1", &params![&rule])?;
        evaluate::settle(tx, &rule, None, now)?;
    }
    let mut rule = rules::get(tx, &first.rule_id)?;
    rule.activity = "Recovery".to_owned();
    let row = dids::get(tx, &copy.did)?;
    let file = FileToPlace { did: copy.did.clone(), bytes: copy.bytes, adler32: row.adler32 };
    requests::want(tx, &[(Wanted::new(&rule, &file, &copy.rse), true)], now)
}

/// There is no other copy: the file is lost, and nobody waits for it any more.
fn lose(tx: &mut Tx<'_>, copy: &Replica, now: Timestamp) -> Result<()> {
    for request in requests::of_files(tx, std::slice::from_ref(&copy.did))?.into_values().flatten() {
        requests::abandon(tx, &request)?;
    }
    let held = locks::on_files(tx, std::slice::from_ref(&copy.did))?;
    for id in held.iter().map(|lock| lock.rule_id.clone()).collect::<std::collections::BTreeSet<_>>() {
        let rule = rules::get(tx, &id)?;
        let own: Vec<_> = held.iter().filter(|lock| lock.rule_id == id).cloned().collect();
        evaluate::release(tx, &rule, &own, now)?;
        evaluate::settle(tx, &id, None, now)?;
    }
    for (parent, _) in contents::parents(tx, &copy.did)? {
        contents::delete(tx, &parent, std::slice::from_ref(&copy.did), now)?;
    }
    let there = replicas::at(tx, &copy.rse, std::slice::from_ref(&copy.did))?;
    let gone: Vec<Replica> = there
        .into_values()
        .map(|copy| Replica { state: ReplicaState::Bad, tombstone: Some(Timestamp::EPOCH), ..copy })
        .collect();
    replicas::update(tx, &gone, now)?;
    tx.execute(
        "UPDATE lake_dids SET availability = 'LOST', updated_at = ?3 WHERE scope = ?1 AND name = ?2",
        &params![&copy.did.scope, &copy.did.name, now],
    )?;
    super::events::lost(tx, &copy.did, &copy.rse)?;
    become_state(tx, &copy.did, &copy.rse, BadState::Bad, BadState::Lost, now)
}

/// Copies are there again: what was said of them is over.
pub(crate) fn recovered(tx: &mut Tx<'_>, copies: &[Replica], now: Timestamp) -> Result<()> {
    for copy in copies {
        for state in [BadState::Bad, BadState::TemporaryUnavailable] {
            become_state(tx, &copy.did, &copy.rse, state, BadState::Recovered, now)?;
        }
    }
    Ok(())
}

/// Copies that were away for a time, whose time is over: they count as there again.
pub(crate) fn returned(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<()> {
    let sql = "SELECT scope, name, rse FROM lake_bad_replicas WHERE state = 'T' AND expires_at IS NOT NULL
               AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2";
    let due: Vec<(Did, String)> = tx.query(sql, &params![now, limit], |row| Ok((did_at(row, 0)?, row.get(2)?)))?;
    for (did, rse) in due {
        let mut there = replicas::at(tx, &rse, std::slice::from_ref(&did))?;
        if let Some(copy) = there.remove(&did)
            && copy.state == ReplicaState::TemporaryUnavailable
        {
            let back = Replica { state: ReplicaState::Available, ..copy };
            replicas::update(tx, &[back], now)?;
        }
        become_state(tx, &did, &rse, BadState::TemporaryUnavailable, BadState::Recovered, now)?;
    }
    Ok(())
}

/// What was said of a copy, as told.
pub(crate) struct Said {
    pub did: Did,
    pub rse: String,
    pub state: BadState,
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn read(row: &Row) -> Result<Said, dte_store::Error> {
    Ok(Said {
        did: did_at(row, 0)?,
        rse: row.get(2)?,
        state: super::letter(row, 3, BadState::parse)?,
        reason: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
    })
}

/// What was said, newest first.
pub(crate) fn said(
    tx: &mut Tx<'_>,
    state: Option<BadState>,
    rse: Option<&str>,
    between: (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<Said>> {
    let mut sql = "SELECT scope, name, rse, state, reason, created_at, updated_at FROM lake_bad_replicas
                   WHERE created_at >= ?1 AND created_at <= ?2"
        .to_owned();
    let mut bound: Vec<Value> = values![between.0, between.1, limit];
    for (column, wish) in [("state", state.map(BadState::letter)), ("rse", rse)] {
        if let Some(wish) = wish {
            bound.push(wish.into());
            sql.push_str(&format!(" AND {column} = ?{}", bound.len()));
        }
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?3");
    Ok(tx.query(&sql, &bound, read)?)
}

/// How often a copy was said to be suspicious.
pub(crate) struct Suspicion {
    pub did: Did,
    pub rse: String,
    pub count: i64,
    pub first: Timestamp,
}

pub(crate) fn suspicious(tx: &mut Tx<'_>, since: Timestamp, more_than: i64) -> Result<Vec<Suspicion>> {
    Ok(tx.query(
        "SELECT scope, name, rse, CAST(count(*) AS BIGINT), min(created_at) FROM lake_bad_replicas
         WHERE state = 'S' AND created_at >= ?1 GROUP BY scope, name, rse HAVING count(*) > ?2
         ORDER BY scope, name, rse LIMIT 10000",
        &params![since, more_than],
        |row| Ok(Suspicion { did: did_at(row, 0)?, rse: row.get(2)?, count: row.get(3)?, first: row.get(4)? }),
    )?)
}

/// Notes files of which the catalogue knows nothing.
pub(crate) fn quarantine(tx: &mut Tx<'_>, rse: &str, files: &[(String, Option<Did>)], now: Timestamp) -> Result<()> {
    rses::get(tx, rse)?;
    let rows: Vec<Vec<Value>> = files
        .iter()
        .map(|(path, did)| {
            let (scope, name) =
                did.as_ref().map_or((None, None), |did| (Some(did.scope.clone()), Some(did.name.clone())));
            values![rse, path, scope, name, now]
        })
        .collect();
    tx.insert_new_many("lake_quarantine", &["rse", "path", "scope", "name", "created_at"], &rows)?;
    Ok(())
}

/// Which file lies at a PFN, and where.
pub(crate) fn locate(tx: &mut Tx<'_>, pfn: &str, only: Option<&str>) -> Result<Option<(Did, String)>> {
    let all = rses::all(tx)?;
    let protocols = rses::all_protocols(tx)?;
    for (rse, own) in protocols.iter().filter(|(rse, _)| only.is_none_or(|only| only == *rse)) {
        let (Some(row), Some(path)) = (all.rows.get(rse), own.iter().find_map(|one| one.path_of(pfn))) else {
            continue;
        };
        let found = match row.deterministic {
            false => replicas::at_path(tx, rse, path)?,
            true => {
                // Scopes with dots may be folders of folders, so the first part of the path alone does not say which.
                let formula = all.formula(rse);
                let scopes = super::accounts::scopes(tx, None)?;
                scopes.into_iter().find_map(|(scope, _)| Some(Did::new(&scope, formula.name_of(path, &scope)?)))
            }
        };
        if let Some(did) = found {
            return Ok(Some((did, rse.clone())));
        }
    }
    Ok(None)
}

/// A storage element by its name or its id.
pub(crate) fn named(tx: &mut Tx<'_>, name: Option<&str>, id: Option<&str>) -> Result<String> {
    if let Some(name) = name {
        return Ok(rses::get(tx, name)?.rse);
    }
    let id = id.unwrap_or_default();
    let found = rses::all(tx)?.rows.into_values().find(|rse| rse.id == id);
    found
        .map(|rse| rse.rse)
        .ok_or_else(|| Error::new(Class::RSENotFound, format!("RSE with the id '{id}' cannot be found")))
}

/// A DID that is not lost.
pub(crate) fn is_lost(row: &DidRow) -> bool {
    row.availability == "LOST"
}
