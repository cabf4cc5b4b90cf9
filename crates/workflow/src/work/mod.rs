//! The reconcilers: they compare what a twin wants with what is, and move in small steps that survive a kill anywhere.
//!
//! * [`consume`] turns events of the log into rows and requests for work, in one transaction each.
//! * [`apply`] makes the lake and the watches as the document says.
//! * [`observe`] takes in the files of one source, strictly in order.
//! * [`step`] and [`conclude`] run one model, arrival by arrival.
//! * [`owner`] lets a twin rest while its owner is suspended.
//! * [`webhook`] tells of alerts. [`sweep`] looks for what no event told.

pub mod apply;
pub mod conclude;
pub mod consume;
pub mod engine;
pub mod observe;
pub mod owner;
pub mod program;
pub mod step;
pub mod sweep;
pub mod webhook;

use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_store::{Claim, Outcome, Worker};

use crate::store::{queue, troubles};
use engine::{Engine, Failure};

/// Work of a process that died is taken over after this.
const LEASE: Duration = Duration::from_secs(6);
/// Trouble is tried again for ever, at least this often.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));
/// Pieces of each kind at once.
const AT_ONCE: usize = 8;

/// Starts all reconcilers.
pub fn start(engine: &Engine, tasks: &Tasks) {
    consume::start(engine, tasks);
    let worker = |queue: &'static str| {
        Worker::new(&engine.store, queue).concurrency(AT_ONCE).lease(LEASE).backoff(BACKOFF).max_attempts(u32::MAX)
    };
    let own = engine.clone();
    worker(queue::APPLY).run(tasks, move |claim| {
        let engine = own.clone();
        async move { owner::attend(&engine, &claim, "apply", apply::apply(&engine, &claim)).await }
    });
    let own = engine.clone();
    worker(queue::OBSERVE).run(tasks, move |claim| {
        let engine = own.clone();
        async move { owner::attend(&engine, &claim, "observes", observe::observe(&engine, &claim)).await }
    });
    let own = engine.clone();
    worker(queue::MODEL).run(tasks, move |claim| {
        let engine = own.clone();
        async move { owner::attend(&engine, &claim, "model", step::advance(&engine, &claim)).await }
    });
    let own = engine.clone();
    worker(queue::WEBHOOK).max_attempts(webhook::MOST_TRIES).run(tasks, move |claim| {
        let engine = own.clone();
        async move { webhook::tell(&engine, &claim).await }
    });
    sweep::start(engine, tasks);
    owner::start(engine, tasks);
}

/// Who a piece of work is for.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Target {
    pub twin: String,
    /// A source or a model.
    pub part: String,
}

impl Target {
    /// As it stands among a twin's troubles.
    fn part_of(&self, kind: &str) -> String {
        if self.part.is_empty() { kind.to_owned() } else { format!("{kind} {}", self.part) }
    }
}

/// Notes a trouble where people see it, and waits.
async fn ended(engine: &Engine, claim: &Claim, kind: &str, result: Result<(), Failure>) -> Outcome {
    let Ok(target) = claim.payload::<Target>() else {
        return Outcome::Dead { error: "the work names no twin".to_owned() };
    };
    let part = target.part_of(kind);
    let Err(failure) = result else {
        return Outcome::Done;
    };
    let text = failure.to_string();
    let twin = target.twin.clone();
    let noted = engine.store.write(move |tx| troubles::note(tx, &twin, &part, &text)).await;
    if let Err(error) = noted {
        tracing::warn!(twin = target.twin, %error, "a trouble could not be noted");
    }
    Outcome::Retry { error: failure.to_string() }
}
