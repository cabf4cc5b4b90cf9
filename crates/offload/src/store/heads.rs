//! Pods as they are shown.

use dte_base::time::Timestamp;
use dte_compute::PodReport;
use dte_identity::UserRef;
use dte_store::{Error, Row, Store, Value, params};
use uuid::Uuid;

use super::{CHUNK, from_text, optional, state};
use crate::model::state::State;
use crate::model::status::Containers;

/// A pod as its status needs it.
#[derive(Clone, Debug)]
pub struct PodHead {
    pub uid: Uuid,
    pub namespace: String,
    pub name: String,
    pub owner: UserRef,
    pub site: String,
    pub node: String,
    pub state: State,
    pub containers: Containers,
    pub report: Option<PodReport>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub created: Timestamp,
    pub finished: Option<Timestamp>,
    /// Whoever started it had an administrator's rights.
    pub trusted: bool,
}

const HEAD: &str =
    "uid, namespace, name, issuer, subject, user_name, site, node, state, containers, report, reason, message,
    created, finished, trusted";

fn head(row: &Row) -> Result<PodHead, Error> {
    Ok(PodHead {
        uid: row.get(0)?,
        namespace: row.get(1)?,
        name: row.get(2)?,
        owner: UserRef { issuer: row.get(3)?, subject: row.get(4)?, name: row.get(5)? },
        site: row.get(6)?,
        node: row.get(7)?,
        state: state(&row.get::<String>(8)?)?,
        containers: from_text(&row.get::<String>(9)?)?,
        report: optional(row.get(10)?)?,
        reason: row.get(11)?,
        message: row.get(12)?,
        created: row.get(13)?,
        finished: row.get(14)?,
        trusted: row.get(15)?,
    })
}

/// These pods, in any order; deleted and unknown ones are left out.
pub async fn heads(store: &Store, uids: Vec<Uuid>) -> Result<Vec<PodHead>, Error> {
    store
        .read(move |tx| {
            let mut found = Vec::with_capacity(uids.len());
            for chunk in uids.chunks(CHUNK) {
                let marks: Vec<String> = (1..=chunk.len()).map(|n| format!("?{n}")).collect();
                let sql =
                    format!("SELECT {HEAD} FROM offload_pods WHERE deleted = 0 AND uid IN ({})", marks.join(", "));
                let values: Vec<Value> = chunk.iter().map(Value::from).collect();
                found.extend(tx.query(&sql, &values, head)?);
            }
            Ok(found)
        })
        .await
}

/// Whether nothing of this pod will run any more. One that was deleted may still be ending.
pub async fn has_ended(store: &Store, uid: Uuid) -> Result<bool, Error> {
    let sql = "SELECT state FROM offload_pods WHERE uid = ?1";
    let found = store.read(move |tx| tx.query_opt(sql, &params![uid], |row| state(&row.get::<String>(0)?))).await?;
    Ok(found.is_none_or(State::is_terminal))
}

/// Pods of one owner (or of all), newest first, older than the `before` one, by the time they were made.
pub async fn newest(
    store: &Store,
    owner: Option<UserRef>,
    before: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<PodHead>, Error> {
    let before = before.unwrap_or(Timestamp::from_micros(i64::MAX));
    store
        .read(move |tx| match &owner {
            Some(owner) => {
                let sql = format!(
                    "SELECT {HEAD} FROM offload_pods WHERE deleted = 0 AND issuer = ?1 AND subject = ?2 AND created < ?3
                     ORDER BY created DESC LIMIT ?4"
                );
                tx.query(&sql, &params![&owner.issuer, &owner.subject, before, limit], head)
            }
            None => {
                let sql = format!(
                    "SELECT {HEAD} FROM offload_pods WHERE deleted = 0 AND created < ?1 ORDER BY created DESC LIMIT ?2"
                );
                tx.query(&sql, &params![before, limit], head)
            }
        })
        .await
}
