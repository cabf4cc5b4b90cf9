//! The only place with this service's SQL.

mod accept;
mod heads;
pub mod placement;
pub mod volumes;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_interlink::RawPod;
use dte_store::work::Claim;
use dte_store::{Error, Migration, NewWork, Store, Tx, Value, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use crate::model::finished::{self, Ending, event};
use crate::model::order::{StagedCode, StagedInput};
use crate::model::quota::Amounts;
use crate::model::state::{State, Step};

pub use accept::{Accepted, NewPod, accept, alive};
pub use heads::{PodHead, has_ended, heads, newest};

pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("0001.sql") },
    Migration { version: 2, sql: "CREATE INDEX offload_pods_finished ON offload_pods (finished);" },
    Migration { version: 3, sql: include_str!("0003_people.sql") },
];

/// Pods that one question may name.
const CHUNK: usize = 500;

/// A pod as the workers need it.
#[derive(Clone, Debug)]
pub struct PodRow {
    pub uid: Uuid,
    pub namespace: String,
    pub name: String,
    pub owner: UserRef,
    /// `None`: all rights of the owner.
    pub scopes: Option<Vec<String>>,
    /// Its owner was an administrator when it was made.
    pub trusted: bool,
    pub site: String,
    pub state: State,
    /// Without what may be secret; see [`volumes`].
    pub pod: RawPod,
    pub inputs: Vec<StagedInput>,
    pub code: Option<StagedCode>,
    pub cancel: Option<String>,
    pub failures: u32,
    pub created: Timestamp,
    /// What it takes of its owner's quota.
    pub amounts: Amounts,
    /// How often this UID was another pod before.
    pub run: u32,
}

/// The queues of one process: run folders are local, so is the work on them.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    pub run: &'static str,
    pub clean: &'static str,
}

impl Queues {
    /// The queue of cleaning up of the process with this name.
    pub fn clean_of(node: &str) -> String {
        format!("offload.clean.{node}")
    }
}

fn to_text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Invalid(error.to_string()))
}

fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Invalid(error.to_string()))
}

fn optional<T: DeserializeOwned>(text: Option<String>) -> Result<Option<T>, Error> {
    text.map(|text| from_text(&text)).transpose()
}

fn state(text: &str) -> Result<State, Error> {
    State::parse(text).ok_or_else(|| Error::Invalid(format!("{text:?} is not a pod's state")))
}

/// A pod for its worker.
pub async fn pod(store: &Store, uid: Uuid) -> Result<Option<PodRow>, Error> {
    store
        .read(move |tx| {
            tx.query_opt(
                "SELECT namespace, name, issuer, subject, user_name, scopes, trusted, site, state, pod, inputs, code, cancel,
                     failures, created, cpu_millis, memory_bytes, run FROM offload_pods WHERE uid = ?1",
                &params![uid],
                |row| {
                    let scopes: Option<String> = row.get(5)?;
                    Ok(PodRow {
                        uid,
                        namespace: row.get(0)?,
                        name: row.get(1)?,
                        owner: UserRef { issuer: row.get(2)?, subject: row.get(3)?, name: row.get(4)? },
                        scopes: scopes.map(|text| text.split_ascii_whitespace().map(str::to_owned).collect()),
                        trusted: row.get(6)?,
                        site: row.get(7)?,
                        state: state(&row.get::<String>(8)?)?,
                        pod: from_text(&row.get::<String>(9)?)?,
                        inputs: optional(row.get(10)?)?.unwrap_or_default(),
                        code: optional(row.get(11)?)?,
                        cancel: row.get(12)?,
                        failures: u32::try_from(row.get::<i64>(13)?).unwrap_or(0),
                        created: row.get(14)?,
                        amounts: Amounts {
                            pods: 1,
                            cpu_millis: u64::try_from(row.get::<i64>(15)?).unwrap_or(0),
                            memory_bytes: u64::try_from(row.get::<i64>(16)?).unwrap_or(0),
                        },
                        run: row.get(17)?,
                    })
                },
            )
        })
        .await
}

/// Why the pod shall end, if it shall.
pub async fn cancellation(store: &Store, uid: Uuid) -> Result<Option<String>, Error> {
    let sql = "SELECT cancel FROM offload_pods WHERE uid = ?1";
    let found = store.read(move |tx| tx.query_opt(sql, &params![uid], |row| row.get::<Option<String>>(0))).await;
    found.map(Option::flatten)
}

fn step(tx: &mut Tx<'_>, uid: Uuid, from: State, step: Step) -> Result<bool, Error> {
    let to = from.after(step).ok_or_else(|| Error::Invalid(format!("pod {uid}: {step:?} has no place in {from:?}")))?;
    let sql = "UPDATE offload_pods SET state = ?1, failures = 0 WHERE uid = ?2 AND state = ?3";
    Ok(tx.execute(sql, &params![to.as_str(), uid, from.as_str()])? > 0)
}

/// Notes what was staged.
pub async fn staged(store: &Store, uid: Uuid, inputs: Vec<StagedInput>, code: Option<StagedCode>) -> Result<(), Error> {
    store
        .write(move |tx| {
            if step(tx, uid, State::Accepted, Step::InputsStaged)? {
                let code = code.as_ref().map(to_text).transpose()?;
                let sql = "UPDATE offload_pods SET inputs = ?2, code = ?3 WHERE uid = ?1";
                tx.execute(sql, &params![uid, to_text(&inputs)?, code])?;
            }
            Ok(())
        })
        .await
}

