//! First stage, `pod-shim`: stands between a pod and the engine, and outlives the engine.
//!
//! It has a session of its own and a single thread. It pumps the containers' output into bounded logs, keeps the time, and at
//! the end writes `exit.json`, the one outcome of the pod. Everything that the engine needs to know is in the run folder, so
//! it does not matter whether the engine watches.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::begin::{Output, StartedInit, start_init};
use super::cgroup::Group;
use super::channel::{Channel, News, Order};
use super::console::Consoles;
use super::door::{Door, Reply};
use super::folder::{RunFolder, Started};
use super::logfile;
use super::outcome::Outcome;
use super::process::ProcessIdentity;
use super::spec::RunSpec;
use super::storage::{EVICTED, Storage};
use super::volumes;
use crate::report::PodReport;

/// How long the init may take to take its tree down before it is killed itself.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before the outcome is written again, if the disk is full.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// How long who is attached may take to see the last of it.
const LAST_LOOK: Duration = Duration::from_secs(2);
const PIECE: usize = 256 << 10;
/// Bytes that are moved at once of a container that has ended: more than its pipe holds. What it left behind may write without end.
const LAST_BYTES: usize = 2 << 20;
/// Bytes of a termination message; and, where the log speaks for it, bytes and lines of its end.
const LONGEST_MESSAGE: u64 = 4_096;
const LAST_OF_LOG: u64 = 2_048;
const LAST_LINES: usize = 80;

