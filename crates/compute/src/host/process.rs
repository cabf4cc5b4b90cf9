//! Naming a process so that a reused process id is never mistaken for it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process id, when that process began (in ticks since the machine started), and which start of the machine that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    pub start_ticks: u64,
    pub boot: String,
}

impl ProcessIdentity {
    /// The calling process.
    pub fn own() -> io::Result<Self> {
        Self::of(i32::try_from(std::process::id()).map_err(io::Error::other)?)
    }

    /// The process that now has this id.
    pub fn of(pid: i32) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(ProcessIdentity { pid, start_ticks: start_ticks(pid)?, boot })
    }

    /// A handle on the process if it still lives: readable once it has ended.
    pub fn handle(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The id may have been given to another process; with the handle held, it cannot change any more.
        match Self::of(self.pid) {
            Ok(now) if now == *self => Ok(Some(handle)),
            _ => Ok(None),
        }
    }
}

/// Field 22 of `/proc/PID/stat`. The second field is the program's name in parentheses, which may contain anything.
fn start_ticks(pid: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rfind(')').map_or("", |at| &text[at + 1..]);
    let ticks = after_name.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok());
    ticks.ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown form")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_not_another() {
        let own = ProcessIdentity::own().expect("identity");
        assert!(own.handle().expect("handle").is_some());
        let earlier = ProcessIdentity { start_ticks: own.start_ticks.wrapping_sub(1), ..own.clone() };
        assert!(earlier.handle().expect("handle").is_none());
        let other_boot = ProcessIdentity { boot: "x".into(), ..own };
        assert!(other_boot.handle().expect("handle").is_none());
    }
}
