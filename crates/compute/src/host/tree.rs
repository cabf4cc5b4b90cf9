//! The pod's process tree, seen from its first process.

use std::fs;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid, getppid};

/// Sends a signal to everything but ourselves.
pub fn signal_all(signal: Signal) {
    if getpid() == Pid::from_raw(1) {
        // Everything in this namespace. There may be nothing any more.
        let _ = kill(Pid::from_raw(-1), signal);
        return;
    }
    // Without a namespace: whoever descends from us. Orphans come to us, so that none gets away for long.
    let us = getpid();
    for process in processes().iter().filter(|process| descends_from(**process, us)) {
        let _ = kill(*process, signal);
    }
}

/// Memory that all processes but ourselves have in use.
pub fn resident_bytes() -> u64 {
    let walled = getpid() == Pid::from_raw(1);
    let page = rustix::param::page_size() as u64;
    let resident = |pid: &Pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        text.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * page)
    };
    let us = getpid();
    let ours = |pid: &&Pid| **pid != us && (walled || descends_from(**pid, us));
    processes().iter().filter(ours).filter_map(resident).sum()
}

pub fn ignore_gone(outcome: nix::Result<()>) -> nix::Result<()> {
    if outcome == Err(Errno::ESRCH) { Ok(()) } else { outcome }
}

/// Signals a process group; or its first process, where that has not made its group yet. Both may have gone.
pub fn signal_group(first: Pid, signal: Signal) -> nix::Result<()> {
    match killpg(first, signal) {
        Err(Errno::ESRCH) => ignore_gone(kill(first, signal)),
        outcome => outcome,
    }
}

/// All processes that can be seen.
fn processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir(PathBuf::from("/proc")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names.map(Pid::from_raw).collect()
}

/// The pod's processes, as one of them sees them whose parent is the init; without that one itself.
pub fn beside_us() -> Vec<Pid> {
    let (us, init) = (getpid(), getppid());
    let walled = init == Pid::from_raw(1);
    let is_another = |pid: &Pid| *pid != us && *pid != init && (walled || descends_from(*pid, init));
    processes().into_iter().filter(is_another).collect()
}

fn descends_from(process: Pid, ancestor: Pid) -> bool {
    let mut at = process;
    for _ in 0..1_000 {
        let Some(parent) = parent_of(at) else { return false };
        if parent == ancestor {
            return true;
        }
        at = parent;
    }
    false
}

fn parent_of(process: Pid) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let parent: i32 = text[text.rfind(')')? + 1..].split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent > 0).then(|| Pid::from_raw(parent))
}

/// Bytes that a memory file system holds; none if it cannot be asked.
pub fn bytes_in(place: &std::path::Path) -> u64 {
    let Ok(about) = rustix::fs::statvfs(place) else { return 0 };
    about.f_blocks.saturating_sub(about.f_bfree).saturating_mul(about.f_frsize)
}
