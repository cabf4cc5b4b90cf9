//! Volumes: what a pod's containers mount, resolved to files.

use std::path::{Component, Path};

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

use super::Request;
use super::content::{Content, Files};
use crate::quantity::Quantity;

/// Volumes that one pod may have.
pub const MAX_VOLUMES: usize = 200;
/// Mounts that one container may have.
pub const MAX_MOUNTS: usize = 200;

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub source: VolumeSource,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum VolumeSource {
    /// What a ConfigMap, a Secret, or several of them hold: read-only.
    Files { files: Vec<VolumeFile> },
    /// A folder that all containers of the pod share, and that goes with it.
    EmptyDir { in_memory: bool, size_limit: Option<u64> },
    /// A place of the machine.
    HostPath { path: String, expects: HostPathKind },
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFile {
    /// Beneath the volume; checked.
    pub path: String,
    pub mode: u32,
    pub content: Content,
}

/// `hostPath.type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathKind {
    /// Whatever is there.
    Any,
    Directory,
    DirectoryOrCreate,
    File,
    FileOrCreate,
    Socket,
}

/// Where a container sees a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub volume: String,
    /// Absolute and clean, or relative to the working folder.
    pub path: String,
    /// A file or folder beneath the volume; checked.
    pub sub_path: Option<String>,
    pub read_only: bool,
}

/// Reads all volumes of a pod.
pub(super) fn read_volumes(request: &Request<'_>, spec: &core::PodSpec) -> Result<Vec<Volume>, String> {
    let listed = spec.volumes.as_deref().unwrap_or_default();
    if listed.len() > MAX_VOLUMES {
        return Err(format!("spec.volumes: more than {MAX_VOLUMES}"));
    }
    let mut files = Files::new(request);
    let mut volumes: Vec<Volume> = Vec::with_capacity(listed.len());
    for (at, volume) in listed.iter().enumerate() {
        let field = format!("spec.volumes[{at}]");
        if !super::is_dns_label(&volume.name) {
            return Err(format!("{field}.name {:?} is not a DNS label", volume.name));
        }
        if volumes.iter().any(|other| other.name == volume.name) {
            return Err(format!("{field}.name: two volumes are called {:?}", volume.name));
        }
        // Every pod of a Kubernetes cluster has this one. Without its content it is left out, as an empty promise is none.
        let has_content = request.projected(&volume.name).is_some();
        if volume.name.starts_with("kube-api-access-") && !has_content {
            continue;
        }
        let source = read_source(&mut files, volume, &field)?;
        volumes.push(Volume { name: volume.name.clone(), source });
    }
    Ok(volumes)
}

fn read_source(files: &mut Files<'_>, volume: &core::Volume, field: &str) -> Result<VolumeSource, String> {
    if let Some(source) = &volume.config_map {
        return files.config_map_volume(source, field).map(|files| VolumeSource::Files { files });
    }
    if let Some(source) = &volume.secret {
        return files.secret_volume(source, field).map(|files| VolumeSource::Files { files });
    }
    if let Some(source) = &volume.projected {
        return files.projected_volume(&volume.name, source, field).map(|files| VolumeSource::Files { files });
    }
    if let Some(source) = &volume.downward_api {
        return files.downward_volume(&volume.name, source, field).map(|files| VolumeSource::Files { files });
    }
    if let Some(source) = &volume.host_path {
        return host_path(source, field);
    }
    if let Some(source) = &volume.empty_dir {
        let in_memory = match source.medium.as_deref() {
            None | Some("") => false,
            Some("Memory") => true,
            Some(other) => return Err(format!("{field}.emptyDir.medium {other:?} is not known here")),
        };
        let size_limit = match &source.size_limit {
            None => None,
            Some(limit) => match Quantity::parse(&limit.0) {
                Some(limit) => Some(limit.units()).filter(|bytes| *bytes > 0),
                None => return Err(format!("{field}.emptyDir.sizeLimit {:?} is not a quantity", limit.0)),
            },
        };
        return Ok(VolumeSource::EmptyDir { in_memory, size_limit });
    }
    Err(format!("{field} ({}): {} volumes cannot be mounted here", volume.name, kind_of(volume)))
}

