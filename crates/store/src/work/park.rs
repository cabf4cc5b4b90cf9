//! Handlers that hold their work and only wait for something, perhaps for days: they take no place among those that run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many handlers of one worker only wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lot(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: AtomicUsize,
    more: Notify,
}

impl Lot {
    pub(crate) fn park(&self) -> Parked {
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        self.0.more.notify_one();
        Parked(Arc::clone(&self.0))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// Resolves when one more only waits.
    pub(crate) async fn one_more(&self) {
        self.0.more.notified().await;
    }
}

/// A handler only waits while this lives.
#[derive(Debug)]
#[must_use = "it counts again when this is dropped"]
pub struct Parked(Arc<Inner>);

impl Drop for Parked {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
