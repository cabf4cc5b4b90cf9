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
use super::session::hand_over;
use super::spec::{POD_VARIABLES, RunSpec, Walls, handed_on};
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
    pub channel: Channel,
    pub init: Child,
}

pub fn start_init(folder: &RunFolder, spec: &RunSpec) -> io::Result<(StartedInit, Vec<Group>)> {
    let mut outputs = Vec::new();
    let mut writing: Vec<OwnedFd> = Vec::new();
    for container in spec.plan.all_containers() {
        let (reading, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&reading, rustix::fs::OFlags::NONBLOCK)?;
        if let Walls::OtherUser { uid } = spec.walls {
            hand_over(&end, Some(uid))?;
        }
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
    Ok((StartedInit { outputs, channel, init }, groups))
}
