//! A twin as a person wants to see it.

use dte_base::time::Timestamp;

use super::lineage::Lineage;
use super::period::{Grain, Period};

/// Everything on a twin's page.
#[derive(Clone, Debug, Default)]
pub struct Twin {
    pub name: String,
    pub title: String,
    pub description: String,
    /// What is observed: `sea surface temperature`.
    pub quantity: String,
    /// `°C`
    pub unit: String,
    pub owner: String,
    pub state: State,
    /// Why it is in this state, in a sentence.
    pub reason: Option<String>,
    /// How many steps the newest forecast is behind the newest observation that exists.
    pub behind: Option<i64>,
    /// In order of time.
    pub observed: Vec<Observation>,
    /// The first step that the twin is judged on; everything before is history.
    pub start: Option<Period>,
    /// The newest forecast, by lead.
    pub newest: Vec<Forecast>,
    /// The name of the newest forecast's file.
    pub newest_did: Option<String>,
    /// Leads for which there are forecasts.
    pub leads: Vec<u32>,
    /// The forecasts of one lead, by target.
    pub history: Vec<Forecast>,
    pub skill: Vec<Skill>,
    /// Whether the model is good enough, as its document demands.
    pub gate: Option<Gate>,
    /// The climatology that the twin is judged against; without it one is made of the history.
    pub reference: Option<Climatology>,
    pub models: Vec<String>,
    /// Newest first.
    pub alerts: Vec<Alert>,
    /// Newest first.
    pub runs: Vec<Run>,
    pub counts: Counts,
    pub held: Vec<SetAside>,
    pub refused: Vec<SetAside>,
    pub cost: Vec<Cost>,
    pub lineage: Option<Lineage>,
    /// Parts that could not be read, each with its reason; the page says so in their place.
    pub missing: Vec<(&'static str, String)>,
}

/// The twin's state in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The newest observation has been answered by a forecast.
    Fresh,
    /// Observations wait for a forecast.
    Stale,
    /// Nothing has arrived yet.
    #[default]
    Waiting,
    /// Something hinders it and people must look.
    Troubled,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Fresh => "fresh",
            State::Stale => "stale",
            State::Waiting => "waiting",
            State::Troubled => "troubled",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub period: Period,
    pub value: f64,
}

/// The forecast of one step, issued when `issue` was the newest observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    pub issue: Period,
    pub target: Period,
    pub lead: u32,
    pub mean: f64,
    /// The interval that should hold the truth in 80 of 100 cases.
    pub interval_80: Option<(f64, f64)>,
    pub interval_95: Option<(f64, f64)>,
}

/// Root mean square errors of one lead, out of sample, in the twin's unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Skill {
    pub lead: u32,
    pub count: u64,
    pub model: Option<f64>,
    pub persistence: Option<f64>,
    pub climatology: Option<f64>,
    /// How often the 80 % interval held the truth, 0 to 1.
    pub coverage_80: Option<f64>,
    pub coverage_95: Option<f64>,
}

/// What the twin's own demand on skill says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// `waiting`, `passed` or `failed`.
    pub state: String,
    /// Leads at which something that costs nothing is as good.
    pub not_better_at: Vec<u32>,
}

/// An episode in which people were warned.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub name: String,
    pub issue: Period,
    /// The step it warns of.
    pub target: Option<Period>,
    /// The issue step at which it ended; the newest while it goes on.
    pub until: Option<Period>,
    pub is_open: bool,
    pub text: String,
    /// How strong and how likely.
    pub detail: String,
    pub raised: Option<Timestamp>,
}

/// One run of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub uid: String,
    pub model: String,
    /// What it ran for: `1983-01`.
    pub arrival: String,
    pub state: String,
    pub site: Option<String>,
    /// Why there.
    pub why: Option<String>,
    pub reason: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub cpu_seconds: Option<f64>,
    pub max_rss_bytes: Option<u64>,
}

