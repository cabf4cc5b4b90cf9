//! The node object, made from what is known. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::settings::{Resources, Settings, Taint};
use crate::site::Ping;

/// The taint that keeps ordinary pods away, as upstream's node has it.
pub const TAINT: &str = "virtual-node.interlink/no-schedule";
/// The API server then passes streams on to us as WebSockets.
const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";

/// What pods may ask about their node, and what their status says of it.
#[derive(Clone, Debug)]
pub struct Facts {
    pub name: String,
    pub ip: IpAddr,
    /// `cpu`, `memory` and the like, as quantities.
    pub allocatable: BTreeMap<String, String>,
}

/// How the site answered last.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    Well(Ping),
    Away(String),
}

/// Labels of the node.
pub fn labels(settings: &Settings) -> BTreeMap<String, String> {
    let (os, arch) =
        if settings.real_platform_labels { ("linux", platform()) } else { ("virtual-kubelet", platform()) };
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/os", os),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", settings.node_name.as_str()),
        ("kubernetes.io/role", "agent"),
        ("virtual-node.interlink/type", "virtual-kubelet"),
        ("alpha.service-controller.kubernetes.io/exclude-balancer", "true"),
        ("node.kubernetes.io/exclude-from-external-load-balancers", "true"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    labels.extend(settings.labels.clone());
    labels
}

/// The machine's architecture by its name in Kubernetes.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What the node shall have: our own taint always, then the configured ones or those of the site.
pub fn taints(settings: &Settings, ping: Option<&Ping>) -> Vec<Taint> {
    let own = Taint { key: TAINT.to_owned(), value: "true".to_owned(), effect: "NoSchedule".to_owned() };
    let told = ping.and_then(|ping| ping.taints.clone());
    let others = told
        .unwrap_or_else(|| settings.taints.clone())
        .into_iter()
        .filter(|taint| !taint.key.is_empty() && taint.key != TAINT);
    let known = |effect: &str| matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute");
    let others = others.map(|taint| match known(&taint.effect) {
        true => taint,
        false => Taint { effect: "NoSchedule".to_owned(), ..taint },
    });
    std::iter::once(own).chain(others).collect()
}

/// The taints of the node as it is, with ours in place of those that we set before. Others' taints stay.
pub fn merge_taints(present: &[Value], before: &[Taint], wanted: &[Taint]) -> Vec<Value> {
    let is = |value: &Value, taint: &Taint| value["key"] == taint.key && value["effect"] == taint.effect;
    let ours = |value: &Value| before.iter().chain(wanted).any(|taint| is(value, taint));
    let others = present.iter().filter(|value| !ours(value)).cloned();
    others.chain(wanted.iter().map(|taint| json!(taint))).collect()
}

/// What pods can be given.
pub fn allocatable(configured: &Resources, ping: Option<&Ping>) -> BTreeMap<String, String> {
    let mut all = configured.extended.clone();
    all.insert("cpu".into(), configured.cpu.clone());
    all.insert("memory".into(), configured.memory.clone());
    all.insert("pods".into(), configured.pods.clone());
    for (name, amount) in ping.map(|ping| &ping.resources).into_iter().flatten() {
        match dte_compute::quantity::Quantity::parse(amount) {
            Some(_) => {
                all.insert(name.clone(), amount.clone());
            }
            None => tracing::warn!(resource = %name, %amount, "the site names an amount that is not a quantity"),
        }
    }
    all
}

/// The node as it is registered.
pub fn registration(settings: &Settings, taints: &[Taint]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": settings.node_name, "labels": labels(settings) },
        "spec": { "providerID": format!("external:///{}", settings.node_name), "taints": taints },
    })
}

