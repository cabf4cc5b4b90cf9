//! What is kept of placing: decisions, what is at a site, which inputs were staged where.

use std::collections::BTreeMap;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_store::{Error, Migration, Store, Tx, Value, params, values};
use uuid::Uuid;

use super::{PodRow, from_text, to_text};
use crate::model::placement::{Candidate, Decision, Needs, place};
use crate::model::state::State;

pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001_placement.sql") }];

/// Names that one question may hold.
const CHUNK: usize = 500;
/// Pods of one name that are looked at.
const MOST_OF_A_NAME: usize = 100;

/// Pods that are at a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub running: u64,
    /// They were given to it and do not run yet.
    pub waiting: u64,
    /// Those of the asking person among them.
    pub own_waiting: u64,
}

/// A decision as it stands, and since when.
#[derive(Clone, Debug)]
pub struct Kept {
    pub decision: Decision,
    pub decided: Timestamp,
}

/// `owner`: whose are counted besides.
fn loads_in(tx: &mut Tx<'_>, owner: Option<&UserRef>) -> Result<BTreeMap<String, Load>, Error> {
    let sql = "SELECT site, state, CASE WHEN issuer = ?1 AND subject = ?2 THEN 1 ELSE 0 END, COUNT(*) FROM offload_pods
         WHERE finished IS NULL AND site <> '' GROUP BY 1, 2, 3";
    let (issuer, subject) = owner.map_or(("", ""), |owner| (&owner.issuer, &owner.subject));
    let rows = tx.query(sql, &params![issuer, subject], |row| {
        let count = u64::try_from(row.get::<i64>(3)?).unwrap_or(0);
        Ok((row.get::<String>(0)?, row.get::<String>(1)?, row.get::<bool>(2)?, count))
    })?;
    let mut loads: BTreeMap<String, Load> = BTreeMap::new();
    for (site, state, is_own, count) in rows {
        let load = loads.entry(site).or_default();
        match state == State::Running.as_str() {
            true => load.running += count,
            false => {
                load.waiting += count;
                load.own_waiting += if is_own { count } else { 0 };
            }
        }
    }
    Ok(loads)
}

/// How many pods are at each site; sites without any are left out.
pub async fn loads(store: &Store) -> Result<BTreeMap<String, Load>, Error> {
    store.read(|tx| loads_in(tx, None)).await
}

/// Decides where a pod goes, with the numbers of this moment, and notes it. What is decided at once about many pods is so
/// decided one after the other.
pub async fn decide(store: &Store, pod: &PodRow, needs: Needs, sites: Vec<Candidate>) -> Result<Decision, Error> {
    let (uid, owner) = (pod.uid, pod.owner.clone());
    let now = Timestamp::now();
    store
        .write(move |tx| {
            let loads = loads_in(tx, Some(&owner))?;
            let mut sites = sites.clone();
            for site in &mut sites {
                let load = loads.get(&site.name).copied().unwrap_or_default();
                (site.running, site.waiting) = (site.running.max(load.running), load.waiting);
                site.own_waiting = load.own_waiting;
            }
            let decision = place(&needs, &sites);
            if let Some(site) = &decision.site {
                let sql = "UPDATE offload_pods SET site = ?2, reason = NULL, message = NULL
                     WHERE uid = ?1 AND site = '' AND state = ?3";
                tx.execute(sql, &params![uid, site, State::Accepted.as_str()])?;
            } else {
                let sql = "UPDATE offload_pods SET reason = ?2, message = ?3
                     WHERE uid = ?1 AND site = '' AND (message IS NULL OR message <> ?3)";
                tx.execute(sql, &params![uid, UNSCHEDULABLE, &decision.reason])?;
            }
            note(tx, uid, &decision, now)?;
            Ok(decision)
        })
        .await
}

/// The word of Kubernetes for a pod that waits for a place.
const UNSCHEDULABLE: &str = "Unschedulable";

