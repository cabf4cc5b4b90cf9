//! What is known of each pod of the node, by UID.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use dte_protocol_interlink::{JOB_ID_ANNOTATION, RawPod};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;

/// Where a pod is between cluster and site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The site has not accepted it.
    New,
    /// The site has it.
    Handed,
    /// The site was told to end it.
    Ending { since: Instant },
    /// Nothing is to be done until it is deleted.
    Rest,
}

/// One pod.
#[derive(Clone, Debug)]
pub struct Entry {
    pub raw: Arc<RawPod>,
    pub pod: Arc<Pod>,
    pub stage: Stage,
    /// The cluster has it no more.
    pub vanished: bool,
    /// Failed steps in a row.
    pub attempts: u32,
    /// Answers of the site in a row that did not name it.
    pub missing: u32,
    /// Somebody is at it, and whether there is more to do.
    pub busy: bool,
    pub again: bool,
    /// Events that were told already.
    pub said: HashSet<String>,
}

impl Entry {
    pub fn new(raw: RawPod, pod: Pod) -> Self {
        Entry {
            raw: Arc::new(raw),
            pod: Arc::new(pod),
            stage: Stage::New,
            vanished: false,
            attempts: 0,
            missing: 0,
            busy: false,
            again: false,
            said: HashSet::new(),
        }
    }

    pub fn is_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The site's job, once it is noted in the cluster.
    pub fn job(&self) -> Option<&str> {
        self.raw.annotation(JOB_ID_ANNOTATION).filter(|job| !job.is_empty())
    }

    /// The version of the object, which grows with each change.
    fn version(&self) -> u64 {
        version(&self.pod)
    }
}

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// All pods of the node.
#[derive(Default)]
pub struct Table(Mutex<HashMap<String, Entry>>);

impl Table {
    pub fn get(&self, uid: &str) -> Option<Entry> {
        self.0.lock().get(uid).cloned()
    }

    /// Changes an entry, if it is there.
    pub fn with<T>(&self, uid: &str, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.0.lock().get_mut(uid).map(change)
    }

    /// A pod as the cluster has it now. Older news than what is known is dropped.
    pub fn seen(&self, raw: RawPod, pod: Pod) {
        let uid = raw.uid().to_owned();
        let mut table = self.0.lock();
        match table.get_mut(&uid) {
            Some(entry) if version(&pod) >= entry.version() => {
                (entry.raw, entry.pod) = (Arc::new(raw), Arc::new(pod));
            }
            Some(_) => {}
            None => {
                table.insert(uid, Entry::new(raw, pod));
            }
        }
    }

    pub fn insert(&self, uid: String, entry: Entry) {
        self.0.lock().insert(uid, entry);
    }

    pub fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    pub fn uids(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }

    /// The pods about which the site is asked.
    pub fn at_site(&self) -> Vec<Entry> {
        let asked = |entry: &&Entry| matches!(entry.stage, Stage::Handed | Stage::Ending { .. }) && !entry.vanished;
        self.0.lock().values().filter(asked).cloned().collect()
    }

    pub fn all(&self) -> Vec<Entry> {
        self.0.lock().values().filter(|entry| !entry.vanished).cloned().collect()
    }

    /// A pod by its names.
    pub fn named(&self, namespace: &str, name: &str) -> Option<Entry> {
        let is = |entry: &&Entry| !entry.vanished && entry.raw.name() == name && entry.raw.namespace() == namespace;
        self.0.lock().values().find(is).cloned()
    }

    /// The status that the cluster took.
    pub fn told(&self, uid: &str, status: PodStatus, resource_version: Option<String>) {
        self.with(uid, |entry| {
            let mut pod = (*entry.pod).clone();
            let kept = pod.status.take().unwrap_or_default();
            pod.status = Some(PodStatus { qos_class: kept.qos_class, ..status });
            if resource_version.is_some() {
                pod.metadata.resource_version = resource_version;
            }
            entry.pod = Arc::new(pod);
        });
    }

    /// Claims an entry for work; `false` if somebody is at it, who will then look again.
    pub fn claim(&self, uid: &str) -> bool {
        self.with(uid, |entry| {
            entry.again = entry.busy;
            !std::mem::replace(&mut entry.busy, true)
        })
        .unwrap_or(false)
    }

    /// Ends a claim; `true` if there is more to do at once, and the claim goes on.
    pub fn release(&self, uid: &str) -> bool {
        self.with(uid, |entry| {
            entry.busy = std::mem::take(&mut entry.again);
            entry.busy
        })
        .unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(version: &str, phase: &str) -> (RawPod, Pod) {
        let value = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": version}, "status": {"phase": phase}});
        (RawPod(value.clone()), serde_json::from_value(value).expect("a pod"))
    }

    #[test]
    fn old_news_is_dropped() {
        let table = Table::default();
        for (version, phase) in [("10", "Running"), ("9", "Pending")] {
            let (raw, pod) = pod(version, phase);
            table.seen(raw, pod);
        }
        let entry = table.named("n", "p").expect("there");
        assert_eq!(entry.pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Running"));
    }

    #[test]
    fn one_at_a_time() {
        let table = Table::default();
        let (raw, pod) = pod("1", "Pending");
        table.seen(raw, pod);
        assert!(table.claim("u") && !table.claim("u"));
        assert!(table.release("u"), "somebody asked meanwhile");
        assert!(!table.release("u"));
        assert!(table.claim("u") && !table.claim("none"));
    }
}