pub fn main(folder: &Path) -> ExitCode {
    match run(&RunFolder::at(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &RunFolder) -> io::Result<()> {
    // From here on a request to end waits until it is read below.
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGCHLD] {
        mask.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
    // Fails only if there is a session of our own already.
    let _ = nix::unistd::setsid();
    std::env::set_current_dir("/")?;
    let spec = folder.spec()?.ok_or_else(|| io::Error::other("there is no spec.json"))?;
    if !folder.claim(&Started { shim: ProcessIdentity::own()?, suspends: true })? {
        return Ok(());
    }
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut outcome = Outcome::new(&spec.plan, Timestamp::now());
    let report = match folder.cancellation()? {
        Some(how) => {
            outcome.end_for(&how.reason);
            outcome.report(Timestamp::now())
        }
        None => match volumes::fill(&spec, folder).and_then(|()| start_init(folder, &spec)) {
            Ok((started, groups)) => {
                let report = Shim::new(folder, &spec, outcome, started).live(&signals);
                groups.iter().for_each(Group::remove);
                report?
            }
            Err(error) => {
                outcome.impossible(format!("cannot start the pod: {error}"));
                outcome.report(Timestamp::now())
            }
        },
    };
    write_exit(folder, &report)
}

/// The outcome must be written: on a full disk, as soon as there is room.
fn write_exit(folder: &RunFolder, report: &PodReport) -> io::Result<()> {
    // Before the outcome is there: who sees that finds nothing secret. The engine does it too, for shims that were killed.
    if let Err(error) = folder.forget_secrets() {
        eprintln!("pod-shim: what volumes held cannot be removed: {error}");
    }
    loop {
        match folder.write_exit(report) {
            Err(error) if folder.exists() => eprintln!("pod-shim: cannot write the outcome, trying again: {error}"),
            done => return done,
        }
        std::thread::sleep(DISK_PATIENCE);
    }
}

pub(super) struct Shim<'a> {
    folder: &'a RunFolder,
    spec: &'a RunSpec,
    outcome: Outcome,
    outputs: Vec<Output>,
    pub(super) consoles: Consoles,
    pub(super) channel: Option<Channel>,
    /// None: it could not be made, and no programs can be run in the pod.
    pub(super) door: Option<Door>,
    init: Child,
    deadline: Option<Instant>,
    /// What it writes to disk, if that is limited.
    storage: Option<Storage>,
    /// While the pod stands still: what is left of its time, if that is limited.
    suspended: Option<Option<Duration>>,
    kill_at: Option<Instant>,
    killed_at: Option<Instant>,
    piece: Vec<u8>,
}

impl<'a> Shim<'a> {
    fn new(folder: &'a RunFolder, spec: &'a RunSpec, outcome: Outcome, started: StartedInit) -> Self {
        Shim {
            folder,
            spec,
            outcome,
            outputs: started.outputs,
            consoles: Consoles::new(&spec.plan, started.terminals),
            channel: Some(started.channel),
            door: Door::open(folder).inspect_err(|error| eprintln!("pod-shim: no door: {error}")).ok(),
            init: started.init,
            deadline: spec.plan.deadline_seconds.and_then(|s| Instant::now().checked_add(Duration::from_secs(s))),
            storage: Storage::of(spec, folder),
            suspended: None,
            kill_at: None,
            killed_at: None,
            piece: vec![0; PIECE],
        }
    }

    fn live(mut self, signals: &SignalFd) -> io::Result<PodReport> {
        // It may have been asked for before there was anybody to be told.
        self.suspend_or_resume();
        loop {
            self.wait(signals)?;
            while let Some(signal) = signals.read_signal()? {
                if signal.ssi_signo == Signal::SIGTERM as u32 {
                    self.cancel()?;
                }
                if signal.ssi_signo == Signal::SIGUSR1 as u32 {
                    self.suspend_or_resume();
                }
            }
            self.hear();
            // Before anything is moved: who came first sees what was written after.
            self.look_outside();
            for index in 0..self.outputs.len() {
                if !self.consoles.is_held_up(index) {
                    self.pump(index);
                }
            }
            self.carry();
            self.evict();
            self.keep_time();
            if let Some(status) = self.init.try_wait()? {
                // What it said last may still be unread, and so may the containers' last words.
                self.hear();
                for index in 0..self.outputs.len() {
                    self.drain(index);
                }
                if !status.success() {
                    self.outcome.lost("the pod's processes were killed from outside");
                }
                self.consoles.finish(LAST_LOOK, |id, reply| {
                    self.door.iter_mut().for_each(|door| door.answer(id, &reply));
                });
                return Ok(self.outcome.report(Timestamp::now()));
            }
        }
    }

    fn wait(&self, signals: &SignalFd) -> io::Result<()> {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.channel.iter().map(|channel| PollFd::new(channel.as_fd(), PollFlags::POLLIN)));
        let outputs = self.outputs.iter().enumerate().filter(|(index, _)| !self.consoles.is_held_up(*index));
        fds.extend(outputs.filter_map(|(_, o)| o.pipe.as_ref()).map(|p| PollFd::new(p.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.consoles.fds());
        fds.extend(self.door.iter().flat_map(Door::fds).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let storage = self.storage.as_ref().map(Storage::next);
        let killed = self.killed_at.map(|at| at + KILL_PATIENCE);
        let alarms = [
            self.deadline,
            self.kill_at,
            killed,
            storage,
            self.consoles.next(),
            self.door.as_ref().and_then(Door::next),
        ];
        let alarm = alarms.into_iter().flatten().min();
        let timeout = match alarm {
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what the init has to say.
    fn hear(&mut self) {
        let Some(channel) = &mut self.channel else { return };
        let mut readable = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut readable, PollTimeout::ZERO), Ok(1..)) {
            return;
        }
        match channel.receive::<News>() {
            Ok(Some(news)) => {
                let changed = !news.is_empty();
                for one in news {
                    self.take(one);
                }
                if changed {
                    self.show_state();
                }
            }
            Ok(None) => self.channel = None,
            Err(error) => {
                eprintln!("pod-shim: {error}");
                self.channel = None;
            }
        }
    }

    fn take(&mut self, news: News) {
        let reply = match &news {
            News::ExecEnded { id, exit_code } => Some((*id, Reply::Ended { exit_code: *exit_code })),
            News::ExecFailed { id, message } => Some((*id, Reply::Failed { message: message.clone() })),
            _ => None,
        };
        if let (Some((id, reply)), Some(door)) = (reply, &mut self.door) {
            door.answer(id, &reply);
        }
        let ended = match &news {
            News::Ended { container, exit_code, .. } => Some((*container, *exit_code)),
            _ => None,
        };
        if let Some((container, _)) = ended {
            self.drain(container);
            self.consoles.ended(container);
            if let Some(output) = self.outputs.get_mut(container) {
                output.ended_at = output.log.as_ref().map_or(0, logfile::LogWriter::written);
            }
        }
        if let News::Started { container } = news {
            self.part_logs(container);
            let pipe = self.channel.as_mut().filter(|_| self.consoles.has_pipe(container));
            self.consoles.started(container, pipe.and_then(|channel| channel.files.pop_front()));
        }
        self.outcome.note(news, Timestamp::now());
        if let Some((container, exit_code)) = ended
            && let Some(text) = self.last_words(container, exit_code)
        {
            self.outcome.say(container, text);
        }
    }

    /// What was written since the last run ended is of another run of the container. It begins on a line of its own, unless it was
    /// quicker than the news of its start.
    fn part_logs(&mut self, container: usize) {
        let Some(output) = self.outputs.get_mut(container) else { return };
        let Some(log) = &mut output.log else { return };
        let mut begins = output.ended_at;
        if begins > 0 && begins == log.written() {
            if let Err(error) = log.end_line(Timestamp::now()) {
                eprintln!("pod-shim: the log of container {container}: {error}");
            }
            begins = log.written();
        }
        self.outcome.log_begins(container, begins);
    }

    /// What a container that ended said of it: in its file, else perhaps at the end of its log.
    fn last_words(&mut self, container: usize, exit_code: i32) -> Option<String> {
        let plan = self.spec.plan.all_containers().nth(container)?;
        let message = plan.termination.path.as_ref();
        let message = message.and_then(|_| volumes::take_message(self.folder, &plan.name, LONGEST_MESSAGE));
        if message.is_some() || exit_code == 0 || !plan.termination.from_log {
            return message;
        }
        self.drain(container);
        let written = self.outputs.get(container)?.log.as_ref()?.written();
        let chunk = logfile::read(&self.folder.logs(), &plan.name, written.saturating_sub(LAST_OF_LOG)).ok()?;
        let first = chunk.lines.len().saturating_sub(LAST_LINES);
        let text: Vec<u8> = chunk.lines[first..].iter().flat_map(|line| line.text.iter().copied()).collect();
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }

    /// Moves what a container has written to its log.
    fn drain(&mut self, index: usize) {
        let mut moved = 0;
        while moved < LAST_BYTES {
            match self.pump(index) {
                0 => return,
                length => moved += length,
            }
        }
    }

    /// Moves one piece of a container's output to its log; its length, 0: there is none now.
    fn pump(&mut self, index: usize) -> usize {
        let output = &mut self.outputs[index];
        let Some(pipe) = &mut output.pipe else { return 0 };
        match pipe.read(&mut self.piece) {
            Ok(0) => output.pipe = None,
            Ok(length) => {
                self.consoles.show(index, &self.piece[..length]);
                // A full disk must not stop the pod: from there on its output is thrown away.
                if let Some(log) = &mut output.log
                    && let Err(error) = log.write(&self.piece[..length], Timestamp::now())
                {
                    eprintln!("pod-shim: the log of container {index} ends here: {error}");
                    output.log = None;
                }
                return length;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // A terminal that nobody holds any more.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => output.pipe = None,
            Err(error) => {
                eprintln!("pod-shim: the output of container {index}: {error}");
                output.pipe = None;
            }
        }
        0
    }

    fn show_state(&self) {
        if let Err(error) = self.folder.write_state(&self.outcome.state()) {
            eprintln!("pod-shim: cannot write the state: {error}");
        }
    }

    /// Does what the engine wants, which stands in the folder. A pod that is being ended is not held up.
    fn suspend_or_resume(&mut self) {
        let wanted = self.folder.is_suspended();
        if self.kill_at.is_some() || self.killed_at.is_some() || wanted == self.suspended.is_some() {
            return;
        }
        if wanted {
            let left = self.deadline.take().map(|at| at.saturating_duration_since(Instant::now()));
            self.suspended = Some(left);
            self.order(Order::Suspend);
        } else {
            let left = self.suspended.take().flatten();
            self.deadline = left.map(|left| Instant::now() + left);
            self.order(Order::Resume);
        }
        self.outcome.suspend(wanted);
        self.show_state();
    }

    fn cancel(&mut self) -> io::Result<()> {
        let how = self.folder.cancellation()?;
        let reason = how.as_ref().map_or("Terminated", |how| how.reason.as_str());
        let grace = how.as_ref().and_then(|how| how.grace);
        self.end(reason, grace);
        Ok(())
    }

    fn end(&mut self, reason: &str, grace: Option<Duration>) {
        self.deadline = None;
        // The init lets it go on, so that it can hear that it shall end.
        self.suspended = None;
        self.outcome.suspend(false);
        let kill_at = Instant::now() + grace.unwrap_or(Duration::from_secs(self.spec.grace_seconds));
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        self.outcome.end_for(reason);
        self.order(Order::Terminate);
    }

    /// Ends the pod at once if it has written more than it may.
    fn evict(&mut self) {
        let Some(why) = self.storage.as_mut().and_then(Storage::look) else { return };
        self.storage = None;
        self.outcome.end_because(EVICTED, why);
        self.end(EVICTED, Some(Duration::ZERO));
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|at| now >= at) {
            self.end("DeadlineExceeded", None);
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.killed_at = Some(now);
            self.order(Order::Kill);
        }
        if self.killed_at.is_some_and(|at| now >= at + KILL_PATIENCE) {
            self.killed_at = None;
            // With the first process of its namespace all others die.
            if let Err(error) = self.init.kill() {
                eprintln!("pod-shim: {error}");
            }
        }
    }

    fn order(&mut self, order: Order) {
        if let Some(channel) = &mut self.channel
            && let Err(error) = channel.tell(&order)
        {
            eprintln!("pod-shim: the init does not listen: {error}");
            self.killed_at = Some(Instant::now());
        }
    }
}
