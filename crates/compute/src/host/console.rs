//! The shim's side of `attach`: people see what a container writes from now on, and type what it reads.
//!
//! A container that asks for it (`stdin: true`) reads a pipe that the shim keeps open, or with `tty: true` a terminal. Whoever is
//! attached with standard input may type, and all see the same. With `stdinOnce: true` the pipe is closed when the first of them
//! types no more; a terminal stays open, as container runtimes have it.
//!
//! A container waits for whoever watches it, as it would on a terminal, but not for long: see [`PATIENCE`]. Nothing here ever blocks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{Winsize, tcsetwinsize};

use super::door::Reply;
use crate::pod::{Interactive, PodPlan};

/// How long a container is held up by somebody who takes nothing of what it writes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that may wait for somebody, at most: what a container left in its pipe when it ended.
const MOST_UNSEEN: usize = 4 << 20;
/// Attached people of a pod, with those who have gone and whose last words wait.
const MOST_GUESTS: usize = 128;
const PIECE: usize = 64 << 10;

/// The containers of a pod, in their order.
pub struct Consoles(Vec<Console>);

#[derive(Default)]
struct Console {
    asks: Interactive,
    /// Its terminal, which it keeps when it starts again.
    terminal: Option<OwnedFd>,
    is_running: bool,
    /// Where what is typed goes, as long as that is open.
    input: Option<File>,
    /// Typed, and not taken yet. Nothing more is taken from anybody meanwhile.
    typed: Vec<u8>,
    /// Nothing more is typed when that has been taken.
    is_last: bool,
    guests: Vec<Guest>,
}

/// Somebody who is attached.
#[derive(Default)]
struct Guest {
    id: u64,
    /// What they type, as long as they do.
    types: Option<File>,
    /// Where they watch; none: they have gone, and what they typed last is still taken.
    sees: Option<File>,
    unseen: Vec<u8>,
    held_up: Option<Instant>,
    /// More was written than may wait.
    is_too_slow: bool,
    /// Since when they have gone.
    left: Option<Instant>,
    /// What they are told when they have seen all.
    end: Option<Reply>,
}

/// How much was moved.
#[derive(Debug, PartialEq, Eq)]
enum Moved {
    /// Bytes, 0 at the end.
    Some(usize),
    NothingNow,
    Broken,
}

fn moved(outcome: io::Result<usize>) -> Moved {
    match outcome {
        Ok(length) => Moved::Some(length),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Moved::NothingNow
        }
        Err(_) => Moved::Broken,
    }
}

impl Consoles {
    /// `terminals` are those of the containers that have one.
    pub fn new(plan: &PodPlan, terminals: Vec<Option<OwnedFd>>) -> Consoles {
        let console = |(asks, terminal)| Console { asks, terminal, ..Console::default() };
        Consoles(plan.all_containers().map(|container| container.interactive).zip(terminals).map(console).collect())
    }

    /// A container runs. Its pipe is of this run, if it has one.
    pub fn started(&mut self, container: usize, pipe: Option<OwnedFd>) {
        let Some(console) = self.0.get_mut(container) else { return };
        console.is_running = true;
        console.is_last = false;
        console.typed.clear();
        let terminal = console.terminal.as_ref().filter(|_| console.asks.stdin);
        console.input = match pipe.map(Ok).or(terminal.map(OwnedFd::try_clone)) {
            Some(Ok(end)) => Some(end.into()),
            Some(Err(error)) => {
                eprintln!("pod-shim: the input of container {container}: {error}");
                None
            }
            None => None,
        };
    }

    /// Whether the news of a container's start bring its pipe along.
    pub fn has_pipe(&self, container: usize) -> bool {
        self.0.get(container).is_some_and(|console| console.asks.has_pipe())
    }

    /// A container has ended, and has written all; so those who watch it are told when they have seen it.
    pub fn ended(&mut self, container: usize) {
        let Some(console) = self.0.get_mut(container) else { return };
        console.is_running = false;
        console.input = None;
        console.typed.clear();
        for guest in &mut console.guests {
            // How it ended stands in the pod's status.
            guest.end = Some(Reply::Ended { exit_code: 0 });
        }
    }

