//! What shim and init tell each other, over a socket pair: one JSON object a line.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pod::MAX_CONTAINERS;
use crate::report::Usage;

/// The longest line that one side takes from the other.
const MAX_LINE: usize = 256 << 10;
/// Files that come with one message, at most.
const MAX_FILES: usize = MAX_CONTAINERS;

/// What the shim asks of the init.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Ask the containers to end (SIGTERM), start no more.
    Terminate,
    /// End them (SIGKILL).
    Kill,
    /// Stop everything where it is (SIGSTOP), start no more for now.
    Suspend,
    /// Go on (SIGCONT).
    Resume,
    /// Run a program in a container; its standard input, output and error come along.
    Exec { id: u64, container: usize, argv: Vec<String>, tty: bool },
    /// Connect with a port on which a process of the pod listens; input, output and errors come along.
    Forward { id: u64, port: u16 },
    /// Nobody waits for that program or connection any more.
    EndExec { id: u64 },
}

/// What the init tells the shim. Containers are numbered, init containers first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum News {
    /// The container runs.
    Started {
        container: usize,
    },
    /// The container has ended, and is started again after that many milliseconds, or for good.
    Ended {
        container: usize,
        exit_code: i32,
        signal: Option<i32>,
        out_of_memory: bool,
        again_in: Option<u64>,
    },
    /// Whether its startup probe has succeeded, and whether it is ready.
    Checked {
        container: usize,
        is_up: bool,
        is_ready: bool,
    },
    /// A program that was run in a container, or a connection, has ended or could not be started.
    ExecEnded {
        id: u64,
        exit_code: i32,
    },
    ExecFailed {
        id: u64,
        message: String,
    },
    /// The walls could not be built or a program not be started: nothing of the pod runs.
    Impossible {
        message: String,
    },
    /// All processes are gone. The last news.
    Finished {
        usage: Usage,
    },
}

/// One end of the channel.
pub struct Channel {
    stream: UnixStream,
    unread: Vec<u8>,
    /// Files that came along, for those messages that have some.
    pub files: VecDeque<OwnedFd>,
}

impl Channel {
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel::on(ours), theirs.into()))
    }

    pub fn on(stream: UnixStream) -> Channel {
        Channel { stream, unread: Vec::new(), files: VecDeque::new() }
    }

    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel::on(fd.into())
    }

    pub fn tell(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// A message with open files.
    pub fn tell_with(&mut self, what: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        let sent = send(&self.stream, &line, files)?;
        self.stream.write_all(&line[sent..])
    }

    /// Everything that has arrived, after [`poll`](nix::poll::poll) said that there is something. `None`: the other side is gone.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<Vec<T>>> {
        let mut piece = [0; 4096];
        let (length, files) = match receive(&self.stream, &mut piece) {
            Ok((0, _)) => return Ok(None),
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                return Ok(Some(Vec::new()));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        self.files.extend(files);
        self.unread.extend_from_slice(&piece[..length]);
        let mut messages = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            messages.push(serde_json::from_slice(&self.unread[..end])?);
            self.unread.drain(..=end);
        }
        if self.unread.len() > MAX_LINE {
            return Err(io::Error::other("a message is too long"));
        }
        Ok(Some(messages))
    }

    /// Sends open files: the writing ends of the containers' logs.
    pub fn send_files(&mut self, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.stream, b"F", files).map(drop)
    }

    /// Receives what [`Channel::send_files`] sent, before anything else is read.
    pub fn receive_files(&mut self) -> io::Result<Vec<OwnedFd>> {
        Ok(receive(&self.stream, &mut [0; 1])?.1)
    }
}

fn send(stream: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files for one message"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

fn receive(stream: &UnixStream, piece: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(piece)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            files.extend(some);
        }
    }
    Ok((received.bytes, files))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
