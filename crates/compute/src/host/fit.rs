//! Whether a pod fits this machine: images, resources that it has, and places of it that pods may mount.

use std::collections::BTreeMap;

use super::site::{IMAGE, Inner, Known, State};
use super::volumes::real_host_path;
use crate::pod::{PodPlan, VolumeSource};
use crate::site::SiteError;

impl Inner {
    /// The plan with the real paths of what it mounts from the machine; an error where it can never run here.
    pub(super) fn fit(&self, plan: &PodPlan) -> Result<PodPlan, SiteError> {
        let refused = |why: String| Err(SiteError::Refused(why));
        for container in plan.all_containers() {
            let (name, image) = (&container.name, &container.image);
            if image != IMAGE {
                let site = &self.config.name;
                return refused(format!("container {name}: site {site} runs image `host` only, not {image:?}"));
            }
        }
        let mut plan = plan.clone();
        let (memory, storage) = (self.config.default_memory, self.config.default_storage);
        for container in plan.init_containers.iter_mut().chain(&mut plan.containers) {
            let limits = &mut container.limits;
            limits.memory_bytes = limits.memory_bytes.or(memory.map(|bytes| bytes.0));
            limits.storage_bytes = limits.storage_bytes.or(storage.map(|bytes| bytes.0));
        }
        for volume in &mut plan.volumes {
            if let VolumeSource::HostPath { path, expects } = &mut volume.source {
                let real = real_host_path(path, *expects, &self.config.host_paths);
                *path = real.map_err(|why| SiteError::Refused(format!("volume {}: hostPath {why}", volume.name)))?;
            }
        }
        Ok(plan)
    }

    /// Extended resources that no running pod has. One that is suspended keeps its own.
    pub(super) fn extended_free(&self, known: &Known) -> BTreeMap<String, u64> {
        let mut free = self.config.resources.clone();
        for run in known.runs.values().filter(|run| matches!(run.state, State::Running(_))) {
            for (name, count) in &run.extended {
                if let Some(left) = free.get_mut(name) {
                    *left = left.saturating_sub(*count);
                }
            }
        }
        free
    }

    /// Whether what the pod asks for is free. It may wait for what the machine does not have at all: machines change.
    pub(super) fn check_extended(&self, known: &Known, plan: &PodPlan) -> Result<(), SiteError> {
        let needs = plan.extended();
        if needs.is_empty() {
            return Ok(());
        }
        let free = self.extended_free(known);
        for (resource, asked) in needs {
            let left = free.get(resource).copied().unwrap_or(0);
            if asked > left {
                let total = self.config.resources.get(resource).copied().unwrap_or(0);
                let (site, resource) = (self.config.name.clone(), resource.to_owned());
                return Err(SiteError::Lacks { site, resource, asked, free: left, total });
            }
        }
        Ok(())
    }
}
