//! A program in a container that runs: what podman and docker call `exec`, with pipes or a terminal of ours around it.
//!
//! Neither ends the program when whoever asked for it has gone. So it carries a mark in its environment, by which it and what it
//! started are found among the processes of this machine.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use dte_base::id::new_id;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::program::name_of;
use super::site::Inner;
use crate::carry::{NO_TERMINAL, UNDER_WAY, carry, check, feed, resize, say, terminal};
use crate::exec::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use crate::report::ContainerState;
use crate::site::SiteError;

const MARK: &str = "DTE_EXEC";
/// It may start only now, and make processes while others are being ended: those are found in the next round.
const ROUNDS: usize = 3;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);

impl Inner {
    pub(super) async fn exec(self: &Arc<Self>, order: &ExecOrder) -> Result<ExecSession, SiteError> {
        check(order)?;
        let name = self.running(order)?;
        let mark = new_id();
        let command = self.program().command(&arguments(order, &name, mark));
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        let begun = if order.tty { Begun::at_terminal(command) } else { Begun::on_pipes(command, order.stdin) };
        let begun = begun.map_err(SiteError::io(format!("running a program in pod {}", order.uid)))?;
        let stdin = order.stdin;
        self.tasks.spawn("program in a container", async move {
            match begun.live(commands, stdin, &tell).await {
                Some(end) => drop(tell.send(end).await),
                None => end_marked(mark).await,
            }
        });
        Ok(ExecSession { input, output })
    }

    /// The name of a container that runs.
    fn running(&self, order: &ExecOrder) -> Result<String, SiteError> {
        let uid = order.uid;
        let report = self.report(uid).ok_or(SiteError::Unknown(uid))?;
        let mut all = report.containers.iter().chain(&report.init_containers);
        let found = all.find(|one| order.container.as_ref().is_none_or(|name| *name == one.name));
        match found.filter(|one| matches!(one.state, ContainerState::Running { .. })) {
            Some(found) => Ok(name_of(uid, &found.name)),
            None => Err(SiteError::Refused(format!("pod {uid} has no such container that runs"))),
        }
    }
}

/// What stands behind the container's name is the program's, whatever it looks like.
fn arguments(order: &ExecOrder, name: &str, mark: Uuid) -> Vec<String> {
    let mut words = vec!["exec".to_owned(), "--env".to_owned(), format!("{MARK}={mark}")];
    words.extend(order.stdin.then(|| "--interactive".to_owned()));
    words.extend(order.tty.then(|| "--tty".to_owned()));
    words.push(name.to_owned());
    words.extend(order.argv.iter().cloned());
    words
}

/// It runs.
enum Begun {
    Pipes(Child),
    Terminal(Child, OwnedFd),
}

impl Begun {
    fn on_pipes(mut command: Command, stdin: bool) -> io::Result<Begun> {
        command.stdin(if stdin { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Begun::Pipes(command.spawn()?))
    }

    fn at_terminal(mut command: Command) -> io::Result<Begun> {
        let (ours, theirs) = terminal()?;
        // The one in the container is the terminal: this one only passes on.
        let mut raw = tcgetattr(&theirs)?;
        raw.make_raw();
        tcsetattr(&theirs, OptionalActions::Now, &raw)?;
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        Ok(Begun::Terminal(command.spawn()?, ours))
    }

    /// None: whoever asked for it has gone.
    async fn live(
        self,
        commands: mpsc::Receiver<ExecInput>,
        stdin: bool,
        tell: &mpsc::Sender<ExecOutput>,
    ) -> Option<ExecOutput> {
        match self {
            Begun::Pipes(mut child) => {
                let (output, errors) = (child.stdout.take(), child.stderr.take());
                let fed = feed(commands, child.stdin.take(), NO_TERMINAL);
                let said = async {
                    let output = say_if(output, tell, ExecOutput::Stdout);
                    tokio::join!(output, say_if(errors, tell, ExecOutput::Stderr));
                };
                carry(end_of(&mut child), said, fed, tell).await
            }
            Begun::Terminal(mut child, ours) => {
                let told = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
                let (reading, writing) = (ours.try_clone().ok()?, ours.try_clone().ok()?);
                let said = say(tokio::fs::File::from_std(reading.into()), tell, ExecOutput::Stdout);
                let size = move |columns, rows| {
                    resize(&ours, columns, rows);
                    // It is not the terminal's own process here, so the kernel does not tell it. One that has ended needs nothing.
                    let _ = told.map(|pid| kill(pid, Signal::SIGWINCH));
                };
                let writing = stdin.then(|| tokio::fs::File::from_std(writing.into()));
                carry(end_of(&mut child), said, feed(commands, writing, Some(size)), tell).await
            }
        }
    }
}

async fn say_if(
    from: Option<impl AsyncRead + Unpin>,
    tell: &mpsc::Sender<ExecOutput>,
    what: fn(Vec<u8>) -> ExecOutput,
) {
    if let Some(from) = from {
        say(from, tell, what).await;
    }
}

async fn end_of(child: &mut Child) -> ExecOutput {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Ok(status) => {
            let signal = || 128 + status.signal().unwrap_or_default();
            ExecOutput::Exit { exit_code: status.code().unwrap_or_else(signal) }
        }
        Err(error) => ExecOutput::Failed { message: error.to_string() },
    }
}

/// Ends whatever carries the mark.
async fn end_marked(mark: Uuid) {
    let end = move || {
        let wanted = format!("{MARK}={mark}").into_bytes();
        for pid in all_processes() {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if environ.split(|byte| *byte == 0).any(|one| one == wanted)
                && let Err(error) = kill(pid, Signal::SIGKILL)
            {
                tracing::debug!(%pid, %error, "a program in a container goes on");
            }
        }
    };
    for _ in 0..ROUNDS {
        if let Err(error) = tokio::task::spawn_blocking(end).await {
            tracing::warn!(%error, "a program in a container may go on");
        }
        tokio::time::sleep(BETWEEN_ROUNDS).await;
    }
}

fn all_processes() -> Vec<Pid> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_no_option() {
        let order = ExecOrder {
            uid: Uuid::nil(),
            container: None,
            argv: vec!["--privileged".into(), "$(id)".into()],
            stdin: true,
            tty: false,
        };
        let words = arguments(&order, "dte-1-main", Uuid::nil()).join(" ");
        assert_eq!(
            words,
            "exec --env DTE_EXEC=00000000-0000-0000-0000-000000000000 --interactive dte-1-main --privileged $(id)"
        );
    }
}
