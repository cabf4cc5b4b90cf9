//! The record: what was observed, and what had been forecast for it so many steps before.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::chart::{self, Column, Paper, place};
use super::scale::{Scale, number, range_of, signed, ticks, time_ticks};
use crate::model::period::Period;
use crate::model::twin::{Alert, Climatology, Forecast, Observation, Twin};
use crate::model::view::{Measure, View};

const PAPER: Paper = Paper { width: 1160.0, height: 400.0, left: 44.0, right: 12.0, top: 54.0, bottom: 34.0 };
/// Room for an episode's label, in places.
const LABEL_ROOM: f64 = 74.0;
/// Up to so many points there is room to draw them large.
const FEW_POINTS: usize = 130;

/// Reads one interval of a forecast.
type Interval = fn(&Forecast) -> Option<(f64, f64)>;

/// What is drawn at one step.
#[derive(Default)]
struct Step<'t> {
    observed: Option<f64>,
    forecast: Option<&'t Forecast>,
}

/// A plot with its scales.
struct Drawing<'t> {
    twin: &'t Twin,
    view: &'t View,
    climatology: Climatology,
    steps: BTreeMap<Period, Step<'t>>,
    x: Scale,
    y: Scale,
}

/// Draws the window of `view`.
pub fn draw(twin: &Twin, view: &View) -> Markup {
    Drawing::of(twin, view).render()
}

/// What the window shows, in words.
pub fn words(twin: &Twin, view: &View) -> String {
    Drawing::of(twin, view).words()
}

fn base(measure: Measure, climatology: &Climatology, period: &Period) -> f64 {
    match measure {
        Measure::Anomaly => climatology.at(period).unwrap_or(0.0),
        Measure::Value => 0.0,
    }
}