impl Run {
    pub fn is_failed(&self) -> bool {
        matches!(self.state.to_ascii_lowercase().as_str(), "failed" | "dead" | "error")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub arrivals: u64,
    pub runs: u64,
    pub failed: u64,
    pub forecasts: u64,
    pub held: u64,
    pub refused: u64,
    pub alerts: u64,
}

/// An observation that was not taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetAside {
    pub name: String,
    pub reason: String,
    pub since: Option<Timestamp>,
}

/// One line of the bill, ready to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    pub what: String,
    pub amount: String,
    pub of: String,
}

impl Twin {
    /// How long a step is.
    pub fn grain(&self) -> Grain {
        self.observed.last().map_or(Grain::Month, |observation| observation.period.grain())
    }

    /// The mean of each step of the year: the reference, else over the history, else over everything.
    pub fn climatology(&self) -> Climatology {
        if let Some(reference) = &self.reference {
            return reference.clone();
        }
        let is_history =
            |observation: &&Observation| self.start.as_ref().is_none_or(|start| observation.period < *start);
        let history: Vec<&Observation> = self.observed.iter().filter(is_history).collect();
        let base = if history.len() >= 12 { history } else { self.observed.iter().collect() };
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for observation in &base {
            let step = observation.period.of_year();
            if sums.len() <= step {
                sums.resize(step + 1, (0.0, 0.0));
            }
            sums[step].0 += observation.value;
            sums[step].1 += 1.0;
        }
        let span = base.first().zip(base.last()).map(|(first, last)| (first.period.clone(), last.period.clone()));
        Climatology { means: sums.into_iter().map(|(sum, count)| (count > 0.0).then(|| sum / count)).collect(), span }
    }

    pub fn last_run(&self) -> Option<&Run> {
        self.runs.iter().find(|run| run.finished.is_some()).or_else(|| self.runs.first())
    }
}

/// The mean of each step of the year.
#[derive(Clone, Debug, Default)]
pub struct Climatology {
    means: Vec<Option<f64>>,
    /// The first and the last step that it is a mean of.
    pub span: Option<(Period, Period)>,
}

impl Climatology {
    /// The mean over the steps from `first` to `last`; its values are still to be [`Climatology::set`].
    pub fn over(first: Period, last: Period) -> Climatology {
        Climatology { means: Vec::new(), span: Some((first, last)) }
    }

    /// Notes the mean of the step of the year that `period` is.
    pub fn set(&mut self, period: &Period, mean: f64) {
        let step = period.of_year();
        if self.means.len() <= step {
            self.means.resize(step + 1, None);
        }
        self.means[step] = Some(mean);
    }

    pub fn is_empty(&self) -> bool {
        self.means.is_empty()
    }

    pub fn at(&self, period: &Period) -> Option<f64> {
        self.means.get(period.of_year()).copied().flatten()
    }

    /// `1950–1979`
    pub fn years(&self) -> Option<String> {
        let (first, last) = self.span.as_ref()?;
        Some(format!("{}–{}", first.year(), last.year()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climatology_uses_history_only() {
        let observed = |from: &str, n: i64, value: f64| {
            let first: Period = from.parse().expect("a period");
            (0..n).map(move |i| Observation { period: first.plus(i), value: value + i as f64 })
        };
        let twin = Twin {
            observed: observed("1978-01", 12, 0.0)
                .chain(observed("1979-01", 12, 2.0))
                .chain(observed("1980-01", 5, 99.0))
                .collect(),
            start: "1980-01".parse().ok(),
            ..Twin::default()
        };
        let climatology = twin.climatology();
        assert_eq!(climatology.at(&"2001-01".parse().expect("a period")), Some(1.0));
        assert_eq!(climatology.at(&"2001-12".parse().expect("a period")), Some(12.0));
        assert_eq!(climatology.years().as_deref(), Some("1978–1979"));
    }
}
