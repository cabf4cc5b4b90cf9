//! Whether and when a failed copy is tried again.

use std::time::Duration;

use dte_base::backoff::Backoff;

/// What the server does where a job does not say.
#[derive(Clone, Copy, Debug)]
pub struct RetryRule {
    /// For jobs that leave the count to the server.
    pub default_count: u32,
    /// For jobs that leave the delay to the server.
    pub backoff: Backoff,
}

impl RetryRule {
    /// The wait before try number `failures + 1`, after `failures` failures (1 = the first); none when there is no more.
    ///
    /// `count`: 0 leaves it to the server, negative is never. `delay`: seconds, 0 leaves it to the server.
    pub fn wait(&self, count: i64, delay: i64, failures: u32) -> Option<Duration> {
        let most = match count {
            0 => self.default_count,
            negative if negative < 0 => 0,
            positive => u32::try_from(positive).unwrap_or(u32::MAX),
        };
        if failures > most {
            return None;
        }
        Some(match u64::try_from(delay) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => self.backoff.wait(failures),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_delays() {
        let rule =
            RetryRule { default_count: 1, backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(60)) };
        assert!(rule.wait(-1, 0, 1).is_none());
        assert!(rule.wait(0, 0, 1).is_some() && rule.wait(0, 0, 2).is_none());
        assert_eq!(rule.wait(3, 7, 3), Some(Duration::from_secs(7)));
        assert_eq!(rule.wait(3, 7, 4), None);
        assert!(rule.wait(3, 0, 2).is_some_and(|wait| wait <= Duration::from_secs(4)));
    }
}
