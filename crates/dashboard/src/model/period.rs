//! Steps of time as twins name them: `1983`, `1983-01`, `1983-01-15` or an RFC 3339 time, on one axis of days since 1970.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, date};
use jiff::{Span, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A step of time: a year, a month, a day, or an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    first: Date,
    grain: Grain,
}

/// How long a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    Day,
    Month,
    Year,
}

impl Grain {
    /// `1 month`, `3 months`
    pub fn count(self, n: i64) -> String {
        let word = match self {
            Grain::Day => "day",
            Grain::Month => "month",
            Grain::Year => "year",
        };
        if n.abs() == 1 { format!("{n} {word}") } else { format!("{n} {word}s") }
    }

    fn steps(self, n: i64) -> Span {
        // Far more than any calendar holds; beyond it the addition below saturates anyway.
        let n = n.clamp(-200_000, 200_000);
        match self {
            Grain::Day => n.days(),
            Grain::Month => n.clamp(-12_000, 12_000).months(),
            Grain::Year => n.clamp(-1_000, 1_000).years(),
        }
    }
}

impl Period {
    /// The step of length `grain` that holds the day `days` after 1970-01-01.
    pub fn holding(days: f64, grain: Grain) -> Period {
        let day = date(1970, 1, 1).saturating_add(Grain::Day.steps(days.floor() as i64));
        let first = match grain {
            Grain::Day => day,
            Grain::Month => day.first_of_month(),
            Grain::Year => day.first_of_year(),
        };
        Period { first, grain }
    }

    pub fn grain(&self) -> Grain {
        self.grain
    }

    /// `n` steps later (earlier when negative).
    pub fn plus(&self, n: i64) -> Period {
        Period { first: self.first.saturating_add(self.grain.steps(n)), grain: self.grain }
    }

    /// Where it begins, in days since 1970-01-01.
    pub fn from(&self) -> f64 {
        days_of(self.first)
    }

    /// Where the next step begins.
    pub fn until(&self) -> f64 {
        self.plus(1).from()
    }

    /// Where a mean over the step is drawn.
    pub fn middle(&self) -> f64 {
        f64::midpoint(self.from(), self.until())
    }

    /// Which step of its year it is, to compare like with like: 0 to 11 for months, 0 for years, the day of the year for
    /// days.
    pub fn of_year(&self) -> usize {
        match self.grain {
            Grain::Year => 0,
            Grain::Month => usize::from(self.first.month().unsigned_abs()) - 1,
            Grain::Day => usize::from(self.first.day_of_year().unsigned_abs()) - 1,
        }
    }

    pub fn year(&self) -> i16 {
        self.first.year()
    }

    pub fn month(&self) -> i8 {
        self.first.month()
    }

    /// `Jan 1983`, as people write it.
    pub fn text(&self) -> String {
        let pattern = match self.grain {
            Grain::Year => "%Y",
            Grain::Month => "%b %Y",
            Grain::Day => "%-d %b %Y",
        };
        self.first.strftime(pattern).to_string()
    }
}

fn days_of(day: Date) -> f64 {
    day.since(date(1970, 1, 1)).map_or(0.0, |span| f64::from(span.get_days()))
}

impl PartialOrd for Period {
    fn partial_cmp(&self, other: &Period) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Period {
    fn cmp(&self, other: &Period) -> Ordering {
        self.first.cmp(&other.first).then(self.grain.cmp(&other.grain))
    }
}

/// A text that names no step of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a year, month or day such as 1983-01")]
pub struct BadPeriod(String);

impl FromStr for Period {
    type Err = BadPeriod;
    fn from_str(text: &str) -> Result<Period, BadPeriod> {
        let bad = || BadPeriod(text.chars().take(40).collect());
        let shape = |text: &str| text.bytes().map(|b| if b.is_ascii_digit() { b'd' } else { b }).collect::<Vec<u8>>();
        let (full, grain) = match shape(text).as_slice() {
            b"dddd" => (format!("{text}-01-01"), Grain::Year),
            b"dddd-dd" => (format!("{text}-01"), Grain::Month),
            b"dddd-dd-dd" => (text.to_owned(), Grain::Day),
            [b'd', b'd', b'd', b'd', b'-', b'd', b'd', b'-', b'd', b'd', b'T' | b' ', ..] => {
                (text[..10].to_owned(), Grain::Day)
            }
            _ => return Err(bad()),
        };
        let first: Date = full.parse().map_err(|_| bad())?;
        Ok(Period { first, grain })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = match self.grain {
            Grain::Year => "%Y",
            Grain::Month => "%Y-%m",
            Grain::Day => "%Y-%m-%d",
        };
        f.write_str(&self.first.strftime(pattern).to_string())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Period {
        text.parse().expect("a period")
    }

    #[test]
    fn texts_and_days() {
        for text in ["1983", "1983-01", "1983-01-31"] {
            assert_eq!(period(text).to_string(), text);
        }
        assert_eq!(period("1983-01-31T10:00:00Z").to_string(), "1983-01-31");
        assert_eq!(period("1970-01").from(), 0.0);
        assert_eq!(period("1970-02").from(), 31.0);
        assert_eq!(period("1972-02").until() - period("1972-02").from(), 29.0);
        assert_eq!(period("1983-01").text(), "Jan 1983");
        for bad in ["", "83", "1983-13", "1983-1", "<b>", "1983-02-30", "január"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn steps() {
        assert_eq!(period("1982-11").plus(3).to_string(), "1983-02");
        assert_eq!(period("1983").plus(-1).to_string(), "1982");
        assert_eq!(Period::holding(58.9, Grain::Month).to_string(), "1970-02");
        assert_eq!(Period::holding(-0.5, Grain::Year).to_string(), "1969");
        assert_eq!(period("1983-12").of_year(), 11);
        // Beyond the calendar it stays at its end instead of failing.
        assert_eq!(period("9999-12").plus(i64::MAX).year(), 9999);
    }
}
