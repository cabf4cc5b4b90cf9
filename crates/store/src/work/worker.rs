//! The one scheduler loop of the engine: claims work of a queue and runs its handler.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_base::telemetry;
use dte_base::time::Timestamp;
use prometheus::IntCounterVec;
use tokio::task::{Id, JoinSet};

use crate::work::claim::Choice;
use crate::work::park::Lot;
use crate::work::plan::Planned;
use crate::work::{Claim, DEAD, Lane, READY, claim};
use crate::{Error, Store, Tx};

/// Another process may have declared work without our hearing of it; on SQLite there is no other process.
const LOOK_AGAIN_SHARED: Duration = Duration::from_secs(2);
const LOOK_AGAIN_ALONE: Duration = Duration::from_secs(30);
/// How long handlers may go on after the engine was told to stop. What is cut off runs again after the next start.
const GRACE: Duration = Duration::from_secs(5);
/// Leases renewed in one transaction.
const RENEWED_AT_ONCE: usize = 1_000;

static ENDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    telemetry::counter("dte_work_ended_total", "Pieces of durable work by how a try ended.", &["queue", "outcome"])
});

/// How a try ended.
#[derive(Debug)]
pub enum Outcome {
    /// Done. (The handler may have said so itself in a transaction, with `tx.finished(&claim)`.)
    Done,
    /// It failed, and may succeed later: waits with backoff, dies after too many.
    Retry { error: String },
    /// Nothing is wrong, it is just not time yet. Not counted as a try.
    Later(Duration),
    /// It can never succeed: kept as a dead letter.
    Dead { error: String },
}

impl<E: std::fmt::Display> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry { error: error.to_string() },
        }
    }
}

/// Runs the work of one queue.
pub struct Worker {
    store: Store,
    queue: &'static str,
    concurrency: usize,
    choice: Choice,
    lease: Duration,
    backoff: Backoff,
    max_attempts: u32,
    when_claimed: Arc<dyn Fn() + Send + Sync>,
}

impl Worker {
    pub fn new(store: &Store, queue: &'static str) -> Self {
        Worker {
            store: store.clone(),
            queue,
            concurrency: 4,
            choice: Choice::PerLane(1),
            lease: Duration::from_secs(15),
            backoff: Backoff::default(),
            max_attempts: 10,
            when_claimed: Arc::new(|| ()),
        }
    }

    /// Handlers at once in this process, without those that only wait ([`Claim::park`]).
    pub fn concurrency(mut self, count: usize) -> Self {
        self.concurrency = count.max(1);
        self
    }

    /// Handlers at once per lane, over all processes.
    pub fn per_lane(mut self, count: usize) -> Self {
        self.choice = Choice::PerLane(count.max(1));
        self
    }

    /// What comes next is said by `plan`: how many pieces of each lane, of as many as this process can take now. It runs in the
    /// transaction that claims, one at a time over all processes. Within a lane the oldest comes first, whatever its priority.
    pub fn planned(
        mut self,
        plan: impl Fn(&mut Tx<'_>, &[Lane], usize) -> Result<Vec<usize>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.choice = Choice::Planned(Arc::new(Planned::new(plan)));
        self
    }

    /// Told after each claim that holds. The transaction in which a plan is asked may be undone and run again, so what a plan
    /// keeps is kept for good only here.
    pub fn when_claimed(mut self, told: impl Fn() + Send + Sync + 'static) -> Self {
        self.when_claimed = Arc::new(told);
        self
    }

    /// How long work stays with a process that died. Leases of living processes are renewed.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Tries before work is dead.
    pub fn max_attempts(mut self, count: u32) -> Self {
        self.max_attempts = count.max(1);
        self
    }

    /// Runs `handler` for each piece of work until the engine stops. A handler that is cut off by a stop or a kill is run again
    /// from its beginning.
    pub fn run<F, R>(self, tasks: &Tasks, handler: F)
    where
        F: Fn(Claim) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        let stop = tasks.stop_token();
        tasks.spawn(self.queue, async move {
            let mut running = Running::default();
            let bell = self.store.wake().queue(self.queue);
            let lot = Lot::default();
            while !stop.is_cancelled() {
                let free = self.concurrency.saturating_sub(running.busy(&lot));
                let claimed = self.claim(free).await;
                let full_hand = claimed.len() == free || (!claimed.is_empty() && self.choice.looks_on());
                for claim in claimed {
                    let claim = claim.within(&lot);
                    running.start(claim.clone(), handler(claim));
                }
                let has_room = running.busy(&lot) < self.concurrency;
                let wait = self.wait(full_hand && has_room).await;
                tokio::select! {
                    () = stop.cancelled() => break,
                    ended = running.next(), if !running.handlers.is_empty() => {
                        self.end_all(&mut running, ended).await;
                    }
                    () = bell.notified(), if has_room => {}
                    () = lot.one_more(), if !has_room => {}
                    () = tokio::time::sleep(wait) => {}
                }
                self.renew(&mut running).await;
            }
            let deadline = tokio::time::sleep(GRACE);
            tokio::pin!(deadline);
            while !running.handlers.is_empty() {
                tokio::select! {
                    ended = running.next() => self.end_all(&mut running, ended).await,
                    () = &mut deadline => break,
                }
            }
            self.release(running).await;
        });
    }

