//! How much of the audit trail strangers may fill.

use dte_base::time::Timestamp;

/// Refusals of nobody in particular (no token, or a bad one) that are written one by one, each second; more are counted, so
/// that strangers cannot fill the disk. As many of those whose token is void, so that strangers do not hide them.
const STRANGERS: u64 = 50;
/// Bytes of all of these in a day, for each of the two.
const STRANGERS_DAILY: u64 = 64 << 20;

/// What may still be written of those who are nobody here: so many each second, and so many bytes each day.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    second: i64,
    records: u64,
    day: i64,
    bytes: u64,
}

impl Allowance {
    pub(crate) fn takes(&mut self, size: u64, now: Timestamp) -> bool {
        let (second, day) = (now.as_seconds(), now.as_seconds() / 86_400);
        if second != self.second {
            (self.second, self.records) = (second, 0);
        }
        if day != self.day {
            (self.day, self.bytes) = (day, 0);
        }
        let may = self.records < STRANGERS && self.bytes + size <= STRANGERS_DAILY;
        if may {
            self.records += 1;
            self.bytes += size;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_disk() {
        let mut allowance = Allowance::default();
        let mut noted = |second: i64, size: u64| {
            (0..200).filter(|_| allowance.takes(size, Timestamp::from_seconds(second))).count() as u64
        };
        assert_eq!(noted(1_000, 600), STRANGERS);
        assert_eq!(noted(1_000, 600), 0);
        assert_eq!(noted(1_001, 600), STRANGERS);
        // A day's bytes are soon gone when paths are long, and the next day has its own.
        let most: u64 = (2_000..20_000).map(|second| noted(second, 2_560)).sum();
        assert!(most * 2_560 <= STRANGERS_DAILY && most * 2_560 > STRANGERS_DAILY - (1 << 20), "{most}");
        assert_eq!(noted(90_000, 2_560), STRANGERS);
    }
}
