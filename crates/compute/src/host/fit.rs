//! Whether a pod fits this machine: images, resources that it has, and places of it that pods may mount.

use super::site::{IMAGE, Inner};
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
        for volume in &mut plan.volumes {
            if let VolumeSource::HostPath { path, expects } = &mut volume.source {
                let real = real_host_path(path, *expects, &self.config.host_paths);
                *path = real.map_err(|why| SiteError::Refused(format!("volume {}: hostPath {why}", volume.name)))?;
            }
        }
        Ok(plan)
    }
}