    /// Somebody watches a container from now on, and types, if `types` is there.
    pub fn attach(&mut self, id: u64, container: usize, sees: OwnedFd, types: Option<OwnedFd>) -> Result<(), String> {
        if self.0.iter().map(|console| console.guests.len()).sum::<usize>() >= MOST_GUESTS {
            return Err(format!("there are {MOST_GUESTS} attached people in the pod already"));
        }
        let console = self.0.get_mut(container).filter(|console| console.is_running);
        let console = console.ok_or("the container does not run")?;
        for end in [Some(&sees), types.as_ref()].into_iter().flatten() {
            fcntl_getfl(end)
                .and_then(|flags| fcntl_setfl(end, flags | OFlags::NONBLOCK))
                .map_err(|error| error.to_string())?;
        }
        let (sees, types) = (Some(sees.into()), types.map(File::from));
        console.guests.push(Guest { id, types, sees, ..Guest::default() });
        Ok(())
    }

    /// The terminal that this guest sees has another size.
    pub fn resize(&self, id: u64, columns: u16, rows: u16) {
        let console = self.0.iter().find(|console| console.guests.iter().any(|guest| guest.id == id));
        if let Some(terminal) = console.and_then(|console| console.terminal.as_ref()) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            if let Err(error) = tcsetwinsize(terminal, size) {
                eprintln!("pod-shim: a terminal's size: {error}");
            }
        }
    }

    /// A guest has gone. What they typed is still taken, if the container reads it soon.
    pub fn leave(&mut self, id: u64, now: Instant) {
        for guest in self.0.iter_mut().flat_map(|console| &mut console.guests).filter(|guest| guest.id == id) {
            guest.left = Some(now);
            guest.sees = None;
            guest.unseen.clear();
        }
    }

    /// What a container wrote.
    pub fn show(&mut self, container: usize, bytes: &[u8]) {
        let guests = self.0.get_mut(container).map(|console| &mut console.guests);
        for guest in guests.into_iter().flatten().filter(|guest| guest.sees.is_some() && guest.end.is_none()) {
            guest.is_too_slow |= guest.unseen.len() + bytes.len() > MOST_UNSEEN;
            if !guest.is_too_slow {
                guest.unseen.extend_from_slice(bytes);
            }
        }
    }

    /// Whether somebody has not yet taken what a container wrote.
    pub fn is_held_up(&self, container: usize) -> bool {
        self.0.get(container).is_some_and(|console| console.guests.iter().any(|guest| !guest.unseen.is_empty()))
    }

    /// Moves what can be moved now. Gives the guests who are to be told that it is over.
    pub fn carry(&mut self, now: Instant) -> Vec<(u64, Reply)> {
        let mut told = Vec::new();
        for console in &mut self.0 {
            console.take_what_is_typed();
            console.forget_last_words(now);
            console.guests.retain_mut(|guest| match guest.look(now) {
                Some(reply) => {
                    told.push((guest.id, reply));
                    false
                }
                None => guest.sees.is_some() || guest.types.is_some(),
            });
        }
        told
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.iter().flat_map(|console| {
            let writes = console.input.iter().filter(|_| !console.typed.is_empty()).map(writable);
            let guests = console.guests.iter();
            let shown = guests.filter(|guest| !guest.unseen.is_empty()).filter_map(|guest| guest.sees.as_ref());
            let typing = console.guests.iter().filter(|_| console.typed.is_empty());
            let typing = typing.filter_map(|guest| guest.types.as_ref());
            writes.chain(shown.map(writable)).chain(typing.map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)))
        })
    }

    /// When somebody will have held up a container for too long.
    pub fn next(&self) -> Option<Instant> {
        let guests = self.0.iter().flat_map(|console| &console.guests);
        guests.filter_map(|guest| guest.held_up.or(guest.left)).min().map(|since| since + PATIENCE)
    }

    /// The pod has ended: gives those who still watch a little time to see the rest.
    pub fn finish(&mut self, patience: Duration, mut tell: impl FnMut(u64, Reply)) {
        for container in 0..self.0.len() {
            self.ended(container);
        }
        let until = Instant::now() + patience;
        loop {
            self.carry(Instant::now()).into_iter().for_each(|(id, reply)| tell(id, reply));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !(0..self.0.len()).any(|container| self.is_held_up(container)) {
                return;
            }
            let mut fds: Vec<PollFd<'_>> = self.fds().collect();
            // Whatever it says, all are looked at.
            let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        }
    }
}

