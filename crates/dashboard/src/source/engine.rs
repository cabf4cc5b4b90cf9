//! The engine's page: twins, sites, pods and storage from their services; the event log and the work queues from the
//! store that all services stand on, for administrators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_identity::Principal;
use serde_json::Value;
use std::sync::Mutex;

use super::{Reader, items, number, path, text, twin};
use crate::api::State;
use crate::model::engine::{Engine, Log, PodLine, Queue, RseLine, ServiceLine, SiteLine};

/// Newest events that are counted by type.
const RECENT: i64 = 200;
/// The rate is taken over at least this long.
const WINDOW: Duration = Duration::from_secs(2);
/// Requests by service, as the metrics name them.
const REQUESTS: &str = "dte_http_requests_total{";

/// Remembers positions of the event log, to say how fast it grows.
#[derive(Clone, Default)]
pub struct Rate(Arc<Mutex<Vec<(Instant, i64)>>>);

impl Rate {
    /// Notes a position; gives events a second since about [`WINDOW`] ago.
    fn note(&self, now: Instant, position: i64) -> Option<f64> {
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.push((now, position));
        // Keep one that is older than the window, to measure from.
        while known.len() > 2 && now.duration_since(known[1].0) >= WINDOW {
            known.remove(0);
        }
        let (since, before) = known[0];
        let seconds = now.duration_since(since).as_secs_f64();
        (seconds >= 0.2).then(|| (position - before).max(0) as f64 / seconds)
    }
}

/// Reads all that this viewer may see.
pub async fn read(state: &State, reader: &Reader, principal: &Principal) -> Engine {
    let mut engine = Engine {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: state.opened.elapsed(),
        memory: resident_memory(),
        ..Engine::default()
    };
    let (twins, rses, sites, pods) = tokio::join!(twin::list(reader), rses(reader), sites(reader), pods(reader));
    engine.twins = twins.unwrap_or_else(|error| missing(&mut engine, "twins", &error));
    engine.rses = rses.unwrap_or_else(|error| missing(&mut engine, "rses", &error));
    engine.sites = sites.unwrap_or_else(|error| missing(&mut engine, "sites", &error));
    engine.pods = pods.unwrap_or_else(|error| missing(&mut engine, "pods", &error));
    for site in &mut engine.sites {
        let here = engine.pods.iter().filter(|pod| pod.site == site.name && pod.phase == "Running");
        site.running = Some(here.count() as u64);
    }
    if let Err(error) = read_store(state, &mut engine, principal.is_admin()).await {
        missing::<()>(&mut engine, "log", &error);
    }
    if principal.is_admin() {
        engine.services = services(state);
    } else {
        for part in ["queues", "services"] {
            engine.missing.push((part, "it is for administrators".to_owned()));
        }
    }
    engine
}

fn missing<T: Default>(engine: &mut Engine, part: &'static str, error: &impl std::fmt::Display) -> T {
    engine.missing.push((part, error.to_string()));
    T::default()
}

async fn read_store(state: &State, engine: &mut Engine, is_admin: bool) -> Result<(), dte_store::Error> {
    let position = state.store.latest_seq().await?;
    engine.log = Log { position, rate: state.rate.note(Instant::now(), position), ..Log::default() };
    if !is_admin {
        return Ok(());
    }
    let depths = state.store.queue_depths().await?;
    engine.queues =
        depths.into_iter().map(|d| Queue { name: d.queue, ready: d.ready, running: d.leased, dead: d.dead }).collect();
    let recent = state.store.events_after((position - RECENT).max(0), RECENT.unsigned_abs() as usize, &[]).await?;
    engine.log.newest = recent.last().map(|event| event.time);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in recent {
        *counts.entry(event.kind).or_default() += 1;
    }
    engine.log.recent = counts.into_iter().collect();
    engine.log.recent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(())
}

