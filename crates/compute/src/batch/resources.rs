//! From what containers may use to what a job asks for.

use crate::pod::{ContainerPlan, PodPlan};

const MEBIBYTE: u64 = 1 << 20;
const SECONDS_OF_A_MINUTE: u64 = 60;
/// Extended resources that batch systems call a GPU.
const GPUS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];

/// What a job asks for. Kubernetes' effective request: what the containers need together, or the largest init container if
/// that is more. What a container does not limit is left to the site's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub cpus: Option<u64>,
    pub memory_mebibytes: Option<u64>,
    pub storage_mebibytes: Option<u64>,
    /// The pod's own deadline is the runner's business; the batch system's limit comes after it, in case that the runner cannot.
    pub minutes: Option<u64>,
    pub gpus: u64,
}

impl Wanted {
    /// `site`: whose resources they are, for those that it does not have.
    pub fn of_pod(plan: &PodPlan, grace_seconds: u64, site: &str) -> Result<Wanted, String> {
        let mut gpus = 0;
        for (name, count) in plan.extended() {
            if !GPUS.contains(&name) {
                return Err(format!("resources.limits: site {site} has no resource {name}"));
            }
            gpus += count;
        }
        let whole = |amount: Option<u64>, unit: u64| amount.map(|amount| amount.div_ceil(unit).max(1));
        Ok(Wanted {
            cpus: whole(effective(plan, |c| c.limits.cpu_millis), 1_000),
            memory_mebibytes: whole(effective(plan, |c| c.limits.memory_bytes), MEBIBYTE),
            storage_mebibytes: whole(effective(plan, |c| c.limits.storage_bytes), MEBIBYTE),
            minutes: whole(
                plan.deadline_seconds.map(|seconds| seconds.saturating_add(grace_seconds)),
                SECONDS_OF_A_MINUTE,
            ),
            gpus,
        })
    }
}

fn effective(plan: &PodPlan, amount: impl Fn(&ContainerPlan) -> Option<u64>) -> Option<u64> {
    let together = plan.containers.iter().filter_map(&amount).reduce(u64::saturating_add);
    let largest = plan.init_containers.iter().filter_map(&amount).max();
    together.max(largest)
}