impl<'t> Drawing<'t> {
    fn of(twin: &'t Twin, view: &'t View) -> Drawing<'t> {
        let climatology = twin.climatology();
        let mut steps: BTreeMap<Period, Step> = BTreeMap::new();
        let is_shown = |period: &Period| *period >= view.window.0 && *period <= view.window.1;
        for Observation { period, value } in twin.observed.iter().filter(|o| is_shown(&o.period)) {
            steps.entry(period.clone()).or_default().observed = Some(*value);
        }
        for f in twin.history.iter().filter(|f| is_shown(&f.target)) {
            steps.entry(f.target.clone()).or_default().forecast = Some(f);
        }
        let values = steps.iter().flat_map(|(period, step)| {
            let base = base(view.measure, &climatology, period);
            let bounds = step.forecast.map(|f| f.interval_95.unwrap_or((f.mean, f.mean)));
            [step.observed, bounds.map(|b| b.0), bounds.map(|b| b.1)].map(|v| v.map(|v| v - base))
        });
        let y = PAPER.upward(range_of(values.flatten(), 6));
        let x = PAPER.across((view.window.0.from(), view.window.1.until()));
        Drawing { twin, view, climatology, steps, x, y }
    }

    fn render(&self) -> Markup {
        let (low, high) = self.y.range();
        let (from, to) = self.x.range();
        let radius = if self.steps.len() <= FEW_POINTS { "2.6" } else { "1.4" };
        let unit = match self.view.measure {
            Measure::Anomaly => format!("{}, departure from usual", self.twin.unit),
            Measure::Value => self.twin.unit.clone(),
        };
        html! {
            svg.plot.record viewBox=(PAPER.view_box()) role="img" aria-labelledby="record-title record-desc" tabindex="0" data-plot="record"
                data-from=(self.view.window.0) data-to=(self.view.window.1) data-first=(self.view.whole.0) data-last=(self.view.whole.1) {
                title id="record-title" { "Observed, and forecast " (self.lead_words()) " before" }
                desc id="record-desc" { (self.words()) }
                (chart::levels(&PAPER, &self.y, &ticks(low, high, 6)))
                (chart::times(&PAPER, &self.x, &time_ticks(from, to, 14)))
                (chart::unit(&PAPER, &unit))
                (self.alerts())
                @if self.view.measure == Measure::Value { path.normal d=(self.normal_line()) {} }
                path.band.wide d=(self.area(|f| f.interval_95)) {}
                path.band d=(self.area(|f| f.interval_80)) {}
                path.forecast d=(self.line(|step| step.forecast.map(|f| f.mean))) {}
                path.observed d=(self.line(|step| step.observed)) {}
                g.points {
                    @for (period, step) in &self.steps {
                        @if let Some(value) = step.observed {
                            circle.observed cx=(place(self.x.at(period.middle()))) cy=(place(self.height(period, value))) r=(radius) {}
                        }
                    }
                }
                (chart::columns(&PAPER, &self.columns()))
            }
        }
    }

    fn base(&self, period: &Period) -> f64 {
        base(self.view.measure, &self.climatology, period)
    }

    fn height(&self, period: &Period, value: f64) -> f64 {
        self.y.at(value - self.base(period))
    }

    /// One entry a step, with `None` where the steps are not next to each other.
    fn with_gaps<T>(&self, of: impl Fn(&Period, &Step) -> Option<T>) -> Vec<Option<T>> {
        let mut entries = Vec::with_capacity(self.steps.len());
        let mut expected: Option<Period> = None;
        for (period, step) in &self.steps {
            if expected.as_ref().is_some_and(|expected| expected != period) {
                entries.push(None);
            }
            entries.push(of(period, step));
            expected = Some(period.plus(1));
        }
        entries
    }

    fn line(&self, value: impl Fn(&Step) -> Option<f64>) -> String {
        let points =
            self.with_gaps(|period, step| value(step).map(|v| (self.x.at(period.middle()), self.height(period, v))));
        chart::line(points.into_iter())
    }

    fn normal_line(&self) -> String {
        let points =
            self.with_gaps(|period, _| self.climatology.at(period).map(|v| (self.x.at(period.middle()), self.y.at(v))));
        chart::line(points.into_iter())
    }

    fn area(&self, interval: impl Fn(&Forecast) -> Option<(f64, f64)>) -> String {
        let points = self.with_gaps(|period, step| {
            let (low, high) = step.forecast.and_then(&interval)?;
            Some((self.x.at(period.middle()), self.height(period, low), self.height(period, high)))
        });
        chart::band(points.into_iter())
    }

    /// Episodes of alerts as bars above the plot, each with the month in which it was first issued where there is room.
    fn alerts(&self) -> Markup {
        let y = PAPER.top - 34.0;
        let (from, to) = self.x.range();
        let mut free = f64::MIN;
        let ends = |alert: &Alert| alert.until.iter().chain(&alert.target).max().unwrap_or(&alert.issue).until();
        let shown = self.twin.alerts.iter().rev().filter(|alert| ends(alert) > from && alert.issue.from() < to);
        let placed: Vec<_> = shown
            .map(|alert| {
                let (start, end) = (self.x.at(alert.issue.from().max(from)), self.x.at(ends(alert).min(to)));
                let has_room = start >= free && start + LABEL_ROOM < PAPER.width;
                free = if has_room { start + LABEL_ROOM } else { free };
                (alert, start, end, has_room)
            })
            .collect();
        html! {
            g.alerts {
                @for (alert, start, end, has_room) in &placed {
                    rect.episode x=(place(*start)) width=(place(end - start)) y=(PAPER.top) height=(PAPER.height - PAPER.top - PAPER.bottom) {}
                    rect x=(place(*start)) width=(place((end - start).max(3.0))) y=(y) height="5" rx="2" {
                        title { "issued " (alert.issue.text()) ": " (alert.text) ", " (alert.detail) }
                    }
                    @if *has_room { text x=(place(*start)) y=(y - 5.0) { (alert.issue.text()) } }
                }
            }
        }
    }

    fn columns(&self) -> Vec<Column> {
        let issued: BTreeSet<&Period> = self.twin.alerts.iter().map(|alert| &alert.issue).collect();
        let column = |(period, step): (&Period, &Step)| Column {
            from: self.x.at(period.from()),
            until: self.x.at(period.until()),
            at: self.x.at(period.middle()),
            period: period.to_string(),
            text: self.read_out(period, step, issued.contains(period)),
        };
        self.steps.iter().map(column).collect()
    }

    fn read_out(&self, period: &Period, step: &Step, is_alert: bool) -> String {
        let unit = &self.twin.unit;
        let mut text = period.text();
        let departure = |value: f64| {
            self.climatology.at(period).map_or_else(String::new, |usual| format!(" ({})", signed(value - usual, 2)))
        };
        if let Some(value) = step.observed {
            text.push_str(&format!("\nobserved {} {unit}{}", number(value, 2), departure(value)));
        }
        if let Some(f) = step.forecast {
            text.push_str(&format!("\nforecast {} {unit}{}", number(f.mean, 2), departure(f.mean)));
            if let Some((low, high)) = f.interval_80 {
                text.push_str(&format!("\n80 %: {} to {}", number(low, 2), number(high, 2)));
            }
            if let Some((low, high)) = f.interval_95 {
                text.push_str(&format!("\n95 %: {} to {}", number(low, 2), number(high, 2)));
            }
            text.push_str(&format!("\nissued {}", f.issue.text()));
        }
        if is_alert {
            text.push_str("\nalert issued");
        }
        text
    }

    fn lead_words(&self) -> String {
        self.twin.grain().count(i64::from(self.view.lead))
    }

    fn words(&self) -> String {
        let observed: Vec<&Period> =
            self.steps.iter().filter(|(_, step)| step.observed.is_some()).map(|(period, _)| period).collect();
        let mut words = match (observed.first(), observed.last()) {
            (Some(from), Some(to)) => format!("{} observations from {} to {}.", observed.len(), from.text(), to.text()),
            _ => "No observations in this window.".to_owned(),
        };
        let judged: Vec<(f64, &Forecast)> =
            self.steps.values().filter_map(|step| Some((step.observed?, step.forecast?))).collect();
        if judged.is_empty() {
            return words;
        }
        let count = judged.len() as f64;
        let rmse = (judged.iter().map(|(truth, f)| (truth - f.mean).powi(2)).sum::<f64>() / count).sqrt();
        words.push_str(&format!(
            " Forecasts made {} before missed by {} {} (root mean square of {}).",
            self.lead_words(),
            number(rmse, 2),
            self.twin.unit,
            judged.len()
        ));
        let intervals: [(i32, Interval); 2] = [(80, |f| f.interval_80), (95, |f| f.interval_95)];
        for (share, interval) in intervals {
            let held =
                judged.iter().filter(|(truth, f)| interval(f).is_some_and(|(low, high)| (low..=high).contains(truth)));
            if judged.iter().any(|(_, f)| interval(f).is_some()) {
                let held = number(held.count() as f64 / count * 100.0, 0);
                words.push_str(&format!(" The {share} % interval held {held} % of them."));
            }
        }
        words
    }
}
