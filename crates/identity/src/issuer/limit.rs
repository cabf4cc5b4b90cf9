//! So many times in a while, for each name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Names that are remembered at once.
const NAMES: usize = 4_096;

pub(crate) struct Limit {
    most: u32,
    window: Duration,
    seen: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Limit {
    pub(crate) fn new(most: u32, window: Duration) -> Self {
        Limit { most, window, seen: Mutex::default() }
    }

    /// Whether one more is too many; how long to wait then.
    pub(crate) fn is_reached(&self, name: &str) -> Option<Duration> {
        let seen = self.seen.lock();
        let (since, count) = seen.get(name)?;
        let left = self.window.checked_sub(since.elapsed())?;
        (*count >= self.most).then_some(left)
    }

    pub(crate) fn note(&self, name: &str) {
        let mut seen = self.seen.lock();
        if seen.len() >= NAMES {
            seen.retain(|_, (since, _)| since.elapsed() < self.window);
        }
        if seen.len() >= NAMES {
            seen.clear();
        }
        let entry = seen.entry(name.to_owned()).or_insert((Instant::now(), 0));
        if entry.0.elapsed() >= self.window {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_no_more() {
        let limit = Limit::new(2, Duration::from_secs(3_600));
        limit.note("a");
        assert!(limit.is_reached("a").is_none());
        limit.note("a");
        assert!(limit.is_reached("a").is_some() && limit.is_reached("b").is_none());
        let short = Limit::new(1, Duration::ZERO);
        short.note("a");
        assert!(short.is_reached("a").is_none());
    }
}
