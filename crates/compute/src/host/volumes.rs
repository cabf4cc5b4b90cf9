//! The shim's part of volumes: what they hold is written beneath `volumes/` of the run folder, before anything of the pod runs.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::folder::{RunFolder, TERMINATION, VOLUMES, WORK};
use super::mounts;
use super::spec::{RunSpec, Walls};
use crate::pod::{HostPathKind, Volume, VolumeFile, VolumeSource};

/// Fills the volumes and makes the files for termination messages.
pub fn fill(spec: &RunSpec, folder: &RunFolder) -> io::Result<()> {
    let owner = spec.walls.user();
    if !spec.plan.volumes.is_empty() {
        let root = folder.sub(VOLUMES);
        private(&root)?;
        for volume in &spec.plan.volumes {
            fill_one(volume, &root.join(&volume.name), owner, &spec.host_paths)
                .map_err(|error| io::Error::other(format!("volume {}: {error}", volume.name)))?;
        }
    }
    let with_message = spec.plan.all_containers().filter(|container| container.termination.path.is_some());
    let names: Vec<&str> = with_message.map(|container| container.name.as_str()).collect();
    if !names.is_empty() {
        let root = folder.sub(TERMINATION);
        private(&root)?;
        for name in names {
            write(&root.join(name), b"", 0o666, owner)?;
        }
    }
    if spec.walls == Walls::Open { link_all(spec, folder) } else { Ok(()) }
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn fill_one(volume: &Volume, place: &Path, owner: Option<u32>, allowed: &[PathBuf]) -> io::Result<()> {
    match &volume.source {
        VolumeSource::HostPath { path, expects } => {
            let real = real_host_path(path, *expects, allowed).map_err(io::Error::other)?;
            if real != *path {
                return Err(io::Error::other(format!("hostPath {path} leads through a link")));
            }
            make_host_path(Path::new(path), *expects, allowed, owner)?;
            if Path::new(path).is_dir() { private(place) } else { write(place, b"", 0o600, None) }
        }
        VolumeSource::EmptyDir { .. } => {
            private(place)?;
            give(place, 0o777, owner)
        }
        VolumeSource::Files { files } => {
            private(place)?;
            files.iter().try_for_each(|file| write_file(file, place, owner))?;
            give(place, 0o755, owner)
        }
    }
}

fn write_file(file: &VolumeFile, place: &Path, owner: Option<u32>) -> io::Result<()> {
    let path = place.join(&file.path);
    let mut parent = place.to_path_buf();
    for part in Path::new(&file.path).parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        if !parent.is_dir() {
            private(&parent)?;
            give(&parent, 0o755, owner)?;
        }
    }
    write(&path, &file.content.0, file.mode, owner)
}

fn write(path: &Path, bytes: &[u8], mode: u32, owner: Option<u32>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    give(path, mode, owner)
}

/// What a pod shall read belongs to the pod's user, so that 0400 is no more than it says.
fn give(path: &Path, mode: u32, owner: Option<u32>) -> io::Result<()> {
    if owner.is_some() {
        chown(path, owner, owner)?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Where a Kubernetes cluster mounts the token of a pod's service account, and how it calls that volume.
const ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ACCOUNT_VOLUME: &str = "kube-api-access-";

/// Without namespaces nothing can be mounted: volumes appear as links in the working folder, and nowhere else.
fn link_all(spec: &RunSpec, folder: &RunFolder) -> io::Result<()> {
    for container in spec.plan.all_containers() {
        for mount in &container.mounts {
            let refuse = |why: &str| {
                let (name, path) = (&container.name, &mount.path);
                Err(io::Error::other(format!("container {name}: volumeMounts: mountPath {path:?}: {why}")))
            };
            // Nobody asked for this one: every pod of a Kubernetes cluster has it.
            if mount.path == ACCOUNT_PATH && mount.volume.starts_with(ACCOUNT_VOLUME) {
                continue;
            }
            if mount.path.starts_with('/') {
                return refuse(
                    "pods of this site have no namespaces, so that volumes can only be mounted at paths relative to the \
                     working folder",
                );
            }
            let root = match spec.plan.volumes.iter().find(|volume| volume.name == mount.volume).map(|v| &v.source) {
                Some(VolumeSource::HostPath { path, .. }) => Path::new(path).to_path_buf(),
                _ => folder.sub(VOLUMES).join(&mount.volume),
            };
            let from = mount.sub_path.as_ref().map_or(root.clone(), |sub| root.join(sub));
            if !from.exists() {
                fs::create_dir_all(&from)?;
            }
            let at = folder.sub(WORK).join(&mount.path);
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent)?;
            }
            match symlink(&from, &at) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::read_link(&at).ok().as_deref() != Some(from.as_path()) {
                        return refuse("another container mounts something else there");
                    }
                }
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

/// The termination message of a container: what it wrote, which is forgotten then.
pub fn take_message(folder: &RunFolder, container: &str, most: u64) -> Option<String> {
    use std::io::Read;
    let path = folder.sub(TERMINATION).join(container);
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut text = Vec::new();
    (&file).take(most).read_to_end(&mut text).ok()?;
    file.set_len(0).ok()?;
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The real path of what a pod wants to mount from the machine, if it lies beneath one of the `allowed` folders.
/// What is to be made where it is not there is not made here.
pub fn real_host_path(path: &str, expects: HostPathKind, allowed: &[PathBuf]) -> Result<String, String> {
    let text = |real: PathBuf| {
        real.into_os_string().into_string().map_err(|_| format!("{path} leads to a name that is no text"))
    };
    let allowed: Vec<PathBuf> = allowed.iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
    let is_allowed = |real: &Path| allowed.iter().any(|root| real.starts_with(root));
    let outside =
        || Err(format!("{path} is not beneath one of the folders that this site lets pods mount (host_paths)"));
    let wanted = Path::new(path);
    // What does not exist is judged by the folder in which it would be.
    let base = wanted.ancestors().find_map(|above| fs::canonicalize(above).ok().map(|real| (above, real)));
    let Some((above, real)) = base else { return outside() };
    let missing = wanted.strip_prefix(above).unwrap_or(Path::new(""));
    let real = if missing.as_os_str().is_empty() { real } else { real.join(missing) };
    if !is_allowed(&real) {
        return outside();
    }
    let failed = |error: io::Error| format!("{path}: {error}");
    if is_made(expects) && !real.exists() {
        return text(real);
    }
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
    text(real)
}

/// Whether it is made where it is not there.
fn is_made(expects: HostPathKind) -> bool {
    matches!(expects, HostPathKind::DirectoryOrCreate | HostPathKind::FileOrCreate)
}

/// Makes a place of the machine that is to be there, for the pod's user, beneath an allowed folder and through no link.
fn make_host_path(path: &Path, expects: HostPathKind, allowed: &[PathBuf], owner: Option<u32>) -> io::Result<()> {
    if !is_made(expects) || path.exists() {
        return Ok(());
    }
    let allowed = allowed.iter().filter_map(|root| fs::canonicalize(root).ok());
    let beneath = allowed.filter_map(|root| Some((path.strip_prefix(&root).ok()?.to_path_buf(), root))).next();
    let (rest, root) =
        beneath.ok_or_else(|| io::Error::other(format!("hostPath {} is not allowed", path.display())))?;
    let root = mounts::open_folder(&root)?;
    mounts::make_beneath(&root, &rest, expects == HostPathKind::DirectoryOrCreate, owner)
}
