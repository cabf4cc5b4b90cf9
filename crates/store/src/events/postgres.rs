//! The PostgreSQL side of the log: the sequencer that numbers what has committed, and the notices between processes.
//!
//! `NOTIFY` inside a writing transaction would make all commits queue behind one lock of the server, so writers never
//! notify. After a commit the process tells its *notifier* thread, which sends one coalesced notice on a connection of its own.
//! The *sequencer* thread of the process that holds an advisory lock numbers the outbox and alone announces events. The
//! *listener* wakes this process's consumers and workers. A notice that is lost costs at most [`LOST_NOTICE`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres::Client;

use crate::Error;
use crate::engine::postgres::Address;
use crate::wake::{Touched, Wake};

/// How long a lost notice may delay anything.
const LOST_NOTICE: Duration = Duration::from_millis(250);
/// How often a process without the sequencer's lock asks for it.
const LOCK_RETRY: Duration = Duration::from_millis(500);
/// Rows that one numbering transaction takes.
const NUMBERED_AT_ONCE: i64 = 2_000;
/// The advisory lock of the sequencer, together with a hash of the schema's name.
const SEQUENCER_LOCK: i32 = 722_512;

/// The three threads; they end when this is dropped.
pub(crate) struct Notices {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicBool>,
    commits: crossbeam_channel::Sender<Touched>,
    threads: Vec<JoinHandle<()>>,
}

impl Notices {
    pub(crate) fn start(address: &Address, wake: Wake) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(AtomicBool::new(false));
        let (commits, from_commits) = crossbeam_channel::unbounded();
        // One connection is made here so that a wrong address is an error at start.
        drop(address.connect()?);
        let mut threads = Vec::new();
        let life = Life { address: address.clone(), stop: Arc::clone(&stop), begun: Arc::clone(&begun) };
        threads.push(life.clone().spawn("store-notifier", move |life, client| life.notify(client, &from_commits)));
        threads.push(life.clone().spawn("store-sequencer", Life::number));
        threads.push(life.spawn("store-listener", move |life, client| life.listen(client, &wake)));
        Ok(Notices { stop, begun, commits, threads: threads.into_iter().collect::<Result<_, _>>()? })
    }

    /// The tables exist now.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    /// What the engine calls after each commit that touched something.
    pub(crate) fn committed(&self) -> Arc<dyn Fn(Touched) + Send + Sync> {
        let commits = self.commits.clone();
        Arc::new(move |touched| {
            // Fails only while the store closes; then nobody is left to be woken here.
            drop(commits.send(touched));
        })
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a store thread panicked");
            }
        }
    }
}

/// What each of the threads needs to run and to end.
#[derive(Clone)]
struct Life {
    address: Address,
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicBool>,
}

impl Life {
    /// Runs `body` with a connection, again with a new one when it fails, until the store closes.
    fn spawn(
        self,
        name: &'static str,
        body: impl Fn(&Life, &mut Client) -> Result<(), Error> + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let run = move || {
            while !self.stopping() {
                if !self.begun.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                let outcome = self.address.connect().and_then(|mut client| body(&self, &mut client));
                if let Err(error) = outcome {
                    tracing::warn!(thread = name, %error, "the connection failed; trying again");
                    std::thread::sleep(LOST_NOTICE);
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map_err(|error| Error::Open(format!("cannot start a thread: {error}")))
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sends one notice for all commits since the last.
    fn notify(&self, client: &mut Client, commits: &crossbeam_channel::Receiver<Touched>) -> Result<(), Error> {
        let outbox = self.address.channel("outbox");
        let work = self.address.channel("work");
        while !self.stopping() {
            let Ok(first) = commits.recv_timeout(Duration::from_millis(100)) else { continue };
            let mut touched = first;
            while let Ok(more) = commits.try_recv() {
                touched.merge(more);
            }
            if touched.emitted {
                client.batch_execute(&format!("NOTIFY {outbox}"))?;
            }
            for queue in &touched.queues {
                client.execute("SELECT pg_notify($1, $2)", &[&work, queue])?;
            }
        }
        Ok(())
    }

    /// Numbers the outbox while this process holds the lock.
    fn number(&self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute(&format!("LISTEN {}", self.address.channel("outbox")))?;
        let announced = self.address.channel("events");
        let lock = "SELECT pg_try_advisory_lock($1, hashtext(current_schema()::text))";
        while !self.stopping() && !client.query_one(lock, &[&SEQUENCER_LOCK])?.get::<_, bool>(0) {
            std::thread::sleep(LOCK_RETRY.min(LOST_NOTICE));
        }
        let number = client.prepare(NUMBER)?;
        while !self.stopping() {
            loop {
                let numbered: i64 = client.query_one(&number, &[&NUMBERED_AT_ONCE])?.get(0);
                if numbered == 0 {
                    break;
                }
                client.batch_execute(&format!("NOTIFY {announced}"))?;
            }
            drain(client, LOST_NOTICE)?;
        }
        Ok(())
    }

    /// Wakes this process when events are numbered and when work arrives.
    fn listen(&self, client: &mut Client, wake: &Wake) -> Result<(), Error> {
        let work = self.address.channel("work");
        client.batch_execute(&format!("LISTEN {}; LISTEN {work}", self.address.channel("events")))?;
        while !self.stopping() {
            let seq: i64 = client.query_one("SELECT seq FROM event_last WHERE one = 1", &[])?.get(0);
            wake.event(seq);
            let queues = drain(client, LOST_NOTICE)?;
            wake.ring(&Touched { queues, ..Touched::default() });
        }
        Ok(())
    }
}

/// One statement, one transaction: the counter's row lock makes it right even if two sequencers ran at once.
const NUMBER: &str = "
WITH last AS (SELECT seq FROM event_last WHERE one = 1 FOR UPDATE),
     taken AS (DELETE FROM event_outbox WHERE place IN
                 (SELECT place FROM event_outbox, last ORDER BY place LIMIT $1) RETURNING *),
     numbered AS (INSERT INTO event_log (seq, id, type, source, subject, time, data, request_id)
                  OVERRIDING SYSTEM VALUE
                  SELECT (SELECT seq FROM last) + row_number() OVER (ORDER BY place),
                         id, type, source, subject, time, data, request_id FROM taken RETURNING seq),
     counted AS (UPDATE event_last SET seq = seq + (SELECT count(*) FROM numbered) WHERE one = 1 RETURNING seq)
SELECT count(*) FROM numbered, counted";

/// Waits for the first notice and takes those that came with it; their payloads.
fn drain(client: &mut Client, wait: Duration) -> Result<BTreeSet<String>, Error> {
    let mut payloads = BTreeSet::new();
    let mut notifications = client.notifications();
    if let Some(first) = notifications.timeout_iter(wait).next()? {
        payloads.insert(first.payload().to_owned());
    }
    let mut more = notifications.iter();
    while let Some(next) = more.next()? {
        payloads.insert(next.payload().to_owned());
    }
    payloads.remove("");
    Ok(payloads)
}
