//! Copies between an area and another server, as the active party of a third-party copy.
//!
//! A copy is a task of the engine. Whoever ordered it holds its [`Report`]: letting go of that ends the copy, which takes away
//! what it brought so far.

mod pace;
mod shares;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use bytes::Bytes;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_http::Client;
use dte_identity::UserRef;
use dte_protocol_webdav::markers::{Marker, Trailer};
use dte_storage::third_party::{BadParty, Party, push};
use dte_storage::{Copied, CopyOrder, Errno, Error, Location, copy_verified};
use futures_util::stream;
use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::pace::LeastRate;
use self::shares::Shares;
use crate::config::ThirdPartyConfig;

/// What all copies share.
pub struct ThirdParty {
    settings: ThirdPartyConfig,
    client: Client,
    tasks: Tasks,
    all: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    hosts: Shares,
    people: Shares,
    waiting_people: Shares,
}

/// Which end is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the other server.
    Pull,
    /// To the other server.
    Push,
}

/// A copy that was asked for and may be made.
pub struct Order {
    /// Whose copy it is.
    pub person: UserRef,
    pub way: Way,
    pub here: Location,
    pub party: Party,
    pub overwrite: bool,
    pub verification: Verification,
}

/// What `RequireChecksumVerification` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Checksums of both sides must be known and agree.
    Required,
    /// Those that are known must agree.
    #[default]
    WherePossible,
    /// The other side's word on its checksum does not count.
    LengthOnly,
}

impl ThirdParty {
    pub fn new(settings: ThirdPartyConfig, client: Client, tasks: Tasks) -> ThirdParty {
        let per_person = settings.per_person();
        ThirdParty {
            all: Arc::new(Semaphore::new(settings.concurrency)),
            waiting: Arc::new(Semaphore::new(settings.waiting.saturating_add(settings.concurrency))),
            hosts: Shares::of_each(settings.per_host),
            people: Shares::of_each(per_person),
            waiting_people: Shares::of_each(settings.waiting_per_person().saturating_add(per_person)),
            settings,
            client: client.untrusted(),
            tasks,
        }
    }

    /// The file at the other server.
    pub fn party(&self, url: &str, headers: HeaderMap) -> Result<Party, BadParty> {
        Ok(Party::new(self.client.clone(), url, headers)?.pausing_at_most(self.settings.pause.0))
    }

    /// Starts a copy, and gives the report of it; none when too many wait already, of this person or of all.
    pub fn start(&self, order: Order) -> Option<Body> {
        let person = format!("{} {}", order.person.issuer, order.person.subject);
        let place =
            [self.waiting_people.of(&person), Arc::clone(&self.waiting)].map(|places| places.try_acquire_owned().ok());
        let [Some(of_person), Some(of_all)] = place else { return None };
        let progress = Arc::new(AtomicU64::new(0));
        let (tell, outcome) = oneshot::channel();
        let let_go = CancellationToken::new();
        let queue = Queue {
            places: [of_person, of_all],
            // In this order: whoever waits for their own turn keeps nobody else from theirs.
            turns: [self.people.of(&person), self.hosts.of(order.party.host()), Arc::clone(&self.all)],
        };
        let least = LeastRate { rate: self.settings.least_rate.0, over: self.settings.least_rate_over.0 };
        let copy = Copy { order, progress: Arc::clone(&progress), stall: self.settings.stall.0, least };
        let (given_up, stopping) = (let_go.clone(), self.tasks.stop_token());
        self.tasks.spawn("third-party copy", async move {
            let cancelled = async {
                tokio::select! { () = given_up.cancelled() => {}, () = stopping.cancelled() => {} }
            };
            let outcome = copy.run(queue, cancelled).await;
            if let Err(error) = &outcome {
                tracing::info!(%error, "a third-party copy failed");
            }
            // Nobody listens when the client went away.
            let _ = tell.send(outcome);
        });
        let mut ticks = interval(self.settings.marker_interval.0);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let report = Report { ticks, progress, outcome: Some(outcome), _let_go: let_go.drop_guard() };
        Some(Body::from_stream(stream::unfold(report, Report::next)))
    }
}

