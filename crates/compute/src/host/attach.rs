//! The engine's side of `attach`: pipes to the shim's [`console`](super::console) on one side, messages on the other.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::door::{Ask, knock};
use super::session::{position, ready, told};
use super::site::{Inner, blocking};
use crate::carry::{UNDER_WAY, carry, say};
use crate::exec::{AttachOrder, ExecInput, ExecOutput, ExecSession};
use crate::site::SiteError;

/// Our ends.
struct Ends {
    door: UnixStream,
    output: pipe::Receiver,
    input: Option<pipe::Sender>,
}

impl Inner {
    pub(super) async fn attach(self: &Arc<Self>, order: AttachOrder) -> Result<ExecSession, SiteError> {
        let site = self.clone();
        let failed = |error| SiteError::Io { what: "attaching to a pod".into(), source: error };
        let (door, output, input) = blocking(move || site.ask_to_attach(&order)).await?;
        let ends = Ends {
            door,
            output: pipe::Receiver::from_owned_fd(output).map_err(failed)?,
            input: input.map(pipe::Sender::from_owned_fd).transpose().map_err(failed)?,
        };
        let door = ready(ends.door).map_err(failed)?;
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        self.tasks.spawn("attached to a pod", async move {
            // As long as it is there, we are.
            let (hearing, mut asking) = door.into_split();
            let said = say(ends.output, &tell, ExecOutput::Stdout);
            let fed = feed(commands, ends.input, &mut asking);
            if let Some(end) = carry(told(hearing), said, fed, &tell).await {
                drop(tell.send(end).await);
            }
        });
        Ok(ExecSession { input, output })
    }

    /// The door, what the container writes, and where it reads.
    fn ask_to_attach(&self, order: &AttachOrder) -> Result<(UnixStream, OwnedFd, Option<OwnedFd>), SiteError> {
        let uid = order.uid;
        let failed = || SiteError::io(format!("attaching to pod {uid}"));
        let (folder, spec) = self.running(uid)?;
        let container = position(&spec.plan, order.container.as_deref())?;
        let has_terminal = spec.plan.all_containers().nth(container).is_some_and(|plan| plan.interactive.tty);
        if order.tty && !has_terminal {
            return Err(SiteError::Refused(format!("the container of pod {uid} has no terminal (tty: true)")));
        }
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK);
        let (output, theirs) = pipe().map_err(|error| failed()(error.into()))?;
        let typing = order.stdin.then(pipe).transpose().map_err(|error| failed()(error.into()))?;
        let mut files = vec![theirs.as_fd()];
        files.extend(typing.as_ref().map(|(read, _)| read.as_fd()));
        let door = knock(&folder, &Ask::Attach { attach: container }, &files).map_err(failed())?;
        Ok((door, output, typing.map(|(_, write)| write)))
    }
}

/// Passes on what is typed, until nothing more is, and the terminal's size.
async fn feed(
    mut commands: mpsc::Receiver<ExecInput>,
    mut to: Option<pipe::Sender>,
    door: &mut tokio::net::unix::OwnedWriteHalf,
) {
    while let Some(command) = commands.recv().await {
        match command {
            ExecInput::Stdin(bytes) => {
                if let Some(writer) = &mut to
                    && writer.write_all(&bytes).await.is_err()
                {
                    to = None;
                }
            }
            ExecInput::StdinEnd => to = None,
            ExecInput::Resize { columns, rows } => {
                let Ok(mut line) = serde_json::to_vec(&Ask::Resize { columns, rows }) else { continue };
                line.push(b'\n');
                // A shim that has gone is noticed where it is heard.
                drop(door.write_all(&line).await);
            }
        }
    }
}
