//! How good forecasts were: squared errors of the model beside those of forecasts that cost nothing.
//!
//! *Climatology* is the mean of the target's calendar month over a fixed reference period. *Persistence* is anomaly
//! persistence: the target's climatology plus the issue month's departure from its own. A pair of forecast and observation
//! counts once, when the later of the two is known. Sums are integers, so they do not depend on the order of the pairs.

use super::document::Baseline;
use super::month::Month;
use super::number::Micro;

/// The mean of each calendar month over a reference period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Climatology([Micro; 12]);

impl Climatology {
    /// `None` unless the values hold every calendar month.
    pub fn of(values: impl IntoIterator<Item = (Month, Micro)>) -> Option<Climatology> {
        let mut sums = [(0_i128, 0_i128); 12];
        for (month, value) in values {
            let (sum, count) = &mut sums[month.of_year()];
            *sum += i128::from(value.0);
            *count += 1;
        }
        let mut means = [Micro(0); 12];
        for (mean, (sum, count)) in means.iter_mut().zip(sums) {
            if count == 0 {
                return None;
            }
            // Rounded to the nearest millionth.
            *mean = Micro(i64::try_from((2 * sum + count).div_euclid(2 * count)).ok()?);
        }
        Some(Climatology(means))
    }

    pub fn at(&self, month: Month) -> Micro {
        self.0[month.of_year()]
    }

    /// The departure of a value from its calendar month's mean.
    pub fn anomaly(&self, month: Month, value: Micro) -> Micro {
        value - self.at(month)
    }

    /// Anomaly persistence from `issue`, where `value` was observed, to `target`.
    pub fn persistence(&self, issue: Month, value: Micro, target: Month) -> Micro {
        self.at(target) + self.anomaly(issue, value)
    }
}

/// Sums of squared errors at one lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub count: u64,
    pub model: i128,
    pub persistence: i128,
    pub climatology: i128,
}

/// A forecast whose target was observed.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub issue: Month,
    pub target: Month,
    pub mean: Micro,
    /// Observed in the issue month.
    pub start: Micro,
    /// Observed in the target month.
    pub truth: Micro,
}

impl Score {
    /// Counts one more forecast.
    pub fn add(&mut self, pair: &Pair, climatology: &Climatology) {
        let persistence = climatology.persistence(pair.issue, pair.start, pair.target);
        self.count += 1;
        self.model += pair.mean.squared_distance(pair.truth);
        self.persistence += persistence.squared_distance(pair.truth);
        self.climatology += climatology.at(pair.target).squared_distance(pair.truth);
    }

    /// Root mean square error in the series' unit; `None` before the first pair.
    pub fn rmse(&self, squares: i128) -> Option<f64> {
        (self.count > 0).then(|| (squares as f64 / self.count as f64).sqrt() / 1e6)
    }

    fn beats(&self, baseline: Baseline) -> bool {
        self.model
            < match baseline {
                Baseline::Persistence => self.persistence,
                Baseline::Climatology => self.climatology,
            }
    }
}

/// What the skill gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too few forecasts were judged.
    Waiting,
    Passed,
    /// The leads at which a baseline is at least as good.
    Failed(Vec<u32>),
}

/// Whether the model is better than all baselines at all leads, once enough was judged.
pub fn verdict(scores: &[(u32, Score)], baselines: &[Baseline], leads: &[u32], after: u64) -> Verdict {
    let score =
        |lead: u32| scores.iter().find(|(known, _)| *known == lead).map(|(_, score)| *score).unwrap_or_default();
    if leads.iter().any(|lead| score(*lead).count < after.max(1)) {
        return Verdict::Waiting;
    }
    let worse = |lead: &u32| baselines.iter().any(|baseline| !score(*lead).beats(*baseline));
    let failed: Vec<u32> = leads.iter().copied().filter(worse).collect();
    if failed.is_empty() { Verdict::Passed } else { Verdict::Failed(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> Month {
        text.parse().expect("month")
    }

    fn years() -> Vec<(Month, Micro)> {
        // Two years; calendar month m is 10·m, then 10·m + 2.
        (0..24).map(|i| (month("1950-01").plus(i), Micro(i64::from(i % 12) * 10 + i64::from(i / 12) * 2))).collect()
    }

    #[test]
    fn climatology_and_back() {
        let climatology = Climatology::of(years()).expect("whole years");
        assert_eq!(climatology.at(month("1999-02")), Micro(11));
        assert_eq!(climatology.persistence(month("1960-01"), Micro(6), month("1960-03")), Micro(26));
        assert_eq!(Climatology::of(years().into_iter().take(11)), None);
    }

    #[test]
    fn scores_do_not_depend_on_order() {
        let climatology = Climatology::of(years()).expect("whole years");
        let pair = |mean: i64| Pair {
            issue: month("1960-01"),
            target: month("1960-02"),
            mean: Micro(mean),
            start: Micro(3),
            truth: Micro(15),
        };
        let (mut forth, mut back) = (Score::default(), Score::default());
        for mean in [14, 17, 15] {
            forth.add(&pair(mean), &climatology);
        }
        for mean in [15, 17, 14] {
            back.add(&pair(mean), &climatology);
        }
        assert_eq!(forth, back);
        assert_eq!((forth.model, forth.persistence, forth.climatology), (5, 12, 48));
        assert_eq!(Score::default().rmse(0), None);
    }

    #[test]
    fn verdicts() {
        let good = Score { count: 24, model: 1, persistence: 2, climatology: 3 };
        let bad = Score { count: 24, model: 2, persistence: 2, climatology: 3 };
        let both = [Baseline::Persistence, Baseline::Climatology];
        assert_eq!(verdict(&[(1, good)], &both, &[1, 2], 24), Verdict::Waiting);
        assert_eq!(verdict(&[(1, good), (2, good)], &both, &[1, 2], 24), Verdict::Passed);
        assert_eq!(verdict(&[(1, good), (2, bad)], &both, &[1, 2], 24), Verdict::Failed(vec![2]));
        assert_eq!(verdict(&[(1, bad)], &[Baseline::Climatology], &[1], 24), Verdict::Passed);
        assert_eq!(verdict(&[(1, bad)], &both, &[1], 25), Verdict::Waiting);
    }
}