/// Services by their mounted routes, with how often they were asked.
fn services(state: &State) -> Vec<ServiceLine> {
    let mut services: BTreeMap<String, ServiceLine> = BTreeMap::new();
    for route in state.identity.routes() {
        let line = services
            .entry(route.service.clone())
            .or_insert_with(|| ServiceLine { name: route.service.clone(), ..ServiceLine::default() });
        let prefix = format!("/{}", route.path.split('/').nth(1).unwrap_or_default());
        if !line.prefixes.contains(&prefix) {
            line.prefixes.push(prefix);
        }
    }
    for (service, is_error, count) in dte_base::telemetry::render().lines().filter_map(requests) {
        if let Some(line) = services.get_mut(service) {
            line.requests += count;
            line.errors += if is_error { count } else { 0 };
        }
    }
    services.into_values().collect()
}

/// Service, whether it was a fault of ours, and the count, of one line of the metrics.
fn requests(line: &str) -> Option<(&str, bool, u64)> {
    let (labels, count) = line.strip_prefix(REQUESTS)?.rsplit_once("} ")?;
    let (_, rest) = labels.split_once("service=\"")?;
    let (service, _) = rest.split_once('"')?;
    Some((service, labels.contains("status=\"5xx\""), count.trim().parse().ok()?))
}

async fn rses(reader: &Reader) -> Result<Vec<RseLine>, dte_http::ClientError> {
    let mut lines = Vec::new();
    for rse in reader.lines("/rucio/rses/").await? {
        let Some(name) = text(&rse, &["rse"]) else { continue };
        let usage = reader.lines(&path("/rucio/rses/{}/usage", &[&name])).await?;
        let usage = usage.first().unwrap_or(&Value::Null);
        lines.push(RseLine {
            kind: text(&rse, &["rse_type"]).unwrap_or_default(),
            used: number(usage, &["used"]),
            // Without a limit that is known, "total" only repeats what is used.
            total: number(usage, &["total"]).filter(|total| Some(*total) != number(usage, &["used"])),
            files: number(usage, &["files"]),
            name,
        });
    }
    Ok(lines)
}

async fn sites(reader: &Reader) -> Result<Vec<SiteLine>, dte_http::ClientError> {
    let answer: Value = reader.json("/interlink/sites").await?;
    let line = |site: &Value| SiteLine {
        name: text(site, &["name"]).unwrap_or_default(),
        plugin: text(site, &["plugin"]).unwrap_or_default(),
        state: text(site, &["state", "status"]).unwrap_or_else(|| "up".to_owned()),
        running: None,
    };
    Ok(items(&answer).iter().map(line).collect())
}

async fn pods(reader: &Reader) -> Result<Vec<PodLine>, dte_http::ClientError> {
    let answer: Value = reader.json("/interlink/pods?limit=100").await?;
    let line = |pod: &Value| PodLine {
        uid: text(pod, &["uid"]).unwrap_or_default(),
        name: text(pod, &["name"]).unwrap_or_default(),
        phase: text(pod, &["phase"]).unwrap_or_default(),
        site: text(pod, &["site"]).unwrap_or_default(),
        user: text(pod, &["user"]).unwrap_or_default(),
        since: text(pod, &["started"]).and_then(|time| time.parse().ok()),
    };
    // The newest pods are asked for; those that have ended are not shown.
    Ok(items(&answer).iter().map(line).filter(|pod| matches!(pod.phase.as_str(), "Running" | "Pending")).collect())
}

/// Resident memory of this process, from Linux.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let rate = Rate::default();
        let start = Instant::now();
        assert_eq!(rate.note(start, 100), None);
        assert_eq!(rate.note(start + Duration::from_secs(1), 300), Some(200.0));
        assert_eq!(rate.note(start + Duration::from_secs(3), 500), Some(100.0));
        assert_eq!(rate.note(start + Duration::from_secs(8), 500), Some(0.0));
    }

    #[test]
    fn lines_of_metrics() {
        let line = r#"dte_http_requests_total{method="GET",route="/x",service="lake",status="5xx"} 12"#;
        assert_eq!(requests(line), Some(("lake", true, 12)));
        assert_eq!(requests("other{service=\"lake\"} 1"), None);
        assert!(resident_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
