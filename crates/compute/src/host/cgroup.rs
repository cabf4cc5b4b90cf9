//! Memory limits by control groups, where the machine lets us make them: version 1, or version 2 where our own group hands the
//! memory controller down. Elsewhere limits are those of processes, and the init looks at how much they use together.
//!
//! The shim makes a group for each container that has a limit, beneath its own; a container's processes join it before they
//! give up their privileges. It is removed when nothing of the pod runs any more.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::folder::RunFolder;

const ROOT: &str = "/sys/fs/cgroup";
const PATIENCE: Duration = Duration::from_millis(2);
const TRIES: u32 = 50;

/// The group of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    path: PathBuf,
    is_v1: bool,
}

impl Group {
    /// The group of this number; none if there can be none here. Two engines of one machine may have pods of the same UID (that
    /// of a model's run follows from what it works on), but never in the same folder.
    fn of(folder: &RunFolder, number: usize) -> Option<Group> {
        let inode = fs::metadata(folder.path()).ok()?.ino();
        let pod = folder.path().file_name()?.to_str()?;
        let name = format!("dte-{pod}-{inode:x}-{number}");
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let (is_v1, own) = own_group(&own)?;
        let base = Path::new(ROOT).join(if is_v1 { "memory" } else { "" }).join(own.trim_start_matches('/'));
        Some(Group { path: base.join(name), is_v1 })
    }

    /// The group, if the shim made it.
    pub fn made(folder: &RunFolder, number: usize) -> Option<Group> {
        Group::of(folder, number).filter(|group| group.path.is_dir())
    }

    /// Makes it with this limit. `None`: not on this machine.
    pub fn make(folder: &RunFolder, number: usize, memory_bytes: u64) -> Option<Group> {
        let group = Group::of(folder, number)?;
        if group.path.is_dir() {
            // A shim that was killed left it.
            group.remove();
        }
        fs::create_dir(&group.path).ok()?;
        let limited = group.limit(memory_bytes);
        if limited.is_err() {
            group.remove();
            return None;
        }
        Some(group)
    }

    fn limit(&self, bytes: u64) -> io::Result<()> {
        let text = bytes.to_string();
        let (limit, with_swap) = match self.is_v1 {
            true => ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", text.as_str())),
            false => ("memory.max", ("memory.swap.max", "0")),
        };
        // In version 2 the file is there only if the controller was handed down.
        fs::OpenOptions::new().write(true).open(self.path.join(limit)).and_then(|mut file| {
            use std::io::Write;
            file.write_all(text.as_bytes())
        })?;
        // Not every kernel counts swap.
        drop(fs::write(self.path.join(with_swap.0), with_swap.1));
        Ok(())
    }

    /// Where a process writes `0` to join.
    pub fn door(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// How often the kernel killed somebody in it for want of memory.
    pub fn kills(&self) -> u64 {
        let file = if self.is_v1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        count.unwrap_or(0)
    }

    /// Removes it. The kernel needs a moment to see that the last process is gone.
    pub fn remove(&self) {
        for _ in 0..TRIES {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PATIENCE),
                _ => return,
            }
        }
    }
}

/// From `/proc/self/cgroup`: whether memory is counted by version 1, and our own group.
fn own_group(text: &str) -> Option<(bool, &str)> {
    let fields = |line: &'_ str| -> Option<(String, usize)> {
        let mut parts = line.splitn(3, ':');
        let (_, controllers) = (parts.next()?, parts.next()?);
        Some((controllers.to_owned(), line.len() - parts.next()?.len()))
    };
    let mut unified = None;
    for line in text.lines() {
        let Some((controllers, at)) = fields(line) else { continue };
        if controllers.split(',').any(|name| name == "memory") {
            return Some((true, &line[at..]));
        }
        if controllers.is_empty() {
            unified = Some((false, &line[at..]));
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_own_group() {
        assert_eq!(own_group("8:pids:/\n4:memory:/a:b\n0::/x\n"), Some((true, "/a:b")));
        assert_eq!(own_group("0::/user.slice/x\n"), Some((false, "/user.slice/x")));
        assert_eq!(own_group("1:cpu:/\n"), None);
    }
}
