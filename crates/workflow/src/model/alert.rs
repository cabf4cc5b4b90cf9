//! When people are told: a forecast that makes an event likely, once for each episode.
//!
//! Hysteresis: an alert is raised when the anomaly is likely enough to reach the threshold; the episode ends only when the
//! mean anomaly of all leads is below a lower mark. In between nothing is raised again.

use super::forecast::Row;
use super::month::Month;
use super::number::Micro;
use super::skill::Climatology;

/// Half width of an 80 % interval in standard deviations of a normal error.
const NORMAL_80: f64 = 1.281_551_565_5;

/// The condition of an alert, in the series' unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    pub at_least: f64,
    pub first_lead: u32,
    pub last_lead: u32,
    pub probability: f64,
    pub over_below: f64,
}

/// The lead at which the event is most likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signal {
    pub lead: u32,
    pub target: Month,
    pub anomaly: Micro,
    /// That the anomaly reaches the threshold.
    pub probability: f64,
}

/// What a new forecast means for an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing is going on, or an episode goes on.
    Same,
    /// A new episode.
    Raise(Signal),
    /// The episode is over.
    Over,
}

/// Looks at one forecast. `open` is whether an episode is going on.
pub fn step(condition: &Condition, open: bool, rows: &[Row], climatology: &Climatology) -> Step {
    let looked_at: Vec<Signal> = rows
        .iter()
        .filter(|row| (condition.first_lead..=condition.last_lead).contains(&row.lead))
        .map(|row| signal(condition, row, climatology))
        .collect();
    let strongest = looked_at.iter().max_by(|a, b| a.probability.total_cmp(&b.probability).then(b.lead.cmp(&a.lead)));
    match strongest {
        None => Step::Same,
        Some(strongest) if !open && strongest.probability >= condition.probability => Step::Raise(*strongest),
        Some(_) if open && looked_at.iter().all(|one| one.anomaly.to_f64() < condition.over_below) => Step::Over,
        Some(_) => Step::Same,
    }
}

fn signal(condition: &Condition, row: &Row, climatology: &Climatology) -> Signal {
    let anomaly = climatology.anomaly(row.target, row.mean);
    let spread = (row.upper80 - row.lower80).to_f64() / (2.0 * NORMAL_80);
    let distance = anomaly.to_f64() - condition.at_least;
    let probability = if spread > 0.0 { normal_below(distance / spread) } else { f64::from(u8::from(distance >= 0.0)) };
    Signal { lead: row.lead, target: row.target, anomaly, probability }
}

/// The standard normal distribution function, to about 1e-7 (Abramowitz and Stegun, 7.1.26).
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let upper = 0.5 * polynomial * (-x * x).exp();
    if z >= 0.0 { 1.0 - upper } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITION: Condition =
        Condition { at_least: 1.0, first_lead: 1, last_lead: 3, probability: 0.8, over_below: 0.5 };

    fn flat() -> Climatology {
        let first: Month = "1950-01".parse().expect("month");
        Climatology::of((0..12).map(|i| (first.plus(i), Micro(20_000_000)))).expect("a year")
    }

    /// Mean anomalies at leads 1, 2, …, with a standard deviation of half a degree.
    fn rows(anomalies: &[f64]) -> Vec<Row> {
        let issue: Month = "1982-08".parse().expect("month");
        let row = |(index, anomaly): (usize, &f64)| {
            let lead = u32::try_from(index + 1).expect("small");
            let at = |offset: f64| Micro::from_f64(20.0 + anomaly + offset).expect("finite");
            let target = issue.plus(i32::try_from(lead).expect("small"));
            Row {
                lead,
                target,
                mean: at(0.0),
                lower80: at(-0.640_776),
                upper80: at(0.640_776),
                lower95: at(-0.98),
                upper95: at(0.98),
            }
        };
        anomalies.iter().enumerate().map(row).collect()
    }

    #[test]
    fn normal_distribution() {
        for (z, p) in [(0.0, 0.5), (1.281_551_6, 0.9), (-1.281_551_6, 0.1), (1.959_964, 0.975), (-5.0, 2.87e-7)] {
            assert!((normal_below(z) - p).abs() < 2e-7, "{z}");
        }
    }

    #[test]
    fn one_alert_an_episode() {
        let steps = [
            (vec![0.5, 0.9, 1.2], "quiet: one chance in two is not enough"),
            (vec![0.9, 1.5, 1.2], "raise"),
            (vec![1.9, 2.5, 2.2], "same"),
            (vec![0.4, 0.4, 0.6], "same: not all leads are below"),
            (vec![0.4, 0.4, 0.4], "over"),
            (vec![0.4, 0.4, 1.6], "raise"),
        ];
        let mut open = false;
        for (anomalies, wanted) in steps {
            let step = step(&CONDITION, open, &rows(&anomalies), &flat());
            let said = match step {
                Step::Raise(signal) => {
                    assert!(signal.probability >= 0.8);
                    open = true;
                    "raise"
                }
                Step::Over => {
                    open = false;
                    "over"
                }
                Step::Same if open => "same",
                Step::Same => "quiet",
            };
            assert!(wanted.starts_with(said), "{anomalies:?}: {said}, wanted {wanted}");
        }
    }

    #[test]
    fn only_the_named_leads_count() {
        assert_eq!(step(&CONDITION, false, &rows(&[0.0, 0.0, 0.0, 9.0]), &flat()), Step::Same);
        let Step::Raise(signal) = step(&CONDITION, false, &rows(&[3.0, 4.0, 2.0]), &flat()) else { panic!("raises") };
        assert_eq!((signal.lead, signal.target.to_string().as_str()), (2, "1982-10"));
    }
}
