//! Who must be woken after a commit: event consumers and workers. Nobody polls where a wake-up can reach.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// What a transaction touched; applied only after its commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    /// The highest event number, where the engine numbers in the transaction (SQLite).
    pub(crate) last_event: Option<i64>,
    pub(crate) emitted: bool,
    pub(crate) queues: BTreeSet<String>,
}

impl Touched {
    pub(crate) fn merge(&mut self, other: Touched) {
        self.last_event = self.last_event.max(other.last_event);
        self.emitted |= other.emitted;
        self.queues.extend(other.queues);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.emitted && self.queues.is_empty()
    }
}

/// The wake-up bells of one store.
#[derive(Clone)]
pub(crate) struct Wake {
    events: watch::Sender<i64>,
    queues: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl Wake {
    pub(crate) fn new(last_event: i64) -> Self {
        Wake { events: watch::Sender::new(last_event), queues: Arc::default() }
    }

    pub(crate) fn events(&self) -> watch::Receiver<i64> {
        self.events.subscribe()
    }

    /// Event `seq` can be read.
    pub(crate) fn event(&self, seq: i64) {
        self.events.send_if_modified(|last| {
            let newer = seq > *last;
            *last = seq.max(*last);
            newer
        });
    }

    pub(crate) fn queue(&self, name: &str) -> Arc<Notify> {
        let mut queues = self.queues.lock();
        match queues.get(name) {
            Some(bell) => Arc::clone(bell),
            None => Arc::clone(queues.entry(name.to_owned()).or_default()),
        }
    }

    pub(crate) fn ring(&self, touched: &Touched) {
        if let Some(seq) = touched.last_event {
            self.event(seq);
        }
        for name in &touched.queues {
            self.queue(name).notify_one();
        }
    }
}
