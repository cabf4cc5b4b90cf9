//! Applications of providers and communities, and every step of each.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params, values};
use serde_json::Value;

use crate::policy::model::onboarding::{Kind, State};
use crate::policy::onboarding::{Application, Step};

const COLUMNS: &str = "id, kind, name, state, version, document, approvals, applicant, created, updated";

fn state(name: &str) -> Result<State, Error> {
    State::named(name).ok_or_else(|| Error::Invalid(format!("{name:?} is no state of an application")))
}

fn application(row: &Row) -> Result<Application, Error> {
    let unreadable = |error: serde_json::Error| Error::Invalid(format!("an application cannot be read: {error}"));
    let kind = if row.get::<String>(1)? == Kind::Provider.name() { Kind::Provider } else { Kind::Community };
    Ok(Application {
        id: row.get(0)?,
        kind,
        name: row.get(2)?,
        state: state(&row.get::<String>(3)?)?,
        version: row.get(4)?,
        document: serde_json::from_str(&row.get::<String>(5)?).map_err(unreadable)?,
        approvals: serde_json::from_str(&row.get::<String>(6)?).map_err(unreadable)?,
        applicant: row.get(7)?,
        created: row.get(8)?,
        updated: row.get(9)?,
    })
}

pub(crate) fn by_id(tx: &mut Tx<'_>, kind: Kind, id: &str) -> Result<Option<Application>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policy_onboarding WHERE id = ?1 AND kind = ?2");
    tx.query_opt(&sql, &params![id, kind.name()], application)
}

/// Those of a kind after one, of one applicant or of all.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    kind: Kind,
    applicant: Option<&str>,
    after: &str,
    limit: usize,
) -> Result<Vec<Application>, Error> {
    let mut params = vec![kind.name().into(), after.into(), dte_store::Value::from(limit)];
    let mut also = "";
    if let Some(applicant) = applicant {
        params.push(applicant.into());
        also = " AND applicant = ?4";
    }
    let sql = format!("SELECT {COLUMNS} FROM policy_onboarding WHERE kind = ?1 AND id > ?2{also} ORDER BY id LIMIT ?3");
    tx.query(&sql, &params, application)
}

pub(crate) fn put(tx: &mut Tx<'_>, one: &Application) -> Result<(), Error> {
    let unwritable = |error: serde_json::Error| Error::Invalid(format!("an application cannot be written: {error}"));
    let columns: Vec<&str> = COLUMNS.split(", ").collect();
    let row = values![
        &one.id,
        one.kind.name(),
        &one.name,
        one.state.name(),
        one.version,
        &one.document,
        serde_json::to_string(&one.approvals).map_err(unwritable)?,
        &one.applicant,
        one.created,
        one.updated
    ];
    tx.upsert_many("policy_onboarding", &columns, &["id"], &[row]).map(drop)
}

pub(crate) fn add_step(tx: &mut Tx<'_>, id: &str, step: &Step) -> Result<(), Error> {
    let columns = ["id", "version", "at", "actor", "before", "after", "reason", "evidence"];
    let at: Timestamp = step.at;
    let row =
        values![id, step.version, at, &step.actor, step.before.name(), step.after.name(), &step.reason, &step.evidence];
    tx.insert_many("policy_onboarding_steps", &columns, &[row]).map(drop)
}

pub(crate) fn steps(tx: &mut Tx<'_>, id: &str) -> Result<Vec<Step>, Error> {
    let sql = "SELECT version, at, actor, before, after, reason, evidence FROM policy_onboarding_steps WHERE id = ?1 ORDER BY version";
    tx.query(sql, &params![id], |row| {
        Ok(Step {
            version: row.get(0)?,
            at: row.get(1)?,
            actor: row.get(2)?,
            before: state(&row.get::<String>(3)?)?,
            after: state(&row.get::<String>(4)?)?,
            reason: row.get(5)?,
            evidence: row.get::<Value>(6)?,
        })
    })
}
