//! The event that tells of a pod's end. Others make provenance, accounting and forecasts of it, so it says everything.

use dte_base::id::derived_id;
use dte_compute::PodReport;
use dte_compute::quantity::Quantity;
use dte_protocol_interlink::SITE_SELECTOR;
use dte_store::Event;
use serde_json::{Map, Value, json};

use super::order::{CollectedOutput, INPUTS, StagedCode, StagedInput};
use super::state::State;
use crate::store::PodRow;

/// `org.dte.offload.pod.finished`
pub const POD_FINISHED: &str = "org.dte.offload.pod.finished";
pub const POD_SUSPENDED: &str = "org.dte.offload.pod.suspended";
pub const POD_RESUMED: &str = "org.dte.offload.pod.resumed";
pub const SOURCE: &str = "/interlink";

/// How a pod ended.
#[derive(Clone, Debug)]
pub struct Ending {
    pub state: State,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub report: Option<PodReport>,
    pub outputs: Vec<CollectedOutput>,
}

/// The event; the same each time it is derived, so that it is one event however often it is told.
/// `placed`: why it was given to its site, if it named none.
pub fn event(pod: &PodRow, ending: &Ending, placed: Option<&str>, finished: dte_base::time::Timestamp) -> Event {
    let uid = pod.uid.to_string();
    let report = ending.report.as_ref();
    let mut annotations: Map<String, Value> = pod
        .pod
        .without_secrets()
        .0
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    // Said by `inputs`, and long.
    annotations.remove(INPUTS);
    let usage = report.map(|report| report.usage).unwrap_or_default();
    let inputs: &[StagedInput] = &pod.inputs;
    let code: Option<&StagedCode> = pod.code.as_ref();
    let mut data = json!({
        "uid": uid,
        "name": pod.name,
        "namespace": pod.namespace,
        "annotations": annotations,
        "phase": ending.state.phase(),
        "reason": ending.reason,
        "message": ending.message,
        "exit_code": report.and_then(PodReport::exit_code),
        "site": pod.site,
        "why": why(pod, placed),
        "cores": cores(pod),
        "user": pod.owner.name,
        "owner": pod.owner,
        "created": pod.created,
        "started": report.and_then(|report| report.started),
        "finished": report.and_then(|report| report.finished).unwrap_or(finished),
        "cpu_seconds": usage.cpu_micros as f64 / 1e6,
        "max_rss_bytes": usage.max_rss_bytes,
        "inputs": inputs,
        "outputs": ending.outputs,
        "code": code,
    });
    let mut identity = vec!["offload", "pod.finished", uid.as_str()];
    let run = pod.run.to_string();
    if pod.run > 0 {
        data["run"] = json!(pod.run);
        identity.push(&run);
    }
    Event::new(POD_FINISHED, SOURCE, &uid, data).with_id(derived_id(&identity))
}

/// The event that tells that a running pod stands still because its owner is suspended, or that it goes on.
pub fn paused(pod: &PodRow, is_paused: bool) -> Event {
    let data = json!({
        "uid": pod.uid, "name": pod.name, "namespace": pod.namespace, "site": pod.site, "user": pod.owner.name,
        "owner": pod.owner, "reason": if is_paused { "Suspended" } else { "Resumed" },
    });
    Event::new(if is_paused { POD_SUSPENDED } else { POD_RESUMED }, SOURCE, pod.uid.to_string(), data)
}

/// Why the pod ran where it ran.
fn why(pod: &PodRow, placed: Option<&str>) -> String {
    let selector = pod.pod.0.pointer("/spec/nodeSelector").and_then(|selector| selector.get(SITE_SELECTOR));
    match selector.and_then(Value::as_str) {
        Some(site) if !site.is_empty() => format!("the pod asked for {SITE_SELECTOR}={site}"),
        _ => placed.unwrap_or("it is the only site").to_owned(),
    }
}

/// Processors that the pod was allowed; one where nothing is said.
fn cores(pod: &PodRow) -> f64 {
    let containers = pod.pod.0.pointer("/spec/containers").and_then(Value::as_array);
    let limit = |container: &Value| match container.pointer("/resources/limits/cpu")? {
        Value::String(text) => Quantity::parse(text),
        number => Quantity::parse(&number.to_string()),
    };
    let limits = containers.into_iter().flatten().map(limit);
    let millis: u64 = limits.map(|limit| limit.map_or(1_000, Quantity::millis)).fold(0, u64::saturating_add);
    millis.max(1) as f64 / 1e3
}
