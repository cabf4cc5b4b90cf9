//! The event log against NATS JetStream: events made durable per second, delivered per second, and the time from commit
//! to subscriber. Both wait for the disk before they acknowledge (`sync_interval: always` there, `fsync` here), or neither.
//!
//! `bench-log NATS_SERVER SECONDS` prints one line of JSON.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dte_store::{Error, Event, Options, Store};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// Writers at once, on both sides.
const WRITERS: usize = 512;
/// Events for the latency measurement, one every other millisecond, beside no load.
const PROBES: usize = 1_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let server = arguments.get(1).map_or("nats-server", String::as_str).to_owned();
    let seconds = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(5.0);
    let span = Duration::from_secs_f64(seconds);
    let mut rounds = Vec::new();
    for fsync in [true, false] {
        let ours = ours(fsync, span).await?;
        let theirs = match theirs(&server, fsync, span).await {
            Ok(figures) => figures,
            Err(error) => {
                eprintln!("no figures of nats-server: {error}");
                Value::Null
            }
        };
        rounds.push(json!({ "fsync": fsync, "dte": ours, "jetstream": theirs }));
    }
    println!("{}", json!({ "writers": WRITERS, "rounds": rounds }));
    Ok(())
}

fn payload() -> Value {
    json!({ "scope": "enso", "name": "nino12.1980-01", "rse": "LOCAL", "bytes": 36 })
}

async fn ours(fsync: bool, span: Duration) -> Result<Value, Failure> {
    let folder = tempfile::tempdir()?;
    let options = Options { fsync, ..Options::sqlite(&folder.path().join("log.sqlite")) };
    let store = Store::open(&options).await?;
    let delivered = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(follow(store.clone(), Arc::clone(&delivered), Arc::clone(&stop)));
    let written = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (store, written) = (store.clone(), Arc::clone(&written));
        writers.push(tokio::spawn(async move {
            while began.elapsed() < span {
                let done: Result<(), Error> =
                    store.write(|tx| tx.emit(Event::new("org.dte.bench", "/bench", "s", payload()))).await;
                done?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Error>(())
        }));
    }
    for writer in writers {
        writer.await??;
    }
    let appended = written.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    while delivered.load(Ordering::Relaxed) < written.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let received = delivered.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    store.write(|tx| tx.emit(Event::new("org.dte.bench", "/bench", "end", payload()))).await.map_err(|e: Error| e)?;
    reader.await??;
    let latency = our_latency(&store).await?;
    Ok(json!({ "appended_per_s": appended, "delivered_per_s": received, "commit_to_subscriber_ms": latency }))
}

async fn follow(store: Store, delivered: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<(), Error> {
    let mut woken = store.watch_events();
    let mut seq = 0;
    while !stop.load(Ordering::Relaxed) {
        woken.borrow_and_update();
        let events = store.events_after(seq, 2_000, &[]).await?;
        match events.last() {
            Some(last) => {
                seq = last.seq;
                delivered.fetch_add(events.len() as u64, Ordering::Relaxed);
            }
            None => drop(woken.changed().await),
        }
    }
    Ok(())
}

/// Milliseconds from the writer's acknowledgement to the subscriber's receipt; a receipt before it counts as zero.
async fn our_latency(store: &Store) -> Result<Value, Failure> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Instant>();
    let mut seq = store.latest_seq().await?;
    let reading = store.clone();
    let reader = tokio::spawn(async move {
        let mut woken = reading.watch_events();
        let mut got = 0;
        while got < PROBES {
            woken.borrow_and_update();
            let events = reading.events_after(seq, 100, &[]).await?;
            for event in &events {
                seq = event.seq;
                got += 1;
                let _ = sender.send(Instant::now());
            }
            if events.is_empty() {
                drop(woken.changed().await);
            }
        }
        Ok::<_, Error>(())
    });
    let mut acknowledged = Vec::new();
    for _ in 0..PROBES {
        store.write(|tx| tx.emit(Event::new("org.dte.bench", "/bench", "p", payload()))).await.map_err(|e: Error| e)?;
        acknowledged.push(Instant::now());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    reader.await??;
    let mut waits = Vec::new();
    for ack in acknowledged {
        let Some(receipt) = receiver.recv().await else { break };
        waits.push(receipt.saturating_duration_since(ack).as_secs_f64() * 1e3);
    }
    Ok(percentiles(waits))
}

fn percentiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::NAN);
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

/// A server that ends with the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(program: &str, folder: &Path, fsync: bool) -> Result<(Server, u16), Failure> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    // Without `always` the server syncs every two minutes, that is never within a measurement.
    let sync = if fsync { "sync_interval: always" } else { "" };
    let config = folder.join("nats.conf");
    let store = folder.join("store");
    std::fs::write(
        &config,
        format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?}, {sync} }}\n", store.display().to_string()),
    )?;
    let child = Command::new(program).arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok((Server(child), port))
}

async fn theirs(program: &str, fsync: bool, span: Duration) -> Result<Value, Failure> {
    let folder = tempfile::tempdir()?;
    let (_server, port) = start(program, folder.path(), fsync)?;
    let address = format!("127.0.0.1:{port}");
    let mut client = None;
    for _ in 0..200 {
        match async_nats::connect(&address).await {
            Ok(connected) => {
                client = Some(connected);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
    let jetstream = async_nats::jetstream::new(client.ok_or("nats-server did not start")?);
    let stream = jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "bench".into(),
            subjects: vec!["bench".into()],
            storage: async_nats::jetstream::stream::StorageType::File,
            ..Default::default()
        })
        .await?;
    let consumer = stream
        .create_consumer(async_nats::jetstream::consumer::push::OrderedConfig {
            deliver_subject: "delivered".into(),
            ..Default::default()
        })
        .await?;
    let body = bytes::Bytes::from(payload().to_string());
    let delivered = Arc::new(AtomicU64::new(0));
    let mut messages = consumer.messages().await?;
    let counting = Arc::clone(&delivered);
    let reader = tokio::spawn(async move {
        while let Some(Ok(_)) = messages.next().await {
            counting.fetch_add(1, Ordering::Relaxed);
        }
    });
    let written = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (jetstream, written, body) = (jetstream.clone(), Arc::clone(&written), body.clone());
        writers.push(tokio::spawn(async move {
            while began.elapsed() < span {
                jetstream.publish("bench", body.clone()).await?.await?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        }));
    }
    for writer in writers {
        writer.await??;
    }
    let appended = written.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let deadline = Instant::now() + Duration::from_secs(30);
    while delivered.load(Ordering::Relaxed) < written.load(Ordering::Relaxed) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let received = delivered.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    reader.abort();
    Ok(json!({ "appended_per_s": appended, "delivered_per_s": received }))
}
