//! A program in a container that runs: what podman and docker call `exec`, with pipes or a terminal of ours around it.
//!
//! Neither ends the program when whoever asked for it has gone. So it carries a mark in its environment, by which it and what it
//! started are found among the processes of this machine. Three escape: programs whose environment the engine's account may not read
//! (docker's, unless the engine is root), those that cleared their environment, and all of an engine that was killed. They end with
//! their container.

use std::fs;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use dte_base::id::new_id;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::places::MOST_SESSIONS;
use super::program::name_of;
use super::site::Inner;
use crate::carry::{NO_TERMINAL, UNDER_WAY, carry, check, end_of, feed, say, say_if};
use crate::exec::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use crate::report::ContainerState;
use crate::site::SiteError;
use crate::terminal::{Screen, terminal};

const MARK: &str = "DTE_EXEC";
/// It may start only now, and make processes while others are being ended: those are found in the next round.
const ROUNDS: usize = 3;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);

/// What is typed is the program's: by their own choice both keep back Control-P, and leave the program alone at Control-P Control-Q.
const NO_KEYS: &str = "";
/// Docker takes none for its own choice: what nobody types.
const DOCKERS_KEYS: &str = "ctrl-^,ctrl-@,ctrl-^,ctrl-@";

impl Inner {
    pub(super) async fn exec(self: &Arc<Self>, order: &ExecOrder) -> Result<ExecSession, SiteError> {
        check(order)?;
        let name = self.running(order)?;
        let place = self.places.take(order.uid).ok_or_else(|| {
            let uid = order.uid;
            SiteError::Refused(format!("there are {MOST_SESSIONS} programs run beside pod {uid} already"))
        })?;
        let mark = new_id();
        let detach_keys = if self.config.is_docker() { DOCKERS_KEYS } else { NO_KEYS };
        let command = self.program().command(&arguments(order, &name, mark, detach_keys));
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        let begun = if order.tty { Begun::at_terminal(command) } else { Begun::on_pipes(command, order.stdin) };
        let begun = begun.map_err(SiteError::io(format!("running a program in pod {}", order.uid)))?;
        let stdin = order.stdin;
        self.tasks.spawn("program in a container", async move {
            let _place = place;
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
fn arguments(order: &ExecOrder, name: &str, mark: Uuid, detach_keys: &str) -> Vec<String> {
    let mut words = vec!["exec".to_owned(), "--env".to_owned(), format!("{MARK}={mark}")];
    words.extend(order.stdin.then(|| "--interactive".to_owned()));
    if order.tty {
        words.extend(["--tty".to_owned(), format!("--detach-keys={detach_keys}")]);
    }
    words.push(name.to_owned());
    words.extend(order.argv.iter().cloned());
    words
}

/// It runs.
enum Begun {
    Pipes(Child),
    Terminal(Child, Screen),
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
        let screen = Screen::new(ours)?;
        Ok(Begun::Terminal(command.spawn()?, screen))
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
            Begun::Terminal(mut child, screen) => {
                let told = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
                let said = say(screen.clone(), tell, ExecOutput::Stdout);
                let sized = screen.clone();
                let size = move |columns, rows| {
                    sized.resize(columns, rows);
                    // It is not the terminal's own process here, so the kernel does not tell it. One that has ended needs nothing.
                    let _ = told.map(|pid| kill(pid, Signal::SIGWINCH));
                };
                let fed = feed(commands, stdin.then_some(screen), Some(size));
                carry(end_of(&mut child), said, fed, tell).await
            }
        }
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
        let words = arguments(&order, "dte-1-main", Uuid::nil(), NO_KEYS).join(" ");
        assert_eq!(
            words,
            "exec --env DTE_EXEC=00000000-0000-0000-0000-000000000000 --interactive dte-1-main --privileged $(id)"
        );
        let words = arguments(&ExecOrder { tty: true, ..order }, "dte-1-main", Uuid::nil(), NO_KEYS).join(" ");
        assert!(words.contains(" --interactive --tty --detach-keys= dte-1-main "), "{words}");
    }
}
