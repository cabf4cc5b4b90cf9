//! How many copies one person, or one other server, may have at once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// The same number of places for everybody. Those who use none are forgotten.
pub struct Shares {
    each: usize,
    known: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Shares {
    pub fn of_each(each: usize) -> Shares {
        Shares { each, known: Mutex::default() }
    }

    /// The places of one of them.
    pub fn of(&self, name: &str) -> Arc<Semaphore> {
        let mut known = self.known.lock();
        known.retain(|_, places| places.strong_count() > 0);
        let places = known.get(name).and_then(Weak::upgrade);
        places.unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(self.each));
            known.insert(name.to_owned(), Arc::downgrade(&new));
            new
        })
    }
}
