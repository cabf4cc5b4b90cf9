//! Numbers to places on the paper, and where the ticks go.

use crate::model::period::{Grain, Period};

/// A linear scale from numbers to a side of the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// `from` is drawn at `start`, `to` at `end`. A range without width is widened, so that nothing divides by zero.
    pub fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Scale {
        let (from, to) = match (from.is_finite(), to.is_finite()) {
            (true, true) if to > from => (from, to),
            (true, _) => (from - 0.5, from + 0.5),
            _ => (0.0, 1.0),
        };
        Scale { from, to, start, end }
    }

    pub fn at(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    pub fn holds(&self, value: f64) -> bool {
        (self.from..=self.to).contains(&value)
    }

    pub fn range(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// First and last place.
    pub fn places(&self) -> (f64, f64) {
        (self.start, self.end)
    }
}

/// A tick and its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub label: String,
    /// Stronger than the others: zero, or the beginning of a year.
    pub is_major: bool,
}

/// About `about` round numbers between `from` and `to`.
pub fn ticks(from: f64, to: f64, about: usize) -> Vec<Tick> {
    let span = to - from;
    if !(span.is_finite() && span > 0.0) {
        return Vec::new();
    }
    let rough = span / about.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough * 0.999).unwrap_or(power);
    let digits = usize::try_from((-step.log10().floor()).max(0.0) as i64).unwrap_or(0).min(6);
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|n| {
            let value = n as f64 * step;
            Tick { value, label: number(value, digits), is_major: n == 0 }
        })
        .collect()
}

/// A range that holds all `values` with some air, ending at round numbers.
pub fn range_of(values: impl Iterator<Item = f64>, about: usize) -> (f64, f64) {
    let (low, high) =
        values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let air = ((high - low) * 0.04).max(1e-6);
    let (low, high) = (low - air, high + air);
    let inner = ticks(low, high, about);
    let step = match inner.as_slice() {
        [a, b, ..] => b.value - a.value,
        _ => return (low, high),
    };
    ((low / (step / 2.0)).floor() * step / 2.0, (high / (step / 2.0)).ceil() * step / 2.0)
}

/// A number as it is printed: a true minus sign, no minus zero.
pub fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| matches!(b, b'0' | b'.')) => rest.to_owned(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

/// The same with a plus sign in front of what is above zero.
pub fn signed(value: f64, digits: usize) -> String {
    let text = number(value, digits);
    if text.starts_with('\u{2212}') || text.bytes().all(|b| matches!(b, b'0' | b'.')) {
        text
    } else {
        format!("+{text}")
    }
}

/// Ticks of time, at most `most`: years, quarters, months or days, whichever fit.
pub fn time_ticks(from: f64, to: f64, most: usize) -> Vec<Tick> {
    const STEPS: [(Grain, i64); 13] = [
        (Grain::Day, 1),
        (Grain::Day, 7),
        (Grain::Month, 1),
        (Grain::Month, 2),
        (Grain::Month, 3),
        (Grain::Month, 6),
        (Grain::Year, 1),
        (Grain::Year, 2),
        (Grain::Year, 5),
        (Grain::Year, 10),
        (Grain::Year, 20),
        (Grain::Year, 50),
        (Grain::Year, 100),
    ];
    let days = |grain: Grain, n: i64| {
        n as f64
            * match grain {
                Grain::Day => 1.0,
                Grain::Month => 30.44,
                Grain::Year => 365.25,
            }
    };
    let fits = |(grain, n): &(Grain, i64)| (to - from) / days(*grain, *n) <= most as f64;
    let (grain, n) = STEPS.into_iter().find(fits).unwrap_or((Grain::Year, 200));
    let mut period = aligned(Period::holding(from, grain), n);
    let mut ticks = Vec::new();
    while period.from() <= to && ticks.len() <= 2 * most {
        if period.from() >= from {
            ticks.push(Tick {
                value: period.from(),
                label: time_label(&period, ticks.is_empty()),
                is_major: starts_year(&period),
            });
        }
        period = period.plus(n);
    }
    ticks
}

/// The last step at or before `period` whose number within the year (or century) is a multiple of `n`.
fn aligned(period: Period, n: i64) -> Period {
    let number = match period.grain() {
        Grain::Day => 0,
        Grain::Month => i64::from(period.month()) - 1,
        Grain::Year => i64::from(period.year()),
    };
    period.plus(-number.rem_euclid(n))
}

fn starts_year(period: &Period) -> bool {
    match period.grain() {
        Grain::Year => true,
        Grain::Month => period.month() == 1,
        Grain::Day => period.of_year() == 0,
    }
}

fn time_label(period: &Period, is_first: bool) -> String {
    let text = period.text();
    match period.grain() {
        Grain::Month if !is_first && !starts_year(period) => text[..3].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn round_ticks() {
        assert_eq!(labels(&ticks(-2.2, 4.3, 7)), ["\u{2212}2", "\u{2212}1", "0", "1", "2", "3", "4"]);
        assert_eq!(labels(&ticks(0.0, 0.31, 3)), ["0.0", "0.2"]);
        assert_eq!(labels(&ticks(19.0, 28.0, 5)), ["20", "22", "24", "26", "28"]);
        assert!(ticks(1.0, 1.0, 5).is_empty());
        assert!(ticks(f64::NAN, 1.0, 5).is_empty());
    }

    #[test]
    fn ticks_of_time() {
        let days = |text: &str| text.parse::<Period>().expect("a period").from();
        assert_eq!(
            labels(&time_ticks(days("1979-01"), days("2011-07"), 12)),
            ["1980", "1985", "1990", "1995", "2000", "2005", "2010"]
        );
        assert_eq!(
            labels(&time_ticks(days("1982-11"), days("1983-12"), 8)),
            ["Nov 1982", "Jan 1983", "Mar", "May", "Jul", "Sep", "Nov"]
        );
    }

    #[test]
    fn signs() {
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(number(-1.5, 1), "\u{2212}1.5");
        assert_eq!(signed(0.25, 2), "+0.25");
        assert_eq!(signed(0.0, 1), "0.0");
    }

    #[test]
    fn ranges_without_width() {
        let scale = Scale::new((3.0, 3.0), (0.0, 10.0));
        assert_eq!(scale.at(3.0), 5.0);
        assert_eq!(range_of(std::iter::empty(), 5), (0.0, 1.0));
        let (low, high) = range_of([20.0, 20.0].into_iter(), 5);
        assert!(low < 20.0 && high > 20.0);
    }
}
