//! Alerts that were raised: one row an episode.

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};

use crate::model::alert::Signal;
use crate::model::month::Month;
use crate::model::number::Micro;

/// One episode.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Raised {
    pub id: String,
    #[serde(skip)]
    pub twin: String,
    pub alert: String,
    pub forecast: String,
    pub severity: String,
    pub message: String,
    /// The month of the newest observation when it was raised.
    pub issue_month: Month,
    pub lead: u32,
    pub target_month: Month,
    pub anomaly: Micro,
    pub probability: Micro,
    pub run: String,
    pub raised: Timestamp,
    /// The issue month of the forecast that ended it.
    pub ended_issue_month: Option<Month>,
}

const COLUMNS: &str =
    "id, twin, alert, product, severity, message, issue, lead, target, anomaly, probability, run, raised, ended";

fn read(row: &Row) -> Result<Raised, Error> {
    Ok(Raised {
        id: row.get(0)?,
        twin: row.get(1)?,
        alert: row.get(2)?,
        forecast: row.get(3)?,
        severity: row.get(4)?,
        message: row.get(5)?,
        issue_month: row.get(6)?,
        lead: row.get(7)?,
        target_month: row.get(8)?,
        anomaly: row.get(9)?,
        probability: row.get(10)?,
        run: row.get(11)?,
        raised: row.get(12)?,
        ended_issue_month: row.get(13)?,
    })
}

/// The episode that goes on now.
pub fn open(tx: &mut Tx<'_>, twin: &str, alert: &str) -> Result<Option<Raised>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM workflow_alerts WHERE twin = ?1 AND alert = ?2 AND ended IS NULL LIMIT 1");
    tx.query_opt(&sql, &params![twin, alert], read)
}

/// What is common to all episodes of an alert.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    pub twin: &'a str,
    pub alert: &'a str,
    pub forecast: &'a str,
    pub severity: &'a str,
    pub message: &'a str,
}

pub fn raise(tx: &mut Tx<'_>, kind: Kind<'_>, issue: Month, run: &str, signal: &Signal) -> Result<Raised, Error> {
    let raised = Raised {
        id: derived_id(&["alert", kind.twin, kind.alert, &issue.to_string()]).to_string(),
        twin: kind.twin.to_owned(),
        alert: kind.alert.to_owned(),
        forecast: kind.forecast.to_owned(),
        severity: kind.severity.to_owned(),
        message: kind.message.to_owned(),
        issue_month: issue,
        lead: signal.lead,
        target_month: signal.target,
        anomaly: signal.anomaly,
        probability: Micro::from_f64(signal.probability).unwrap_or_default(),
        run: run.to_owned(),
        raised: Timestamp::now(),
        ended_issue_month: None,
    };
    tx.execute(
        &format!(
            "INSERT INTO workflow_alerts ({COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, NULL)"
        ),
        &params![
            &raised.id,
            &raised.twin,
            &raised.alert,
            &raised.forecast,
            &raised.severity,
            &raised.message,
            raised.issue_month,
            raised.lead,
            raised.target_month,
            raised.anomaly,
            raised.probability,
            &raised.run,
            raised.raised
        ],
    )?;
    Ok(raised)
}

pub fn end(tx: &mut Tx<'_>, id: &str, issue: Month) -> Result<(), Error> {
    tx.execute("UPDATE workflow_alerts SET ended = ?2 WHERE id = ?1", &params![id, issue])?;
    Ok(())
}

pub fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Raised>, Error> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM workflow_alerts WHERE id = ?1"), &params![id], read)
}

/// All episodes of a twin, oldest first.
pub fn of(tx: &mut Tx<'_>, twin: &str) -> Result<Vec<Raised>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM workflow_alerts WHERE twin = ?1 ORDER BY issue, alert");
    tx.query(&sql, &params![twin], read)
}
