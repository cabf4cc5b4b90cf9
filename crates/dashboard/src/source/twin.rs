//! A twin, from the workflow service (`/twins/api/v1`), with its cost from the accounting.

use dte_base::units::Bytes;
use dte_http::ClientError;
use serde_json::Value;

use super::wire::{AlertRow, AsideFile, ForecastRow, Forecasts, Items, Observations, RunRow, SkillRow, Status};
use super::{Reader, items, path, text};
use crate::model::engine::TwinLine;
use crate::model::period::Period;
use crate::model::twin::{
    Alert, Climatology, Cost, Counts, Forecast, Gate, Observation, Run, SetAside, Skill, State, Twin,
};
use crate::model::view::Wanted;
use crate::page::words;
use crate::picture::scale::{number, signed};

/// Twins in the list; the page shows no more.
const LISTED: usize = 100;
/// Runs that are asked for: the last that ended is among them.
const RUNS: usize = 3;
/// Money is shown as exactly as it is counted.
const MICRO: f64 = 1e6;

/// The viewer's twins.
pub async fn list(reader: &Reader) -> Result<Vec<TwinLine>, ClientError> {
    let found: Value = reader.json(&format!("/twins/api/v1/twins?limit={LISTED}")).await?;
    let names: Vec<String> = items(&found).iter().filter_map(|row| text(row, &["twin"])).collect();
    Ok(futures_util::future::join_all(names.iter().map(|name| line(reader, name))).await)
}

/// A twin whose status cannot be read is still in the list.
async fn line(reader: &Reader, name: &str) -> TwinLine {
    match reader.json::<Status>(&status_path(name)).await {
        Ok(status) => TwinLine {
            name: status.twin.clone(),
            title: status.description.clone(),
            state: status.state(),
            behind: Some(status.behind()),
            last: status.freshness.newest_observation.as_ref().map(Period::text),
            runs: status.runs_of(&["succeeded", "failed"]),
            alerts: status.alerts.raised,
            owner: status.owner,
        },
        Err(error) => {
            TwinLine { name: name.to_owned(), title: error.to_string(), state: State::Troubled, ..TwinLine::default() }
        }
    }
}

fn status_path(name: &str) -> String {
    path("/twins/api/v1/twins/{}/status", &[name])
}

/// Reads a twin for its page. Only when its status cannot be read is there none.
pub async fn read(reader: &Reader, name: &str, wanted: &Wanted) -> Result<Twin, ClientError> {
    let at = |rest: &str| format!("{}{rest}", path("/twins/api/v1/twins/{}", &[name]));
    let (newest, lead) = (at("/forecasts?issue=latest"), at(&format!("/forecasts?lead={}", wanted.lead())));
    let (observations, alerts, runs) = (at("/observations"), at("/alerts"), at(&format!("/runs?limit={RUNS}")));
    let cost = path("/accounting/summary?group=twin&twin={}", &[name]);
    let status_at = status_path(name);
    let (status, observations, newest, history, alerts, runs, cost) = tokio::join!(
        reader.json::<Status>(&status_at),
        reader.json::<Observations>(&observations),
        reader.json::<Forecasts>(&newest),
        reader.json::<Forecasts>(&lead),
        reader.json::<Items<AlertRow>>(&alerts),
        reader.json::<Items<RunRow>>(&runs),
        reader.json::<Value>(&cost),
    );
    let status = status?;
    let mut twin = status.into_twin();
    let mut missing = Vec::new();
    let mut failed = |part: &'static str, error: ClientError| missing.push((part, error.to_string()));
    match observations {
        Ok(found) => take_observations(&mut twin, found),
        Err(error) => failed("record", error),
    }
    match newest {
        Ok(found) => twin.newest = forecasts(found, |f| f.lead.into()),
        // Before the first forecast there is nothing to complain about.
        Err(error) if twin.counts.forecasts > 0 => failed("newest", error),
        Err(_) => {}
    }
    match history {
        Ok(found) => twin.history = forecasts(found, |f| f.target.from() as i64),
        Err(error) if twin.counts.forecasts > 0 => failed("record", error),
        Err(_) => {}
    }
    if twin.leads.is_empty() {
        twin.leads = twin.newest.iter().map(|f| f.lead).collect();
    }
    match alerts {
        Ok(found) => twin.alerts = found.items.into_iter().rev().map(|row| row.into_alert(&twin)).collect(),
        Err(error) => failed("alerts", error),
    }
    match runs {
        Ok(found) => twin.runs = found.items.into_iter().map(RunRow::into_run).collect(),
        Err(error) => failed("run", error),
    }
    match cost {
        Ok(found) => twin.cost.extend(costs(&found)),
        Err(error) => failed("cost", error),
    }
    twin.missing.extend(missing);
    Ok(twin)
}