fn writable<T: AsFd>(end: &T) -> PollFd<'_> {
    let end: BorrowedFd<'_> = end.as_fd();
    PollFd::new(end, PollFlags::POLLOUT)
}

impl Console {
    fn take_what_is_typed(&mut self) {
        let mut piece = vec![0; PIECE];
        self.pass_on();
        for guest in &mut self.guests {
            if !self.typed.is_empty() {
                return;
            }
            let Some(types) = &mut guest.types else { continue };
            match moved(types.read(&mut piece)) {
                // Nobody reads it: the container does not ask for input, or has closed it.
                Moved::Some(1..) if self.input.is_none() => {}
                Moved::Some(length @ 1..) => self.typed.extend_from_slice(&piece[..length]),
                Moved::NothingNow => {}
                Moved::Some(0) | Moved::Broken => {
                    guest.types = None;
                    self.is_last |= self.asks.stdin_once && self.asks.has_pipe();
                    if self.is_last {
                        self.input = None;
                    }
                }
            }
            if let Some(input) = &mut self.input {
                send(input, &mut self.typed);
            }
        }
    }

    /// Lets go of what was typed by people who have gone, where the container has not read for long: else their pipes would be kept
    /// as long as it runs.
    fn forget_last_words(&mut self, now: Instant) {
        let is_over = |guest: &Guest| guest.left.is_some_and(|since| now.duration_since(since) >= PATIENCE);
        for guest in self.guests.iter_mut().filter(|guest| guest.types.is_some() && is_over(guest)) {
            guest.types = None;
            self.is_last |= self.asks.stdin_once && self.asks.has_pipe();
        }
        self.pass_on();
    }

    fn pass_on(&mut self) {
        if let Some(input) = &mut self.input
            && send(input, &mut self.typed) == Moved::Broken
        {
            self.input = None;
        }
        if self.is_last && self.typed.is_empty() {
            self.input = None;
        }
        if self.input.is_none() {
            self.typed.clear();
        }
    }
}

impl Guest {
    /// Shows what there is to be seen; how it ends, if it does now.
    fn look(&mut self, now: Instant) -> Option<Reply> {
        let sees = self.sees.as_mut()?;
        let outcome = send(sees, &mut self.unseen);
        match outcome {
            Moved::Broken => {
                self.sees = None;
                self.unseen.clear();
                return self.end.take();
            }
            Moved::Some(1..) => self.held_up = None,
            Moved::Some(0) | Moved::NothingNow => {}
        }
        if self.unseen.is_empty() && !self.is_too_slow {
            self.held_up = None;
            return self.end.take();
        }
        let since = *self.held_up.get_or_insert(now);
        let message = if self.is_too_slow {
            format!("the container wrote more than {MOST_UNSEEN} bytes that were not taken")
        } else if now.duration_since(since) >= PATIENCE {
            format!("nothing of what the container writes was taken for {} s", PATIENCE.as_secs())
        } else {
            return None;
        };
        Some(Reply::Failed { message })
    }
}

/// Writes what can be written now.
fn send(to: &mut File, bytes: &mut Vec<u8>) -> Moved {
    let mut sent = 0;
    while sent < bytes.len() {
        match moved(to.write(&bytes[sent..])) {
            Moved::Some(length @ 1..) => sent += length,
            Moved::Some(0) | Moved::NothingNow => break,
            Moved::Broken => return Moved::Broken,
        }
    }
    bytes.drain(..sent);
    Moved::Some(sent)
}

#[cfg(test)]
mod tests;
