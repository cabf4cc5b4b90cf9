//! What usage costs. Prices and costs are integers: millionths of the currency unit on the wire, billionths where costs are
//! added up, so that many small runs do not vanish in rounding.

use serde::{Deserialize, Serialize};

/// `[accounting]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// For people: `EUR`.
    pub currency: String,
    /// Millionths of the unit for one core for one hour.
    pub core_hour_micro: i64,
    /// Millionths of the unit for 10⁹ bytes for 30 days.
    pub gb_month_micro: i64,
    /// Millionths of the unit for 10⁹ bytes moved.
    pub gb_moved_micro: i64,
}

impl Default for Prices {
    fn default() -> Self {
        Prices { currency: "EUR".to_owned(), core_hour_micro: 50_000, gb_month_micro: 20_000, gb_moved_micro: 10_000 }
    }
}

/// Millionths of a second in an hour.
const HOUR_MICROS: i128 = 3_600_000_000;
/// A month of 30 days.
const MONTH_MINUTES: i128 = 30 * 24 * 60;
const GB: i128 = 1_000_000_000;
/// Billionths in a millionth.
const NANO: i128 = 1_000;

impl Prices {
    /// The cost of core time, in billionths.
    pub fn compute_nano(&self, core_micros: i64) -> i64 {
        cost(i128::from(core_micros), self.core_hour_micro, HOUR_MICROS)
    }

    /// The cost of holding bytes, given as bytes × minutes, in billionths.
    pub fn storage_nano(&self, byte_minutes: i128) -> i64 {
        cost(byte_minutes, self.gb_month_micro, GB * MONTH_MINUTES)
    }

    /// The cost of moving bytes, in billionths.
    pub fn transfer_nano(&self, bytes: i64) -> i64 {
        cost(i128::from(bytes), self.gb_moved_micro, GB)
    }
}

/// Billionths as millionths.
pub fn micro(nano: i64) -> i64 {
    rounded(i128::from(nano), NANO)
}

/// The cost of an amount at a price in millionths for each `unit` of it, in billionths.
fn cost(amount: i128, price_micro: i64, unit: i128) -> i64 {
    rounded(amount.saturating_mul(i128::from(price_micro)).saturating_mul(NANO), unit)
}

/// Divides, rounding halves up. What no integer holds becomes the largest.
fn rounded(amount: i128, divisor: i128) -> i64 {
    let quotient = amount.saturating_add(divisor / 2).div_euclid(divisor);
    i64::try_from(quotient).unwrap_or(if quotient < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let prices = Prices::default();
        assert_eq!(micro(prices.compute_nano(3_600_000_000)), 50_000);
        assert_eq!(micro(prices.storage_nano(1_000_000_000 * 30 * 24 * 60)), 20_000);
        assert_eq!(micro(prices.transfer_nano(1_000_000_000)), 10_000);
    }

    #[test]
    fn small_runs_add_up() {
        let prices = Prices::default();
        let one = prices.compute_nano(10_000);
        assert_eq!(one, 139, "ten milliseconds");
        assert_eq!(micro(one), 0);
        assert_eq!(micro(one * 372), 52);
    }

    #[test]
    fn absurd_amounts_do_not_wrap() {
        let prices = Prices::default();
        let dear = Prices { core_hour_micro: i64::MAX, ..Prices::default() };
        assert_eq!(dear.compute_nano(i64::MAX), i64::MAX);
        assert!(prices.storage_nano(i128::from(i64::MAX) * 1_000_000) > 0);
    }
}
