//! What the workflow service answers (`/twins/api/v1`), as far as the page needs it.

use dte_base::time::Timestamp;
use serde::Deserialize;

use crate::model::period::Period;

/// `GET /twins/NAME/status`
#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) twin: String,
    pub(super) owner: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) freshness: Freshness,
    pub(super) observes: Vec<Source>,
    pub(super) models: Vec<Model>,
    pub(super) produces: Vec<Product>,
    pub(super) skill: Vec<SkillTable>,
    pub(super) alerts: AlertCount,
    pub(super) cost: Budget,
    pub(super) troubles: Vec<Trouble>,
}

#[derive(Deserialize)]
pub(super) struct Freshness {
    pub(super) state: String,
    pub(super) behind: i64,
    pub(super) newest_observation: Option<Period>,
}

#[derive(Deserialize)]
pub(super) struct Source {
    pub(super) unit: String,
    pub(super) arrivals: u64,
    /// Files that have come but are not taken in yet.
    #[serde(default)]
    pub(super) pending: u64,
    pub(super) held: Aside,
    pub(super) refused: Aside,
}

#[derive(Deserialize)]
pub(super) struct Aside {
    pub(super) count: u64,
    pub(super) newest: Vec<AsideFile>,
}

#[derive(Deserialize)]
pub(super) struct AsideFile {
    pub(super) file: String,
    pub(super) reason: Option<String>,
    pub(super) seen: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(super) struct Model {
    pub(super) name: String,
    /// How many runs are in each state.
    pub(super) runs: std::collections::BTreeMap<String, u64>,
}

#[derive(Deserialize)]
pub(super) struct Product {
    pub(super) published: u64,
    pub(super) newest: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SkillTable {
    pub(super) reference: Reference,
    pub(super) gate: String,
    pub(super) not_better_at: Vec<u32>,
    pub(super) leads: Vec<SkillRow>,
}

#[derive(Deserialize)]
pub(super) struct Reference {
    pub(super) from: Period,
    pub(super) to: Period,
}

#[derive(Deserialize)]
pub(super) struct SkillRow {
    pub(super) lead: u32,
    pub(super) n: u64,
    pub(super) model: Option<f64>,
    pub(super) persistence: Option<f64>,
    pub(super) climatology: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct AlertCount {
    pub(super) raised: u64,
}

#[derive(Deserialize)]
pub(super) struct Budget {
    pub(super) budget_cpu_seconds: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Trouble {
    pub(super) part: String,
    pub(super) trouble: String,
}

/// `GET …/observations`
#[derive(Deserialize)]
pub(super) struct Observations {
    pub(super) name: String,
    pub(super) start: Option<Period>,
    pub(super) values: Vec<ObservedRow>,
}

#[derive(Deserialize)]
pub(super) struct ObservedRow {
    pub(super) month: Period,
    pub(super) value: f64,
    pub(super) climatology: Option<f64>,
}

/// `GET …/forecasts`
#[derive(Deserialize)]
pub(super) struct Forecasts {
    pub(super) forecasts: Vec<ForecastRow>,
}

#[derive(Deserialize)]
pub(super) struct ForecastRow {
    pub(super) issue_month: Period,
    pub(super) target_month: Period,
    pub(super) lead: u32,
    pub(super) mean: f64,
    pub(super) lower80: Option<f64>,
    pub(super) upper80: Option<f64>,
    pub(super) lower95: Option<f64>,
    pub(super) upper95: Option<f64>,
}

/// A page of rows.
#[derive(Deserialize)]
pub(super) struct Items<T> {
    pub(super) items: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct AlertRow {
    pub(super) alert: String,
    pub(super) message: String,
    pub(super) issue_month: Period,
    pub(super) target_month: Period,
    pub(super) anomaly: f64,
    pub(super) probability: f64,
    pub(super) raised: Option<Timestamp>,
    pub(super) ended_issue_month: Option<Period>,
}

#[derive(Deserialize)]
pub(super) struct RunRow {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) issue_month: Period,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) site: Option<String>,
    pub(super) why: Option<String>,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) cpu_seconds: Option<f64>,
}
