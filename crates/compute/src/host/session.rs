//! The engine's side of a program that is run in a container, or of a connection to one of its ports: pipes or a terminal on one
//! side, messages on the other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::door::{Ask, Reply, knock};
use super::folder::RunFolder;
use super::site::{Inner, State, blocking};
use super::spec::{RunSpec, Walls};
use crate::carry::{NO_TERMINAL, UNDER_WAY, carry, check, feed, say};
use crate::exec::{ExecOrder, ExecOutput, ExecSession};
use crate::pod::PodPlan;
use crate::site::SiteError;
use crate::terminal::{Screen, terminal};

/// Bytes that are kept of why a connection could not be.
const LONGEST_COMPLAINT: u64 = 1_024;

/// Our ends of the pipes of a process in the pod.
struct Pipes<W, R> {
    input: W,
    output: R,
    errors: R,
}

/// Our ends.
enum Ends {
    Pipes(Pipes<OwnedFd, OwnedFd>),
    Terminal(OwnedFd),
}

impl Inner {
    pub(super) async fn exec(self: &Arc<Self>, order: ExecOrder) -> Result<ExecSession, SiteError> {
        let site = self.clone();
        let (stream, ends, stdin) = blocking(move || {
            let (stream, ends) = site.ask_for_program(&order)?;
            Ok((stream, ends, order.stdin))
        })
        .await?;
        let failed = |error| SiteError::Io { what: "running a program in a pod".into(), source: error };
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        let stream = ready(stream).map_err(failed)?;
        match ends {
            Ends::Pipes(pipes) => {
                let Pipes { input, output, errors } = pipes.ready().map_err(failed)?;
                self.tasks.spawn("program in a pod", async move {
                    let said = async {
                        tokio::join!(say(output, &tell, ExecOutput::Stdout), say(errors, &tell, ExecOutput::Stderr));
                    };
                    let fed = feed(commands, stdin.then_some(input), NO_TERMINAL);
                    if let Some(end) = carry(told(stream), said, fed, &tell).await {
                        drop(tell.send(end).await);
                    }
                });
            }
            Ends::Terminal(master) => {
                let screen = Screen::new(master).map_err(failed)?;
                let sized = screen.clone();
                let size = move |columns, rows| sized.resize(columns, rows);
                self.tasks.spawn("terminal in a pod", async move {
                    let said = say(screen.clone(), &tell, ExecOutput::Stdout);
                    let fed = feed(commands, stdin.then_some(screen), Some(size));
                    if let Some(end) = carry(told(stream), said, fed, &tell).await {
                        drop(tell.send(end).await);
                    }
                });
            }
        }
        Ok(ExecSession { input, output })
    }

    /// A connection. Its two directions are the input and output of a process in the pod: one socket, because who reads a pipe into
    /// which another process splices waits for that process, with its whole thread.
    pub(super) async fn forward(self: &Arc<Self>, uid: Uuid, port: u16) -> Result<ExecSession, SiteError> {
        let site = self.clone();
        let (stream, ours, complaints) = blocking(move || {
            let failed = |error| SiteError::Io { what: format!("port {port} of pod {uid}"), source: error };
            let (folder, _) = site.running(uid)?;
            let (ours, theirs) = UnixStream::pair().map_err(failed)?;
            let (complaints, their_complaints) = UnixStream::pair().map_err(failed)?;
            let files = [theirs.as_fd(), theirs.as_fd(), their_complaints.as_fd()];
            let stream = knock(&folder, &Ask::Forward { port }, &files).map_err(failed)?;
            Ok((stream, ours, complaints))
        })
        .await?;
        let failed = |error| SiteError::Io { what: "a connection to a pod".into(), source: error };
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        let stream = ready(stream).map_err(failed)?;
        let (from_pod, to_pod) = ready(ours).map_err(failed)?.into_split();
        let complaints = ready(complaints).map_err(failed)?;
        self.tasks.spawn("connection to a pod", async move {
            let mut why = Vec::new();
            let complained = async { complaints.take(LONGEST_COMPLAINT).read_to_end(&mut why).await };
            let said = async {
                let output = async {
                    say(from_pod, &tell, ExecOutput::Stdout).await;
                    drop(tell.send(ExecOutput::StdoutEnd).await);
                };
                let ((), _) = tokio::join!(output, complained);
            };
            let end = match carry(told(stream), said, feed(commands, Some(to_pod), NO_TERMINAL), &tell).await {
                Some(ExecOutput::Exit { exit_code: 1.. }) => {
                    let why = String::from_utf8_lossy(&why);
                    let message = if why.is_empty() { "the connection was ended" } else { why.trim() };
                    ExecOutput::Failed { message: message.to_owned() }
                }
                Some(end) => end,
                None => return,
            };
            drop(tell.send(end).await);
        });
        Ok(ExecSession { input, output })
    }

