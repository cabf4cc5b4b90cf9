//! A program in a pod whose job runs: the batch system starts the runner beside the job's own program, and the runner asks the pod's
//! shim, so the program is behind the same walls as if the engine were there.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::index::Record;
use super::site::Inner;
use super::state::JobState;
use super::system::Command;
use crate::carry::{NO_TERMINAL, UNDER_WAY, carry, check, end_of, feed, say, say_if};
use crate::exec::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use crate::host::enter::ENTERED;
use crate::host::outcome::SUSPENDED;
use crate::host::{POD_ENTER, position};
use crate::place::{PlaceError, inherited};
use crate::site::SiteError;

/// How long the batch system may take to end the program of somebody who has gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    /// What may be had in pods here.
    pub(super) fn sessions(&self) -> &'static [&'static str] {
        if self.why_nobody_enters().is_none() { &["exec"] } else { &[] }
    }

    fn why_nobody_enters(&self) -> Option<&'static str> {
        if self.settings.container.is_some() {
            return Some("they would not run in the pod's image");
        }
        if !self.place.is_local() {
            return Some("its submit node is reached over SSH");
        }
        let none = self.system.beside(0, Vec::new()).is_none();
        none.then_some("its batch system has no way into a running job")
    }

    pub(super) async fn exec(self: &Arc<Self>, order: &ExecOrder) -> Result<ExecSession, SiteError> {
        check(order)?;
        let command = self.way_in(order).await?;
        let mut process = tokio::process::Command::new(&command.program);
        // The batch system takes to the node what it is given, and nothing of the engine's is to go there.
        process.args(&command.arguments).env_clear().envs(inherited()).envs(command.environment).kill_on_drop(true);
        process.stdin(if order.stdin { Stdio::piped() } else { Stdio::null() });
        let child = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.map_err(SiteError::io(command.program.display().to_string()))?;
        let (input, commands) = mpsc::channel(UNDER_WAY);
        let (tell, output) = mpsc::channel(UNDER_WAY);
        self.tasks.spawn("program in a job", live(child, commands, tell));
        Ok(ExecSession { input, output })
    }

    /// The command that runs what was asked for; why there is none.
    async fn way_in(&self, order: &ExecOrder) -> Result<Command, SiteError> {
        let (uid, site) = (order.uid, &self.settings.name);
        let refused = |why: String| SiteError::Refused(format!("programs cannot be run in pod {uid}: {why}"));
        if let Some(why) = self.why_nobody_enters() {
            return Err(refused(format!("site {site} has no exec: {why}")));
        }
        if order.tty {
            return Err(refused(format!("site {site} has no terminals")));
        }
        let (container, record, number) = {
            let jobs = self.jobs();
            let job = jobs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            let record = job.record().ok_or_else(|| refused("it does not run".into()))?;
            (position(&record.plan, order.container.as_deref())?, record.clone(), job.number())
        };
        let seen = self.place.look(vec![uid]).await?.pop().filter(|seen| seen.started && seen.exit.is_none());
        let Some(seen) = seen else { return Err(refused("it does not run".into())) };
        if seen.state.and_then(|state| state.reason).as_deref() == Some(SUSPENDED) {
            return Err(refused("it stands still".into()));
        }
        let number = self.own_number(&record, number).await?;
        let number = number.ok_or_else(|| refused("its job does not run".into()))?;
        let folder = self.place.run_folder(uid).display().to_string();
        let mut words = vec![self.place.runner().display().to_string(), POD_ENTER.to_owned(), folder];
        words.push(container.to_string());
        words.extend(order.argv.iter().cloned());
        self.system.beside(number, words).ok_or_else(|| refused("there is no way into its job".into()))
    }

    /// The number by which one gets into the pod's job. Tasks of an array share what they are called by, so the queue is asked.
    async fn own_number(&self, record: &Record, number: Option<u64>) -> Result<Option<u64>, PlaceError> {
        if record.shared.is_empty() {
            return Ok(number);
        }
        let found = self.find(record).await?;
        Ok(found.filter(|(_, job)| job.state == JobState::Running).map(|(_, job)| job.own_id))
    }
}

async fn live(mut child: Child, commands: mpsc::Receiver<ExecInput>, tell: mpsc::Sender<ExecOutput>) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let fed = feed(commands, child.stdin.take(), NO_TERMINAL);
    let has_entered = AtomicBool::new(false);
    let said = async {
        let output = async {
            let Some(mut output) = output else { return };
            if output.read_u8().await.is_ok_and(|first| first == ENTERED) {
                has_entered.store(true, Ordering::Relaxed);
                say(output, &tell, ExecOutput::Stdout).await;
            }
        };
        tokio::join!(output, say_if(errors, &tell, ExecOutput::Stderr));
    };
    let end = match carry(end_of(&mut child), said, fed, &tell).await {
        Some(ExecOutput::Exit { exit_code }) if !has_entered.load(Ordering::Relaxed) => {
            let message = format!("the batch system did not let a program into the job (exit code {exit_code})");
            ExecOutput::Failed { message }
        }
        Some(end) => end,
        None => {
            // Asked to end, it ends what it has started; killed, it does not.
            let asked = pid.map(|pid| kill(pid, Signal::SIGTERM));
            if !matches!(asked, Some(Ok(()))) || tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                tracing::warn!("a program in a job may go on: the batch system does not end it");
            }
            return;
        }
    };
    // Who asked may have gone.
    drop(tell.send(end).await);
}
