//! Accepting a pod: once, however often it is asked for.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_interlink::RawPod;
use dte_store::{Error, NewWork, Store, Tx, params};
use serde_json::json;
use uuid::Uuid;

use super::{Queues, to_text, volumes};
use crate::model::quota::Amounts;
use crate::model::state::State;
use crate::model::status::Containers;

/// A pod to be accepted.
#[derive(Clone, Debug)]
pub struct NewPod {
    pub uid: Uuid,
    pub namespace: String,
    pub name: String,
    pub owner: UserRef,
    pub scopes: Option<Vec<String>>,
    pub trusted: bool,
    pub site: String,
    pub containers: Containers,
    /// Without what may be secret.
    pub pod: RawPod,
    /// The whole request, sealed.
    pub sealed: Vec<u8>,
    /// What it takes of its owner's quota.
    pub amounts: Amounts,
    /// Of the work on it; higher first.
    pub priority: i64,
    /// Its UID was computed from what it is for: once forgotten, it is still that pod, and is not run again.
    pub is_derived: bool,
}

/// What became of a pod that was to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    New,
    /// It was there already.
    Known,
    /// A pod of this UID was deleted and is still ending.
    Ending,
    /// Somebody else's pod has this UID.
    Foreign,
}

/// Accepts a pod and declares the work on it.
pub fn accept(tx: &mut Tx<'_>, new: &NewPod, node: &str, queues: Queues, now: Timestamp) -> Result<Accepted, Error> {
    if !insert(tx, new, node, 0, now)? {
        match before(tx, new)? {
            Before::Gone { run } if insert(tx, new, node, run, now)? => {}
            Before::Gone { .. } => return Err(Error::Invalid(format!("pod {} was not forgotten", new.uid))),
            Before::There(accepted) => return Ok(accepted),
        }
    }
    volumes::keep(tx, new.uid, &new.sealed)?;
    tx.enqueue(NewWork::new(queues.run, new.uid.to_string(), json!({})).priority(new.priority))?;
    Ok(Accepted::New)
}

fn insert(tx: &mut Tx<'_>, new: &NewPod, node: &str, run: i64, now: Timestamp) -> Result<bool, Error> {
    let scopes = new.scopes.as_ref().map(|scopes| scopes.join(" "));
    let inserted = tx.execute(
        "INSERT INTO offload_pods (uid, namespace, name, issuer, subject, user_name, scopes, trusted, site, node, state,
             containers, pod, deleted, failures, created, cpu_millis, memory_bytes, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, 0, ?14, ?15, ?16, ?17)
         ON CONFLICT (uid) DO NOTHING",
        &params![
            new.uid,
            &new.namespace,
            &new.name,
            &new.owner.issuer,
            &new.owner.subject,
            &new.owner.name,
            scopes,
            new.trusted,
            &new.site,
            node,
            State::Accepted.as_str(),
            to_text(&new.containers)?,
            to_text(&new.pod)?,
            now,
            bounded(new.amounts.cpu_millis),
            bounded(new.amounts.memory_bytes),
            run
        ],
    )?;
    Ok(inserted > 0)
}

/// What an earlier pod of the same UID means for a new one.
enum Before {
    There(Accepted),
    /// It was deleted, it has ended, and nothing of it is left: the UID is free, for the run of this number.
    Gone {
        run: i64,
    },
}

fn before(tx: &mut Tx<'_>, new: &NewPod) -> Result<Before, Error> {
    let sql = "SELECT issuer, subject, deleted, finished, node, run FROM offload_pods WHERE uid = ?1";
    let (issuer, subject, deleted, finished, node, run) = tx.query_one(sql, &params![new.uid], |row| {
        Ok((
            row.get::<String>(0)?,
            row.get::<String>(1)?,
            row.get::<bool>(2)?,
            row.get::<Option<Timestamp>>(3)?,
            row.get::<String>(4)?,
            row.get::<i64>(5)?,
        ))
    })?;
    if issuer != new.owner.issuer || subject != new.owner.subject {
        return Ok(Before::There(Accepted::Foreign));
    }
    if !deleted || new.is_derived {
        return Ok(Before::There(Accepted::Known));
    }
    // Its run folder goes with the last work on it.
    if finished.is_none() || tx.has_work(&Queues::clean_of(&node), &new.uid.to_string())? {
        return Ok(Before::There(Accepted::Ending));
    }
    for table in ["offload_pods", "offload_placements", "offload_volumes"] {
        tx.execute(&format!("DELETE FROM {table} WHERE uid = ?1"), &params![new.uid])?;
    }
    Ok(Before::Gone { run: run + 1 })
}

/// A number as databases have them.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What each person has in pods that are alive.
pub async fn alive(store: &Store) -> Result<Vec<((String, String), Amounts)>, Error> {
    // Sums are of numbers that may be huge, so they are taken where they cannot overflow.
    let sql = "SELECT issuer, subject, cpu_millis, memory_bytes, COUNT(*) FROM offload_pods WHERE finished IS NULL
         GROUP BY issuer, subject, cpu_millis, memory_bytes";
    let rows = store.read(move |tx| {
        tx.query(sql, &[], |row| {
            let number = |at: usize| Ok::<_, Error>(u64::try_from(row.get::<i64>(at)?).unwrap_or(0));
            let (cpu_millis, memory_bytes, pods) = (number(2)?, number(3)?, number(4)?);
            let amounts = Amounts {
                pods,
                cpu_millis: cpu_millis.saturating_mul(pods),
                memory_bytes: memory_bytes.saturating_mul(pods),
            };
            Ok(((row.get::<String>(0)?, row.get::<String>(1)?), amounts))
        })
    });
    let mut all: HashMap<(String, String), Amounts> = HashMap::new();
    for (person, amounts) in rows.await? {
        let known = all.entry(person).or_default();
        *known = known.plus(amounts);
    }
    Ok(all.into_iter().collect())
}
