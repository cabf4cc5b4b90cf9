//! The shim's door: a socket in the run folder on which the engine asks for a program to be run in a container.
//!
//! Whoever knocks sends one [`Ask`] with three open files, and keeps the connection: the answer comes on it, and letting it go
//! ends the program. The run folder is closed to everybody but the engine's user, and the pod does not see the socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use serde::{Deserialize, Serialize};

use super::channel::{Channel, Order};
use super::folder::RunFolder;

/// Programs that may run in one pod at a time in this way.
const MOST_GUESTS: usize = 32;
const NAME: &str = "door";

/// What is asked for. Standard input, output and error come along.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    pub container: usize,
    pub argv: Vec<String>,
    pub tty: bool,
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
            if self.guests.len() < MOST_GUESTS && stream.set_nonblocking(true).is_ok() {
                self.guests.push(Guest { id: self.next, channel: Channel::on(stream) });
                self.next += 1;
            }
        }
        let mut orders = Vec::new();
        self.guests.retain_mut(|guest| match guest.channel.receive::<Ask>() {
            Ok(Some(asked)) => {
                for Ask { container, argv, tty } in asked {
                    orders.push((
                        Order::Exec { id: guest.id, container, argv, tty },
                        guest.channel.files.drain(..).collect(),
                    ));
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
