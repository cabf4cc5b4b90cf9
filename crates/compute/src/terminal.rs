//! Our end of a terminal that a program in a pod has. Nothing waits for it on a thread: a session may be idle for days, and whatever
//! the program left behind may hold its own end open long after it.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A new terminal: our end, which never blocks, and the other one.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// Our end: what is read is what the program writes. Copies are of the same terminal: one reads, one writes.
#[derive(Clone)]
pub struct Screen(Arc<AsyncFd<OwnedFd>>);

impl Screen {
    pub fn new(ours: OwnedFd) -> io::Result<Screen> {
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps what the newer, unsafe constructor demands; unsafe is forbidden here"
        )]
        let ours = AsyncFd::new(ours)?;
        Ok(Screen(Arc::new(ours)))
    }

    /// A terminal that has gone has no size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = tcsetwinsize(self.0.get_ref(), size) {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }
}

impl AsyncRead for Screen {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            // It stays so: there is nothing to wait for when all that was written has been read.
            let is_over = guard.ready().is_read_closed();
            let room = into.initialize_unfilled();
            match guard.try_io(|ours| Ok(rustix::io::read(ours, room)?)) {
                Ok(Ok(length)) => {
                    into.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) if is_over => return Poll::Ready(Ok(())),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Screen {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            let is_over = guard.ready().is_write_closed();
            match guard.try_io(|ours| Ok(rustix::io::write(ours, bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_) if is_over => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Err(_) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn idle_terminals_hold_no_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let mut others = Vec::new();
        runtime.block_on(async {
            for _ in 0..4 {
                let (ours, theirs) = terminal().expect("a terminal");
                others.push(theirs);
                let mut screen = Screen::new(ours).expect("a screen");
                tokio::spawn(async move { screen.read(&mut [0; 16]).await });
            }
            tokio::task::yield_now().await;
            let other = tokio::task::spawn_blocking(|| 7);
            assert_eq!(tokio::time::timeout(Duration::from_secs(60), other).await.expect("a thread").expect("done"), 7);
        });
        // Its end is not held up by those who hold the terminals.
        drop(runtime);
        drop(others);
    }

    #[tokio::test]
    async fn both_directions_and_the_end() {
        let (ours, theirs) = terminal().expect("a terminal");
        let mut writing = Screen::new(ours).expect("a screen");
        let mut reading = writing.clone();
        writing.resize(101, 33);
        assert_eq!(rustix::termios::tcgetwinsize(&theirs).expect("a size").ws_col, 101);
        writing.write_all(b"typed\n").await.expect("written");
        let mut seen = [0; 7];
        reading.read_exact(&mut seen).await.expect("the echo");
        assert_eq!(&seen, b"typed\r\n");
        let mut line = [0; 16];
        assert_eq!(rustix::io::read(&theirs, &mut line).expect("read"), 6);
        rustix::io::write(&theirs, b"last").expect("written");
        drop(theirs);
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(60), reading.read_to_end(&mut rest)).await.expect("an end");
        // Linux has an error for a terminal that nobody holds any more.
        assert!(end.is_err() || end.is_ok_and(|length| length == 4));
        assert_eq!(rest, b"last");
    }
}
