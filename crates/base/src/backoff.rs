//! How long to wait before trying again: exponential, with full jitter, bounded.

use std::time::Duration;

/// A rule for the wait before attempt `n`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest }
    }

    /// The longest wait after `failures` failures (1 = the first): doubles each time up to `longest`.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// A random wait between half the ceiling and the ceiling, so that those who failed together do not return together.
    pub fn wait(&self, failures: u32) -> Duration {
        self.ceiling(failures).mul_f64(rand::random_range(0.5..=1.0))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new(Duration::from_millis(200), Duration::from_secs(300))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_stops_growing() {
        let rule = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(rule.ceiling(1), Duration::from_secs(1));
        assert_eq!(rule.ceiling(3), Duration::from_secs(4));
        assert_eq!(rule.ceiling(400), Duration::from_secs(10));
        for failures in 1..50 {
            let wait = rule.wait(failures);
            assert!(wait <= rule.ceiling(failures) && wait * 2 >= rule.ceiling(failures));
        }
    }
}
