//! How many programs are run beside each pod: there is a most of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Programs that one pod may have at a time in this way.
pub const MOST_SESSIONS: usize = 64;

#[derive(Default)]
pub struct Places(Mutex<HashMap<Uuid, usize>>);

/// One of the programs that a pod may have; free again when this goes.
pub struct Place {
    all: Arc<Places>,
    uid: Uuid,
}

impl Places {
    /// For one more program beside a pod. None: there are as many as may be.
    pub fn take(self: &Arc<Self>, uid: Uuid) -> Option<Place> {
        let mut taken = self.taken();
        let number = taken.entry(uid).or_default();
        if *number >= MOST_SESSIONS {
            return None;
        }
        *number += 1;
        Some(Place { all: self.clone(), uid })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.all.taken();
        if let Some(number) = taken.get_mut(&self.uid) {
            *number -= 1;
            if *number == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room() {
        let places = Arc::<Places>::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut taken: Vec<Place> = (0..MOST_SESSIONS).filter_map(|_| places.take(one)).collect();
        assert_eq!(taken.len(), MOST_SESSIONS);
        assert!(places.take(one).is_none() && places.take(other).is_some());
        taken.pop();
        assert!(places.take(one).is_some());
        taken.clear();
        assert!(places.taken().is_empty(), "nothing is remembered of pods that have gone");
    }
}
