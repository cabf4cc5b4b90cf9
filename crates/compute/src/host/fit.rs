//! Whether a pod fits this machine: images, resources that it has, and places of it that pods may mount.

use std::fs;
use std::path::{Path, PathBuf};

use super::site::{IMAGE, Inner};
use crate::pod::{HostPathKind, PodPlan, VolumeSource};
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
                let real = self.host_path(path, *expects);
                *path = real.map_err(|why| SiteError::Refused(format!("volume {}: hostPath {why}", volume.name)))?;
            }
        }
        Ok(plan)
    }

    fn host_path(&self, path: &str, expects: HostPathKind) -> Result<String, String> {
        let allowed: Vec<PathBuf> =
            self.config.host_paths.iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
        let is_allowed = |real: &Path| allowed.iter().any(|root| real.starts_with(root));
        let outside =
            || Err(format!("{path} is not beneath one of the folders that site {} lets pods mount", self.config.name));
        let wanted = Path::new(path);
        // What does not exist is judged by the folder in which it would be.
        let base = wanted.ancestors().find_map(|above| fs::canonicalize(above).ok().map(|real| (above, real)));
        let Some((above, real)) = base else { return outside() };
        let missing = wanted.strip_prefix(above).unwrap_or(Path::new(""));
        let real = if missing.as_os_str().is_empty() { real } else { real.join(missing) };
        if !is_allowed(&real) {
            return outside();
        }
        let failed = |error: std::io::Error| format!("{path}: {error}");
        match expects {
            HostPathKind::DirectoryOrCreate => fs::create_dir_all(&real).map_err(failed)?,
            HostPathKind::FileOrCreate if !real.exists() => fs::write(&real, b"").map_err(failed)?,
            _ => {}
        }
        use std::os::unix::fs::FileTypeExt;
        let kind = fs::metadata(&real).map_err(failed)?.file_type();
        let fits = match expects {
            HostPathKind::Any => true,
            HostPathKind::Directory | HostPathKind::DirectoryOrCreate => kind.is_dir(),
            HostPathKind::File | HostPathKind::FileOrCreate => kind.is_file(),
            HostPathKind::Socket => kind.is_socket(),
        };
        if !fits {
            return Err(format!("{path} is not what its type says"));
        }
        real.into_os_string().into_string().map_err(|_| format!("{path} leads to a name that is no text"))
    }
}