/// Notes that the site has the pod. Why it waited until then is forgotten.
pub async fn started(store: &Store, uid: Uuid) -> Result<(), Error> {
    store
        .write(move |tx| {
            if step(tx, uid, State::Staged, Step::Started)? {
                let sql = "UPDATE offload_pods SET reason = NULL, message = NULL WHERE uid = ?1";
                tx.execute(sql, &params![uid])?;
            }
            Ok(())
        })
        .await
}

/// Notes why a pod that could start waits.
pub async fn waits(store: &Store, uid: Uuid, reason: &'static str, message: String) -> Result<(), Error> {
    store
        .write(move |tx| {
            let sql = "UPDATE offload_pods SET reason = ?2, message = ?3
                 WHERE uid = ?1 AND state = ?4 AND (message IS NULL OR message <> ?3)";
            tx.execute(sql, &params![uid, reason, &message, State::Staged.as_str()]).map(drop)
        })
        .await
}

/// Forgets pods that ended before `before`, at most a thousand. Says how many.
pub async fn prune(store: &Store, before: Timestamp) -> Result<u64, Error> {
    store
        .write(move |tx| {
            let old = "SELECT uid FROM offload_pods WHERE finished < ?1 ORDER BY finished LIMIT 1000";
            let uids: Vec<String> = tx.query(old, &params![before], |row| row.get(0))?;
            for chunk in uids.chunks(CHUNK) {
                let marks: Vec<String> = (1..=chunk.len()).map(|n| format!("?{n}")).collect();
                let values: Vec<Value> = chunk.iter().map(|uid| Value::from(uid.as_str())).collect();
                for table in ["offload_pods", "offload_placements"] {
                    tx.execute(&format!("DELETE FROM {table} WHERE uid IN ({})", marks.join(", ")), &values)?;
                }
            }
            Ok(uids.len() as u64)
        })
        .await
}

/// Notes a failed try, and says how many there were since the last step.
pub async fn failed_try(store: &Store, uid: Uuid, message: String) -> Result<u32, Error> {
    store
        .write(move |tx| {
            let sql = "UPDATE offload_pods SET failures = failures + 1, message = ?2 WHERE uid = ?1 RETURNING failures";
            let count: i64 = tx.query_opt(sql, &params![uid, &message], |row| row.get(0))?.unwrap_or(0);
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        })
        .await
}

/// Tells that a pod stands still because its owner is suspended, or that it goes on.
pub async fn paused(store: &Store, pod: &PodRow, is_paused: bool) -> Result<(), Error> {
    let event = finished::paused(pod, is_paused);
    store.write(move |tx| tx.emit(event.clone())).await
}

/// Ends a pod: its state, the event and the end of the work on it are one. A pod that has ended stays as it is, and is answered
/// with `false`.
pub async fn finish(
    store: &Store,
    claim: Claim,
    pod: PodRow,
    ending: Ending,
    queues: Queues,
    clean_at: Timestamp,
) -> Result<bool, Error> {
    let now = Timestamp::now();
    let step = if ending.state == State::Succeeded { Step::Succeeded } else { Step::Failed };
    if pod.state.after(step) != Some(ending.state) {
        return Err(Error::Invalid(format!("pod {}: {step:?} has no place in {:?}", pod.uid, pod.state)));
    }
    store
        .write(move |tx| {
            let report = ending.report.as_ref().map(to_text).transpose()?;
            let changed = tx.query_opt(
                "UPDATE offload_pods SET state = ?2, reason = ?3, message = ?4, report = ?5, outputs = ?6, inputs = NULL, finished = ?7,
                     pod = ?9
                 WHERE uid = ?1 AND state = ?8 RETURNING deleted",
                &params![
                    pod.uid,
                    ending.state.as_str(),
                    ending.reason.as_deref(),
                    ending.message.as_deref(),
                    report,
                    to_text(&ending.outputs)?,
                    now,
                    pod.state.as_str(),
                    // An older engine may have written more of it.
                    to_text(&pod.pod.without_secrets())?
                ],
                |row| row.get::<bool>(0),
            )?;
            if let Some(deleted) = changed {
                // Nobody will ask for the log of one that was deleted.
                let clean_at = if deleted { now } else { clean_at };
                let placed = placement::reason(tx, pod.uid)?;
                tx.emit(event(&pod, &ending, placed.as_deref(), now))?;
                tx.enqueue(NewWork::new(queues.clean, pod.uid.to_string(), json!({})).at(clean_at))?;
                volumes::forget(tx, pod.uid)?;
            }
            tx.finished(&claim)?;
            Ok(changed.is_some())
        })
        .await
}

/// A pod is no longer wanted: what runs shall end, what has ended is cleaned up now. `false`: there is none for this asker.
pub fn delete(tx: &mut Tx<'_>, uid: Uuid, owner: Option<&UserRef>, queues: Queues, node: &str) -> Result<bool, Error> {
    let sql = "SELECT issuer, subject, state, node FROM offload_pods WHERE uid = ?1 AND deleted = 0";
    let found = tx.query_opt(sql, &params![uid], |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?, state(&row.get::<String>(2)?)?, row.get::<String>(3)?))
    })?;
    let Some((issuer, subject, state, pods_node)) = found else { return Ok(false) };
    if owner.is_some_and(|owner| owner.issuer != issuer || owner.subject != subject) {
        return Ok(false);
    }
    tx.execute(
        "UPDATE offload_pods SET deleted = 1, cancel = COALESCE(cancel, 'Cancelled') WHERE uid = ?1",
        &params![uid],
    )?;
    // Another process finds the note when it looks next.
    if pods_node == node {
        let id = uid.to_string();
        let queue = if state.is_terminal() { queues.clean } else { queues.run };
        tx.wake_work(queue, &id)?;
    }
    Ok(true)
}
