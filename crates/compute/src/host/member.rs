//! One container of a pod as the init sees it: where it is, and whether it starts again.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::cgroup::Group;
use super::checks::Checks;
use super::session::hand_over;
use super::spawn::Streams;
use super::spec::Launch;
use crate::pod::{ContainerPlan, RestartPolicy};

/// The longest wait between two starts, and how long a container must run for its past to be forgotten: as kubelet has them.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts in its turn, goes on beside the others, and ends after them.
    Sidecar,
    Main,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Waiting,
    Running {
        pid: Pid,
        since: Instant,
    },
    BackOff {
        until: Instant,
    },
    /// Ended for good.
    Done {
        exit_code: i32,
    },
}

/// A container that is being ended on its own.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// When it is killed; none: the shim keeps the time.
    pub kill_at: Option<Instant>,
}

pub struct Member {
    pub role: Role,
    pub plan: ContainerPlan,
    pub launch: Launch,
    /// Where its outputs go: a pipe, or its terminal.
    pub log: OwnedFd,
    /// What limits its memory, and how often somebody in it was killed for that.
    pub group: Option<Group>,
    kills: u64,
    pub stage: Stage,
    pub checks: Checks,
    pub ending: Option<Ending>,
    /// Which of its runs this is; answers of an earlier one do not count.
    pub run: u32,
    /// `postStart` still runs.
    pub is_starting: bool,
    /// The next wait; none: it never had to wait.
    wait: Option<Duration>,
    first_wait: Duration,
}

impl Member {
    pub fn new(
        role: Role,
        plan: ContainerPlan,
        launch: Launch,
        log: OwnedFd,
        group: Option<Group>,
        first_wait: Duration,
    ) -> Member {
        let checks = Checks::begin(&plan.probes, Instant::now());
        Member {
            role,
            plan,
            launch,
            log,
            group,
            kills: 0,
            stage: Stage::Waiting,
            checks,
            ending: None,
            run: 0,
            is_starting: false,
            wait: None,
            first_wait,
        }
    }

    /// What its program reads and writes; and for whoever types, the end of the pipe that it reads, if it does.
    pub fn streams(&self) -> io::Result<(Streams, Option<OwnedFd>)> {
        if self.plan.interactive.tty {
            return Ok((Streams::at_terminal(&self.log)?, None));
        }
        let streams = Streams::to_log(&self.log)?;
        if !self.plan.interactive.has_pipe() {
            return Ok((streams, None));
        }
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        hand_over(&reading, self.launch.walls.user())?;
        rustix::fs::fcntl_setfl(&writing, rustix::fs::OFlags::NONBLOCK)?;
        Ok((Streams { input: reading.into(), ..streams }, Some(writing)))
    }

    pub fn pid(&self) -> Option<Pid> {
        match self.stage {
            Stage::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }

    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done { .. })
    }

    /// Whether what comes after it may start.
    pub fn lets_others_start(&self) -> bool {
        match (self.role, self.stage) {
            (Role::Init, Stage::Done { exit_code }) => exit_code == 0,
            (Role::Sidecar, Stage::Running { .. } | Stage::BackOff { .. }) => self.checks.is_up && !self.is_starting,
            _ => false,
        }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::BackOff { until } if until <= now)
    }

    pub fn begin(&mut self, pid: Pid, now: Instant) {
        self.stage = Stage::Running { pid, since: now };
        self.checks = Checks::begin(&self.plan.probes, now);
        self.is_starting = self.plan.post_start.is_some();
        self.ending = None;
    }

    /// Its program has ended. Says how long it waits for its next start, if there is one.
    pub fn end(&mut self, exit_code: i32, policy: RestartPolicy, now: Instant) -> Option<Duration> {
        let Stage::Running { since, .. } = self.stage else { return None };
        self.run += 1;
        self.ending = None;
        let again = match (self.role, policy) {
            (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
            (Role::Init | Role::Main, RestartPolicy::OnFailure) | (Role::Init, RestartPolicy::Always) => exit_code != 0,
            (Role::Init | Role::Main, RestartPolicy::Never) => false,
        };
        if !again {
            self.stage = Stage::Done { exit_code };
            return None;
        }
        if now.duration_since(since) >= FORGIVEN_AFTER {
            self.wait = None;
        }
        let wait = self.wait.unwrap_or(Duration::ZERO);
        self.wait = Some(self.wait.map_or(self.first_wait, |wait| (wait * 2).min(LONGEST_WAIT)));
        self.stage = Stage::BackOff { until: now + wait };
        Some(wait)
    }

    /// Whether the kernel has killed somebody in it for want of memory since this was asked last.
    pub fn was_out_of_memory(&mut self) -> bool {
        let Some(group) = &self.group else { return false };
        let before = std::mem::replace(&mut self.kills, group.kills());
        self.kills > before
    }

    pub fn is_ready(&self) -> bool {
        self.is_running() && self.checks.is_ready && !self.is_starting
    }
}
