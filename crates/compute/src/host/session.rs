//! The engine's side of a program that is run in a container: pipes or a terminal on one side, messages on the other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::door::{Ask, Reply, knock};
use super::folder::RunFolder;
use super::site::{Inner, State, blocking};
use super::spec::Walls;
use crate::exec::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use crate::site::SiteError;

/// All words of the command together.
const LONGEST_COMMAND: usize = 64 << 10;
/// Messages under way in each direction.
const UNDER_WAY: usize = 16;
const PIECE: usize = 32 << 10;
/// A program that has ended may have left something behind that holds its output open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Our ends.
enum Ends {
    Pipes { input: OwnedFd, output: OwnedFd, errors: OwnedFd },
    Terminal(OwnedFd),
}

impl Inner {
    pub(super) async fn exec(self: &Arc<Self>, order: ExecOrder) -> Result<ExecSession, SiteError> {
        let site = self.clone();
        let (stream, ends, stdin) = blocking(move || {
            let stdin = order.stdin;
            let (stream, ends) = site.knock(&order)?;
            Ok((stream, ends, stdin))
        })
        .await?;
        let failed = |error| SiteError::Io { what: "running a program in a pod".into(), source: error };
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        stream.set_nonblocking(true).map_err(failed)?;
        let stream = tokio::net::UnixStream::from_std(stream).map_err(failed)?;
        match ends {
            Ends::Pipes { input, output, errors } => {
                let input = pipe::Sender::from_owned_fd(input).map_err(failed)?;
                let output = pipe::Receiver::from_owned_fd(output).map_err(failed)?;
                let errors = pipe::Receiver::from_owned_fd(errors).map_err(failed)?;
                self.tasks.spawn("program in a pod", async move {
                    let said = async {
                        tokio::join!(say(output, &tell, ExecOutput::Stdout), say(errors, &tell, ExecOutput::Stderr));
                    };
                    let fed = feed(commands, stdin.then_some(input), None);
                    talk(stream, said, fed, &tell).await;
                });
            }
            Ends::Terminal(master) => {
                let reading = master.try_clone().map_err(failed)?;
                let sizes = master.try_clone().map_err(failed)?;
                self.tasks.spawn("terminal in a pod", async move {
                    let said = say(tokio::fs::File::from_std(reading.into()), &tell, ExecOutput::Stdout);
                    let writing = tokio::fs::File::from_std(master.into());
                    let fed = feed(commands, stdin.then_some(writing), Some(sizes));
                    talk(stream, said, fed, &tell).await;
                });
            }
        }
        Ok(ExecSession { input, output })
    }

    fn knock(&self, order: &ExecOrder) -> Result<(std::os::unix::net::UnixStream, Ends), SiteError> {
        let uid = order.uid;
        let failed = |error| SiteError::Io { what: format!("running a program in pod {uid}"), source: error };
        let refused = |why: String| Err(SiteError::Refused(why));
        let folder = {
            let known = self.known();
            let run = known.runs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            match &run.state {
                State::Running(_) if run.suspended => return refused(format!("pod {uid} stands still")),
                State::Running(_) => run.folder.clone(),
                _ => return refused(format!("pod {uid} does not run")),
            }
        };
        let length: usize = order.argv.iter().map(String::len).sum();
        if order.argv.is_empty() || length > LONGEST_COMMAND || order.argv.iter().any(|word| word.contains('\0')) {
            return refused(format!("the command is empty, has a NUL, or is longer than {LONGEST_COMMAND} bytes"));
        }
        let spec = folder.spec().map_err(failed)?.ok_or(SiteError::Unknown(uid))?;
        let first = spec.plan.init_containers.len();
        let container = match &order.container {
            Some(name) => spec.plan.all_containers().position(|container| container.name == *name),
            None => Some(first),
        };
        let Some(container) = container else {
            return refused(format!("pod {uid} has no container {}", order.container.as_deref().unwrap_or_default()));
        };
        let ask = Ask { container, argv: order.argv.clone(), tty: order.tty };
        open_and_knock(&folder, &ask, &spec.walls).map_err(failed)
    }
}

fn open_and_knock(folder: &RunFolder, ask: &Ask, walls: &Walls) -> io::Result<(std::os::unix::net::UnixStream, Ends)> {
    let owner = match walls {
        Walls::OtherUser { uid } => Some(*uid),
        _ => None,
    };
    if ask.tty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let theirs = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        hand_over(&theirs, owner)?;
        let fd = theirs.as_fd();
        return Ok((knock(folder, ask, &[fd, fd, fd])?, Ends::Terminal(master)));
    }
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((their_input, input), (output, their_output), (errors, their_errors)) = (pipe()?, pipe()?, pipe()?);
    for theirs in [&their_input, &their_output, &their_errors] {
        hand_over(theirs, owner)?;
    }
    for ours in [&input, &output, &errors] {
        rustix::fs::fcntl_setfl(ours, rustix::fs::fcntl_getfl(ours)? | rustix::fs::OFlags::NONBLOCK)?;
    }
    let stream = knock(folder, ask, &[their_input.as_fd(), their_output.as_fd(), their_errors.as_fd()])?;
    Ok((stream, Ends::Pipes { input, output, errors }))
}

/// So that `/dev/stdout` can be opened by the pod's user.
pub(super) fn hand_over(file: &OwnedFd, owner: Option<u32>) -> io::Result<()> {
    match owner {
        Some(uid) => std::os::unix::fs::fchown(file, Some(uid), Some(uid)),
        None => Ok(()),
    }
}

/// Passes on what the program writes, until it has written all.
async fn say(mut from: impl AsyncRead + Unpin, tell: &mpsc::Sender<ExecOutput>, what: fn(Vec<u8>) -> ExecOutput) {
    let mut piece = vec![0; PIECE];
    // A terminal that nobody holds any more is an error to read.
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if tell.send(what(piece[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Passes on what is sent to the program, until nothing more is.
async fn feed(
    mut commands: mpsc::Receiver<ExecInput>,
    mut to: Option<impl AsyncWrite + Unpin>,
    terminal: Option<OwnedFd>,
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
                if let Some(terminal) = &terminal {
                    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = tcsetwinsize(terminal, size);
                }
            }
        }
    }
}

/// Control-D.
const END_OF_INPUT: u8 = 4;

/// Waits for the end of the program, or of whoever asked for it; then the connection goes, and with it the program.
async fn talk(
    stream: tokio::net::UnixStream,
    said: impl Future<Output = ()>,
    fed: impl Future<Output = ()>,
    tell: &mpsc::Sender<ExecOutput>,
) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    tokio::pin!(said, fed);
    let (mut all_said, mut all_fed) = (false, false);
    let reading = reader.read_line(&mut line);
    tokio::pin!(reading);
    loop {
        tokio::select! {
            _ = &mut reading => break,
            () = &mut said, if !all_said => all_said = true,
            () = &mut fed, if !all_fed => all_fed = true,
            () = tell.closed() => return,
        }
    }
    if !all_said {
        drop(tokio::time::timeout(LAST_WORDS, &mut said).await);
    }
    let end = match serde_json::from_str::<Reply>(&line) {
        Ok(Reply::Ended { exit_code }) => ExecOutput::Exit { exit_code },
        Ok(Reply::Failed { message }) => ExecOutput::Failed { message },
        Err(_) => ExecOutput::Failed { message: "the pod has ended".into() },
    };
    drop(tell.send(end).await);
}
