//! Delivery to webhooks: each subscription is one piece of durable work, held by one process at a time, so its events leave
//! in order. How far it came is written down after the sink took an event, so an event may come twice after a kill, but
//! never not at all.

use std::time::{Duration, Instant};

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_http::Client;
use dte_identity::Identity;
use dte_store::{Claim, Error, Outcome, Store, Worker};

use super::Changes;
use super::send::{Delivered, Sink};
use crate::log::{Follower, Log};
use crate::model::cloudevent::Envelope;
use crate::model::visibility::Viewer;
use crate::store::dead::{self, DeadLetter};
use crate::store::subscriptions::{self as table, QUEUE, State, Subscription};
use crate::viewer::Subscriber;

/// The queue of dead letters that somebody wants to be tried again.
pub const RETRY_QUEUE: &str = "events.retry";
/// Webhook subscriptions that one process serves at once.
const CONCURRENCY: usize = 512;
/// Events looked at at once.
const BATCH: usize = 256;
/// Deliveries, or time, after which the position is written down.
const NOTE_AFTER: u64 = 32;
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// Events of no interest are passed over this many at a time before that is written down.
const PASSED_OVER: i64 = 1_000;
/// How often another process's changes are looked for.
const CHECK: Duration = Duration::from_secs(2);

/// What delivery needs.
#[derive(Clone)]
pub struct Deliverer {
    pub store: Store,
    pub log: Log,
    pub client: Client,
    pub identity: Identity,
    pub changes: Changes,
}

/// Starts delivering.
pub fn start(deliverer: &Deliverer, tasks: &Tasks) {
    let stop = tasks.stop_token();
    let own = deliverer.clone();
    Worker::new(&deliverer.store, QUEUE).concurrency(CONCURRENCY).max_attempts(u32::MAX).run(tasks, move |claim| {
        let (deliverer, stop) = (own.clone(), stop.clone());
        async move {
            tokio::select! {
                () = stop.cancelled() => Outcome::Later(Duration::ZERO),
                outcome = deliverer.subscription(&claim.id) => {
                    outcome.unwrap_or_else(|error| Outcome::Retry { error: error.to_string() })
                }
            }
        }
    });
    let own = deliverer.clone();
    Worker::new(&deliverer.store, RETRY_QUEUE).concurrency(8).max_attempts(u32::MAX).run(tasks, move |claim| {
        let deliverer = own.clone();
        async move { deliverer.letter(&claim).await.unwrap_or_else(|error| Outcome::Retry { error: error.to_string() }) }
    });
}

/// The work of one subscription while it is held.
struct Course {
    id: String,
    /// As it stands in the store.
    noted: i64,
    /// Done with by now.
    position: i64,
    delivered: u64,
    since: Instant,
}

/// Whether to go on.
enum Step {
    On,
    /// Ask the store again: somebody moved or changed the subscription.
    Reload,
    End(Outcome),
}

impl Deliverer {
    async fn load(&self, id: &str) -> Result<Option<Subscription>, Error> {
        let id = id.to_owned();
        self.store.read(move |tx| table::get(tx, &id)).await
    }

    async fn subscription(&self, id: &str) -> Result<Outcome, Error> {
        loop {
            let mut changes = self.changes.subscribe();
            let Some(subscription) = self.load(id).await?.filter(|s| s.progress.state == State::Active) else {
                return Ok(Outcome::Done);
            };
            let Ok(subscriber) = serde_json::from_value::<Subscriber>(subscription.owner_reference.clone()) else {
                return self.disable(id, "the subscriber is not known any more").await;
            };
            let secret = subscription.sealed_secret.as_deref();
            let sink = match Sink::of(&self.client, &self.identity, id, &subscription.spec, secret) {
                Ok(Some(sink)) => sink,
                Ok(None) => return Ok(Outcome::Done),
                Err(error) => return Ok(Outcome::Retry { error }),
            };
            if let Some(outcome) = self.follow(&subscription, &subscriber, &sink, &mut changes).await? {
                return Ok(outcome);
            }
        }
    }

