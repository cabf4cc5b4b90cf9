//! The two databases. Each runs [`Job`]s on threads of its own.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dte_base::telemetry;
use prometheus::{HistogramVec, IntCounterVec};
use tokio::sync::oneshot;

use crate::{Error, Tx};

/// A closure that holds the writer longer than this is counted and named.
const SLOW: Duration = Duration::from_millis(5);

static SLOW_CLOSURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    telemetry::counter("dte_store_slow_closures_total", "Transactions whose closure ran longer than 5 ms.", &["place"])
});
static CONFLICTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    telemetry::counter(
        "dte_store_conflicts_total",
        "Runs of a transaction that were undone because of another, by the place of its closure.",
        &["place"],
    )
});
static TRANSACTIONS: LazyLock<HistogramVec> =
    LazyLock::new(|| telemetry::histogram("dte_store_transaction_seconds", "From the call to the answer.", &["kind"]));

/// What a closure's run came to.
pub(crate) enum Ran {
    Ok,
    Failed,
}

/// A transaction's closure with its caller waiting for the answer; the types are forgotten so that one thread runs all.
pub(crate) trait Job: Send {
    /// Runs the closure. May be called again after a conflict.
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran;
    /// Its last run was undone because of another transaction, and it will be run again.
    fn note_conflict(&self);
    /// Sends the closure's own answer.
    fn answer(self: Box<Self>);
    /// Sends `error` in place of the closure's answer.
    fn fail(self: Box<Self>, error: Error);
}

/// What kind of transaction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    /// A write at `READ COMMITTED` on PostgreSQL: for queue claims and hot counters that take row locks.
    Claim,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Claim => "claim",
        }
    }
}

pub(crate) struct TypedJob<T, E, F> {
    closure: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    place: &'static Location<'static>,
    kind: Kind,
    asked: Instant,
}

impl<T, E, F> TypedJob<T, E, F> {
    pub(crate) fn new(
        closure: F,
        kind: Kind,
        place: &'static Location<'static>,
    ) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (TypedJob { closure, outcome: None, reply, place, kind, asked: Instant::now() }, answer)
    }
}

impl<T, E, F> Job for TypedJob<T, E, F>
where
    T: Send,
    E: From<Error> + Send,
    F: Fn(&mut Tx<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.closure)(tx))).unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(place = %self.place, message, "a transaction panicked");
            Err(E::from(Error::Panicked(message)))
        });
        let took = began.elapsed();
        if took > SLOW && self.kind != Kind::Read {
            SLOW_CLOSURES.with_label_values(&[&self.place.to_string()]).inc();
            tracing::debug!(place = %self.place, ?took, "slow transaction");
        }
        let ran = if outcome.is_ok() { Ran::Ok } else { Ran::Failed };
        self.outcome = Some(outcome);
        ran
    }

    fn note_conflict(&self) {
        CONFLICTS.with_label_values(&[&self.place.to_string()]).inc();
    }

    fn answer(self: Box<Self>) {
        TRANSACTIONS.with_label_values(&[self.kind.label()]).observe(self.asked.elapsed().as_secs_f64());
        let outcome = self.outcome.unwrap_or_else(|| Err(E::from(Error::Closed)));
        // The caller may have gone; then nobody wants the answer.
        drop(self.reply.send(outcome));
    }

    fn fail(self: Box<Self>, error: Error) {
        drop(self.reply.send(Err(E::from(error))));
    }
}
