//! Starting processes of the pod: each begins as the stage `pod-exec`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::Pid;

use super::spec::Launch;
use super::{POD_EXEC, SELF};

/// Standard input, output and error of a process.
pub struct Streams {
    pub input: Stdio,
    pub output: Stdio,
    pub errors: Stdio,
}

impl Streams {
    /// Both outputs go to a log.
    pub fn to_log(log: &OwnedFd) -> io::Result<Streams> {
        Ok(Streams { input: Stdio::null(), output: log.try_clone()?.into(), errors: log.try_clone()?.into() })
    }

    /// Input and both outputs are a terminal.
    pub fn at_terminal(terminal: &OwnedFd) -> io::Result<Streams> {
        Ok(Streams { input: terminal.try_clone()?.into(), ..Streams::to_log(terminal)? })
    }

    /// Nobody listens.
    pub fn none() -> Streams {
        Streams { input: Stdio::null(), output: Stdio::null(), errors: Stdio::null() }
    }
}

/// Starts a process in a process group of its own (with a terminal: in a session of its own).
pub fn spawn(launch: &Launch, streams: Streams) -> io::Result<Pid> {
    // Not closed on execution: the stage reads it, and closes it.
    let memory = rustix::fs::memfd_create("launch", rustix::fs::MemfdFlags::empty())?;
    let mut description = File::from(memory);
    description.write_all(&serde_json::to_vec(launch)?)?;
    let mut command = Command::new(SELF);
    command.arg0("dte").arg(POD_EXEC).arg(description.as_raw_fd().to_string()).env_clear();
    command.stdin(streams.input).stdout(streams.output).stderr(streams.errors);
    if !launch.terminal {
        command.process_group(0);
    }
    let child = command.spawn()?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}
