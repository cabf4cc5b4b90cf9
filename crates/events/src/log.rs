//! Reading the log on behalf of many: what is new is read from the store once and handed to all who follow.

use std::collections::VecDeque;
use std::sync::Arc;

use dte_store::{Error, Store};
use tokio::sync::{Mutex, RwLock};

use crate::model::cloudevent::Envelope;
use crate::store::published::envelopes;

/// Events kept in memory for those who follow closely.
const KEPT: usize = 4_096;
/// Events read from the store at once.
const READ: usize = 512;

/// The log as followers see it. Cheap to clone; all clones share what was read.
#[derive(Clone)]
pub struct Log {
    store: Store,
    shared: Arc<Shared>,
}

struct Shared {
    newest: RwLock<Newest>,
    /// Held by the one who reads for all.
    reading: Mutex<()>,
}

/// A gap-free stretch at the end of the log.
#[derive(Default)]
struct Newest {
    /// The number of the last event that was read, and of the last before the first that is kept.
    last: i64,
    before: i64,
    events: VecDeque<Arc<Envelope>>,
}

impl Newest {
    /// Up to `limit` events after `seq`, if this stretch has them.
    fn after(&self, seq: i64, limit: usize) -> Option<Vec<Arc<Envelope>>> {
        if seq < self.before || seq >= self.last {
            return None;
        }
        let first = self.events.partition_point(|one| one.event.seq <= seq);
        Some(self.events.iter().skip(first).take(limit).cloned().collect())
    }
}

impl Log {
    pub fn new(store: &Store) -> Self {
        let shared = Shared { newest: RwLock::default(), reading: Mutex::default() };
        Log { store: store.clone(), shared: Arc::new(shared) }
    }

    /// The number of the newest event.
    pub async fn latest(&self) -> Result<i64, Error> {
        self.store.latest_seq().await
    }

    /// Up to `limit` events after `seq`, in order; none when `seq` is the newest.
    pub async fn after(&self, seq: i64, limit: usize) -> Result<Vec<Arc<Envelope>>, Error> {
        if let Some(found) = self.shared.newest.read().await.after(seq, limit) {
            return Ok(found);
        }
        let _one = self.shared.reading.lock().await;
        let last = {
            let newest = self.shared.newest.read().await;
            if let Some(found) = newest.after(seq, limit) {
                return Ok(found);
            }
            newest.last
        };
        if seq < last {
            // Someone who is far behind reads for themselves.
            drop(_one);
            return self.read(seq, limit).await;
        }
        let found = self.read(seq, READ).await?;
        let mut newest = self.shared.newest.write().await;
        if newest.last != seq {
            // Nobody followed for a while: begin anew from here.
            newest.events.clear();
            newest.before = seq;
        }
        newest.last = found.last().map_or(seq, |one| one.event.seq);
        newest.events.extend(found.iter().cloned());
        while newest.events.len() > KEPT
            && let Some(dropped) = newest.events.pop_front()
        {
            newest.before = dropped.event.seq;
        }
        Ok(found.into_iter().take(limit).collect())
    }

    async fn read(&self, seq: i64, limit: usize) -> Result<Vec<Arc<Envelope>>, Error> {
        self.store
            .read(move |tx| {
                let events = tx.events_after(seq, limit, &[])?;
                Ok(envelopes(tx, events)?.into_iter().map(Arc::new).collect())
            })
            .await
    }

    /// A bell that rings when there may be something new.
    pub fn bell(&self) -> tokio::sync::watch::Receiver<i64> {
        self.store.watch_events()
    }
}

/// One who follows the log and sees part of it.
pub struct Follower {
    log: Log,
    bell: tokio::sync::watch::Receiver<i64>,
    position: i64,
}

impl Follower {
    /// Begins behind `position`.
    pub fn new(log: &Log, position: i64) -> Self {
        Follower { log: log.clone(), bell: log.bell(), position }
    }

    /// Everything up to here was seen.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The next events, without waiting; empty at the end of the log.
    pub async fn now(&mut self, limit: usize) -> Result<Vec<Arc<Envelope>>, Error> {
        self.bell.borrow_and_update();
        let found = self.log.after(self.position, limit).await?;
        if let Some(last) = found.last() {
            self.position = last.event.seq;
        }
        Ok(found)
    }

    /// Waits until there may be something new. `false` when the store is closed.
    pub async fn wait(&mut self) -> bool {
        self.bell.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dte_store::Event;
    use serde_json::json;

    async fn emit(store: &Store, count: usize) {
        let emitted = store.write(move |tx| {
            (0..count).try_for_each(|n| tx.emit(Event::new("org.dte.test", "/test", n.to_string(), json!({}))))
        });
        emitted.await.map_err(|error: Error| error.to_string()).expect("written");
    }

    async fn all(follower: &mut Follower, count: usize) -> Vec<i64> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let found = follower.now(100).await.expect("read");
            seen.extend(found.iter().map(|one| one.event.seq));
            if found.is_empty() {
                follower.wait().await;
            }
        }
        seen
    }

    #[tokio::test]
    async fn followers_see_everything_once_and_in_order() {
        for store in dte_store::testing::stores().await.expect("stores") {
            let log = Log::new(&store);
            emit(&store, 700).await;
            let expected: Vec<i64> = (1..=700).collect();
            let mut first = Follower::new(&log, 0);
            assert_eq!(all(&mut first, 700).await, expected);
            let mut second = Follower::new(&log, 0);
            assert_eq!(all(&mut second, 700).await, expected, "one who comes late");
            let mut late = Follower::new(&log, 690);
            emit(&store, 5).await;
            assert_eq!(all(&mut first, 5).await, (701..=705).collect::<Vec<_>>());
            emit(&store, 5_000).await;
            assert_eq!(all(&mut late, 5_015).await, (691..=5_705).collect::<Vec<_>>());
            assert_eq!(all(&mut first, 5_000).await, (706..=5_705).collect::<Vec<_>>());
            assert!(log.after(5_705, 10).await.expect("read").is_empty());
        }
    }
}
