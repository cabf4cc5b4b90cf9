//! What was fetched from an issuer and is remembered: when it is good as it is, when to fetch again, and when not to ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// Fetched again after this long, or earlier when the server says so.
const FRESH: Duration = Duration::from_secs(6 * 3_600);
/// Whatever the server says, not fetched more often.
const LEAST_FRESH: Duration = Duration::from_secs(3_600);
/// While the issuer is down, what it said is used for this long.
const USABLE: Duration = Duration::from_secs(2 * 86_400);
/// At most one fetch in this time, unless whoever remembers says otherwise.
const PAUSE: Duration = Duration::from_secs(60);
/// The same while nothing is remembered and the last fetch failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// After a fetch that its caller gave up; it may have hung up on purpose.
const PAUSE_AFTER_CANCEL: Duration = Duration::from_secs(1);
/// How long a request waits for a fresher answer when the one that is remembered would do.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was fetched, and for how long its server says that it is good.
pub(crate) struct Fetched<T> {
    pub(crate) value: T,
    pub(crate) max_age: Option<Duration>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// What is remembered decides.
    Use,
    /// Fetch; if that fails, what is remembered decides.
    FetchOrUse,
    /// Fetch; if that fails, there is nothing.
    Fetch,
    /// There is nothing, and it is too soon to ask again.
    Nothing,
}

/// `age`: how old what is remembered is, and for how long it is fresh. `enough`: whether what is wanted is in it. `asked`: how
/// long ago the last fetch began. `pause`: the least time between two.
fn plan(age: Option<(Duration, Duration)>, enough: bool, asked: Option<Duration>, pause: Duration) -> Plan {
    let may_ask = asked.is_none_or(|asked| asked >= pause);
    match age.filter(|(age, _)| *age < USABLE) {
        Some((age, fresh)) if age < fresh && enough => Plan::Use,
        Some(_) if may_ask => Plan::FetchOrUse,
        Some(_) => Plan::Use,
        None if may_ask => Plan::Fetch,
        None => Plan::Nothing,
    }
}

/// A fetched thing of one issuer.
pub(crate) struct Remembered<T> {
    /// The least time between two fetches.
    pause: Duration,
    known: RwLock<Option<Known<T>>>,
    /// Held while fetching, so that many requests lead to one fetch. Says when the last began.
    asked: tokio::sync::Mutex<Asked>,
}

struct Known<T> {
    at: Instant,
    fresh: Duration,
    value: Arc<T>,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    at: Option<Instant>,
    pause: Duration,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered::pausing(PAUSE)
    }
}

/// Stands while a fetch runs: one that is given up half-way must not keep others from asking for long.
struct Running<'a>(&'a mut Asked);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.pause = PAUSE_AFTER_CANCEL;
    }
}

impl<T> Remembered<T> {
    /// Fetched again no sooner than after `pause`, also for keys that nobody knows.
    pub(crate) fn pausing(pause: Duration) -> Self {
        Remembered { pause, known: RwLock::new(None), asked: tokio::sync::Mutex::default() }
    }

