//! The Twin document: one YAML file that says what a twin observes, what runs on it, what it produces, how it is checked,
//! when it raises an alert, and who it belongs to.
//!
//! `examples/enso/enso.yaml` is the documented example. Reading is in [`super::mistake`]; what cannot be said by types
//! alone is in [`super::check`].

use std::collections::BTreeMap;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::month::Month;

/// The whole document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The twin's name: `[a-z0-9][a-z0-9-]{0,24}`.
    pub twin: Spanned<String>,
    #[serde(default)]
    pub description: String,
    pub observes: Vec<Observes>,
    pub models: Vec<Model>,
    #[serde(default)]
    pub produces: Vec<Produces>,
    #[serde(default)]
    pub checks: Checks,
    #[serde(default)]
    pub alerts: Vec<Alert>,
    #[serde(default)]
    pub policy: Policy,
}

/// A series of observations: where new files come from and where they are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observes {
    pub name: Spanned<String>,
    /// The watched folder, absolute or relative to the document.
    pub folder: Spanned<String>,
    /// The name of a new file, with `{month}` for its month: `nino12-{month}.csv`.
    pub pattern: Spanned<String>,
    /// The first month that starts a run; earlier ones are history.
    pub start: Month,
    /// The file that holds what is known before `start`.
    #[serde(default)]
    pub history: Option<History>,
    pub series: Series,
    #[serde(default)]
    pub data: Data,
    #[serde(default)]
    pub placement: Placement,
}

/// What is known when the twin begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The name of the file in the watched folder.
    pub file: Spanned<String>,
    /// Its first month; its last is the one before `start`.
    pub from: Spanned<Month>,
}

/// What is inside an observation file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    pub format: SeriesFormat,
    /// The column that holds the value.
    pub value: Spanned<String>,
    /// For people: `degC`.
    #[serde(default)]
    pub unit: String,
    /// Values outside are refused.
    #[serde(default)]
    pub range: Option<Spanned<(f64, f64)>>,
}

/// Formats of observation files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SeriesFormat {
    /// `month,VALUE` with a row `YYYY-MM,number` for each month.
    #[serde(rename = "csv-monthly")]
    CsvMonthly,
}

/// Names in the data lake.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Default: the twin's name.
    #[serde(default)]
    pub scope: Option<Spanned<String>>,
    /// Holds one dataset a month, `CONTAINER.YYYY-MM`. Default: the name of the observed or produced thing.
    #[serde(default)]
    pub container: Option<Spanned<String>>,
}

/// Where copies shall be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    #[serde(default = "one")]
    pub copies: u32,
    /// An RSE expression.
    #[serde(default = "local")]
    pub rses: String,
    /// The storage element where a file is written first.
    #[serde(default = "local")]
    pub landing: String,
    /// How long the copies are kept; for ever without.
    #[serde(default)]
    pub lifetime: Option<Span>,
}

impl Default for Placement {
    fn default() -> Self {
        Placement { copies: one(), rses: local(), landing: local(), lifetime: None }
    }
}

fn one() -> u32 {
    1
}

fn local() -> String {
    "LOCAL".to_owned()
}

/// A program that runs once for each new dataset.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: Spanned<String>,
    pub on: Trigger,
    /// What is staged, and into which folder below `$DTE_INPUTS`. Default: what triggers it, in a folder of its name.
    #[serde(default)]
    pub inputs: Vec<Input>,
    pub container: Container,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
    /// The site to run at.
    #[serde(default = "local_site")]
    pub site: String,
    /// How often a run that failed by its own fault is tried again.
    #[serde(default)]
    pub retries: u32,
}

fn ten_minutes() -> Span {
    Span(std::time::Duration::from_secs(600))
}

fn local_site() -> String {
    "local".to_owned()
}

/// What starts a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trigger {
    /// The observed or produced thing whose next dataset starts the next run.
    pub dataset_ready: Spanned<String>,
}

/// One input of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub data: Spanned<String>,
    pub folder: Spanned<String>,
}

