//! Measures the links and has the optimiser decide, once in a while and in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{Error, NewWork, Outcome, Tx, Worker};
use serde_json::json;

use crate::model::lane::Lane;
use crate::model::optimiser::{Bounds, Seen, step};
use crate::model::rules::{Mode, Rules};
use crate::shared::Shared;
use crate::store::optimum::{self, Link, Measured, Told};
use crate::store::{COPY_QUEUE, rules};

const QUEUE: &str = "transfer.optimise";
/// What is looked at, for links whose files take less than so many seconds on average.
const WINDOWS: [(Duration, u64); 3] =
    [(Duration::from_secs(300), 30), (Duration::from_secs(900), 900), (Duration::from_secs(1_800), u64::MAX)];
/// Waiting files that are counted in each lane.
const MOST_COUNTED: usize = 200;
const MIB: f64 = 1_048_576.0;

pub async fn start(shared: &Arc<Shared>, tasks: &Tasks) -> Result<(), Error> {
    shared.store.write(|tx| tx.request(NewWork::new(QUEUE, "optimise", json!({})))).await?;
    let shared = Arc::clone(shared);
    Worker::new(&shared.store.clone(), QUEUE).concurrency(1).max_attempts(u32::MAX).run(tasks, move |_| {
        let shared = Arc::clone(&shared);
        async move {
            match round(&shared).await {
                Ok(()) => Outcome::Later(shared.settings.optimise_every.0),
                Err(error) => Outcome::Retry { error: error.to_string() },
            }
        }
    });
    Ok(())
}

/// What is known of one link now.
struct Now {
    measured: Measured,
    window: Duration,
    running: u32,
    waiting: u32,
}

async fn round(shared: &Shared) -> Result<(), Error> {
    let per_area = shared.settings.per_link;
    let links = shared.store.read(move |tx| {
        let rules = rules::all(tx, per_area)?;
        // Nobody wants anything optimised: nothing is measured.
        let links = if is_wanted(&rules) { look(tx)? } else { BTreeMap::new() };
        Ok::<_, Error>((rules, links))
    });
    let (rules, links) = links.await?;
    if links.is_empty() {
        return Ok(());
    }
    let decide = move |tx: &mut Tx<'_>| {
        let mut memories = optimum::memories(tx)?;
        let now = Timestamp::now();
        let (out, into) = by_storage(&links);
        for (link, about) in &links {
            let Some(rule) = rules.link(&link.0, &link.1).filter(|rule| rule.mode != Mode::Disabled) else { continue };
            let bounds = Bounds { min: rule.min_active, max: rule.max_active, mode: rule.mode };
            let [most_out, most_into] = rules.throughput(&link.0, &link.1);
            let at = |most: Option<u32>, used: Option<&f64>| {
                most.zip(used).is_some_and(|(most, used)| *used >= f64::from(most))
            };
            let seen = Seen {
                is_at_bandwidth: at(most_out, out.get(link.0.as_str())) || at(most_into, into.get(link.1.as_str())),
                ..seen(about)
            };
            let memory = memories.entry(link.clone()).or_default();
            let decided = step(memory, bounds, &seen);
            let told = Told {
                active: decided.active,
                throughput: seen.throughput,
                success: seen.success,
                rationale: decided.rationale.to_string(),
                diff: decided.diff,
                actual_active: seen.active,
                queue_size: seen.queue,
                ema: memory.ema,
                filesize_avg: seen.filesize,
            };
            optimum::keep(tx, link, memory, Some(&told), now)?;
        }
        Ok::<_, Error>(())
    };
    shared.store.write(decide).await
}

/// Whether the optimiser has anything to do.
pub fn is_wanted(rules: &Rules) -> bool {
    rules.links.iter().any(|rule| rule.mode != Mode::Disabled && rule.min_active < rule.max_active)
}

/// The links on which something waits or runs.
fn look(tx: &mut Tx<'_>) -> Result<BTreeMap<Link, Now>, Error> {
    let now = Timestamp::now();
    let mut lines: BTreeMap<Link, (u32, u32)> = BTreeMap::new();
    for waiting in tx.lanes(COPY_QUEUE, MOST_COUNTED)? {
        let lane = Lane::read(&waiting.name);
        let (running, queue) = lines.entry((lane.source, lane.destination)).or_default();
        *running = running.saturating_add(u32::try_from(waiting.running).unwrap_or(u32::MAX));
        *queue = queue.saturating_add(u32::try_from(waiting.due).unwrap_or(u32::MAX));
    }
    let mut links = BTreeMap::new();
    for (window, most_seconds) in WINDOWS {
        let undecided: BTreeSet<&Link> = lines.keys().filter(|link| !links.contains_key(*link)).collect();
        if undecided.is_empty() {
            break;
        }
        let measured = optimum::measured(tx, now - window)?;
        let settled: Vec<(Link, Now)> = undecided
            .into_iter()
            .filter_map(|link| {
                let measured = measured.get(link).copied().unwrap_or_default();
                let is_short = measured.finished > 0 && measured.seconds / measured.finished < most_seconds;
                let (running, waiting) = lines[link];
                (is_short || most_seconds == u64::MAX)
                    .then(|| (link.clone(), Now { measured, window, running, waiting }))
            })
            .collect();
        links.extend(settled);
    }
    Ok(links)
}

#[allow(clippy::cast_precision_loss, reason = "averages")]
fn seen(now: &Now) -> Seen {
    let Measured { finished, failed, retried, bytes, .. } = now.measured;
    let tries = finished + failed + retried;
    Seen {
        active: now.running,
        queue: now.waiting,
        throughput: bytes as f64 / MIB / now.window.as_secs_f64(),
        success: (tries > 0).then(|| 100.0 * finished as f64 / tries as f64),
        filesize: if finished > 0 { bytes as f64 / finished as f64 } else { 0.0 },
        is_at_bandwidth: false,
    }
}

/// MiB a second out of and into each storage.
fn by_storage(links: &BTreeMap<Link, Now>) -> (BTreeMap<&str, f64>, BTreeMap<&str, f64>) {
    let (mut out, mut into) = (BTreeMap::new(), BTreeMap::new());
    for ((source, destination), now) in links {
        let throughput = seen(now).throughput;
        *out.entry(source.as_str()).or_insert(0.0) += throughput;
        *into.entry(destination.as_str()).or_insert(0.0) += throughput;
    }
    (out, into)
}
