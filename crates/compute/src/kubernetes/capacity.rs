//! What the cluster has: the sum of its nodes, if they may be listed.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use super::site::Inner;
use crate::quantity::Quantity;
use crate::site::Capacity;

/// How long an answer counts.
const COUNTS: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn of(inner: &Inner) -> Capacity {
    let remembered = {
        let known = inner.capacity.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(at, _)| at.elapsed() < COUNTS).map(|(_, capacity)| capacity.clone())
    };
    let whole = match remembered {
        Some(whole) => whole,
        None => {
            let whole = ask(inner).await;
            *inner.capacity.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), whole.clone()));
            whole
        }
    };
    let pods = inner.pods();
    let notes = pods.values().filter(|entry| entry.is_active()).filter_map(|entry| entry.note.as_ref());
    let mut free = whole.extended.clone();
    let mut running = 0;
    for note in notes {
        running += 1;
        for (name, count) in &note.extended {
            if let Some(left) = free.get_mut(name) {
                *left = left.saturating_sub(*count);
            }
        }
    }
    Capacity { pods_running: running, extended_free: free, ..whole }
}

async fn ask(inner: &Inner) -> Capacity {
    let config = &inner.config;
    let selector: Vec<String> = config.node_selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let params = ListParams::default().labels(&selector.join(","));
    let nodes = Api::<Node>::all(inner.client.clone());
    match tokio::time::timeout(LIMIT, nodes.list(&params)).await {
        Ok(Ok(nodes)) => sum(&nodes.items, config.pods),
        other => {
            if let Ok(Err(error)) = other {
                tracing::info!(site = config.name, %error, "the cluster does not show its nodes");
            }
            let amount = |text: &str| Quantity::parse(text);
            Capacity {
                cpu_millis: amount(&config.cpu).map_or(0, |cpu| cpu.millis()),
                memory_bytes: amount(&config.memory).map_or(0, |memory| memory.units()),
                pods: config.pods,
                ..Capacity::default()
            }
        }
    }
}

/// Nodes that are ready and take pods.
fn sum(nodes: &[Node], most: u64) -> Capacity {
    let mut all = Capacity::default();
    let mut places = 0_u64;
    for node in nodes {
        let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        let Some(status) = node.status.as_ref().filter(|_| !closed) else { continue };
        let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
        let empty = BTreeMap::new();
        for (name, amount) in status.allocatable.as_ref().filter(|_| ready).unwrap_or(&empty) {
            let Some(amount) = Quantity::parse(&amount.0) else { continue };
            match name.as_str() {
                "cpu" => all.cpu_millis = all.cpu_millis.saturating_add(amount.millis()),
                "memory" => all.memory_bytes = all.memory_bytes.saturating_add(amount.units()),
                "pods" => places = places.saturating_add(amount.units()),
                // `example.com/gpu`; the cluster's own have no such prefix.
                extended if extended.contains('/') && !extended.contains("kubernetes.io/") => {
                    *all.extended.entry(extended.to_owned()).or_default() += amount.units();
                }
                _ => {}
            }
        }
    }
    Capacity { pods: places.min(most), ..all }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_count_if_they_work() {
        let node = |ready: &str, closed: bool| -> Node {
            serde_json::from_value(json!({"metadata": {}, "spec": {"unschedulable": closed}, "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "allocatable": {"cpu": "1500m", "memory": "1Gi", "pods": "10", "nvidia.com/gpu": "2", "hugepages-2Mi": "0"}}}))
            .expect("a node")
        };
        let all = sum(&[node("True", false), node("True", false), node("False", false), node("True", true)], 15);
        assert_eq!((all.cpu_millis, all.memory_bytes, all.pods), (3_000, 2 << 30, 15));
        assert_eq!(all.extended, BTreeMap::from([("nvidia.com/gpu".to_owned(), 4)]));
    }
}
