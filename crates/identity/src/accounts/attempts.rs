//! Slows down those who try secrets. Each account and each address has a small allowance of failures that refills with
//! time: whoever uses it up waits for seconds, and nobody is locked out for good. A try is paid before the secret is looked
//! at, so that many tries at once count as many, and given back when it succeeds.
//!
//! Strangers who try an account must not keep its owner out: a browser in which the owner has signed in before has an
//! allowance of its own (see `known browser` in [`super::sign_in`]).

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

/// How many failures, and how soon one is forgiven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    most: u32,
    refill: Duration,
}

/// For one account, or one browser that its owner has used.
pub(crate) const PER_ACCOUNT: Allowance = Allowance { most: 6, refill: Duration::from_secs(20) };
/// For one address: whole institutes come from one.
pub(crate) const PER_ADDRESS: Allowance = Allowance { most: 60, refill: Duration::from_secs(5) };
/// Logins that an address may begin at other providers.
pub(crate) const BEGUN: Allowance = Allowance { most: 120, refill: Duration::from_secs(1) };

/// Names and addresses that are remembered at once.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(32_768) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};
/// Names come from outside: only so much of them is kept.
const LONGEST_KEY: usize = 96;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// What is left of each allowance.
pub(crate) struct Attempts(Mutex<LruCache<String, Bucket>>);

impl Default for Attempts {
    fn default() -> Self {
        Attempts(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Attempts {
    /// Pays for one try, or says how long to wait.
    pub(crate) fn take(&self, key: &str, allowance: Allowance) -> Result<(), Duration> {
        self.take_at(key, allowance, Instant::now())
    }

    fn take_at(&self, key: &str, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        let mut known = self.0.lock();
        let full = Bucket { left: f64::from(allowance.most), at: now };
        let bucket = known.get_or_insert_mut(short(key).to_owned(), || full);
        let refilled = now.saturating_duration_since(bucket.at).as_secs_f64() / allowance.refill.as_secs_f64();
        *bucket = Bucket { left: (bucket.left + refilled).min(full.left), at: now };
        if bucket.left < 1.0 {
            return Err(allowance.refill.mul_f64(1.0 - bucket.left).max(Duration::from_secs(1)));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// The try succeeded.
    pub(crate) fn give_back(&self, key: &str, allowance: Allowance) {
        if let Some(bucket) = self.0.lock().get_mut(short(key)) {
            bucket.left = (bucket.left + 1.0).min(f64::from(allowance.most));
        }
    }
}

fn short(key: &str) -> &str {
    key.char_indices().nth(LONGEST_KEY).map_or(key, |(end, _)| &key[..end])
}

/// What an address counts as: a network of IPv6 belongs to one household.
pub(crate) fn address_key(from: Option<IpAddr>) -> String {
    match from.map(|address| address.to_canonical()) {
        None => "within".to_owned(),
        Some(IpAddr::V4(address)) => format!("address {address}"),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("address {a:x}:{b:x}:{c:x}:{d:x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_and_then_more() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..PER_ACCOUNT.most {
            assert!(attempts.take_at("alice", PER_ACCOUNT, start).is_ok());
        }
        let wait = attempts.take_at("alice", PER_ACCOUNT, start).expect_err("too many");
        assert_eq!(wait, PER_ACCOUNT.refill);
        assert!(attempts.take_at("bob", PER_ACCOUNT, start).is_ok(), "others are not slowed down");
        let later = start + PER_ACCOUNT.refill;
        assert!(attempts.take_at("alice", PER_ACCOUNT, later).is_ok());
        assert!(attempts.take_at("alice", PER_ACCOUNT, later).is_err());
        attempts.give_back("alice", PER_ACCOUNT);
        assert!(attempts.take_at("alice", PER_ACCOUNT, later).is_ok());
        // Nobody is kept out for ever, however often they failed.
        let day = later + Duration::from_secs(86_400);
        for _ in 0..PER_ACCOUNT.most {
            assert!(attempts.take_at("alice", PER_ACCOUNT, day).is_ok());
        }
        assert!(attempts.take_at("alice", PER_ACCOUNT, day).is_err());
    }

    #[test]
    fn addresses() {
        let key = |text: &str| address_key(Some(text.parse().expect("an address")));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