/// The program and how it is called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub image: Image,
    /// A file, absolute or relative to the document (it is copied into the lake when the twin is applied), or the DID
    /// `scope:name` of one that is in the lake already.
    pub program: Spanned<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Container images that a model can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Image {
    /// No image: the program runs on the site's own operating system.
    Host,
}

/// What a run may use.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Cores.
    #[serde(default)]
    pub cpu: Option<f64>,
    #[serde(default)]
    pub memory: Option<Bytes>,
}

/// What a model gives back to the lake.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Produces {
    pub name: Spanned<String>,
    pub model: Spanned<String>,
    /// The file that the model writes below `$DTE_OUTPUTS`.
    pub output: Spanned<String>,
    pub format: ProductFormat,
    /// The file's name in the lake, with `{issue_month}`.
    pub filename: Spanned<String>,
    #[serde(default)]
    pub data: Data,
    #[serde(default)]
    pub placement: Placement,
}

/// Formats of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductFormat {
    /// A CSV with one row for each lead, see [`super::forecast`].
    ForecastCsv,
    /// Bytes that the engine does not look into.
    Opaque,
}

/// Gates for data and for models.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    #[serde(default)]
    pub series: Vec<SeriesCheck>,
    #[serde(default)]
    pub skill: Vec<SkillCheck>,
}

/// What an observation must be to be accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesCheck {
    pub of: Spanned<String>,
    pub require: Spanned<Vec<SeriesGate>>,
}

/// One requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesGate {
    /// Every value is a number.
    Numeric,
    /// No month is missing.
    Contiguous,
    /// No month is there twice.
    Unique,
    /// Every value is inside the series' `range`.
    InRange,
}

/// Forecasts against later observations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillCheck {
    /// The produced forecast.
    pub forecast: Spanned<String>,
    /// The observed series that judges it.
    pub against: Spanned<String>,
    /// The period whose calendar month means are "climatology" and the zero of anomalies.
    pub reference: Reference,
    pub baselines: Vec<Baseline>,
    /// Leads in months at which the model must be better than all baselines.
    pub leads: Spanned<Vec<u32>>,
    /// Forecasts to be judged before the gate says anything.
    #[serde(default = "two_years")]
    pub after: u64,
}

fn two_years() -> u64 {
    24
}

/// Whole years.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    pub from: Spanned<Month>,
    pub to: Spanned<Month>,
}

/// Forecasts that cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The anomaly stays as it is.
    Persistence,
    /// The mean of the calendar month.
    Climatology,
}

/// When people are told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub name: Spanned<String>,
    /// The produced forecast.
    pub forecast: Spanned<String>,
    pub when: Condition,
    /// The episode is over when every lead's mean anomaly is below this; until then it is one alert.
    pub over_below: Spanned<f64>,
    #[serde(default)]
    pub severity: Severity,
    #[serde(default)]
    pub message: String,
    /// Gets each alert as a CloudEvent.
    #[serde(default)]
    pub webhook: Option<Spanned<String>>,
}

/// `anomaly ≥ at_least` at any of `leads` with at least `probability`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// In the series' unit, above the reference climatology of the skill check.
    pub anomaly_at_least: f64,
    /// First and last lead in months.
    pub leads: Spanned<(u32, u32)>,
    /// Between 0 and 1, from the forecast's intervals.
    pub probability: Spanned<f64>,
}

/// How serious an alert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Who the twin belongs to and what it may use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Who applies it, if not said.
    #[serde(default)]
    pub owner: Option<Spanned<String>>,
    #[serde(default)]
    pub budget: Budget,
}

/// Limits over the twin's life; no new run starts beyond.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// CPU time of all runs.
    #[serde(default)]
    pub cpu: Option<Span>,
}

impl Document {
    pub fn observes(&self, name: &str) -> Option<&Observes> {
        self.observes.iter().find(|one| one.name.value == name)
    }

    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|one| one.name.value == name)
    }

    pub fn product(&self, name: &str) -> Option<&Produces> {
        self.produces.iter().find(|one| one.name.value == name)
    }

    /// What `model` gives back.
    pub fn products_of<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a Produces> {
        self.produces.iter().filter(move |one| one.model.value == model)
    }
}
