//! Copies that move bytes, but too few: a server that sends a byte now and then would keep a place for ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dte_storage::{Errno, Error, Side};

/// How often the time over which is counted is looked at.
const LOOKS: u32 = 10;

/// The least that must come.
#[derive(Clone, Copy, Debug)]
pub struct LeastRate {
    /// Bytes a second; 0 for no such limit.
    pub rate: u64,
    /// Over this long.
    pub over: Duration,
}

impl LeastRate {
    /// Resolves when too few bytes have come.
    pub async fn missed(self, progress: &AtomicU64) -> Error {
        let mut pace =
            Pace { least: self.rate.saturating_mul(self.over.as_millis() as u64) / 1_000, seen: VecDeque::new() };
        loop {
            tokio::time::sleep(self.over / LOOKS).await;
            if pace.is_missed(progress.load(Ordering::Relaxed)) {
                let text = format!("fewer than {} bytes a second moved for {} s", self.rate, self.over.as_secs());
                return Error::new(Errno::ETIMEDOUT, format!("operation timeout, {text}")).at(Side::Transfer);
            }
        }
    }
}

struct Pace {
    least: u64,
    /// How many bytes there were at each look, since the first one came.
    seen: VecDeque<u64>,
}

impl Pace {
    /// A copy that rests altogether is not judged here: it has begun not yet, waits for a checksum or to be put away, or stalls,
    /// and each of these has a limit of its own.
    fn is_missed(&mut self, now: u64) -> bool {
        let last = self.seen.back().copied().unwrap_or(0);
        if now == 0 {
            return false;
        }
        self.seen.push_back(now);
        if self.seen.len() <= LOOKS as usize {
            return false;
        }
        let first = self.seen.pop_front().unwrap_or(0);
        now > last && now.saturating_sub(first) < self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The look at which a copy is given up.
    fn missed(counts: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut pace = Pace { least: 1_000, seen: VecDeque::new() };
        counts.into_iter().position(|count| pace.is_missed(count))
    }

    #[test]
    fn what_is_too_slow() {
        assert_eq!(missed((1..100).map(|n| n * 100)), None);
        assert_eq!(missed((1..100).map(|n| n * 99)), Some(10));
        // A byte at every third look.
        assert_eq!(missed((0..100).map(|n| n / 3)), Some(15));
    }

    #[test]
    fn what_rests_is_judged_elsewhere() {
        assert_eq!(missed([0; 100]), None);
        // All has come and is put away.
        assert_eq!(missed((1..20).map(|n| n * 500).chain([10_000; 100])), None);
        // It begins late.
        assert_eq!(missed([0; 50].into_iter().chain((1..50).map(|n| n * 100))), None);
    }
}
