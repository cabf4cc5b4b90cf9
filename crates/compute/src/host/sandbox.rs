//! The walls around a pod: namespaces, mounts and privileges.
//!
//! Seen from inside, the machine is as it is, except that
//!
//! * the engine's data directory (with its store, the admin socket and the run folders of other pods) is an empty,
//!   read-only place, in which only this pod's `inputs` (read-only), `outputs`, `work` and `tmp` appear;
//! * so are other places where the engine's user keeps what is private, see [`HIDDEN_BY_DEFAULT`];
//! * `/tmp`, `/var/tmp` and `/dev/shm` are its own;
//! * there are no processes but its own, so that `/proc/PID/root` of the engine is no way around.
//!
//! The steps are ordinary system calls of single-threaded processes between two `exec`s; nothing here forks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Uid, chdir, getegid, geteuid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::folder::{INPUTS, RunFolder, TERMINATION, TMP, VISIBLE, VOLUMES};
use super::mounts::{self, Placed};
use super::spec::{RunSpec, Walls};
use crate::pod::VolumeSource;

/// Places where users' sessions and services keep sockets and secrets. Hidden from pods that run as the engine's user,
/// together with that user's home directory.
pub const HIDDEN_BY_DEFAULT: [&str; 9] = [
    "/run/user",
    "/run/postgresql",
    "/run/dbus",
    "/run/docker.sock",
    "/run/containerd",
    "/run/podman",
    // Who reaches munge is believed by a batch system to be the user that the pod runs as.
    "/run/munge",
    "/var/run/munge",
    "/var/spool/slurmd",
];

/// The user and group that a pod in a user namespace sees itself as.
const INSIDE_ID: u32 = 1000;
pub(super) const PRIVATE_TMP: [&str; 2] = ["/tmp", "/var/tmp"];

/// A step of building the walls that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct SandboxError {
    step: String,
    source: io::Error,
}

impl SandboxError {
    /// The same, saying where.
    pub(super) fn inside(self, place: impl std::fmt::Display) -> SandboxError {
        SandboxError { step: format!("{place}: {}", self.step), ..self }
    }
}

pub(super) fn at<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> SandboxError {
    let step = step.into();
    move |error| SandboxError { step, source: error.into() }
}

/// First stage, in the shim: children will be in a process tree of their own.
pub fn enter_process_namespace(walls: &Walls) -> Result<(), SandboxError> {
    match walls {
        Walls::Open => Ok(()),
        Walls::OtherUser { .. } => unshare(CloneFlags::CLONE_NEWPID).map_err(at("a process namespace")),
        Walls::UserNamespace => {
            let (uid, gid) = (geteuid(), getegid());
            let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID;
            unshare(flags).map_err(at("a user and process namespace"))?;
            map_ids(0, uid.as_raw(), gid.as_raw())
        }
    }
}

/// Second stage, in the init: the mounts that all containers share. Gives what each container mounts besides.
///
/// The init keeps what it needs to start containers, again and again: it is no process of the pod's user, which may neither
/// look into it nor signal it. What is the pod's starts behind [`drop_privileges`].
pub fn enter(spec: &RunSpec, folder: &RunFolder) -> Result<Vec<Vec<Placed>>, SandboxError> {
    if spec.walls == Walls::Open {
        return Ok(Vec::new());
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).map_err(at("a mount namespace"))?;
    let placed = arrange_mounts(spec, folder)?;
    // The init holds the ends of channels that belong to the engine: its pod may not look into it.
    nix::sys::prctl::set_dumpable(false).map_err(at("closing the init to tracers"))?;
    Ok(placed)
}

