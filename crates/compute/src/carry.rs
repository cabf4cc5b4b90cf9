//! Between messages and the input and output of a process: what sessions in pods have in common, wherever the pod is.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::exec::{ExecInput, ExecOrder, ExecOutput};
use crate::site::SiteError;

/// Messages under way in each direction.
pub const UNDER_WAY: usize = 16;
const PIECE: usize = 32 << 10;
/// A program that has ended may have left something behind that holds its output open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long whoever asked for the program may take to hear all that it wrote.
const SLOWEST: Duration = Duration::from_secs(60);
/// All words of a command together.
const LONGEST_COMMAND: usize = 64 << 10;
/// Control-D.
const END_OF_INPUT: u8 = 4;

/// Whether a command is one.
pub fn check(order: &ExecOrder) -> Result<(), SiteError> {
    let length: usize = order.argv.iter().map(String::len).sum();
    if order.argv.is_empty() || length > LONGEST_COMMAND || order.argv.iter().any(|word| word.contains('\0')) {
        let text = format!("the command is empty, has a NUL, or is longer than {LONGEST_COMMAND} bytes");
        return Err(SiteError::Refused(text));
    }
    Ok(())
}

/// Passes on what a program writes, until it has written all.
pub async fn say(mut from: impl AsyncRead + Unpin, tell: &mpsc::Sender<ExecOutput>, what: fn(Vec<u8>) -> ExecOutput) {
    let mut piece = vec![0; PIECE];
    // A terminal that nobody holds any more is an error to read.
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if tell.send(what(piece[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

/// The same of what may not be there.
pub async fn say_if(
    from: Option<impl AsyncRead + Unpin>,
    tell: &mpsc::Sender<ExecOutput>,
    what: fn(Vec<u8>) -> ExecOutput,
) {
    if let Some(from) = from {
        say(from, tell, what).await;
    }
}

/// Waits for a process of this machine.
pub async fn end_of(child: &mut Child) -> ExecOutput {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Ok(status) => {
            let signal = || 128 + status.signal().unwrap_or_default();
            ExecOutput::Exit { exit_code: status.code().unwrap_or_else(signal) }
        }
        Err(error) => ExecOutput::Failed { message: error.to_string() },
    }
}

/// For [`feed`], where there is no terminal.
pub const NO_TERMINAL: Option<fn(u16, u16)> = None;

/// Passes on what is sent to a program, until nothing more is. A terminal is told its size by `terminal`.
pub async fn feed(
    mut commands: mpsc::Receiver<ExecInput>,
    mut to: Option<impl AsyncWrite + Unpin>,
    mut terminal: Option<impl FnMut(u16, u16)>,
) {
    while let Some(command) = commands.recv().await {
        match command {
            ExecInput::Stdin(bytes) => {
                if let Some(writer) = &mut to
                    && (writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err())
                {
                    to = None;
                }
            }
            ExecInput::StdinEnd => {
                // A terminal is told by its own sign for the end.
                if let (Some(writer), true) = (&mut to, terminal.is_some()) {
                    drop(writer.write_all(&[END_OF_INPUT]).await);
                    drop(writer.flush().await);
                }
                to = None;
            }
            ExecInput::Resize { columns, rows } => {
                if let Some(resize) = &mut terminal {
                    resize(columns, rows);
                }
            }
        }
    }
}

/// Carries both directions until the program has ended, and gives how. None: whoever asked for it has gone.
pub async fn carry(
    ended: impl Future<Output = ExecOutput>,
    said: impl Future<Output = ()>,
    fed: impl Future<Output = ()>,
    tell: &mpsc::Sender<ExecOutput>,
) -> Option<ExecOutput> {
    tokio::pin!(ended, said, fed);
    let (mut all_said, mut all_fed) = (false, false);
    let end = loop {
        tokio::select! {
            end = &mut ended => break end,
            () = &mut said, if !all_said => all_said = true,
            () = &mut fed, if !all_fed => all_fed = true,
            () = tell.closed() => return None,
        }
    };
    let until = Instant::now() + SLOWEST;
    while !all_said && Instant::now() < until {
        tokio::select! {
            () = &mut said => all_said = true,
            () = tell.closed() => return None,
            // Somebody who is slow to take what was written is waited for.
            () = tokio::time::sleep(LAST_WORDS) => all_said = tell.capacity() == tell.max_capacity(),
        }
    }
    Some(end)
}
