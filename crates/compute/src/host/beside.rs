//! What the init runs beside the containers' programs: probes, hooks, programs and connections that somebody asked for; and how one
//! container is asked to end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::channel::News;
use super::checks::{Kind, Verdict};
use super::init::Init;
use super::member::{Ending, Member};
use super::spawn::{Streams, spawn};
use super::spec::Launch;
use super::tree::signal_group;
use crate::pod::Action;

/// Something that runs beside a container's program.
pub struct Helper {
    pub pid: Pid,
    pub purpose: Purpose,
    /// The container, and which of its runs.
    pub member: usize,
    pub run: u32,
    /// When it is ended.
    pub until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Probe(Kind),
    PostStart,
    PreStop,
    Exec(u64),
    Forward(u64),
}

impl Purpose {
    /// Who asked for it at the shim's door.
    pub fn guest(self) -> Option<u64> {
        match self {
            Purpose::Exec(id) | Purpose::Forward(id) => Some(id),
            Purpose::Probe(_) | Purpose::PostStart | Purpose::PreStop => None,
        }
    }
}

impl Init {
    pub(super) fn tell_checks(&mut self, index: usize) -> io::Result<()> {
        let member = &self.members[index];
        let (is_up, is_ready) = (member.checks.is_up && !member.is_starting, member.is_ready());
        self.channel.tell(&News::Checked { container: index, is_up, is_ready })
    }

    /// Asks the probes that are due.
    pub(super) fn probe(&mut self, now: Instant) -> io::Result<()> {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if !member.is_running() || member.ending.is_some() || member.is_starting {
                continue;
            }
            for (kind, action, patience) in member.checks.ask(now) {
                self.help(index, Purpose::Probe(kind), &action, Some(now + patience))?;
            }
        }
        Ok(())
    }

    /// Runs something beside a container's program. Where it cannot be started, it has failed.
    pub(super) fn help(
        &mut self,
        index: usize,
        purpose: Purpose,
        action: &Action,
        until: Option<Instant>,
    ) -> io::Result<()> {
        let member = &self.members[index];
        let run = member.run;
        match spawn(&member.launch.doing(action), Streams::none()) {
            Ok(pid) => {
                self.helpers.push(Helper { pid, purpose, member: index, run, until });
                Ok(())
            }
            Err(_) => self.helped(purpose, index, run, 1),
        }
    }

    /// What ran beside a container has ended.
    pub(super) fn helped(&mut self, purpose: Purpose, index: usize, run: u32, exit_code: i32) -> io::Result<()> {
        if let Some(id) = purpose.guest() {
            return self.channel.tell(&News::ExecEnded { id, exit_code });
        }
        let is_good = exit_code == 0;
        let member = &mut self.members[index];
        if member.run != run || !member.is_running() {
            return Ok(());
        }
        match purpose {
            Purpose::Probe(kind) => match member.checks.answer(kind, is_good) {
                Some(Verdict::Dead) if member.ending.is_none() => self.end_one(index, Some(self.grace)),
                Some(Verdict::Up | Verdict::Ready(_)) => self.tell_checks(index),
                _ => Ok(()),
            },
            Purpose::PostStart => {
                member.is_starting = false;
                if is_good { self.tell_checks(index) } else { self.end_one(index, Some(self.grace)) }
            }
            Purpose::PreStop => {
                let Some(pid) = member.pid() else { return Ok(()) };
                Ok(signal_group(pid, Signal::SIGTERM)?)
            }
            Purpose::Exec(_) | Purpose::Forward(_) => Ok(()),
        }
    }

    /// Asks one container to end: `preStop`, SIGTERM, and SIGKILL after the grace.
    pub(super) fn end_one(&mut self, index: usize, grace: Option<Duration>) -> io::Result<()> {
        let now = Instant::now();
        let kill_at = grace.map(|grace| now + grace);
        let member = &mut self.members[index];
        let Some(pid) = member.pid() else { return Ok(()) };
        member.ending = Some(Ending { kill_at });
        match member.plan.pre_stop.clone() {
            Some(action) => self.help(index, Purpose::PreStop, &action, Some(kill_at.unwrap_or(now + self.grace))),
            None => Ok(signal_group(pid, Signal::SIGTERM)?),
        }
    }

    pub(super) fn exec(&mut self, id: u64, container: usize, argv: Vec<String>, tty: bool) -> io::Result<()> {
        let running = self.members.get(container).filter(|member| member.is_running());
        let doing = |member: &Member| Launch { terminal: tty, ..member.launch.doing(&Action::Exec { argv }) };
        let found = running.map(|member| (container, doing(member)));
        self.receive(Purpose::Exec(id), found.ok_or("the container does not run"))
    }

    /// The network is the pod's, so any container that runs will do.
    pub(super) fn forward(&mut self, id: u64, port: u16) -> io::Result<()> {
        let running = self.members.iter().position(Member::is_running);
        let doing = |index: usize| Launch { forward: Some(port), ..self.members[index].launch.clone() };
        let found = running.map(|index| (index, doing(index)));
        self.receive(Purpose::Forward(id), found.ok_or("no container of the pod runs"))
    }

    /// Starts what a guest asked for, in the container of that number; its files came along with the order.
    fn receive(&mut self, purpose: Purpose, wanted: Result<(usize, Launch), &str>) -> io::Result<()> {
        let files: Vec<OwnedFd> = (0..3).filter_map(|_| self.channel.files.pop_front()).collect();
        let id = purpose.guest().unwrap_or_default();
        let refused = |message: &str| News::ExecFailed { id, message: message.to_owned() };
        let (member, launch) = match wanted {
            Ok(wanted) => wanted,
            Err(why) => return self.channel.tell(&refused(why)),
        };
        let Ok([input, output, errors]) = <[OwnedFd; 3]>::try_from(files) else {
            return self.channel.tell(&refused("its input and output did not come along"));
        };
        match spawn(&launch, Streams { input: input.into(), output: output.into(), errors: errors.into() }) {
            Ok(pid) => {
                let run = self.members[member].run;
                self.helpers.push(Helper { pid, purpose, member, run, until: None });
                Ok(())
            }
            Err(error) => self.channel.tell(&refused(&error.to_string())),
        }
    }
}
