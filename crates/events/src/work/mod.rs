//! What goes on in the background: watching folders, delivering to webhooks, forgetting what is old.

pub mod deliver;
pub mod prune;
pub mod send;
pub mod watch;

use std::sync::Arc;

use tokio::sync::watch as bell;

/// Tells the background work of this process that declarations changed.
#[derive(Clone, Debug)]
pub struct Changes(Arc<bell::Sender<u64>>);

impl Default for Changes {
    fn default() -> Self {
        Changes(Arc::new(bell::Sender::new(0)))
    }
}

impl Changes {
    pub fn ring(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub fn subscribe(&self) -> bell::Receiver<u64> {
        self.0.subscribe()
    }
}