impl Status {
    fn state(&self) -> State {
        match (self.troubles.is_empty(), self.freshness.state.as_str()) {
            (false, _) => State::Troubled,
            (true, "fresh") if self.behind() == 0 => State::Fresh,
            (true, "fresh" | "stale") => State::Stale,
            (true, _) => State::Waiting,
        }
    }

    /// Steps that exist and have no forecast: those that arrived, and those that are still being taken in.
    fn behind(&self) -> i64 {
        let pending: u64 = self.observes.iter().map(|source| source.pending).max().unwrap_or(0);
        self.freshness.behind.saturating_add(i64::try_from(pending).unwrap_or(i64::MAX))
    }

    fn runs_of(&self, states: &[&str]) -> u64 {
        self.models.iter().flat_map(|model| states.iter().filter_map(|state| model.runs.get(*state))).sum()
    }

    fn into_twin(self) -> Twin {
        let (state, behind) = (self.state(), self.behind());
        let counts = Counts {
            arrivals: self.observes.iter().map(|source| source.arrivals).sum(),
            runs: self.runs_of(&["succeeded", "failed"]),
            failed: self.runs_of(&["failed"]),
            forecasts: self.produces.iter().map(|product| product.published).sum(),
            held: self.observes.iter().map(|source| source.held.count).sum(),
            refused: self.observes.iter().map(|source| source.refused.count).sum(),
            alerts: self.alerts.raised,
        };
        let aside = |files: Vec<AsideFile>| {
            let one = |file: AsideFile| SetAside {
                name: file.file,
                reason: file.reason.unwrap_or_default(),
                since: file.seen,
            };
            files.into_iter().map(one).collect::<Vec<_>>()
        };
        let mut twin = Twin {
            title: self.twin.clone(),
            name: self.twin,
            description: self.description,
            unit: self.observes.first().map(|source| unit(&source.unit)).unwrap_or_default(),
            owner: self.owner,
            state,
            reason: self.troubles.first().map(|trouble| format!("{}: {}", trouble.part, trouble.trouble)),
            behind: Some(behind),
            newest_did: self.produces.into_iter().find_map(|product| product.newest),
            models: self.models.into_iter().map(|model| model.name).collect(),
            counts,
            ..Twin::default()
        };
        for source in self.observes {
            twin.held.extend(aside(source.held.newest));
            twin.refused.extend(aside(source.refused.newest));
        }
        if let Some(table) = self.skill.into_iter().next() {
            twin.leads = table.leads.iter().map(|row| row.lead).collect();
            twin.gate = Some(Gate { state: table.gate, not_better_at: table.not_better_at });
            twin.reference = Some(Climatology::over(table.reference.from, table.reference.to));
            twin.skill = table.leads.into_iter().map(SkillRow::into_skill).collect();
        }
        if let Some(seconds) = self.cost.budget_cpu_seconds {
            let amount = words::span(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default());
            twin.cost.push(Cost { what: "Budget".to_owned(), amount, of: "of processor time".to_owned() });
        }
        twin
    }
}

