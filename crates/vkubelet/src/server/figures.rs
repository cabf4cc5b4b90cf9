//! What pods use, for `kubectl top` and autoscalers, where the site says so.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, header};
use serde_json::{Value, json};

use crate::Error;
use crate::pods::Controller;
use crate::pods::table::{Entry, Stage};
use dte_protocol_interlink::InterlinkError;

/// Pods in one page of the engine's list.
const PAGE: usize = 1_000;
const NANOS_PER_MICRO: u64 = 1_000;

/// What one pod used until now.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu_micros: u64,
    memory_bytes: u64,
}

/// What the site's running pods used. Only engines of ours say so.
async fn usage(controller: &Controller) -> Result<HashMap<String, Usage>, Error> {
    let site = &controller.site;
    if !site.is_engine() {
        return Ok(HashMap::new());
    }
    let mut request = site.http()?.request(Method::GET, format!("{}?limit={PAGE}", site.url("pods")));
    if let Some(token) = site.token().await? {
        request = request.bearer(&token);
    }
    let reply = request.send().await.map_err(InterlinkError::from)?;
    let list: Value = reply.json().await.map_err(InterlinkError::from)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .filter_map(|item| {
            let used = &item["usage"];
            let usage =
                Usage { cpu_micros: used["cpu_micros"].as_u64()?, memory_bytes: used["max_rss_bytes"].as_u64()? };
            Some((item["uid"].as_str()?.to_owned(), usage))
        })
        .collect())
}

fn running(controller: &Controller) -> Vec<Entry> {
    let is_running = |entry: &Entry| {
        matches!(entry.stage, Stage::Handed | Stage::Ending { .. })
            && crate::pods::status::phase(&entry.pod) == "Running"
    };
    controller.table.all().into_iter().filter(is_running).collect()
}

/// `/stats/summary`
pub async fn summary(State(controller): State<Arc<Controller>>) -> Json<Value> {
    // Without an answer of the site there are pods without figures.
    let usage = usage(&controller).await.unwrap_or_default();
    let now = jiff::Timestamp::now().to_string();
    let figures = |used: Usage| {
        (
            json!({ "time": now, "usageCoreNanoSeconds": used.cpu_micros.saturating_mul(NANOS_PER_MICRO) }),
            json!({ "time": now, "usageBytes": used.memory_bytes, "workingSetBytes": used.memory_bytes }),
        )
    };
    let mut sum = Usage::default();
    let pods: Vec<Value> = running(&controller)
        .iter()
        .filter_map(|entry| {
            let used = *usage.get(entry.raw.uid())?;
            sum.cpu_micros = sum.cpu_micros.saturating_add(used.cpu_micros);
            sum.memory_bytes = sum.memory_bytes.saturating_add(used.memory_bytes);
            let (cpu, memory) = figures(used);
            let started = entry.pod.status.as_ref().and_then(|status| status.start_time.clone());
            Some(json!({
                "podRef": { "name": entry.raw.name(), "namespace": entry.raw.namespace(), "uid": entry.raw.uid() },
                "startTime": started,
                "cpu": cpu, "memory": memory,
                // The site knows what the whole pod uses.
                "containers": [{ "name": main_container(entry), "startTime": started, "cpu": cpu, "memory": memory }],
            }))
        })
        .collect();
    let (cpu, memory) = figures(sum);
    Json(json!({ "node": { "nodeName": controller.settings.node_name, "cpu": cpu, "memory": memory }, "pods": pods }))
}

fn main_container(entry: &Entry) -> String {
    let spec = entry.pod.spec.as_ref();
    spec.and_then(|spec| spec.containers.first()).map(|one| one.name.clone()).unwrap_or_default()
}

/// `/metrics/resource`, which metrics-server reads.
pub async fn resource(State(controller): State<Arc<Controller>>) -> Response {
    let (usage, failed) = match usage(&controller).await {
        Ok(usage) => (usage, 0),
        Err(error) => {
            tracing::debug!(%error, "the site does not say what pods use");
            (HashMap::new(), 1)
        }
    };
    let millis = jiff::Timestamp::now().as_millisecond();
    let rows: Vec<(Entry, Usage)> = running(&controller)
        .into_iter()
        .filter_map(|entry| usage.get(entry.raw.uid()).copied().map(|used| (entry, used)))
        .collect();
    let text = render(&rows, failed, millis);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn render(rows: &[(Entry, Usage)], failed: u8, millis: i64) -> String {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let labels = |entry: &Entry| {
        format!(
            "container=\"{}\",namespace=\"{}\",pod=\"{}\"",
            main_container(entry),
            entry.raw.namespace(),
            entry.raw.name()
        )
    };
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, lines: Vec<String>| {
        text.push_str(&format!("# TYPE {name} {kind}\n{}", lines.concat()));
    };
    let cpu = |(entry, used): &(Entry, Usage)| {
        format!("container_cpu_usage_seconds_total{{{}}} {} {millis}\n", labels(entry), seconds(used.cpu_micros))
    };
    let memory = |(entry, used): &(Entry, Usage)| {
        format!("container_memory_working_set_bytes{{{}}} {} {millis}\n", labels(entry), used.memory_bytes)
    };
    let start = |(entry, _): &(Entry, Usage)| {
        let since = entry
            .pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map_or(0, |time| time.0.as_second());
        format!("container_start_time_seconds{{{}}} {since} {millis}\n", labels(entry))
    };
    let pod_cpu = |(entry, used): &(Entry, Usage)| {
        format!(
            "pod_cpu_usage_seconds_total{{namespace=\"{}\",pod=\"{}\"}} {} {millis}\n",
            entry.raw.namespace(),
            entry.raw.name(),
            seconds(used.cpu_micros)
        )
    };
    let pod_memory = |(entry, used): &(Entry, Usage)| {
        format!(
            "pod_memory_working_set_bytes{{namespace=\"{}\",pod=\"{}\"}} {} {millis}\n",
            entry.raw.namespace(),
            entry.raw.name(),
            used.memory_bytes
        )
    };
    family("container_cpu_usage_seconds_total", "counter", rows.iter().map(cpu).collect());
    family("container_memory_working_set_bytes", "gauge", rows.iter().map(memory).collect());
    family("container_start_time_seconds", "gauge", rows.iter().map(start).collect());
    family("pod_cpu_usage_seconds_total", "counter", rows.iter().map(pod_cpu).collect());
    family("pod_memory_working_set_bytes", "gauge", rows.iter().map(pod_memory).collect());
    let sum = |of: fn(&Usage) -> u64| rows.iter().map(|(_, used)| of(used)).fold(0u64, u64::saturating_add);
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        vec![format!("node_cpu_usage_seconds_total {} {millis}\n", seconds(sum(|used| used.cpu_micros)))],
    );
    family(
        "node_memory_working_set_bytes",
        "gauge",
        vec![format!("node_memory_working_set_bytes {} {millis}\n", sum(|used| used.memory_bytes))],
    );
    family("scrape_error", "gauge", vec![format!("scrape_error {failed}\n")]);
    text
}
