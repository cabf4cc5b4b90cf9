//! Second stage, `pod-init`: the first process of the pod's process tree.
//!
//! It builds the walls, starts the containers in order, collects every process that ends, measures, and takes the whole tree
//! with it when it goes, or when the shim is gone. It has a single thread and, once the walls stand, no privileges.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::channel::{Channel, News, Order};
use super::folder::RunFolder;
use super::sandbox;
use super::spec::{Launch, Walls};
use super::{POD_EXEC, SELF};
use crate::report::Usage;

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Without a namespace a process may be made while the others are being stopped: it is found in the next round.
const STOP_ROUNDS: usize = 3;

pub fn main(folder: &Path) -> ExitCode {
    match run(&RunFolder::at(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod-init: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Container {
    pid: Pid,
    index: usize,
}

struct Init {
    channel: Channel,
    logs: Vec<Option<OwnedFd>>,
    launches: Vec<Launch>,
    init_count: usize,
    next: usize,
    running: Vec<Container>,
    /// No more containers are to be started.
    stopping: bool,
    /// Everything stands still.
    suspended: bool,
    memory_limit: Option<u64>,
    out_of_memory: bool,
    max_rss_bytes: u64,
}

fn run(folder: &RunFolder) -> io::Result<()> {
    let mut channel = Channel::from_fd(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let logs = channel.receive_files()?;
    let spec = folder.spec()?.ok_or_else(|| io::Error::other("there is no spec.json"))?;
    if spec.walls != Walls::Open && getpid() != Pid::from_raw(1) {
        return Err(io::Error::other("not the first process of its namespace"));
    }
    if let Err(error) = sandbox::enter(&spec, folder) {
        return channel.tell(&News::Impossible { message: format!("cannot isolate the pod: {error}") });
    }
    nix::sys::prctl::set_child_subreaper(true)?;
    let launches: Vec<Launch> = spec.plan.all_containers().map(|container| spec.launch(container, folder)).collect();
    let init = Init {
        channel,
        logs: logs.into_iter().map(Some).collect(),
        launches,
        init_count: spec.plan.init_containers.len(),
        next: 0,
        running: Vec::new(),
        stopping: false,
        suspended: false,
        memory_limit: spec.memory_limit(),
        out_of_memory: false,
        max_rss_bytes: 0,
    };
    init.live()
}

impl Init {
    fn live(mut self) -> io::Result<()> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut next_sample = Instant::now() + SAMPLE_EVERY;
        self.start_due()?;
        while !self.running.is_empty() || self.has_more_later() {
            let (children, orders) = wait(&signals, &self.channel, next_sample)?;
            if children {
                while signals.read_signal()?.is_some() {}
                self.collect()?;
            }
            if orders {
                self.obey()?;
            }
            if Instant::now() >= next_sample {
                self.sample();
                next_sample = Instant::now() + SAMPLE_EVERY;
            }
            self.start_due()?;
        }
        loop {
            self.kill_all();
            if !self.collect()? {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let usage = self.usage()?;
        self.channel.tell(&News::Finished { usage })
    }

    /// The next container waits only because the pod stands still.
    fn has_more_later(&self) -> bool {
        self.suspended && !self.stopping && self.next < self.launches.len()
    }

    /// Starts what is to be started now: the next init container when none runs, all others at once.
    fn start_due(&mut self) -> io::Result<()> {
        while !self.stopping && !self.suspended && self.next < self.launches.len() {
            if self.next <= self.init_count && !self.running.is_empty() && self.running[0].index < self.init_count {
                return Ok(());
            }
            let index = self.next;
            self.next += 1;
            match self.start(index) {
                Ok(pid) => {
                    self.running.push(Container { pid, index });
                    self.channel.tell(&News::Started { container: index })?;
                }
                Err(error) => {
                    self.stopping = true;
                    self.channel.tell(&News::Impossible { message: format!("cannot start the pod: {error}") })?;
                    self.kill_all();
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> io::Result<Pid> {
        let log = self.logs.get_mut(index).and_then(Option::take).ok_or_else(|| io::Error::other("no log"))?;
        let memory = rustix::fs::memfd_create("launch", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut description = File::from(memory);
        description.write_all(&serde_json::to_vec(&self.launches[index])?)?;
        description.seek(SeekFrom::Start(0))?;
        let child = Command::new(SELF)
            .arg0("dte")
            .arg(POD_EXEC)
            .env_clear()
            .stdin(description)
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .process_group(0)
            .spawn()?;
        i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
    }

    /// Takes note of all processes that have ended. `false`: there are no processes any more.
    fn collect(&mut self) -> io::Result<bool> {
        loop {
            let (pid, exit_code, signal) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code, None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) => return Ok(true),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let Some(at) = self.running.iter().position(|container| container.pid == pid) else { continue };
            let Container { index, .. } = self.running.swap_remove(at);
            if index < self.init_count && exit_code != 0 {
                self.stopping = true;
            }
            let out_of_memory = self.out_of_memory && signal == Some(Signal::SIGKILL as i32);
            self.channel.tell(&News::Ended { container: index, exit_code, signal, out_of_memory })?;
        }
    }

    fn obey(&mut self) -> io::Result<()> {
        let Some(orders) = self.channel.receive::<Order>()? else {
            // The shim is gone: nobody would learn how this ends, so it ends now.
            self.kill_all();
            return Err(io::Error::other("the shim is gone"));
        };
        for order in orders {
            match order {
                Order::Terminate => {
                    self.stopping = true;
                    for container in &self.running {
                        ignore_gone(killpg(container.pid, Signal::SIGTERM))?;
                    }
                    if self.suspended {
                        self.suspended = false;
                        self.signal_all(Signal::SIGCONT);
                    }
                }
                Order::Kill => {
                    self.stopping = true;
                    self.kill_all();
                }
                Order::Suspend => {
                    self.suspended = true;
                    for _ in 0..STOP_ROUNDS {
                        self.signal_all(Signal::SIGSTOP);
                    }
                }
                Order::Resume => {
                    self.suspended = false;
                    self.signal_all(Signal::SIGCONT);
                }
            }
        }
        Ok(())
    }

    fn kill_all(&self) {
        self.signal_all(Signal::SIGKILL);
    }

    fn signal_all(&self, signal: Signal) {
        if getpid() == Pid::from_raw(1) {
            // Everything in this namespace but ourselves. There may be nothing any more.
            let _ = kill(Pid::from_raw(-1), signal);
            return;
        }
        // Without a namespace: whoever descends from us. Orphans come to us, so that none gets away for long.
        for process in processes().iter().filter(|process| descends_from_us(**process)) {
            let _ = kill(*process, signal);
        }
    }

    fn sample(&mut self) {
        let walled = getpid() == Pid::from_raw(1);
        let page = rustix::param::page_size() as u64;
        let resident = |pid: &Pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * page)
        };
        let ours = |pid: &&Pid| **pid != getpid() && (walled || descends_from_us(**pid));
        let total: u64 = processes().iter().filter(ours).filter_map(resident).sum();
        self.max_rss_bytes = self.max_rss_bytes.max(total);
        if self.memory_limit.is_some_and(|limit| total > limit) {
            self.out_of_memory = true;
            self.stopping = true;
            self.kill_all();
        }
    }

    fn usage(&self) -> io::Result<Usage> {
        let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let micros =
            |time: nix::sys::time::TimeVal| time.tv_sec().saturating_mul(1_000_000).saturating_add(time.tv_usec());
        let cpu = micros(used.user_time()).saturating_add(micros(used.system_time()));
        let largest = u64::try_from(used.max_rss()).unwrap_or(0) * 1024;
        Ok(Usage { cpu_micros: u64::try_from(cpu).unwrap_or(0), max_rss_bytes: self.max_rss_bytes.max(largest) })
    }
}

/// Waits for children, orders, or the time. Says which of the first two there are.
fn wait(signals: &SignalFd, channel: &Channel, until: Instant) -> io::Result<(bool, bool)> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false)))
}

fn ignore_gone(outcome: nix::Result<()>) -> nix::Result<()> {
    if outcome == Err(Errno::ESRCH) { Ok(()) } else { outcome }
}

/// All processes that can be seen.
fn processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir(PathBuf::from("/proc")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names.map(Pid::from_raw).collect()
}

fn descends_from_us(process: Pid) -> bool {
    let us = getpid();
    let mut at = process;
    for _ in 0..1_000 {
        let Some(parent) = parent_of(at) else { return false };
        if parent == us {
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
