//! Who follows the logs of which pods. A pod's run folder stays a little longer for them, so that they hear its last words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// How long the folder of a pod that ended waits for those who still read its log.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// All who follow a log in this process.
#[derive(Clone, Default)]
pub struct Followers(Arc<Mutex<HashMap<Uuid, Followed>>>);

#[derive(Default)]
struct Followed {
    count: usize,
    /// Since when its folder could be gone.
    waits_since: Option<Instant>,
}

/// One of them, until it is dropped.
pub struct Following {
    all: Followers,
    uid: Uuid,
}

impl Followers {
    pub fn begin(&self, uid: Uuid) -> Following {
        self.all().entry(uid).or_default().count += 1;
        Following { all: self.clone(), uid }
    }

    /// Whether the folder of this pod, which ended, has to stay for now.
    pub fn hold_up(&self, uid: Uuid) -> bool {
        match self.all().get_mut(&uid) {
            Some(followed) => followed.waits_since.get_or_insert_with(Instant::now).elapsed() < LAST_WORDS,
            None => false,
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut all = self.all.all();
        match all.get_mut(&self.uid) {
            Some(followed) if followed.count > 1 => followed.count -= 1,
            _ => drop(all.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_up_while_somebody_follows() {
        let (all, uid) = (Followers::default(), Uuid::from_u128(1));
        assert!(!all.hold_up(uid));
        let (one, two) = (all.begin(uid), all.begin(uid));
        assert!(all.hold_up(uid) && !all.hold_up(Uuid::from_u128(2)));
        drop(one);
        assert!(all.hold_up(uid));
        drop(two);
        assert!(!all.hold_up(uid) && all.all().is_empty());
    }
}