/// What a copy has to wait for.
struct Queue {
    /// Its places among those that wait, until it begins.
    places: [OwnedSemaphorePermit; 2],
    turns: [Arc<Semaphore>; 3],
}

impl Queue {
    /// A semaphore is never closed here, so there is a permit of each.
    async fn turn(self) -> Vec<OwnedSemaphorePermit> {
        let mut turn = Vec::with_capacity(self.turns.len());
        for places in self.turns {
            turn.extend(places.acquire_owned().await);
        }
        drop(self.places);
        turn
    }
}

struct Copy {
    order: Order,
    progress: Arc<AtomicU64>,
    stall: std::time::Duration,
    least: LeastRate,
}

impl Copy {
    async fn run(self, queue: Queue, cancelled: impl Future<Output = ()> + Send) -> Result<Copied, Error> {
        tokio::pin!(cancelled);
        let turn = tokio::select! { turn = queue.turn() => turn, () = &mut cancelled => return Err(given_up()) };
        let ending = self.ending(cancelled);
        let outcome = match self.order.way {
            Way::Pull => self.pull(ending).await,
            Way::Push => self.push(ending).await,
        };
        drop(turn);
        outcome
    }

    /// Resolves when the copy is to end before it is whole, and says why.
    async fn ending(&self, cancelled: impl Future<Output = ()> + Send) -> Error {
        if self.least.rate == 0 || self.least.over.is_zero() {
            cancelled.await;
            return given_up();
        }
        tokio::select! { () = cancelled => given_up(), error = self.least.missed(&self.progress) => error }
    }

    fn terms(&self) -> CopyOrder {
        CopyOrder {
            overwrite: self.order.overwrite,
            progress: Arc::clone(&self.progress),
            stall: self.stall,
            ..CopyOrder::default()
        }
    }

    async fn pull(&self, ending: impl Future<Output = Error> + Send) -> Result<Copied, Error> {
        let Order { here, party, verification, .. } = &self.order;
        let source = party.clone().verifying(*verification != Verification::LengthOnly);
        let source = source.must_tell_checksum(*verification == Verification::Required).location();
        let terms = self.terms();
        tokio::select! {
            copied = copy_verified(&source, here, &terms) => copied,
            error = ending => Err(error),
        }
    }

    async fn push(&self, ending: impl Future<Output = Error> + Send) -> Result<Copied, Error> {
        let Order { here, party, verification, .. } = &self.order;
        let party = party.clone().verifying(*verification != Verification::LengthOnly);
        let party = party.must_tell_checksum(*verification == Verification::Required);
        push(here, &party, &self.terms(), ending).await
    }
}

fn given_up() -> Error {
    Error::new(Errno::ECANCELED, "the copy was given up")
}

/// What whoever ordered the copy hears.
struct Report {
    ticks: Interval,
    progress: Arc<AtomicU64>,
    outcome: Option<oneshot::Receiver<Result<Copied, Error>>>,
    _let_go: DropGuard,
}

impl Report {
    fn marker(&self) -> String {
        Marker::of(Timestamp::now(), self.progress.load(Ordering::Relaxed)).render()
    }

    /// A marker at once and then from time to time, and at the end a last marker and how it ended.
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Report)> {
        let outcome = self.outcome.as_mut()?;
        let ended = tokio::select! {
            biased;
            ended = outcome => ended,
            _ = self.ticks.tick() => return Some((Ok(Bytes::from(self.marker())), self)),
        };
        self.outcome = None;
        let trailer = match ended {
            Ok(Ok(_)) => Trailer::Success("Created".to_owned()),
            Ok(Err(error)) if error.errno == Errno::ECANCELED => Trailer::Aborted(error.message),
            Ok(Err(error)) => Trailer::Failure(error.to_string()),
            Err(_) => Trailer::Failure("the copy ended without a word; the log has the cause".to_owned()),
        };
        Some((Ok(Bytes::from(format!("{}{}", self.marker(), trailer.render()))), self))
    }
}
