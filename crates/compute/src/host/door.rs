//! The shim's door: a socket in the run folder on which the engine asks for a program to be run in a container, to be attached to
//! one, or for a connection to one of the pod's ports.
//!
//! Whoever knocks sends one [`Ask`] with open files, and keeps the connection: the answer comes on it, and letting it go
//! ends what was asked for. The run folder is closed to everybody but the engine's user, and the pod does not see the socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::folder::RunFolder;

/// Programs, connections and attached people that one pod may have at a time in this way.
const MOST_GUESTS: usize = 64;
/// How long nobody is let in where the system refuses.
const CLOSED: Duration = Duration::from_secs(1);
const NAME: &str = "door";

/// What is asked for. Files come along: standard input, output and error, or what somebody attached sees and types. A shim is as old as its pod, so the kinds are told apart by
/// their fields, as the first one had them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ask {
    Exec {
        container: usize,
        argv: Vec<String>,
        tty: bool,
    },
    Forward {
        port: u16,
    },
    /// To see what this container writes; and to type, if a second file comes along.
    Attach {
        attach: usize,
    },
    /// Who is attached has a terminal of this size.
    Resize {
        columns: u16,
        rows: u16,
    },
}

/// What a guest does.
pub enum Guest {
    Asks { id: u64, ask: Ask, files: VecDeque<OwnedFd> },
    Goes { id: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    Ended { exit_code: i32 },
    Failed { message: String },
}

struct Visit {
    id: u64,
    channel: Channel,
}

/// The shim's side.
pub struct Door {
    listener: UnixListener,
    guests: Vec<Visit>,
    next: u64,
    /// Nobody can be let in until then.
    closed_until: Option<Instant>,
}

impl Door {
    /// Changes the working directory on the way: the path of a socket has a small limit.
    pub fn open(folder: &RunFolder) -> io::Result<Door> {
        std::env::set_current_dir(folder.path())?;
        let listener = UnixListener::bind(NAME);
        std::env::set_current_dir("/")?;
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Door { listener, guests: Vec::new(), next: 0, closed_until: None })
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.closed_until.is_none().then(|| self.listener.as_fd());
        listener.into_iter().chain(self.guests.iter().map(|guest| guest.channel.as_fd()))
    }

    /// When it opens again, where nobody can be let in now.
    pub fn next(&self) -> Option<Instant> {
        self.closed_until
    }

    /// Who knocks. Where the system lets nobody in, because too many files are open, whoever knocks waits for a while: else the one
    /// thread of the pod would do nothing but try.
    fn let_in(&mut self, now: Instant) -> Option<UnixStream> {
        if self.closed_until.is_some_and(|until| now < until) {
            return None;
        }
        self.closed_until = None;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                }
                Err(error) => {
                    eprintln!("pod-shim: nobody is let in for {} s: {error}", CLOSED.as_secs());
                    self.closed_until = Some(now + CLOSED);
                    return None;
                }
            }
        }
    }

    /// Takes in who knocks, and what they ask.
    pub fn look(&mut self) -> Vec<Guest> {
        let now = Instant::now();
        while let Some(stream) = self.let_in(now) {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut channel = Channel::on(stream);
            if self.guests.len() >= MOST_GUESTS {
                let message =
                    format!("there are {MOST_GUESTS} programs, connections and attached people in the pod already");
                // Who has gone meanwhile need not be told.
                drop(channel.tell(&Reply::Failed { message }));
                continue;
            }
            self.guests.push(Visit { id: self.next, channel });
            self.next += 1;
        }
        let mut seen = Vec::new();
        self.guests.retain_mut(|guest| match guest.channel.receive::<Ask>() {
            Ok(Some(asked)) => {
                for ask in asked {
                    let files = std::mem::take(&mut guest.channel.files);
                    seen.push(Guest::Asks { id: guest.id, ask, files });
                }
                true
            }
            Ok(None) | Err(_) => {
                seen.push(Guest::Goes { id: guest.id });
                false
            }
        });
        seen
    }

    /// Tells a guest how it ended. A guest that has gone is not told.
    pub fn answer(&mut self, id: u64, reply: &Reply) {
        if let Some(at) = self.guests.iter().position(|guest| guest.id == id) {
            let mut guest = self.guests.swap_remove(at);
            drop(guest.channel.tell(reply));
        }
    }
}

/// The engine's side: knocks and asks.
pub fn knock(folder: &RunFolder, ask: &Ask, files: &[BorrowedFd<'_>]) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let place = std::fs::File::open(folder.path())?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{NAME}", place.as_raw_fd()))?;
    let mut channel = Channel::on(stream.try_clone()?);
    channel.tell_with(ask, files)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_of_all_ages_understand() {
        let first = r#"{"container":1,"argv":["ls"],"tty":false}"#;
        let exec = Ask::Exec { container: 1, argv: vec!["ls".into()], tty: false };
        assert_eq!(serde_json::to_string(&exec).expect("text"), first);
        assert_eq!(serde_json::from_str::<Ask>(first).expect("an ask"), exec);
        for ask in [Ask::Forward { port: 80 }, Ask::Attach { attach: 1 }, Ask::Resize { columns: 80, rows: 24 }] {
            let text = serde_json::to_string(&ask).expect("text");
            assert_eq!(serde_json::from_str::<Ask>(&text).expect("an ask"), ask, "{text}");
        }
    }
}
