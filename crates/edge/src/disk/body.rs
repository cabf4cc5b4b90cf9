//! Content of files as a body.
//!
//! What the page cache holds is read by the connection's own task into buffers that stay in the processor's cache and are
//! used again; only what must come from the disk takes a thread that may wait.

use std::collections::VecDeque;
use std::future::Future as _;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dte_protocol_webdav::range::ByteRange;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::opened::read_cached;

/// How much is read in one go.
const CHUNK: usize = 256 * 1024;
/// Buffers that are kept for the next reader.
const MOST_KEPT: usize = 32;

static KEPT: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer that goes back to where it came from.
struct Buffer {
    data: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    fn take() -> Buffer {
        let data = KEPT.lock().pop().unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        Buffer { data, filled: 0 }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        let mut kept = KEPT.lock();
        if data.len() == CHUNK && kept.len() < MOST_KEPT {
            kept.push(data);
        }
    }
}

/// What is still to be sent.
enum Segment {
    Text(Bytes),
    Stretch { at: u64, end: u64 },
}

/// Stretches of a file, and text between them.
pub struct FileBody {
    file: Arc<OwnedFd>,
    segments: VecDeque<Segment>,
    left: u64,
    reading: Option<JoinHandle<Result<Buffer, Errno>>>,
}

impl FileBody {
    /// One stretch.
    pub fn stretch(file: OwnedFd, range: ByteRange) -> FileBody {
        FileBody::parts(file, [(None, Some(range))])
    }

    /// Text and stretches in turn.
    pub fn parts(file: OwnedFd, parts: impl IntoIterator<Item = (Option<Bytes>, Option<ByteRange>)>) -> FileBody {
        let mut segments = VecDeque::new();
        let mut left = 0;
        for (text, range) in parts {
            if let Some(text) = text {
                left += text.len() as u64;
                segments.push_back(Segment::Text(text));
            }
            if let Some(range) = range {
                left += range.length();
                segments.push_back(Segment::Stretch { at: range.first, end: range.last + 1 });
            }
        }
        FileBody { file: Arc::new(file), segments, left, reading: None }
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes what was read out of the current stretch.
    fn pass(&mut self, buffer: Buffer) -> Bytes {
        let count = buffer.filled as u64;
        self.left -= count;
        if let Some(Segment::Stretch { at, end }) = self.segments.front_mut() {
            *at += count;
            if at >= end {
                self.segments.pop_front();
            }
        }
        Bytes::from_owner(buffer)
    }
}

/// Fails when the file ends early: the length was promised, so the connection must break.
fn filled(mut buffer: Buffer, count: usize) -> Result<Buffer, Errno> {
    if count == 0 {
        return Err(Errno::IO);
    }
    buffer.filled = count;
    Ok(buffer)
}

fn read_waiting(file: &OwnedFd, at: u64, want: usize) -> Result<Buffer, Errno> {
    let mut buffer = Buffer::take();
    loop {
        match rustix::io::pread(file, &mut buffer.data[..want], at) {
            Ok(count) => return filled(buffer, count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if let Some(reading) = &mut this.reading {
            let outcome = std::task::ready!(Pin::new(reading).poll(cx));
            this.reading = None;
            let outcome = outcome.map_err(std::io::Error::other)?;
            return Poll::Ready(Some(Ok(Frame::data(this.pass(outcome?)))));
        }
        let (at, end) = match this.segments.front() {
            None => return Poll::Ready(None),
            Some(Segment::Stretch { at, end }) => (*at, *end),
            Some(Segment::Text(_)) => {
                let Some(Segment::Text(text)) = this.segments.pop_front() else { return Poll::Ready(None) };
                this.left -= text.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
        };
        let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = Buffer::take();
        match read_cached(&this.file, &mut buffer.data[..want], at) {
            Ok(count) => Poll::Ready(Some(Ok(Frame::data(this.pass(filled(buffer, count)?))))),
            Err(Errno::AGAIN | Errno::INTR) => {
                drop(buffer);
                let file = this.file.clone();
                this.reading = Some(tokio::task::spawn_blocking(move || read_waiting(&file, at, want)));
                self.poll_frame(cx)
            }
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
