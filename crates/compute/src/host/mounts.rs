//! Where containers see volumes: mount points in the pod's mount namespace, and the mounts in each container's own.
//!
//! Points are made once, before anything of the pod runs, so that no link of the pod's leads them astray. A point that the
//! machine does not have is made in a mirror of its folder: an empty memory file system in which all that was there appears
//! again. The machine itself is left as it is. A container's own stage mounts with handles that no link was followed to.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, mkdirat, openat2};
use serde::{Deserialize, Serialize};

use super::folder::{RunFolder, TERMINATION, TMP, VOLUMES, WORK};
use super::sandbox::{PRIVATE_TMP, SandboxError, at, bind_recursive, empty, handle, make_dirs, remount_read_only};
use super::spec::RunSpec;
use crate::pod::{ContainerPlan, VolumeSource};

/// A folder with more entries is not mirrored.
const MOST_ENTRIES: usize = 4_096;

/// A mount of a container, with the real place of its point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Beneath the run folder.
    pub source: PathBuf,
    pub target: PathBuf,
    /// Its point lies within the mount of this number, and is made there.
    pub within: Option<usize>,
    pub read_only: bool,
    /// Whether the source may be made: in a folder that the pod fills.
    pub may_make: bool,
}

/// Whether the pod needs a root of its own, because a mount point lies in a folder that the machine does not have.
pub fn needs_root(spec: &RunSpec) -> bool {
    let paths = spec.plan.all_containers().flat_map(wanted);
    paths.filter_map(|path| first_part(Path::new(path))).any(|top| !top.exists())
}

fn wanted(container: &ContainerPlan) -> impl Iterator<Item = &str> {
    container.mounts.iter().map(|mount| mount.path.as_str()).chain(container.termination.path.as_deref())
}

fn first_part(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::RootDir), Some(first)) => Some(Path::new("/").join(first)),
        _ => None,
    }
}