    /// What is remembered, after a fetch where the rules want one; `enough` says whether what is wanted is in it.
    pub(crate) async fn get<F, Fut>(&self, issuer: &str, enough: impl Fn(&T) -> bool, fetch: F) -> Option<Arc<T>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Fetched<T>, String>>,
    {
        let (value, age, is_enough) = self.look(&enough);
        if is_enough && plan(age, true, None, self.pause) == Plan::Use {
            return value;
        }
        let is_usable = is_enough && age.is_some_and(|(age, _)| age < USABLE);
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            // Somebody fetches already, and what is here is good for days.
            Err(_) if is_usable => return value,
            Err(_) => self.asked.lock().await,
        };
        // Somebody may have fetched while this request waited.
        let (value, age, is_enough) = self.look(&enough);
        let plan = plan(age, is_enough, asked.at.map(|at| at.elapsed()), asked.pause);
        match plan {
            Plan::Use => return value,
            Plan::Nothing => return None,
            Plan::Fetch | Plan::FetchOrUse => {}
        }
        asked.at = Some(Instant::now());
        let running = Running(&mut asked);
        let outcome = if is_enough && plan == Plan::FetchOrUse {
            tokio::time::timeout(PATIENCE, fetch()).await.unwrap_or_else(|_| Err("no answer yet".to_owned()))
        } else {
            fetch().await
        };
        std::mem::forget(running);
        match outcome {
            Ok(fetched) => {
                asked.pause = self.pause;
                Some(self.put(fetched))
            }
            Err(error) => {
                tracing::warn!(issuer, %error, "what an issuer publishes could not be fetched");
                asked.pause = if plan == Plan::Fetch { PAUSE_AFTER_FAILURE.min(self.pause) } else { self.pause };
                value.filter(|_| plan == Plan::FetchOrUse)
            }
        }
    }

    pub(crate) fn put(&self, fetched: Fetched<T>) -> Arc<T> {
        let value = Arc::new(fetched.value);
        let fresh = fetched.max_age.map_or(FRESH, |age| age.clamp(LEAST_FRESH, FRESH));
        *self.known.write() = Some(Known { at: Instant::now(), fresh, value: Arc::clone(&value) });
        value
    }

    fn look(&self, enough: impl Fn(&T) -> bool) -> (Option<Arc<T>>, Option<(Duration, Duration)>, bool) {
        let known = self.known.read();
        match known.as_ref() {
            Some(known) => {
                (Some(Arc::clone(&known.value)), Some((known.at.elapsed(), known.fresh)), enough(&known.value))
            }
            None => (None, None, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn rules() {
        let (minute, hour, day) = (Duration::from_secs(60), Duration::from_secs(3_600), Duration::from_secs(86_400));
        let plan = |age: Option<Duration>, enough, asked| plan(age.map(|age| (age, FRESH)), enough, asked, PAUSE);
        assert_eq!(plan(None, false, None), Plan::Fetch);
        assert_eq!(plan(None, false, Some(minute / 2)), Plan::Nothing);
        assert_eq!(plan(Some(hour), true, None), Plan::Use);
        assert_eq!(plan(Some(hour), false, Some(minute / 2)), Plan::Use);
        assert_eq!(plan(Some(hour), false, Some(minute)), Plan::FetchOrUse);
        assert_eq!(plan(Some(7 * hour), true, Some(7 * hour)), Plan::FetchOrUse);
        assert_eq!(plan(Some(7 * hour), true, Some(minute / 2)), Plan::Use);
        assert_eq!(plan(Some(2 * day), true, Some(minute)), Plan::Fetch);
        assert_eq!(plan(Some(2 * day), true, Some(minute / 2)), Plan::Nothing);
    }

    #[test]
    fn servers_decide_within_bounds() {
        let fresh = |max_age: Option<u64>| {
            let remembered = Remembered::default();
            remembered.put(Fetched { value: (), max_age: max_age.map(Duration::from_secs) });
            let known = remembered.known.read();
            known.as_ref().map(|known| known.fresh.as_secs())
        };
        assert_eq!(fresh(None), Some(6 * 3_600));
        assert_eq!(fresh(Some(0)), Some(3_600));
        assert_eq!(fresh(Some(7_200)), Some(7_200));
        assert_eq!(fresh(Some(u64::MAX)), Some(6 * 3_600));
    }

    #[tokio::test]
    async fn many_requests_one_fetch_and_a_cancelled_one_keeps_nobody_out() {
        let remembered: Remembered<u32> = Remembered::default();
        let fetches = AtomicU32::new(0);
        let fetch = || async {
            fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(Fetched { value: 7, max_age: None })
        };
        let given_up = remembered.get(
            "i",
            |_| true,
            || async {
                std::future::pending::<()>().await;
                Ok(Fetched { value: 1, max_age: None })
            },
        );
        assert!(tokio::time::timeout(Duration::from_millis(10), given_up).await.is_err());
        assert_eq!(remembered.asked.lock().await.pause, PAUSE_AFTER_CANCEL);
        remembered.asked.lock().await.at = None;
        let all = futures_of(&remembered, &fetch).await;
        assert!(all.iter().all(|value| *value == Some(7)), "{all:?}");
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        // What is not in it is not asked for again so soon.
        for _ in 0..50 {
            assert_eq!(remembered.get("i", |value| *value == 8, fetch).await.as_deref(), Some(&7));
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    async fn futures_of<F, Fut>(remembered: &Remembered<u32>, fetch: &F) -> [Option<u32>; 3]
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Fetched<u32>, String>>,
    {
        let one = || async { remembered.get("i", |value| *value == 7, fetch).await.map(|value| *value) };
        let (a, b, c) = tokio::join!(one(), one(), one());
        [a, b, c]
    }
}