    async fn claim(&self, free: usize) -> Vec<Claim> {
        if free == 0 {
            return Vec::new();
        }
        let (queue, choice, lease) = (self.queue, self.choice.clone(), self.lease);
        // Looks before it locks: an idle queue costs no write.
        let now = Timestamp::now();
        let due = self
            .store
            .read(move |tx| {
                tx.query_opt(
                    "SELECT 1 FROM work WHERE queue = ?1 AND ((state = 0 AND run_at <= ?2) OR (state = 1 AND lease_until < ?2)) LIMIT 1",
                    &crate::params![queue, now],
                    |_| Ok(()),
                )
            })
            .await;
        if matches!(due, Ok(None)) {
            return Vec::new();
        }
        let instance = self.store.instance().to_owned();
        let claimed = self.store.claim(move |tx| claim::claim(tx, queue, free, &choice, lease, &instance)).await;
        match claimed {
            Ok(claimed) => {
                (self.when_claimed)();
                claimed
            }
            Err::<_, Error>(error) => {
                tracing::warn!(queue, %error, "work could not be claimed");
                Vec::new()
            }
        }
    }

    /// How long nothing needs to be looked at, if no bell rings.
    async fn wait(&self, more: bool) -> Duration {
        if more {
            return Duration::ZERO;
        }
        let longest = if self.store.is_shared() { LOOK_AGAIN_SHARED } else { LOOK_AGAIN_ALONE };
        let longest = longest.min(self.lease / 3);
        let queue = self.queue;
        match self.store.read(move |tx| claim::next_due(tx, queue)).await {
            // Due work that was not claimed stands in a full lane: the bell rings when that has a place.
            Ok::<_, Error>(Some(due)) if due > Timestamp::now() => due.since(Timestamp::now()).min(longest),
            Ok(_) => longest,
            Err(_) => Duration::from_secs(1).min(longest),
        }
    }

    /// Notes all that has ended. Everything is handed to the store before anything is awaited, so that it shares a commit.
    async fn end_all(&self, running: &mut Running, first: Option<(Claim, Outcome)>) {
        let mut next = first;
        let mut notes = Vec::new();
        while let Some((claim, outcome)) = next {
            notes.extend(self.end(claim, outcome));
            next = running.try_next();
        }
        for note in notes {
            note.await;
        }
    }

