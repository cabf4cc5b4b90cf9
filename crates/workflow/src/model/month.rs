//! A calendar month: `1982-09`.

use std::fmt;
use std::str::FromStr;

use dte_store::{FromValue, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A month of a year, counted from January of year 0 so that months can be added and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

/// A text that is not a month.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a month such as 1980-01")]
pub struct BadMonth(pub String);

impl Month {
    /// January of the year 0.
    pub const EARLIEST: Month = Month(0);

    /// The calendar month, 0 for January to 11 for December.
    pub fn of_year(self) -> usize {
        usize::try_from(self.0.rem_euclid(12)).unwrap_or(0)
    }

    /// The month `count` months later (earlier when negative).
    pub fn plus(self, count: i32) -> Month {
        Month(self.0.saturating_add(count))
    }

    /// The month after this one.
    pub fn next(self) -> Month {
        self.plus(1)
    }

    /// How many months `self` is after `earlier`; negative when it is before.
    pub fn since(self, earlier: Month) -> i32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

impl FromStr for Month {
    type Err = BadMonth;
    fn from_str(text: &str) -> Result<Month, BadMonth> {
        let bad = || BadMonth(text.to_owned());
        let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        let (year, month) = text.split_once('-').ok_or_else(bad)?;
        if !digits(year, 4) || !digits(month, 2) {
            return Err(bad());
        }
        let (year, month): (i32, i32) = (year.parse().map_err(|_| bad())?, month.parse().map_err(|_| bad())?);
        if !(1..=12).contains(&month) {
            return Err(bad());
        }
        Ok(Month(year * 12 + month - 1))
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl From<Month> for Value {
    fn from(month: Month) -> Value {
        Value::from(month.0)
    }
}

impl FromValue for Month {
    const WANTED: &'static str = "a month";
    fn from_value(value: &Value) -> Option<Self> {
        i32::from_value(value).map(Month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let month: Month = "1982-12".parse().expect("month");
        assert_eq!(month.of_year(), 11);
        assert_eq!(month.next().to_string(), "1983-01");
        assert_eq!(month.plus(-12).to_string(), "1981-12");
        assert_eq!(month.next().since(month), 1);
        for bad in ["1982", "1982-13", "1982-00", "82-01", "1982-1", "1982-+1", "+982-01", "1982-01-01", ""] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }
}
