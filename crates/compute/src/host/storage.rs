//! What a pod has written to disk, and whether that is more than it may: as kubelet does, a pod over a limit is evicted.
//!
//! Looked at from time to time by the shim, which is no process of the pod's. No link is followed, and a file with several
//! names counts once. What is deleted and still open is not seen; each file by itself is limited by the kernel too.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};

use super::folder::{OUTPUTS, RunFolder, TMP, VOLUMES, WORK};
use super::spec::{RunSpec, Walls};
use crate::pod::{PodPlan, VolumeSource};
use crate::quantity::written;

/// How often it is looked at, at most; and how much rarer than it takes.
const SOONEST: Duration = Duration::from_secs(1);
const RARER: u32 = 50;
/// `st_blocks` are of this size, whatever those of the file system are.
const BLOCK: u64 = 512;

/// Why a pod was evicted.
pub const EVICTED: &str = "Evicted";

/// What is looked at.
pub struct Storage {
    logs: PathBuf,
    /// Container and the limit of its log.
    containers: Vec<(String, u64)>,
    /// A volume, its place, and its limit.
    volumes: Vec<(String, PathBuf, Option<u64>)>,
    /// Whatever else the pod writes to.
    others: Vec<PathBuf>,
    total: Option<u64>,
    next: Instant,
}

impl Storage {
    /// `None`: nothing of the pod is limited.
    pub fn of(spec: &RunSpec, folder: &RunFolder) -> Option<Storage> {
        let limits = spec.plan.all_containers();
        let containers: Vec<(String, u64)> =
            limits.filter_map(|container| Some((container.name.clone(), container.limits.storage_bytes?))).collect();
        let volumes: Vec<(String, PathBuf, Option<u64>)> = spec
            .plan
            .volumes
            .iter()
            .filter_map(|volume| match &volume.source {
                // Where nothing can be mounted, what should be in memory is on disk.
                VolumeSource::EmptyDir { in_memory, size_limit } if !in_memory || spec.walls == Walls::Open => {
                    Some((volume.name.clone(), folder.sub(VOLUMES).join(&volume.name), *size_limit))
                }
                _ => None,
            })
            .collect();
        if containers.is_empty() && volumes.iter().all(|(_, _, limit)| limit.is_none()) {
            return None;
        }
        Some(Storage {
            logs: folder.logs(),
            containers,
            volumes,
            others: [OUTPUTS, WORK, TMP].map(|name| folder.sub(name)).to_vec(),
            total: total(&spec.plan),
            next: Instant::now() + SOONEST,
        })
    }

    /// When to look next.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Which limit the pod is over, if it is time to look.
    pub fn look(&mut self) -> Option<String> {
        let begun = Instant::now();
        if begun < self.next {
            return None;
        }
        let found =
            self.measure().unwrap_or_else(|error| Some(format!("What the pod has written is unknown: {error}. ")));
        self.next = Instant::now() + (begun.elapsed() * RARER).max(SOONEST);
        found
    }

    fn measure(&self) -> io::Result<Option<String>> {
        let mut seen = Seen::default();
        let mut total = 0u64;
        for (name, place, limit) in &self.volumes {
            let size = seen.size(place)?;
            if let Some(limit) = limit.filter(|limit| size > *limit) {
                let limit = written(limit);
                return Ok(Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. ")));
            }
            total = total.saturating_add(size);
        }
        for (name, limit) in &self.containers {
            if super::logfile::size(&self.logs, name)? > *limit {
                let limit = written(*limit);
                return Ok(Some(format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. ")));
            }
        }
        let Some(limit) = self.total else { return Ok(None) };
        for place in self.others.iter().chain([&self.logs]) {
            total = total.saturating_add(seen.size(place)?);
        }
        let limit_text = written(limit);
        Ok((total > limit)
            .then(|| format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit_text}. ")))
    }
}

/// What the pod's containers may write together: those that run side by side, or one init container that may more. None: no
/// container has a limit.
fn total(plan: &PodPlan) -> Option<u64> {
    let limit = |container: &crate::pod::ContainerPlan| container.limits.storage_bytes;
    let (sidecars, inits): (Vec<_>, Vec<_>) = plan.init_containers.iter().partition(|init| init.sidecar);
    let beside = plan.containers.iter().chain(sidecars).filter_map(limit).reduce(u64::saturating_add);
    beside.max(inits.into_iter().filter_map(limit).max())
}

/// Files with several names that were counted.
#[derive(Default)]
struct Seen(HashSet<(u64, u64)>);

impl Seen {
    /// Bytes on disk of a folder and all beneath it.
    fn size(&mut self, root: &Path) -> io::Result<u64> {
        let top = match openat2(CWD, root, folder_flags(), Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(top) => top,
            Err(rustix::io::Errno::NOENT) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut sum = 0u64;
        let mut folders = vec![PathBuf::from(".")];
        while let Some(path) = folders.pop() {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match openat2(&top, &path, folder_flags(), Mode::empty(), resolve) {
                Ok(folder) => sum = sum.saturating_add(self.of_one(&folder, &path, &mut folders)?),
                // It was taken away, or something else was put there, while this looked.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display()))),
            }
        }
        Ok(sum)
    }

    /// Of the files of one folder; those in it that are folders are noted.
    fn of_one(&mut self, folder: &OwnedFd, path: &Path, folders: &mut Vec<PathBuf>) -> io::Result<u64> {
        let mut sum = 0u64;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let about: Stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(about) => about,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let is_folder = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
            if is_folder {
                use std::os::unix::ffi::OsStrExt;
                folders.push(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
            if is_folder || about.st_nlink < 2 || self.0.insert((about.st_dev, about.st_ino)) {
                sum = sum.saturating_add(u64::try_from(about.st_blocks).unwrap_or(0).saturating_mul(BLOCK));
            }
        }
        Ok(sum)
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{ContainerPlan, Limits};

    #[test]
    fn links_are_not_followed_and_names_count_once() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("p");
        std::fs::create_dir_all(path.join("a/b")).expect("folders");
        let empty = Seen::default().size(&path).expect("a size");
        std::fs::write(path.join("a/b/f"), vec![1; 100_000]).expect("a file");
        std::fs::hard_link(path.join("a/b/f"), path.join("again")).expect("a name");
        std::os::unix::fs::symlink("/usr", path.join("out")).expect("a link");
        let size = Seen::default().size(&path).expect("a size") - empty;
        assert!((100_000..120_000).contains(&size), "{size}");
        assert_eq!(Seen::default().size(&path.join("nothing")).expect("a size"), 0);
    }

    #[test]
    fn the_sum_of_limits() {
        let with = |storage: Option<u64>, sidecar: bool| ContainerPlan {
            limits: Limits { storage_bytes: storage, ..Limits::default() },
            sidecar,
            ..ContainerPlan::default()
        };
        let plan = |inits: Vec<ContainerPlan>, mains: Vec<ContainerPlan>| PodPlan {
            init_containers: inits,
            containers: mains,
            ..PodPlan::default()
        };
        assert_eq!(total(&plan(vec![], vec![with(None, false)])), None);
        assert_eq!(total(&plan(vec![with(Some(4), true)], vec![with(Some(1), false), with(None, false)])), Some(5));
        assert_eq!(total(&plan(vec![with(Some(9), false)], vec![with(Some(1), false)])), Some(9));
    }
}
