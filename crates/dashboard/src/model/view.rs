//! What part of a twin the viewer has asked for: the query of a twin's page.

use serde::{Deserialize, Serialize};

use super::period::Period;
use super::twin::Twin;

/// `?lead=3&from=1982-01&to=1984-12&scale=anomaly`, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
}

/// Whether the record is drawn as it is or as departure from the climatology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Anomaly,
    Value,
}

impl Measure {
    pub fn word(self) -> &'static str {
        match self {
            Measure::Anomaly => "anomaly",
            Measure::Value => "value",
        }
    }
}

/// What is shown, with every wish made possible.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub lead: u32,
    pub measure: Measure,
    /// The whole record that can be shown.
    pub whole: (Period, Period),
    /// The part that is shown.
    pub window: (Period, Period),
}

/// The narrowest window, in steps.
const NARROWEST: i64 = 11;
/// The lead that is shown when nobody asks.
const USUAL_LEAD: u32 = 3;

impl Wanted {
    /// The lead that is asked for, when it is a number.
    pub fn lead(&self) -> u32 {
        self.lead.as_deref().and_then(|lead| lead.parse().ok()).filter(|lead| *lead > 0).unwrap_or(USUAL_LEAD)
    }
}

impl View {
    /// Fits the wishes to what the twin has. `None` when nothing is observed yet.
    pub fn of(twin: &Twin, wanted: &Wanted) -> Option<View> {
        let first = twin.observed.first()?.period.clone();
        let last = twin.observed.last()?.period.clone();
        let end = twin.newest.last().map_or(last.clone(), |forecast| forecast.target.clone().max(last));
        // A year of what came before gives the eye a start.
        let begin = twin.start.as_ref().map_or(first.clone(), |start| start.plus(-12).max(first));
        let whole = (begin, end);
        let lead = wanted.lead();
        let lead = if twin.leads.is_empty() || twin.leads.contains(&lead) { lead } else { twin.leads[0] };
        let measure = match wanted.scale.as_deref() {
            Some("value") => Measure::Value,
            _ => Measure::Anomaly,
        };
        let parse = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Period>().ok());
        let grain = whole.0.grain();
        let fit = |period: Period| Period::holding(period.middle(), grain);
        let from = parse(&wanted.from).map_or(whole.0.clone(), fit).clamp(whole.0.clone(), whole.1.clone());
        let to = parse(&wanted.to).map_or(whole.1.clone(), fit).clamp(whole.0.clone(), whole.1.clone());
        let window = widened((from, to), &whole);
        Some(View { lead, measure, whole, window })
    }

    pub fn is_whole(&self) -> bool {
        self.window == self.whole
    }

    /// The last `steps` steps of what there is.
    pub fn last_steps(&self, steps: i64) -> (Period, Period) {
        (self.whole.1.plus(1 - steps).max(self.whole.0.clone()), self.whole.1.clone())
    }

    /// The window moved by `share` of its width (negative: earlier).
    pub fn moved(&self, share: f64) -> (Period, Period) {
        let by = ((self.window.1.until() - self.window.0.from()) * share) / step_days(&self.window.0);
        let by = by.round() as i64;
        let (mut from, mut to) = (self.window.0.plus(by), self.window.1.plus(by));
        let steps = ((self.window.1.from() - self.window.0.from()) / step_days(&self.window.0)).round() as i64;
        if from < self.whole.0 {
            (from, to) = (self.whole.0.clone(), self.whole.0.plus(steps));
        }
        if to > self.whole.1 {
            (from, to) = (self.whole.1.plus(-steps).max(self.whole.0.clone()), self.whole.1.clone());
        }
        (from, to)
    }

    /// The query that shows this view with some of it changed. The whole window is written as no window, so that the
    /// page goes on to show all of it while it grows.
    pub fn query(&self, lead: Option<u32>, measure: Option<Measure>, window: Option<&(Period, Period)>) -> String {
        let window = window.unwrap_or(&self.window);
        let mut query = format!("lead={}", lead.unwrap_or(self.lead));
        if measure.unwrap_or(self.measure) == Measure::Value {
            query.push_str("&scale=value");
        }
        if *window != self.whole {
            if window.0 != self.whole.0 {
                query.push_str(&format!("&from={}", window.0));
            }
            if window.1 != self.whole.1 {
                query.push_str(&format!("&to={}", window.1));
            }
        }
        query
    }
}

/// Mean length of a step in days.
fn step_days(period: &Period) -> f64 {
    (period.plus(120).from() - period.from()) / 120.0
}

fn widened((from, to): (Period, Period), whole: &(Period, Period)) -> (Period, Period) {
    let (from, to) = if from <= to { (from, to) } else { (to, from) };
    if from.plus(NARROWEST) <= to {
        return (from, to);
    }
    let to = from.plus(NARROWEST).min(whole.1.clone());
    let from = to.plus(-NARROWEST).max(whole.0.clone());
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::twin::Observation;

    fn twin() -> Twin {
        let first: Period = "1950-01".parse().expect("a period");
        Twin {
            observed: (0..732).map(|i| Observation { period: first.plus(i), value: 0.0 }).collect(),
            start: "1980-01".parse().ok(),
            leads: vec![1, 2, 3],
            ..Twin::default()
        }
    }

    fn wanted(query: &[(&str, &str)]) -> Wanted {
        let get = |key: &str| query.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        Wanted { lead: get("lead"), from: get("from"), to: get("to"), scale: get("scale") }
    }

    #[test]
    fn wishes_are_made_possible() {
        let view = View::of(&twin(), &Wanted::default()).expect("observed");
        assert_eq!((view.lead, view.is_whole()), (3, true));
        assert_eq!(view.window.0.to_string(), "1979-01");
        let view =
            View::of(&twin(), &wanted(&[("lead", "9"), ("from", "1990-05"), ("to", "1990-06")])).expect("observed");
        assert_eq!(view.lead, 1);
        assert_eq!((view.window.0.to_string(), view.window.1.to_string()), ("1990-05".into(), "1991-04".into()));
        let view =
            View::of(&twin(), &wanted(&[("from", "<script>"), ("to", "1066"), ("lead", "-1")])).expect("observed");
        assert_eq!(view.window.0.to_string(), "1979-01");
        assert!(View::of(&Twin::default(), &Wanted::default()).is_none());
    }

    #[test]
    fn queries_keep_what_is_not_changed() {
        let view = View::of(&twin(), &wanted(&[("from", "1982-01"), ("to", "1984-12")])).expect("observed");
        assert_eq!(view.query(None, None, None), "lead=3&from=1982-01&to=1984-12");
        assert_eq!(view.query(Some(1), Some(Measure::Value), Some(&view.whole)), "lead=1&scale=value");
        let (from, to) = view.moved(-0.5);
        assert_eq!((from.to_string(), to.to_string()), ("1980-07".into(), "1983-06".into()));
        let (from, to) = view.moved(-9.0);
        assert_eq!((from.to_string(), to.to_string()), ("1979-01".into(), "1981-12".into()));
    }
}
