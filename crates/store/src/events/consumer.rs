//! A consumer inside the engine: its offset moves in the transaction of its effect, so the effect happens once.

use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;

use crate::events::Event;
use crate::sql::Dialect;
use crate::{Error, Store, Tx, params};

/// Events that one transaction takes at most: the writer must not be held for long.
const AT_ONCE: usize = 64;
/// An offset that trails behind events of no interest is written down this rarely.
const NOTE_EVERY: i64 = 1_000;
/// Looks again this often even if nothing woke it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));

/// A named reader of the log.
pub struct Consumer {
    store: Store,
    name: &'static str,
    types: Vec<String>,
    locks: bool,
}

impl Consumer {
    /// `name` identifies the offset; two consumers must not share one.
    pub fn new(store: &Store, name: &'static str) -> Self {
        Consumer { store: store.clone(), name, types: Vec::new(), locks: false }
    }

    /// Only events whose type begins with one of these; all without.
    pub fn types(mut self, prefixes: &[&str]) -> Self {
        self.types = prefixes.iter().map(|p| (*p).to_owned()).collect();
        self
    }

    /// The effect takes locks of its own: on PostgreSQL it runs at `READ COMMITTED` (see [`Store::claim`]).
    pub fn with_own_locks(mut self) -> Self {
        self.locks = true;
        self
    }

    /// Calls `effect` for each event, in order, until the engine stops.
    ///
    /// `effect` runs in the transaction that moves the offset. When it fails, the event is tried again after a wait, for ever:
    /// an event is never passed over. Effects outside the database go through [`Tx::enqueue`].
    pub fn run<F>(self, tasks: &Tasks, effect: F)
    where
        F: Fn(&mut Tx<'_>, &Event) -> Result<(), Error> + Clone + Send + Sync + 'static,
    {
        let stop = tasks.stop_token();
        tasks.spawn("consumer", async move {
            let mut woken = self.store.watch_events();
            let mut failures = 0;
            let mut passed = -1;
            loop {
                woken.borrow_and_update();
                let size = if failures == 0 { AT_ONCE } else { 1 };
                let wait = match self.step(size, passed, effect.clone()).await {
                    Ok(Step::Moved) => {
                        failures = 0;
                        continue;
                    }
                    Ok(Step::UpToDate(seq)) => {
                        passed = seq;
                        failures = 0;
                        LOOK_AGAIN
                    }
                    Err(Error::Closed) => return,
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(consumer = self.name, failures, %error, "an event could not be handled; trying again");
                        RETRY.wait(failures)
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = woken.changed(), if failures == 0 => if changed.is_err() { return },
                    () = tokio::time::sleep(wait) => {}
                }
                if stop.is_cancelled() {
                    return;
                }
            }
        });
    }

    /// One batch. Looks with a read first, so that events of no interest cost no write.
    async fn step<F>(&self, size: usize, passed: i64, effect: F) -> Result<Step, Error>
    where
        F: Fn(&mut Tx<'_>, &Event) -> Result<(), Error> + Send + Sync + 'static,
    {
        let (name, types) = (self.name, self.types.clone());
        let (offset, latest, found) = self
            .store
            .read(move |tx| {
                let offset = offset_of(tx, name, false)?;
                let latest = tx.latest_seq()?;
                let found = !tx.events_after(offset.max(passed), 1, &types)?.is_empty();
                Ok::<_, Error>((offset, latest, found))
            })
            .await?;
        if !found {
            if latest - offset >= NOTE_EVERY {
                self.store.write(move |tx| move_to(tx, name, latest)).await?;
            }
            return Ok(Step::UpToDate(latest));
        }
        let types = self.types.clone();
        let handle = move |tx: &mut Tx<'_>| {
            let offset = offset_of(tx, name, true)?;
            let events = tx.events_after(offset, size, &types)?;
            for event in &events {
                effect(tx, event)?;
            }
            match events.last() {
                Some(last) => move_to(tx, name, last.seq),
                None => Ok(()),
            }
        };
        if self.locks {
            let locked = move |tx: &mut Tx<'_>| {
                // What is not there cannot be locked.
                tx.execute(
                    "INSERT INTO event_offset (consumer, seq, moved) VALUES (?1, 0, ?2) ON CONFLICT (consumer) DO NOTHING",
                    &params![name, Timestamp::now()],
                )?;
                handle(tx)
            };
            self.store.claim(locked).await?;
        } else {
            self.store.write(handle).await?;
        }
        Ok(Step::Moved)
    }
}

enum Step {
    Moved,
    UpToDate(i64),
}

fn offset_of(tx: &mut Tx<'_>, consumer: &str, lock: bool) -> Result<i64, Error> {
    let lock = if lock && tx.dialect() == Dialect::Postgres { " FOR UPDATE" } else { "" };
    let sql = format!("SELECT seq FROM event_offset WHERE consumer = ?1{lock}");
    Ok(tx.query_opt(&sql, &params![consumer], |row| row.get(0))?.unwrap_or(0))
}

fn move_to(tx: &mut Tx<'_>, consumer: &str, seq: i64) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO event_offset (consumer, seq, moved) VALUES (?1, ?2, ?3)
         ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq, moved = excluded.moved",
        &params![consumer, seq, Timestamp::now()],
    )?;
    Ok(())
}
