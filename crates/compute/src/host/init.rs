//! Second stage, `pod-init`: the first process of the pod's process tree.
//!
//! It builds the walls that all containers share, starts the containers in order and again where they shall, probes them,
//! collects every process that ends, measures, and takes the whole tree with it when it goes, or when the shim is gone. It has
//! a single thread, and reads nothing that the pod writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::beside::{Helper, Purpose};
use super::cgroup::Group;
use super::channel::{Channel, News, Order};
use super::folder::{RunFolder, VOLUMES};
use super::member::{Ending, Member, Role, Stage};
use super::mounts::Placed;
use super::sandbox;
use super::spawn::spawn;
use super::spec::{Launch, RunSpec, Walls};
use super::tree::{self, signal_group};
use crate::pod::{ContainerPlan, RestartPolicy};
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

pub(super) struct Init {
    pub(super) channel: Channel,
    pub(super) members: Vec<Member>,
    pub(super) helpers: Vec<Helper>,
    policy: RestartPolicy,
    pub(super) grace: Duration,
    /// No more containers are to be started.
    stopping: bool,
    /// Everything stands still.
    suspended: bool,
    memory_limit: Option<u64>,
    /// Volumes in memory, which count as the pod's.
    memory_volumes: Vec<PathBuf>,
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
    // Behind the walls the run folder is another one, and a group is known by its folder.
    let groups = groups(&spec, folder);
    let mounts = match sandbox::enter(&spec, folder) {
        Ok(mounts) => mounts,
        Err(error) => {
            return channel.tell(&News::Impossible { message: format!("cannot isolate the pod: {error}") });
        }
    };
    nix::sys::prctl::set_child_subreaper(true)?;
    let members = members(&spec, folder, logs, mounts, groups)?;
    // Where control groups do not limit every container, what all use together is looked at.
    let is_limited = members.iter().all(|member| member.plan.limits.memory_bytes.is_none() || member.group.is_some());
    let init = Init {
        channel,
        members,
        helpers: Vec::new(),
        policy: spec.plan.restart,
        grace: Duration::from_secs(spec.grace_seconds),
        stopping: false,
        suspended: false,
        memory_limit: spec.memory_limit().filter(|_| !is_limited),
        memory_volumes: spec.memory_volumes().map(|name| folder.sub(VOLUMES).join(name)).collect(),
        out_of_memory: false,
        max_rss_bytes: 0,
    };
    init.live()
}

/// The control group of each container that has one.
fn groups(spec: &RunSpec, folder: &RunFolder) -> Vec<Option<Group>> {
    let of = |(index, plan): (usize, &ContainerPlan)| plan.limits.memory_bytes.and_then(|_| Group::made(folder, index));
    spec.plan.all_containers().enumerate().map(of).collect()
}

fn members(
    spec: &RunSpec,
    folder: &RunFolder,
    logs: Vec<OwnedFd>,
    mounts: Vec<Vec<Placed>>,
    groups: Vec<Option<Group>>,
) -> io::Result<Vec<Member>> {
    let first_wait = Duration::from_millis(spec.restart_wait_millis.max(1));
    // Where one container has volumes, the others must not see where they come from.
    let any = mounts.iter().any(|mounts| !mounts.is_empty()) || !spec.plan.volumes.is_empty();
    let mut mounts = mounts.into_iter();
    let mut logs = logs.into_iter();
    let mut members = Vec::new();
    for ((index, plan), group) in spec.plan.all_containers().enumerate().zip(groups) {
        let role = match (index < spec.plan.init_containers.len(), plan.sidecar) {
            (true, true) => Role::Sidecar,
            (true, false) => Role::Init,
            (false, _) => Role::Main,
        };
        let own = mounts.next().filter(|_| any);
        let launch = Launch { mounts: own, group: group.as_ref().map(Group::door), ..spec.launch(plan, folder) };
        let log = logs.next().ok_or_else(|| io::Error::other("no log"))?;
        members.push(Member::new(role, plan.clone(), launch, log, group, first_wait));
    }
    Ok(members)
}

impl Init {
    fn live(mut self) -> io::Result<()> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut next_sample = Instant::now() + SAMPLE_EVERY;
        self.go_on()?;
        while self.has_more() {
            let (children, orders) = wait(&signals, &self.channel, self.next_alarm(next_sample))?;
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
            self.go_on()?;
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

    fn has_more(&self) -> bool {
        let waits = |member: &Member| !self.stopping && !member.is_done();
        self.members.iter().any(|member| member.is_running() || waits(member))
    }

    /// When to look again, at the latest.
    fn next_alarm(&self, sample: Instant) -> Instant {
        let members = self.members.iter().flat_map(|member| {
            let again = match member.stage {
                Stage::BackOff { until } if !self.stopping && !self.suspended => Some(until),
                _ => None,
            };
            let probe = member.checks.next_due().filter(|_| member.is_running() && !self.suspended);
            [again, probe, member.ending.and_then(|ending| ending.kill_at)]
        });
        let helpers = self.helpers.iter().map(|helper| helper.until);
        members.chain(helpers).flatten().min().map_or(sample, |alarm| alarm.min(sample))
    }

    /// Whatever time has come for.
    fn go_on(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for helper in self.helpers.iter().filter(|helper| helper.until.is_some_and(|until| until <= now)) {
            signal_group(helper.pid, Signal::SIGKILL)?;
        }
        for member in &mut self.members {
            let due = |ending: &Ending| ending.kill_at.is_some_and(|at| at <= now);
            if let (Some(pid), true) = (member.pid(), member.ending.as_ref().is_some_and(due)) {
                member.ending = Some(Ending { kill_at: None });
                signal_group(pid, Signal::SIGKILL)?;
            }
        }
        if !self.suspended {
            self.start_due(now)?;
            self.probe(now)?;
        }
        self.wind_down()
    }

    /// When the last main container is done, or nothing more shall be started, the sidecars end.
    fn wind_down(&mut self) -> io::Result<()> {
        let mains_done = self.members.iter().filter(|member| member.role == Role::Main).all(Member::is_done);
        self.stopping |= mains_done;
        if !self.stopping || self.members.iter().any(|member| member.role != Role::Sidecar && member.is_running()) {
            return Ok(());
        }
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if member.is_running() && member.ending.is_none() {
                self.end_one(index, Some(self.grace))?;
            }
        }
        Ok(())
    }

