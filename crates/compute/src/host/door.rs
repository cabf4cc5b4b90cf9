//! The shim's door: a socket in the run folder on which the engine asks for a program to be run in a container, or for a connection
//! to one of the pod's ports.
//!
//! Whoever knocks sends one [`Ask`] with three open files, and keeps the connection: the answer comes on it, and letting it go
//! ends what was asked for. The run folder is closed to everybody but the engine's user, and the pod does not see the socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use serde::{Deserialize, Serialize};

use super::channel::{Channel, Order};
use super::folder::RunFolder;

/// Programs and connections that one pod may have at a time in this way.
const MOST_GUESTS: usize = 64;
const NAME: &str = "door";

/// What is asked for. Standard input, output and error come along. A shim is as old as its pod, so the kinds are told apart by
/// their fields, as the first one had them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ask {
    Exec { container: usize, argv: Vec<String>, tty: bool },
    Forward { port: u16 },
}

impl Ask {
    fn order(self, id: u64) -> Order {
        match self {
            Ask::Exec { container, argv, tty } => Order::Exec { id, container, argv, tty },
            Ask::Forward { port } => Order::Forward { id, port },
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    Ended { exit_code: i32 },
    Failed { message: String },
}

struct Guest {
    id: u64,
    channel: Channel,
}

/// The shim's side.
pub struct Door {
    listener: UnixListener,
    guests: Vec<Guest>,
    next: u64,
}

impl Door {
    /// Changes the working directory on the way: the path of a socket has a small limit.
    pub fn open(folder: &RunFolder) -> io::Result<Door> {
        std::env::set_current_dir(folder.path())?;
        let listener = UnixListener::bind(NAME);
        std::env::set_current_dir("/")?;
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Door { listener, guests: Vec::new(), next: 0 })
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.guests.iter().map(|guest| guest.channel.as_fd()))
    }

    /// Takes in who knocks, and what they ask: orders for the init, with the files that belong to them.
    pub fn look(&mut self) -> Vec<(Order, Vec<OwnedFd>)> {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut channel = Channel::on(stream);
            if self.guests.len() >= MOST_GUESTS {
                let message = format!("there are {MOST_GUESTS} programs and connections in the pod already");
                // Who has gone meanwhile need not be told.
                drop(channel.tell(&Reply::Failed { message }));
                continue;
            }
            self.guests.push(Guest { id: self.next, channel });
            self.next += 1;
        }
        let mut orders = Vec::new();
        self.guests.retain_mut(|guest| match guest.channel.receive::<Ask>() {
            Ok(Some(asked)) => {
                for ask in asked {
                    orders.push((ask.order(guest.id), guest.channel.files.drain(..).collect()));
                }
                true
            }
            Ok(None) | Err(_) => {
                orders.push((Order::EndExec { id: guest.id }, Vec::new()));
                false
            }
        });
        orders
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
        let forward = Ask::Forward { port: 80 };
        assert_eq!(
            serde_json::from_str::<Ask>(&serde_json::to_string(&forward).expect("text")).expect("an ask"),
            forward
        );
    }
}