/// What a volume that cannot be mounted is called.
fn kind_of(volume: &core::Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let kind = value.as_object().and_then(|fields| fields.keys().find(|key| *key != "name").cloned());
    kind.unwrap_or_else(|| "unknown".into())
}

fn host_path(source: &core::HostPathVolumeSource, field: &str) -> Result<VolumeSource, String> {
    if !is_clean_absolute(&source.path) {
        return Err(format!("{field}.hostPath.path {:?} is not an absolute path without `..`", source.path));
    }
    let expects = match source.type_.as_deref() {
        None | Some("") => HostPathKind::Any,
        Some("Directory") => HostPathKind::Directory,
        Some("DirectoryOrCreate") => HostPathKind::DirectoryOrCreate,
        Some("File") => HostPathKind::File,
        Some("FileOrCreate") => HostPathKind::FileOrCreate,
        Some("Socket") => HostPathKind::Socket,
        Some(other) => return Err(format!("{field}.hostPath.type {other:?} is not known here")),
    };
    Ok(VolumeSource::HostPath { path: source.path.clone(), expects })
}

/// Reads the mounts of one container.
pub(super) fn read_mounts(container: &core::Container, volumes: &[Volume]) -> Result<Vec<Mount>, String> {
    let listed = container.volume_mounts.as_deref().unwrap_or_default();
    if listed.len() > MAX_MOUNTS {
        return Err(format!("volumeMounts: more than {MAX_MOUNTS}"));
    }
    if container.volume_devices.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err("volumeDevices cannot be used here".into());
    }
    let mut mounts: Vec<Mount> = Vec::with_capacity(listed.len());
    for (at, mount) in listed.iter().enumerate() {
        let field = format!("volumeMounts[{at}]");
        let Some(volume) = volumes.iter().find(|volume| volume.name == mount.name) else {
            if mount.name.starts_with("kube-api-access-") {
                continue;
            }
            return Err(format!("{field}.name: there is no volume {:?}", mount.name));
        };
        let path = mount.mount_path.trim_end_matches('/');
        if !is_clean_absolute(path) && !is_clean_relative(path) {
            return Err(format!("{field}.mountPath {:?} is not a path without `..`", mount.mount_path));
        }
        if ["/proc", "/sys"].iter().any(|place| Path::new(path).starts_with(place)) {
            return Err(format!("{field}.mountPath {path:?}: nothing is mounted beneath /proc and /sys"));
        }
        if mounts.iter().any(|other| other.path == path) {
            return Err(format!("{field}.mountPath: {path:?} is mounted twice"));
        }
        if mount.sub_path_expr.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(format!("{field}.subPathExpr must be resolved before the pod is sent; use subPath"));
        }
        let sub_path = mount.sub_path.clone().filter(|path| !path.is_empty());
        if let Some(sub) = &sub_path
            && !is_clean_relative(sub)
        {
            return Err(format!("{field}.subPath {sub:?} leads out of the volume"));
        }
        if mount.mount_propagation.as_deref().is_some_and(|mode| mode != "None" && !mode.is_empty()) {
            return Err(format!("{field}.mountPropagation is not known here"));
        }
        let is_files = matches!(volume.source, VolumeSource::Files { .. });
        let read_only = mount.read_only.unwrap_or(false) || is_files;
        mounts.push(Mount { volume: mount.name.clone(), path: path.to_owned(), sub_path, read_only });
    }
    // What lies within another comes after it.
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(mounts)
}

/// The longest path taken.
const LONGEST_PATH: usize = 1_024;

/// `/a/b`: absolute, not the root, without `.` and `..`.
pub fn is_clean_absolute(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(is_clean_relative)
}

/// `a/b`: without a way out, an empty part, or a character that ends lines.
pub fn is_clean_relative(path: &str) -> bool {
    let parts = Path::new(path).components();
    !path.is_empty()
        && path.len() <= LONGEST_PATH
        && !path.contains(|c: char| c.is_control())
        && path.split('/').all(|part| !part.is_empty() && part.len() <= 255 && part != "." && part != "..")
        && parts.into_iter().all(|part| matches!(part, Component::Normal(_)))
}