/// How people write what documents spell.
fn unit(text: &str) -> String {
    match text {
        "degC" | "celsius" | "Celsius" => "°C".to_owned(),
        "degF" => "°F".to_owned(),
        other => other.to_owned(),
    }
}

fn take_observations(twin: &mut Twin, found: Observations) {
    twin.quantity = found.name;
    twin.start = found.start;
    if let Some(reference) = &mut twin.reference {
        for row in &found.values {
            if let Some(usual) = row.climatology {
                reference.set(&row.month, usual);
            }
        }
    }
    if twin.reference.as_ref().is_some_and(Climatology::is_empty) {
        twin.reference = None;
    }
    twin.observed = found.values.into_iter().map(|row| Observation { period: row.month, value: row.value }).collect();
    twin.observed.sort_by(|a, b| a.period.cmp(&b.period));
}

fn forecasts(found: Forecasts, order: impl Fn(&Forecast) -> i64) -> Vec<Forecast> {
    let mut forecasts: Vec<Forecast> = found.forecasts.into_iter().map(ForecastRow::into_forecast).collect();
    forecasts.sort_by_key(order);
    forecasts
}

impl ForecastRow {
    fn into_forecast(self) -> Forecast {
        Forecast {
            issue: self.issue_month,
            target: self.target_month,
            lead: self.lead,
            mean: self.mean,
            interval_80: self.lower80.zip(self.upper80),
            interval_95: self.lower95.zip(self.upper95),
        }
    }
}

impl SkillRow {
    fn into_skill(self) -> Skill {
        Skill {
            lead: self.lead,
            count: self.n,
            model: self.model,
            persistence: self.persistence,
            climatology: self.climatology,
            ..Skill::default()
        }
    }
}

impl AlertRow {
    fn into_alert(self, twin: &Twin) -> Alert {
        let likely = number(self.probability * 100.0, 0);
        let detail =
            format!("{} {} in {}, {likely} % likely", signed(self.anomaly, 1), twin.unit, self.target_month.text());
        let going_on = twin.observed.last().map(|last| last.period.clone());
        let is_open = self.ended_issue_month.is_none();
        Alert {
            text: if self.message.is_empty() { self.alert.clone() } else { self.message },
            detail,
            name: self.alert,
            until: self.ended_issue_month.or(going_on),
            issue: self.issue_month,
            target: Some(self.target_month),
            raised: self.raised,
            is_open,
        }
    }
}

impl RunRow {
    fn into_run(self) -> Run {
        Run {
            uid: self.id,
            model: self.model,
            arrival: self.issue_month.text(),
            state: self.state,
            site: self.site,
            why: self.why,
            reason: self.reason,
            started: self.started,
            finished: self.ended,
            cpu_seconds: self.cpu_seconds,
            max_rss_bytes: None,
        }
    }
}

/// The lines of the bill, from a summary by twin.
fn costs(summary: &Value) -> Vec<Cost> {
    let Some(row) = summary["rows"].as_array().and_then(|rows| rows.first()) else { return Vec::new() };
    let count = |part: &str| words::count(row[part]["records"].as_u64().unwrap_or(0));
    let bytes = |part: &str| Bytes(row[part]["bytes"].as_u64().unwrap_or(0)).to_string();
    let cost = |what: &str, amount: String, of: String| Cost { what: what.to_owned(), amount, of };
    let mut lines = vec![
        cost(
            "Processor",
            format!("{} s", number(row["compute"]["cpu_seconds"].as_f64().unwrap_or(0.0), 2)),
            format!("in {} pods", count("compute")),
        ),
        cost("Stored", bytes("storage"), format!("in {} files", count("storage"))),
        cost("Transferred", bytes("transfer"), format!("in {} copies", count("transfer"))),
    ];
    if let (Some(micro), Some(currency)) = (summary["cost_micro"].as_i64(), text(summary, &["currency"])) {
        lines.push(cost("Together", format!("{} {currency}", number(micro as f64 / MICRO, 6)), String::new()));
    }
    lines
}
