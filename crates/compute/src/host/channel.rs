//! What shim and init tell each other, over a socket pair: one JSON object a line.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
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
const MAX_LINE: usize = 64 << 10;

/// What the shim asks of the init.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Ask the containers to end (SIGTERM), start no more.
    Terminate,
    /// End them (SIGKILL).
    Kill,
    /// Stop everything where it is (SIGSTOP), start no more for now.
    Suspend,
    /// Go on (SIGCONT).
    Resume,
}

/// What the init tells the shim. Containers are numbered, init containers first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum News {
    /// The container runs.
    Started { container: usize },
    /// The container has ended.
    Ended { container: usize, exit_code: i32, signal: Option<i32>, out_of_memory: bool },
    /// The walls could not be built or a program not be started: nothing of the pod runs.
    Impossible { message: String },
    /// All processes are gone. The last news.
    Finished { usage: Usage },
}

/// One end of the channel.
pub struct Channel {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Channel {
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel { stream: ours, unread: Vec::new() }, theirs.into()))
    }

    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel { stream: fd.into(), unread: Vec::new() }
    }

    pub fn tell(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// Everything that has arrived, after [`poll`](nix::poll::poll) said that there is something. `None`: the other side is gone.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<Vec<T>>> {
        let mut piece = [0; 4096];
        let length = match self.stream.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
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
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_CONTAINERS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::Error::other("too many files for one message"));
        }
        sendmsg(&self.stream, &[IoSlice::new(b"F")], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives what [`Channel::send_files`] sent, before anything else is read.
    pub fn receive_files(&mut self) -> io::Result<Vec<OwnedFd>> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_CONTAINERS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut mark = [0; 1];
        recvmsg(&self.stream, &mut [IoSliceMut::new(&mut mark)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let mut files = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
        Ok(files)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