    /// The folder of a pod that runs, and what its shim was told.
    pub(super) fn running(&self, uid: Uuid) -> Result<(RunFolder, RunSpec), SiteError> {
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
        let spec = folder.spec().map_err(SiteError::io(format!("entering pod {uid}")))?;
        Ok((folder, spec.ok_or(SiteError::Unknown(uid))?))
    }

    fn ask_for_program(&self, order: &ExecOrder) -> Result<(UnixStream, Ends), SiteError> {
        let uid = order.uid;
        let (folder, spec) = self.running(uid)?;
        check(order)?;
        let container = position(&spec.plan, order.container.as_deref())?;
        let ask = Ask::Exec { container, argv: order.argv.clone(), tty: order.tty };
        let knocked =
            if order.tty { on_terminal(&folder, &ask, &spec.walls) } else { on_pipes(&folder, &ask, &spec.walls) };
        knocked.map_err(SiteError::io(format!("running a program in pod {uid}")))
    }
}

pub(super) fn ready(stream: UnixStream) -> io::Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

/// The number of the container of that name, or of the first that is no init container.
pub(crate) fn position(plan: &PodPlan, name: Option<&str>) -> Result<usize, SiteError> {
    let Some(name) = name else { return Ok(plan.init_containers.len()) };
    let found = plan.all_containers().position(|container| container.name == name);
    found.ok_or_else(|| SiteError::Refused(format!("pod {} has no container {name}", plan.uid)))
}

fn on_terminal(folder: &RunFolder, ask: &Ask, walls: &Walls) -> io::Result<(UnixStream, Ends)> {
    let (master, theirs) = terminal_of(walls.user())?;
    let fd = theirs.as_fd();
    Ok((knock(folder, ask, &[fd, fd, fd])?, Ends::Terminal(master)))
}

/// A new terminal: our end, and that of `owner`'s processes.
pub(super) fn terminal_of(owner: Option<u32>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = terminal()?;
    hand_over(&theirs, owner)?;
    Ok((ours, theirs))
}

fn on_pipes(folder: &RunFolder, ask: &Ask, walls: &Walls) -> io::Result<(UnixStream, Ends)> {
    let (theirs, pipes) = Pipes::new(walls.user())?;
    Ok((knock(folder, ask, &theirs.each_ref().map(AsFd::as_fd))?, Ends::Pipes(pipes)))
}

impl Pipes<OwnedFd, OwnedFd> {
    /// Three pipes: the ends of a process of `owner`'s, and ours.
    fn new(owner: Option<u32>) -> io::Result<([OwnedFd; 3], Self)> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ((their_input, input), (output, their_output), (errors, their_errors)) = (pipe()?, pipe()?, pipe()?);
        let theirs = [their_input, their_output, their_errors];
        for end in &theirs {
            hand_over(end, owner)?;
        }
        for ours in [&input, &output, &errors] {
            rustix::fs::fcntl_setfl(ours, rustix::fs::fcntl_getfl(ours)? | rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok((theirs, Pipes { input, output, errors }))
    }

    fn ready(self) -> io::Result<Pipes<pipe::Sender, pipe::Receiver>> {
        Ok(Pipes {
            input: pipe::Sender::from_owned_fd(self.input)?,
            output: pipe::Receiver::from_owned_fd(self.output)?,
            errors: pipe::Receiver::from_owned_fd(self.errors)?,
        })
    }
}

/// So that `/dev/stdout` can be opened by the pod's user.
pub(super) fn hand_over(file: &OwnedFd, owner: Option<u32>) -> io::Result<()> {
    match owner {
        Some(uid) => std::os::unix::fs::fchown(file, Some(uid), Some(uid)),
        None => Ok(()),
    }
}

/// What the shim says of the end. Its connection is the program's: whoever lets it go ends it.
pub(super) async fn told(stream: impl AsyncRead + Unpin) -> ExecOutput {
    let mut line = String::new();
    // A connection that broke has said nothing.
    drop(BufReader::new(stream).read_line(&mut line).await);
    match serde_json::from_str::<Reply>(&line) {
        Ok(Reply::Ended { exit_code }) => ExecOutput::Exit { exit_code },
        Ok(Reply::Failed { message }) => ExecOutput::Failed { message },
        Err(_) => ExecOutput::Failed {
            message: "the pod has ended, or runs under an older engine's shim, which does not know this".into(),
        },
    }
}