    /// Hands the end of a try to the store; the future resolves when it is written.
    fn end(&self, claim: Claim, outcome: Outcome) -> Option<impl Future<Output = ()>> {
        let label = match &outcome {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "failed",
            Outcome::Later(_) => "later",
            Outcome::Dead { .. } => "dead",
        };
        ENDED.with_label_values(&[self.queue, label]).inc();
        if matches!(outcome, Outcome::Done) && claim.was_finished() {
            return None;
        }
        let queue = self.queue;
        let (backoff, max_attempts) = (self.backoff, self.max_attempts);
        let id = claim.id.clone();
        let attempt = claim.attempt;
        if let Outcome::Retry { error } | Outcome::Dead { error } = &outcome {
            tracing::info!(queue, id, attempt, error, "work failed");
        }
        let outcome = Arc::new(outcome);
        let written = self.store.claim(move |tx| {
            let now = Timestamp::now();
            match outcome.as_ref() {
                Outcome::Done => match tx.finished(&claim) {
                    // Somebody else has it (or had it ended): not ours to end.
                    Err(Error::LeaseLost) => Ok(()),
                    other => other,
                },
                Outcome::Later(wait) => claim::put_back(tx, &claim, READY, now + *wait, attempt - 1, None),
                Outcome::Retry { error } if attempt < max_attempts => {
                    claim::put_back(tx, &claim, READY, now + backoff.wait(attempt), attempt, Some(error))
                }
                Outcome::Retry { error } | Outcome::Dead { error } => {
                    claim::put_back(tx, &claim, DEAD, now, attempt, Some(error))
                }
            }
        });
        Some(async move {
            if let Err::<(), Error>(error) = written.await {
                tracing::warn!(queue, id, %error, "the end of work could not be noted; its lease will run out");
            }
        })
    }

    async fn renew(&self, running: &mut Running) {
        if running.renewed.elapsed() < self.lease / 3 || running.claims.is_empty() {
            return;
        }
        running.renewed = Instant::now();
        let leases: Vec<String> = running.claims.values().map(|claim| claim.lease.clone()).collect();
        let until = Timestamp::now() + self.lease;
        for some in leases.chunks(RENEWED_AT_ONCE) {
            let some = some.to_vec();
            if let Err(error) = self.store.claim(move |tx| claim::renew(tx, &some, until)).await {
                let error: Error = error;
                tracing::warn!(queue = self.queue, %error, "leases could not be renewed");
            }
        }
    }

    /// Gives back what was cut off, so that another process need not wait for the lease to run out.
    async fn release(&self, mut running: Running) {
        running.handlers.shutdown().await;
        for claim in running.claims.into_values() {
            let attempt = claim.attempt - 1;
            let put = move |tx: &mut Tx<'_>| claim::put_back(tx, &claim, READY, Timestamp::now(), attempt, None);
            if let Err::<(), Error>(error) = self.store.claim(put).await {
                tracing::warn!(queue = self.queue, %error, "work could not be given back; its lease will run out");
            }
        }
    }
}

/// The handlers that run now.
struct Running {
    handlers: JoinSet<Outcome>,
    claims: HashMap<Id, Claim>,
    renewed: Instant,
}

impl Default for Running {
    fn default() -> Self {
        Running { handlers: JoinSet::new(), claims: HashMap::new(), renewed: Instant::now() }
    }
}

impl Running {
    /// Handlers that do something.
    fn busy(&self, lot: &Lot) -> usize {
        self.handlers.len().saturating_sub(lot.waiting())
    }

    fn start(&mut self, claim: Claim, handler: impl Future<Output = Outcome> + Send + 'static) {
        if self.claims.is_empty() {
            self.renewed = Instant::now();
        }
        let handle = self.handlers.spawn(handler);
        self.claims.insert(handle.id(), claim);
    }

    async fn next(&mut self) -> Option<(Claim, Outcome)> {
        let ended = self.handlers.join_next_with_id().await?;
        self.settle(ended)
    }

    fn try_next(&mut self) -> Option<(Claim, Outcome)> {
        let ended = self.handlers.try_join_next_with_id()?;
        self.settle(ended)
    }

    fn settle(&mut self, ended: Result<(Id, Outcome), tokio::task::JoinError>) -> Option<(Claim, Outcome)> {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Outcome::Retry { error: format!("the handler panicked: {error}") }),
        };
        self.claims.remove(&id).map(|claim| (claim, outcome))
    }
}