/// Moves to a root that is a mirror of the machine's, so that folders can be made in it.
pub fn enter_own_root(folder: &RunFolder) -> Result<(), SandboxError> {
    let root = folder.sub("root");
    fs::create_dir(&root).map_err(at("a folder for a root"))?;
    let old = handle(Path::new("/"))?;
    empty(&root, "size=1m,mode=755")?;
    mirror_into(&old, Path::new("/"), &root)?;
    chdir(&root).map_err(at("entering the pod's root"))?;
    pivot_root(".", ".").map_err(at("the pod's root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("leaving the machine's root"))?;
    chdir("/").map_err(at("entering the pod's root"))
}

/// Lays a mirror over `place`, in which more can be made.
fn mirror(place: &Path) -> Result<(), SandboxError> {
    let old = handle(place)?;
    let meta = old.metadata().map_err(at(place.display().to_string()))?;
    empty(place, &format!("size=1m,mode={:o}", meta.permissions().mode() & 0o7777))?;
    if nix::unistd::geteuid().is_root() && meta.uid() != 0 {
        // The owner may be one that this namespace does not know.
        drop(std::os::unix::fs::chown(place, Some(meta.uid()), Some(meta.gid())));
    }
    mirror_into(&old, place, place)
}

fn mirror_into(old: &File, name: &Path, new: &Path) -> Result<(), SandboxError> {
    let step = || at(format!("a mirror of {}", name.display()));
    let from = PathBuf::from(format!("/proc/self/fd/{}", old.as_raw_fd()));
    let entries = fs::read_dir(&from).map_err(step())?.collect::<Result<Vec<_>, _>>().map_err(step())?;
    if entries.len() > MOST_ENTRIES {
        return Err(step()(io::Error::other("it has too many entries for a mount point to be made in it")));
    }
    for entry in entries {
        let (source, target) = (from.join(entry.file_name()), new.join(entry.file_name()));
        let kind = entry.file_type().map_err(step())?;
        if kind.is_symlink() {
            let leads = fs::read_link(&source).map_err(step())?;
            symlink(leads, &target).map_err(step())?;
            continue;
        }
        match kind.is_dir() {
            true => fs::create_dir(&target),
            false => File::create_new(&target).map(drop),
        }
        .map_err(step())?;
        match mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>) {
            // It went away, or nobody may see it: then it is an empty one.
            Ok(()) | Err(nix::errno::Errno::ENOENT | nix::errno::Errno::EACCES) => {}
            Err(error) => return Err(at(format!("showing {} again", name.join(entry.file_name()).display()))(error)),
        }
    }
    Ok(())
}

/// Makes the mount points of all containers, and says what each has to mount. `mirrored` gets the folders that were mirrored.
pub fn place_all(
    spec: &RunSpec,
    folder: &RunFolder,
    mirrored: &mut Vec<PathBuf>,
) -> Result<Vec<Vec<Placed>>, SandboxError> {
    spec.plan.all_containers().map(|container| place(spec, container, folder, mirrored)).collect()
}

fn place(
    spec: &RunSpec,
    container: &ContainerPlan,
    folder: &RunFolder,
    mirrored: &mut Vec<PathBuf>,
) -> Result<Vec<Placed>, SandboxError> {
    let mut placed: Vec<Placed> = Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    let mounts = container.mounts.iter().map(|mount| {
        let root = folder.sub(VOLUMES).join(&mount.volume);
        let source = mount.sub_path.as_ref().map_or(root.clone(), |sub| root.join(sub));
        let volume = spec.plan.volumes.iter().find(|volume| volume.name == mount.volume);
        let may_make = volume.is_some_and(|volume| !matches!(volume.source, VolumeSource::Files { .. }));
        (source, folder.sub(WORK).join(&mount.path), mount.read_only, may_make)
    });
    let message = container.termination.path.iter();
    let message =
        message.map(|path| (folder.sub(TERMINATION).join(&container.name), PathBuf::from(path), false, false));
    for (source, path, read_only, may_make) in mounts.chain(message) {
        let within = paths.iter().rposition(|other| path.starts_with(other));
        let target = match within {
            Some(outer) => {
                let rest = path.strip_prefix(&paths[outer]).unwrap_or(Path::new(""));
                placed[outer].target.join(rest)
            }
            None => point(&path, may_make && !source.exists() || source.is_dir(), folder, mirrored)
                .map_err(|error| error.inside(format!("container {}", container.name)))?,
        };
        paths.push(path);
        placed.push(Placed { source, target, within, read_only, may_make });
    }
    Ok(placed)
}

/// The real path of a mount point, made if it is not there.
fn point(path: &Path, is_dir: bool, folder: &RunFolder, mirrored: &mut Vec<PathBuf>) -> Result<PathBuf, SandboxError> {
    let step = || at(format!("the mount point {}", path.display()));
    match fs::canonicalize(path) {
        Ok(real) if real.is_dir() == is_dir => return Ok(real),
        Ok(_) if is_dir => return Err(step()(io::Error::other("there is a file, and the volume is a folder"))),
        Ok(_) => return Err(step()(io::Error::other("there is a folder, and what is mounted is a file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(step()(error)),
    }
    let base = path.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok().map(|real| (above, real)));
    let Some((above, real)) = base else { return Err(step()(io::Error::other("it has no folder"))) };
    let real = match mirrored.contains(&real) || is_ours(&real, folder) {
        true => real,
        false => {
            mirror(&real)?;
            mirrored.push(real.clone());
            real
        }
    };
    let target = real.join(path.strip_prefix(above).unwrap_or(path));
    if is_dir {
        make_dirs(&target)?;
    } else {
        make_dirs(target.parent().unwrap_or(&real))?;
        File::create_new(&target).map_err(step())?;
    }
    Ok(target)
}

/// Whether the folder is the pod's own, so that making something in it changes nothing of the machine.
fn is_ours(place: &Path, folder: &RunFolder) -> bool {
    let private = PRIVATE_TMP.iter().map(PathBuf::from);
    private.chain([WORK, TMP].map(|name| folder.sub(name))).any(|own| place.starts_with(own))
}

/// In the container's own stage: mounts everything, and hides where it came from.
/// `owner`: whose folders are that a mount asks for and the volume does not have.
pub fn enter_own_mounts(mounts: &[Placed], folder: &RunFolder, owner: Option<u32>) -> Result<(), SandboxError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(at("the container's mount namespace"))?;
    for placed in mounts {
        let step = || at(format!("mounting {}", placed.target.display()));
        let source = open_source(placed, folder, owner).map_err(step())?;
        let is_dir = File::from(source.try_clone().map_err(step())?).metadata().map_err(step())?.is_dir();
        if let Some(outer) = placed.within {
            let outer = &mounts[outer].target;
            let root = open(outer).map_err(step())?;
            let rest = placed.target.strip_prefix(outer).unwrap_or(Path::new("."));
            make_beneath(&root, rest, is_dir, owner).map_err(step())?;
        }
        let target = open(&placed.target).map_err(step())?;
        bind_recursive(&source, &path_of(&target)).map_err(|error| step()(error.into()))?;
    }
    for placed in mounts.iter().filter(|placed| placed.read_only) {
        let target = open(&placed.target).map_err(at(placed.target.display().to_string()))?;
        remount_read_only(&path_of(&target))?;
    }
    for name in [VOLUMES, TERMINATION] {
        let place = folder.sub(name);
        if place.is_dir() {
            empty(&place, "size=4k,mode=000")?;
            remount_read_only(&place)?;
        }
    }
    Ok(())
}

fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// No part of the path may be a link: whoever put one there is the pod.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(CWD, path, flags, Mode::empty(), resolve)?)
}

/// A folder of the machine by its real path.
pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    open(path)
}