    /// Starts what is to be started now: one init container after the other, then all others at once.
    fn start_due(&mut self, now: Instant) -> io::Result<()> {
        let mut open = true;
        for index in 0..self.members.len() {
            if self.stopping {
                return Ok(());
            }
            let member = &self.members[index];
            let is_due = match member.stage {
                Stage::Waiting => open,
                _ => member.is_due(now),
            };
            if is_due {
                self.start(index, now)?;
            }
            let member = &self.members[index];
            open &= member.role == Role::Main || member.lets_others_start();
        }
        Ok(())
    }

    fn start(&mut self, index: usize, now: Instant) -> io::Result<()> {
        let member = &self.members[index];
        // Only the container's own program has its terminal.
        let launch = Launch { terminal: member.plan.interactive.tty, ..member.launch.clone() };
        let started = member.streams().and_then(|(streams, input)| Ok((spawn(&launch, streams)?, input)));
        match started {
            Ok((pid, input)) => {
                let member = &mut self.members[index];
                member.begin(pid, now);
                let files: Vec<_> = input.iter().map(AsFd::as_fd).collect();
                self.channel.tell_with(&News::Started { container: index }, &files)?;
                self.tell_checks(index)?;
                if let Some(action) = self.members[index].plan.post_start.clone() {
                    self.help(index, Purpose::PostStart, &action, None)?;
                }
            }
            Err(error) => {
                self.stopping = true;
                self.channel.tell(&News::Impossible { message: format!("cannot start the pod: {error}") })?;
                self.kill_all();
            }
        }
        Ok(())
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
            if let Some(at) = self.helpers.iter().position(|helper| helper.pid == pid) {
                let Helper { purpose, member, run, .. } = self.helpers.swap_remove(at);
                self.helped(purpose, member, run, exit_code)?;
            } else if let Some(index) = self.members.iter().position(|member| member.pid() == Some(pid)) {
                self.ended(index, exit_code, signal)?;
            }
        }
    }

    /// A container's program has ended.
    fn ended(&mut self, container: usize, exit_code: i32, signal: Option<i32>) -> io::Result<()> {
        let of_all = self.out_of_memory && signal == Some(Signal::SIGKILL as i32);
        let out_of_memory = of_all || (self.members[container].was_out_of_memory() && exit_code != 0);
        // Nothing goes on in a container whose program has ended. A connection belongs to the pod, and ends at its other end.
        let is_inside = |helper: &&Helper| helper.member == container && !matches!(helper.purpose, Purpose::Forward(_));
        for helper in self.helpers.iter().filter(is_inside) {
            signal_group(helper.pid, Signal::SIGKILL)?;
        }
        let policy = if self.stopping { RestartPolicy::Never } else { self.policy };
        let member = &mut self.members[container];
        let mut again = member.end(exit_code, policy, Instant::now());
        if self.stopping {
            member.stage = Stage::Done { exit_code };
            again = None;
        }
        if member.role == Role::Init && exit_code != 0 && again.is_none() {
            self.stopping = true;
        }
        let again_in = again.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.channel.tell(&News::Ended { container, exit_code, signal, out_of_memory, again_in })
    }

    fn obey(&mut self) -> io::Result<()> {
        let Some(orders) = self.channel.receive::<Order>()? else {
            // The shim is gone: nobody would learn how this ends, so it ends now.
            self.kill_all();
            return Err(io::Error::other("the shim is gone"));
        };
        for order in orders {
            match order {
                Order::Terminate => self.terminate()?,
                Order::Kill => {
                    self.stopping = true;
                    self.kill_all();
                }
                Order::Suspend => {
                    self.suspended = true;
                    for _ in 0..STOP_ROUNDS {
                        tree::signal_all(Signal::SIGSTOP);
                    }
                }
                Order::Resume => {
                    self.suspended = false;
                    tree::signal_all(Signal::SIGCONT);
                }
                Order::Exec { id, container, argv, tty } => self.exec(id, container, argv, tty)?,
                Order::Forward { id, port } => self.forward(id, port)?,
                Order::EndExec { id } => {
                    for helper in self.helpers.iter().filter(|helper| helper.purpose.guest() == Some(id)) {
                        signal_group(helper.pid, Signal::SIGKILL)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn terminate(&mut self) -> io::Result<()> {
        self.stopping = true;
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if member.role != Role::Sidecar && member.is_running() && member.ending.is_none() {
                // The shim keeps the time.
                self.end_one(index, None)?;
            }
        }
        if self.suspended {
            self.suspended = false;
            tree::signal_all(Signal::SIGCONT);
        }
        Ok(())
    }

    fn kill_all(&self) {
        tree::signal_all(Signal::SIGKILL);
    }

    fn sample(&mut self) {
        let held = self.memory_volumes.iter().map(|place| tree::bytes_in(place));
        let total = held.fold(tree::resident_bytes(), u64::saturating_add);
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
