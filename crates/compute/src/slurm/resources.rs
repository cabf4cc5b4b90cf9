//! From what containers may use to what a job asks for.

use super::flags::Flag;
use crate::pod::{ContainerPlan, PodPlan};

const MEBIBYTE: u64 = 1 << 20;
const SECONDS_OF_A_MINUTE: u64 = 60;

/// Kubernetes' effective request: what the containers need together, or the largest init container if that is more. What a
/// container does not limit is left to the site's default.
pub fn of_pod(plan: &PodPlan, grace_seconds: u64) -> Vec<Flag> {
    let cpus = effective(plan, |c| c.limits.cpu_millis).map(|millis| millis.div_ceil(1_000).max(1));
    let memory = effective(plan, |c| c.limits.memory_bytes).map(|bytes| bytes.div_ceil(MEBIBYTE).max(1));
    let storage = effective(plan, |c| c.limits.storage_bytes).map(|bytes| bytes.div_ceil(MEBIBYTE).max(1));
    // The pod's own deadline is the runner's business; Slurm's limit comes after it, in case that the runner cannot.
    let minutes =
        plan.deadline_seconds.map(|seconds| seconds.saturating_add(grace_seconds).div_ceil(SECONDS_OF_A_MINUTE).max(1));
    let asked = [
        ("cpus-per-task", cpus.map(|cpus| cpus.to_string())),
        ("mem", memory.map(|mebibytes| format!("{mebibytes}M"))),
        ("tmp", storage.map(|mebibytes| format!("{mebibytes}M"))),
        ("time", minutes.map(|minutes| minutes.to_string())),
    ];
    asked.into_iter().filter(|(_, value)| value.is_some()).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn effective(plan: &PodPlan, amount: impl Fn(&ContainerPlan) -> Option<u64>) -> Option<u64> {
    let together = plan.containers.iter().filter_map(&amount).reduce(u64::saturating_add);
    let largest = plan.init_containers.iter().filter_map(&amount).max();
    together.max(largest)
}