/// Keeps the decision; one that says the same as the last stays as old as that.
fn note(tx: &mut Tx<'_>, uid: Uuid, decision: &Decision, now: Timestamp) -> Result<(), Error> {
    let text = to_text(decision)?;
    let sql = "INSERT INTO offload_placements (uid, reason, decision, decided) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (uid) DO UPDATE SET reason = excluded.reason, decision = excluded.decision, decided = excluded.decided
         WHERE offload_placements.decision <> excluded.decision";
    tx.execute(sql, &params![uid, &decision.reason, &text, now])?;
    Ok(())
}

/// The decision about a pod; none for one that asked for a site, or has not been looked at yet.
pub async fn decision(store: &Store, uid: Uuid) -> Result<Option<Kept>, Error> {
    let sql = "SELECT decision, decided FROM offload_placements WHERE uid = ?1";
    store
        .read(move |tx| {
            tx.query_opt(sql, &params![uid], |row| {
                Ok(Kept { decision: from_text(&row.get::<String>(0)?)?, decided: row.get(1)? })
            })
        })
        .await
}

/// Why a pod was placed where it is; none for one that asked for a site.
pub(super) fn reason(tx: &mut Tx<'_>, uid: Uuid) -> Result<Option<String>, Error> {
    tx.query_opt("SELECT reason FROM offload_placements WHERE uid = ?1", &params![uid], |row| row.get(0))
}

/// Notes that these inputs are at a site, and forgets what was there before `forget`.
pub async fn note_staged(store: &Store, site: String, dids: Vec<String>, forget: Timestamp) -> Result<(), Error> {
    let now = Timestamp::now();
    store
        .write(move |tx| {
            tx.execute("DELETE FROM offload_staged WHERE staged < ?1", &params![forget])?;
            let rows: Vec<Vec<Value>> = dids.iter().map(|did| values![did, &site, now]).collect();
            tx.upsert_many("offload_staged", &["did", "site", "staged"], &["did", "site"], &rows)?;
            Ok(())
        })
        .await
}

/// How many of these inputs were staged at each site since then.
pub async fn inputs_held(store: &Store, dids: Vec<String>, since: Timestamp) -> Result<BTreeMap<String, u64>, Error> {
    store
        .read(move |tx| {
            let mut held: BTreeMap<String, u64> = BTreeMap::new();
            for chunk in dids.chunks(CHUNK) {
                let marks: Vec<String> = (2..=chunk.len() + 1).map(|n| format!("?{n}")).collect();
                let sql = format!(
                    "SELECT site, COUNT(*) FROM offload_staged WHERE staged >= ?1 AND did IN ({}) GROUP BY site",
                    marks.join(", ")
                );
                let mut values: Vec<Value> = values![since];
                values.extend(chunk.iter().map(Value::from));
                for (site, count) in tx.query(&sql, &values, |row| Ok((row.get::<String>(0)?, row.get::<i64>(1)?)))? {
                    *held.entry(site).or_default() += u64::try_from(count).unwrap_or(0);
                }
            }
            Ok(held)
        })
        .await
}

/// Pods of this name, the newest first; of one owner or of all.
pub async fn named(store: &Store, name: String, owner: Option<UserRef>) -> Result<Vec<Uuid>, Error> {
    store
        .read(move |tx| {
            let (issuer, subject) = owner.as_ref().map_or((None, None), |o| (Some(&o.issuer), Some(&o.subject)));
            let sql = "SELECT uid FROM offload_pods WHERE deleted = 0 AND name = ?1
                     AND (CAST(?2 AS TEXT) IS NULL OR (issuer = ?2 AND subject = ?3)) ORDER BY created DESC LIMIT ?4";
            let subject = subject.map(String::as_str);
            tx.query(sql, &params![&name, issuer.map(String::as_str), subject, MOST_OF_A_NAME], |row| row.get(0))
        })
        .await
}
