//! Decimal numbers with six places, kept as integers: the database has no floating point, and sums must not depend on the
//! order in which they were made.

use std::fmt;

use dte_store::{FromValue, Value};
use serde::{Serialize, Serializer};

const SCALE: f64 = 1e6;

/// A quantity in millionths of its unit (for example of a degree).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micro(pub i64);

impl Micro {
    /// Rounds to the nearest millionth; `None` for what is not finite or too large.
    pub fn from_f64(number: f64) -> Option<Micro> {
        let scaled = (number * SCALE).round();
        // Far inside of what both i64 and f64 hold exactly.
        (scaled.is_finite() && scaled.abs() < 9e15).then_some(Micro(scaled as i64))
    }

    pub fn to_f64(self) -> f64 {
        self.0 as f64 / SCALE
    }

    /// The square of the difference, in millionths squared.
    pub fn squared_distance(self, other: Micro) -> i128 {
        let distance = i128::from(self.0) - i128::from(other.0);
        distance * distance
    }
}

impl std::ops::Add for Micro {
    type Output = Micro;
    fn add(self, other: Micro) -> Micro {
        Micro(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for Micro {
    type Output = Micro;
    fn sub(self, other: Micro) -> Micro {
        Micro(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_f64())
    }
}

impl Serialize for Micro {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_f64())
    }
}

impl From<Micro> for Value {
    fn from(number: Micro) -> Value {
        Value::Int(number.0)
    }
}

impl FromValue for Micro {
    const WANTED: &'static str = "a number in millionths";
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_and_bounds() {
        assert_eq!(Micro::from_f64(23.11), Some(Micro(23_110_000)));
        assert_eq!(Micro::from_f64(-0.000_000_4), Some(Micro(0)));
        assert_eq!(Micro::from_f64(f64::NAN), None);
        assert_eq!(Micro::from_f64(1e300), None);
        assert_eq!(Micro(3).squared_distance(Micro(-1)), 16);
        assert_eq!(Micro(23_110_000).to_string(), "23.11");
    }
}