/// Last stage, in each process that becomes one of the pod's: no way back.
pub fn drop_privileges(walls: &Walls) -> Result<(), SandboxError> {
    match walls {
        Walls::Open => return Ok(()),
        Walls::OtherUser { uid } => {
            drop_bounding_set()?;
            become_user(*uid)?;
        }
        Walls::UserNamespace => {
            // One namespace more, and no others after it: the mounts made above are locked for whoever lives in it.
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(at("an inner user namespace"))?;
            map_ids(INSIDE_ID, 0, 0)?;
            fs::write("/proc/sys/user/max_user_namespaces", "0").map_err(at("a limit on user namespaces"))?;
            drop_bounding_set()?;
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set().map_err(at("giving up ambient capabilities"))?;
    rustix::thread::set_capabilities(None, none).map_err(at("giving up capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("no_new_privs"))
}

fn map_ids(inside: u32, uid: u32, gid: u32) -> Result<(), SandboxError> {
    fs::write("/proc/self/setgroups", "deny").map_err(at("/proc/self/setgroups"))?;
    fs::write("/proc/self/uid_map", format!("{inside} {uid} 1")).map_err(at("/proc/self/uid_map"))?;
    fs::write("/proc/self/gid_map", format!("{inside} {gid} 1")).map_err(at("/proc/self/gid_map"))
}

fn become_user(uid: u32) -> Result<(), SandboxError> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[]).map_err(at("leaving groups"))?;
    setresgid(group, group, group).map_err(at(format!("group {uid}")))?;
    setresuid(user, user, user).map_err(at(format!("user {uid}")))
}

fn drop_bounding_set() -> Result<(), SandboxError> {
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(at("giving up the capability bounding set")(error)),
        }
    }
    Ok(())
}

fn arrange_mounts(spec: &RunSpec, folder: &RunFolder) -> Result<Vec<Vec<Placed>>, SandboxError> {
    let quiet = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, quiet, None::<&str>).map_err(at("keeping mounts to ourselves"))?;

    let mut mirrored = Vec::new();
    if mounts::needs_root(spec) {
        mounts::enter_own_root(folder)?;
        mirrored.push(PathBuf::from("/"));
    }
    // Handles first: after the next steps these places are out of sight.
    let volumes = volume_handles(spec, folder)?;
    let own = VISIBLE.map(|name| (folder.sub(name), name == INPUTS));
    let own = own.into_iter().map(|(path, read_only)| Ok((handle(&path)?, path, read_only)));
    let own = own.collect::<Result<Vec<_>, SandboxError>>()?;
    let visible = spec.visible.iter().filter(|path| path.exists()).map(|path| Ok((handle(path)?, path.clone(), true)));
    let visible = visible.collect::<Result<Vec<_>, SandboxError>>()?;
    let private_tmp = handle(&folder.sub(TMP))?;

    let mut hidden = Vec::new();
    for place in PRIVATE_TMP.iter().map(Path::new).filter(|place| place.is_dir()) {
        if spec.data_dir.starts_with(place) {
            empty(place, "size=64m,mode=1777")?;
        } else {
            bind(&private_tmp, place, false)?;
        }
    }
    if Path::new("/dev/shm").is_dir() {
        empty(Path::new("/dev/shm"), "size=64m,mode=1777")?;
    }
    let closed = spec.data_dir.ancestors().skip(1).filter(|place| is_closed_to(&spec.walls, place)).last();
    let mut hide: Vec<&Path> = spec.hide.iter().map(PathBuf::as_path).chain(closed).collect();
    hide.sort();
    for place in hide {
        if place.is_dir() {
            empty(place, "size=1m,mode=755")?;
            hidden.push(place);
        } else if place.exists() {
            bind(&handle(Path::new("/dev/null"))?, place, false)?;
        }
    }
    make_dirs(&spec.data_dir)?;
    empty(&spec.data_dir, "size=1m,mode=755")?;
    hidden.push(&spec.data_dir);

    for (source, target, read_only) in own.iter().chain(&visible) {
        place_at(source, target, *read_only)?;
    }
    show_volumes(&volumes, spec, folder)?;
    let placed = mounts::place_all(spec, folder, &mut mirrored)?;
    for place in mirrored.iter().map(PathBuf::as_path).chain(hidden.iter().rev().copied()) {
        remount_read_only(place)?;
    }
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>).map_err(at("a fresh /proc"))?;
    chdir("/").map_err(at("leaving the working directory"))?;
    Ok(placed)
}

/// Handles on the folder of volumes and on those of the machine.
struct VolumeHandles {
    folders: Vec<(File, PathBuf)>,
    machine: Vec<(OwnedFd, PathBuf)>,
}

