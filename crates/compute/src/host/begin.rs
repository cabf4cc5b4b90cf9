//! The shim's first act: the init, a log and a pipe for each container, and the channel between the two.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::cgroup::Group;
use super::channel::Channel;
use super::folder::RunFolder;
use super::logfile::LogWriter;
use super::sandbox;
use super::session::{hand_over, terminal_of};
use super::spec::{POD_VARIABLES, RunSpec, handed_on};
use super::{POD_INIT, SELF};

/// The output of one container.
pub struct Output {
    pub pipe: Option<File>,
    pub log: Option<LogWriter>,
    /// Bytes that had been written when the container's last run ended.
    pub ended_at: u64,
}

/// The init and what connects us with it.
pub struct StartedInit {
    pub outputs: Vec<Output>,
    /// Of the containers that have one.
    pub terminals: Vec<Option<OwnedFd>>,
    pub channel: Channel,
    pub init: Child,
}

pub fn start_init(folder: &RunFolder, spec: &RunSpec) -> io::Result<(StartedInit, Vec<Group>)> {
    let mut outputs = Vec::new();
    let mut writing: Vec<OwnedFd> = Vec::new();
    let mut terminals = Vec::new();
    for container in spec.plan.all_containers() {
        let is_terminal = container.interactive.tty;
        let (reading, end) = if is_terminal { terminal_of(spec.walls.user())? } else { log_pipe(spec.walls.user())? };
        rustix::fs::fcntl_setfl(&reading, rustix::fs::OFlags::NONBLOCK)?;
        terminals.push(is_terminal.then(|| reading.try_clone()).transpose()?);
        let log = LogWriter::create(&folder.logs(), &container.name, spec.log_limit)?;
        outputs.push(Output { pipe: Some(reading.into()), log: Some(log), ended_at: 0 });
        writing.push(end);
    }
    let limits = spec.plan.all_containers().map(|container| container.limits.memory_bytes).enumerate();
    let groups = limits.filter_map(|(number, bytes)| Group::make(folder, number, bytes?)).collect();
    sandbox::enter_process_namespace(&spec.walls).map_err(io::Error::other)?;
    let (mut channel, theirs) = Channel::pair()?;
    let init = Command::new(SELF)
        .arg0("dte")
        .arg(POD_INIT)
        .arg(folder.path())
        .env_clear()
        .envs(handed_on())
        .envs(std::env::var_os(POD_VARIABLES).map(|names| (POD_VARIABLES, names)))
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    channel.send_files(&writing.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    Ok((StartedInit { outputs, terminals, channel, init }, groups))
}

/// A pipe: our end, and that which processes of `owner`'s write to.
fn log_pipe(owner: Option<u32>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reading, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    hand_over(&end, owner)?;
    Ok((reading, end))
}