fn open_source(placed: &Placed, folder: &RunFolder, owner: Option<u32>) -> io::Result<OwnedFd> {
    let root = open(folder.path())?;
    let rest = placed.source.strip_prefix(folder.path()).map_err(io::Error::other)?;
    if placed.may_make {
        let mut parts = rest.components();
        // `volumes/NAME` is ours; what lies beneath may be made.
        let own: PathBuf = parts.by_ref().take(2).collect();
        let volume = beneath(&root, &own)?;
        let rest = parts.as_path();
        if rest.as_os_str().is_empty() {
            return Ok(volume);
        }
        make_beneath(&volume, rest, true, owner)?;
        return beneath(&volume, rest);
    }
    beneath(&root, rest)
}

fn beneath(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).map_err(|error| match error {
        rustix::io::Errno::LOOP => io::Error::other(format!("{} leads through a link", path.display())),
        error => error.into(),
    })
}

/// Makes a folder or an empty file beneath `root`, with all folders on the way, following no link. What is made is the owner's.
pub(super) fn make_beneath(root: &OwnedFd, path: &Path, is_dir: bool, owner: Option<u32>) -> io::Result<()> {
    let give = |made: &OwnedFd| match owner.map(|id| (Uid::from_raw(id), Gid::from_raw(id))) {
        Some((user, group)) => rustix::fs::fchown(made, Some(user), Some(group)),
        None => Ok(()),
    };
    let mut folder = beneath(root, Path::new("."))?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let part = Path::new(part.as_os_str());
        match beneath(&folder, part) {
            Ok(there) => {
                folder = there;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if parts.peek().is_none() && !is_dir {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            return Ok(give(&rustix::fs::openat(&folder, part, flags, Mode::from_raw_mode(0o644))?)?);
        }
        mkdirat(&folder, part, Mode::from_raw_mode(0o755))?;
        // Whoever else may write here could have put another folder there, which is not given away.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, part, flags, Mode::empty())?;
        let about = rustix::fs::fstat(&made)?;
        if about.st_uid == rustix::process::geteuid().as_raw() {
            give(&made)?;
        }
        folder = beneath(&folder, part)?;
    }
    Ok(())
}