fn volume_handles(spec: &RunSpec, folder: &RunFolder) -> Result<VolumeHandles, SandboxError> {
    let folders = [VOLUMES, TERMINATION].map(|name| folder.sub(name)).into_iter().filter(|path| path.is_dir());
    let folders = folders.map(|path| Ok((handle(&path)?, path))).collect::<Result<_, SandboxError>>()?;
    let mut machine = Vec::new();
    for volume in &spec.plan.volumes {
        if let VolumeSource::HostPath { path, .. } = &volume.source {
            let source = mounts::open(Path::new(path)).map_err(at(format!("hostPath {path}")))?;
            machine.push((source, folder.sub(VOLUMES).join(&volume.name)));
        }
    }
    Ok(VolumeHandles { folders, machine })
}

/// Volumes appear in the pod's namespace at their own place, from where containers take them; see [`mounts`].
fn show_volumes(handles: &VolumeHandles, spec: &RunSpec, folder: &RunFolder) -> Result<(), SandboxError> {
    for (source, target) in &handles.folders {
        place_at(source, target, false)?;
    }
    for (source, target) in &handles.machine {
        bind_recursive(source, target).map_err(at(format!("showing {}", target.display())))?;
    }
    for volume in &spec.plan.volumes {
        if let VolumeSource::EmptyDir { in_memory: true, size_limit } = &volume.source {
            let place = folder.sub(VOLUMES).join(&volume.name);
            // What is in it is memory of the pod's.
            let size = [*size_limit, spec.memory_limit()].into_iter().flatten().min();
            let size = size.map_or_else(String::new, |bytes| format!("size={bytes},"));
            empty(&place, &format!("{size}mode=777"))?;
        }
    }
    Ok(())
}

/// Whether another user has no way through this folder. Nothing in it is lost if it is hidden, and the way to the run folder,
/// which may lead through it, is made anew.
fn is_closed_to(walls: &Walls, place: &Path) -> bool {
    let others_may_pass = |meta: fs::Metadata| meta.permissions().mode() & 0o001 != 0;
    matches!(walls, Walls::OtherUser { .. }) && !fs::metadata(place).is_ok_and(others_may_pass)
}

pub(super) fn handle(path: &Path) -> Result<File, SandboxError> {
    let flags = (nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC).bits();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(at(path.display().to_string()))
}

pub(super) fn make_dirs(path: &Path) -> Result<(), SandboxError> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(at(format!("making {}", path.display())))
}

pub(super) fn empty(place: &Path, options: &str) -> Result<(), SandboxError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options)).map_err(at(format!("hiding {}", place.display())))
}

fn place_at(source: &File, target: &Path, read_only: bool) -> Result<(), SandboxError> {
    let step = || at(format!("showing {}", target.display()));
    if source.metadata().map_err(step())?.is_dir() {
        make_dirs(target)?;
    } else {
        make_dirs(target.parent().unwrap_or(Path::new("/")))?;
        if !target.exists() {
            File::create_new(target).map_err(step())?;
        }
    }
    bind(source, target, read_only)
}

fn bind(source: &File, target: &Path, read_only: bool) -> Result<(), SandboxError> {
    let from = format!("/proc/self/fd/{}", source.as_raw_fd());
    let none = None::<&str>;
    mount(Some(from.as_str()), target, none, MsFlags::MS_BIND, none)
        .map_err(at(format!("showing {}", target.display())))?;
    if read_only { remount_read_only(target) } else { Ok(()) }
}

/// Shows `source`, with whatever is mounted beneath it, at `target`.
pub(super) fn bind_recursive(source: &impl AsRawFd, target: &Path) -> nix::Result<()> {
    let from = format!("/proc/self/fd/{}", source.as_raw_fd());
    let none = None::<&str>;
    mount(Some(from.as_str()), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
}

pub(super) fn remount_read_only(place: &Path) -> Result<(), SandboxError> {
    let step = || at(format!("making {} read-only", place.display()));
    // Restrictions that the file system came with cannot be lifted here, so they must be repeated.
    let now = statvfs(place).map_err(step())?.flags();
    let mut flags =
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if now.contains(FsFlags::ST_NOEXEC) {
        flags |= MsFlags::MS_NOEXEC;
    }
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>).map_err(step())
}