/// The node's status. `before` are the conditions that it has: their transition times stay while nothing changes.
pub fn status(
    settings: &Settings,
    health: &Health,
    resources: &BTreeMap<String, String>,
    before: &[Value],
    now: &str,
) -> Value {
    let port = settings.listen.port();
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            { "type": "InternalIP", "address": settings.node_ip.to_string() },
            { "type": "Hostname", "address": settings.node_name },
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
        "declaredFeatures": [WEBSOCKETS],
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "", "kubeProxyVersion": "",
            "containerRuntimeVersion": concat!("dte://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": concat!("v", env!("CARGO_PKG_VERSION"), "-dte"),
            "operatingSystem": "linux",
            "architecture": platform(),
        },
        "conditions": conditions(health, before, now),
    })
}

fn conditions(health: &Health, before: &[Value], now: &str) -> Vec<Value> {
    let (well, reason, message) = match health {
        Health::Well(ping) => {
            (true, "InterlinkPingSuccessful", format!("Ping successful with code 200. Response: {}", ping.text))
        }
        Health::Away(why) => (false, "InterlinkPingFailed", format!("Ping failed: {why}")),
    };
    let text = |yes: bool| if yes { "True" } else { "False" };
    let ready = if well { ("KubeletReady", "the site answers".to_owned()) } else { (reason, message.clone()) };
    let fine = ("KubeletHasNoDiskPressure", "the site keeps its own house".to_owned());
    [
        ("Ready", text(well), ready),
        ("MemoryPressure", "False", fine.clone()),
        ("DiskPressure", "False", fine.clone()),
        ("OutOfDisk", "False", fine),
        ("NetworkUnavailable", text(!well), (reason, message.clone())),
        ("InterlinkConnectivity", text(well), (reason, message)),
    ]
    .into_iter()
    .map(|(kind, status, (reason, message))| {
        let old = before.iter().find(|old| old["type"] == kind && old["status"] == status);
        let since = old.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(now);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since,
        })
    })
    .collect()
}

/// The same without the times of heartbeats: whether there is something to tell.
pub fn without_heartbeats(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        Map::remove(condition, "lastHeartbeatTime");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::of("n1".into(), "http://localhost:1".parse().expect("a URL"), "/tmp/none".into())
    }

    #[test]
    fn a_port_with_a_capital() {
        let status = status(&settings(), &Health::Well(Ping::default()), &BTreeMap::new(), &[], "now");
        assert_eq!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"], 5820);
    }

    #[test]
    fn transition_times_are_stable() {
        let first = conditions(&Health::Well(Ping::default()), &[], "t1");
        let second = conditions(&Health::Well(Ping::default()), &first, "t2");
        assert_eq!(second[0]["lastTransitionTime"], "t1");
        assert_eq!(second[0]["lastHeartbeatTime"], "t2");
        let third = conditions(&Health::Away("no route".into()), &second, "t3");
        assert_eq!((&third[0]["status"], &third[0]["lastTransitionTime"]), (&json!("False"), &json!("t3")));
        assert_eq!(third[1]["lastTransitionTime"], "t1");
        assert_eq!(third[4]["status"], "True");
    }

    #[test]
    fn taints_of_others_stay() {
        let present = [
            json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}),
            json!({"key": "old", "effect": "NoSchedule"}),
        ];
        let taint = |key: &str| Taint { key: key.into(), value: String::new(), effect: "NoSchedule".into() };
        let merged = merge_taints(&present, &[taint("old")], &[taint("new")]);
        assert_eq!(merged.len(), 2);
        assert_eq!((&merged[0]["key"], &merged[1]["key"]), (&json!("node.kubernetes.io/not-ready"), &json!("new")));
    }

    #[test]
    fn the_site_says_what_there_is() {
        let ping = Ping {
            resources: BTreeMap::from([("cpu".to_owned(), "4".to_owned()), ("memory".to_owned(), "much".to_owned())]),
            taints: Some(vec![Taint { key: TAINT.into(), value: String::new(), effect: "x".into() }]),
            ..Ping::default()
        };
        let all = allocatable(&Resources::default(), Some(&ping));
        assert_eq!((all["cpu"].as_str(), all["memory"].as_str()), ("4", "0"));
        assert_eq!(taints(&settings(), Some(&ping)).len(), 1);
    }
}