    /// Delivers until something changes. `None`: load again and go on.
    async fn follow(
        &self,
        subscription: &Subscription,
        subscriber: &Subscriber,
        sink: &Sink,
        changes: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Result<Option<Outcome>, Error> {
        let begin = subscription.progress.position;
        let mut course =
            Course { id: subscription.id.clone(), noted: begin, position: begin, delivered: 0, since: Instant::now() };
        let mut follower = Follower::new(&self.log, begin);
        let mut people = self.identity.watch_changes();
        let mut checked = Instant::now();
        loop {
            people.borrow_and_update();
            let Some(viewer) = subscriber.viewer(&self.identity) else {
                return self.disable(&course.id, "the subscriber may not see events any more").await.map(Some);
            };
            let batch = follower.now(BATCH).await?;
            for event in &batch {
                if people.has_changed().unwrap_or(false) {
                    break;
                }
                match self.one(&mut course, subscription, &viewer, sink, event).await? {
                    Step::On => {}
                    Step::Reload => return Ok(None),
                    Step::End(outcome) => return Ok(Some(outcome)),
                }
            }
            if !self.note(&mut course, !batch.is_empty()).await? {
                return Ok(None);
            }
            if course.position < follower.position() {
                // Stopped within a batch: from here again.
                follower = Follower::new(&self.log, course.position);
                continue;
            }
            if batch.is_empty() {
                tokio::select! {
                    open = follower.wait() => if !open { return Err(Error::Closed) },
                    _ = people.changed() => {}
                    _ = changes.changed() => changes.mark_changed(),
                    () = tokio::time::sleep(CHECK), if self.store.is_shared() => {}
                }
            }
            let look = changes.has_changed().unwrap_or(false) || (self.store.is_shared() && checked.elapsed() >= CHECK);
            if look {
                changes.borrow_and_update();
                checked = Instant::now();
                let now = self.load(&course.id).await?;
                let same =
                    now.is_some_and(|now| now.progress.state == State::Active && now.progress.position == course.noted);
                if !same {
                    return Ok(None);
                }
            }
        }
    }

    async fn one(
        &self,
        course: &mut Course,
        subscription: &Subscription,
        viewer: &Viewer,
        sink: &Sink,
        event: &Envelope,
    ) -> Result<Step, Error> {
        let seq = event.event.seq;
        if !subscription.spec.wants(event) || !viewer.may_see(event) {
            course.position = seq;
            return Ok(Step::On);
        }
        let (error, is_final) = match sink.send(event).await {
            Delivered::Accepted => {
                course.position = seq;
                course.delivered += 1;
                let due = course.delivered >= NOTE_AFTER || course.since.elapsed() >= NOTE_EVERY;
                let is_ours = !due || self.note(course, true).await?;
                return Ok(if is_ours { Step::On } else { Step::Reload });
            }
            Delivered::Gone => return self.disable(&course.id, "the sink is gone (410)").await.map(Step::End),
            Delivered::Later(pause, text) => {
                self.note(course, true).await?;
                let (id, position) = (course.id.clone(), course.noted);
                self.store.write(move |tx| table::note_pause(tx, &id, position, &text)).await?;
                return Ok(Step::End(Outcome::Later(pause)));
            }
            Delivered::Failed(error) => (error, false),
            Delivered::Refused(error) => (error, true),
        };
        // What was delivered before it must not come again because of this one.
        if !self.note(course, true).await? {
            return Ok(Step::Reload);
        }
        let (id, position, text) = (course.id.clone(), course.noted, error.clone());
        let failures = self.store.write(move |tx| table::note_failure(tx, &id, position, &text)).await?;
        let retry = subscription.spec.config.retry;
        if is_final || failures >= retry.max {
            let letter =
                DeadLetter { seq, event: event.structured(), error, attempts: failures.max(1), died: Timestamp::now() };
            tracing::warn!(subscription = course.id, seq, error = letter.error, "an event could not be delivered");
            let id = course.id.clone();
            self.store.write(move |tx| dead::bury(tx, &id, position, &letter)).await?;
            return Ok(Step::Reload);
        }
        let backoff = Backoff::new(Duration::from_millis(retry.base_ms), Duration::from_secs(retry.cap_s.max(1)));
        Ok(Step::End(Outcome::Later(backoff.wait(failures.max(1)))))
    }

    /// Writes the position down where that is worth it. `false` when the subscription was moved in the meantime.
    async fn note(&self, course: &mut Course, now: bool) -> Result<bool, Error> {
        let passed = course.position - course.noted;
        if passed == 0 || (course.delivered == 0 && (!now || passed < PASSED_OVER)) {
            return Ok(true);
        }
        let (id, from, to, delivered) = (course.id.clone(), course.noted, course.position, course.delivered);
        let is_ours = self.store.write(move |tx| table::advance(tx, &id, from, to, delivered)).await?;
        course.noted = to;
        course.delivered = 0;
        course.since = Instant::now();
        Ok(is_ours)
    }

    async fn disable(&self, id: &str, why: &'static str) -> Result<Outcome, Error> {
        let id = id.to_owned();
        self.store.write(move |tx| table::set_state(tx, &id, State::Disabled, Some(why))).await?;
        Ok(Outcome::Done)
    }

    /// Tries a dead letter once more; it stays one when that fails too.
    async fn letter(&self, claim: &Claim) -> Result<Outcome, Error> {
        let Some((id, seq)) =
            claim.id.rsplit_once('/').and_then(|(id, seq)| Some((id.to_owned(), seq.parse::<i64>().ok()?)))
        else {
            return Ok(Outcome::Done);
        };
        let named = id.clone();
        let letter = self.store.read(move |tx| dead::get(tx, &named, seq)).await?;
        let (Some(subscription), Some(letter)) = (self.load(&id).await?, letter) else { return Ok(Outcome::Done) };
        let sealed = subscription.sealed_secret.as_deref();
        let sink = match Sink::of(&self.client, &self.identity, &id, &subscription.spec, sealed) {
            Ok(Some(sink)) => sink,
            Ok(None) => return Ok(Outcome::Done),
            Err(error) => return Ok(Outcome::Retry { error }),
        };
        let subscriber: Option<Subscriber> = serde_json::from_value(subscription.owner_reference.clone()).ok();
        if subscriber.and_then(|subscriber| subscriber.viewer(&self.identity)).is_none() {
            return self.disable(&id, "the subscriber may not see events any more").await;
        }
        let logged = self.log.after(seq - 1, 1).await?.into_iter().find(|event| event.event.seq == seq);
        let delivered = match logged {
            Some(event) => sink.send(&event).await,
            None => sink.send_structured(letter.event["id"].as_str().unwrap_or_default(), &letter.event).await,
        };
        let claim = claim.clone();
        self.store
            .write(move |tx| {
                match &delivered {
                    Delivered::Accepted => {
                        dead::remove(tx, &id, seq)?;
                    }
                    Delivered::Gone => dead::note_failure(tx, &id, seq, "the sink is gone (410)")?,
                    Delivered::Later(_, error) | Delivered::Failed(error) | Delivered::Refused(error) => {
                        dead::note_failure(tx, &id, seq, error)?;
                    }
                }
                tx.finished(&claim)
            })
            .await?;
        Ok(Outcome::Done)
    }
}
