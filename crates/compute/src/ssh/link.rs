//! The way to a far place: connects when something is asked, puts the runner there once, and connects again after a break, more
//! and more seldom while that fails.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dte_base::tasks::Tasks;
use tokio::process::Command;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::config::SshConfig;
use super::connection::{Connection, NoConnection, last_words};
use crate::host::POD_PLACE;
use crate::place::{BIN, Order, PlaceError, Reply, RunnerProgram};

/// The remote command's exit code for "the runner is not there".
const NO_RUNNER: i32 = 91;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long copying the runner may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);
const UNREAD_ENDS: usize = 16_384;

pub struct Link {
    config: SshConfig,
    known_hosts: PathBuf,
    base: PathBuf,
    program: RunnerProgram,
    tasks: Tasks,
    state: tokio::sync::Mutex<State>,
    /// Pods to be told of; the agent of a new connection has to hear of them again.
    watched: Mutex<HashSet<Uuid>>,
    pub ended: broadcast::Sender<Uuid>,
}

enum State {
    Idle,
    Connected(Arc<Connection>),
    Down { until: Instant, wait: Duration, why: String },
}

impl Link {
    pub fn new(
        config: SshConfig,
        known_hosts: PathBuf,
        base: PathBuf,
        program: RunnerProgram,
        tasks: Tasks,
    ) -> Arc<Link> {
        Arc::new(Link {
            config,
            known_hosts,
            base,
            program,
            tasks,
            state: tokio::sync::Mutex::new(State::Idle),
            watched: Mutex::default(),
            ended: broadcast::channel(UNREAD_ENDS).0,
        })
    }

    pub async fn ask(&self, order: Order, body: Vec<u8>) -> Result<(Reply, Vec<u8>), PlaceError> {
        match &order {
            Order::Watch { uid } => drop(self.watched().insert(*uid)),
            Order::Remove { uid } => drop(self.watched().remove(uid)),
            _ => {}
        }
        self.connected().await?.ask(order, &body).await
    }

    fn watched(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that there is, or a new one. While it is being made, others wait for it.
    async fn connected(&self) -> Result<Arc<Connection>, PlaceError> {
        let mut state = self.state.lock().await;
        let last_wait = match &*state {
            State::Connected(connection) if !connection.is_broken() => return Ok(connection.clone()),
            State::Down { until, why, .. } if Instant::now() < *until => {
                return Err(PlaceError::Unreachable(why.clone()));
            }
            State::Down { wait, .. } => *wait,
            State::Idle | State::Connected(_) => Duration::ZERO,
        };
        match self.connect().await {
            Ok(connection) => {
                *state = State::Connected(connection.clone());
                drop(state);
                self.watch_again(&connection).await?;
                Ok(connection)
            }
            Err(why) => {
                let wait = (last_wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                tracing::warn!(host = self.config.host, why, "cannot connect to the site's login node");
                *state = State::Down { until: Instant::now() + wait, wait, why: why.clone() };
                Err(PlaceError::Unreachable(why))
            }
        }
    }

    async fn watch_again(&self, connection: &Connection) -> Result<(), PlaceError> {
        let watched: Vec<Uuid> = self.watched().iter().copied().collect();
        for uid in watched {
            match connection.ask(Order::Watch { uid }, &[]).await {
                Err(PlaceError::Unreachable(why)) => return Err(PlaceError::Unreachable(why)),
                // Its folder is not there any more.
                Err(PlaceError::Failed(_)) => drop(self.watched().remove(&uid)),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Arc<Connection>, String> {
        match self.start_agent().await {
            Err(NoConnection::NoRunner) => {
                self.install().await?;
                match self.start_agent().await {
                    Ok(connection) => Ok(connection),
                    Err(NoConnection::NoRunner) => Err("the runner was put there and is not there".into()),
                    Err(NoConnection::Failed(why)) => Err(why),
                }
            }
            Err(NoConnection::Failed(why)) => Err(why),
            Ok(connection) => Ok(connection),
        }
    }

    async fn start_agent(&self) -> Result<Arc<Connection>, NoConnection> {
        let (base, name) = (self.base.display(), &self.program.name);
        // The only remote commands: fixed but for the configured folder, which has plain characters only.
        let command = self.command(&format!(
            "test -x {base}/{BIN}/{name} || exit {NO_RUNNER}; exec {base}/{BIN}/{name} {POD_PLACE} {base}"
        ));
        Connection::open(command, NO_RUNNER, self.config.timeout.0 * 2, &self.tasks, self.ended.clone()).await
    }

    async fn install(&self) -> Result<(), String> {
        let (base, name) = (self.base.display(), &self.program.name);
        let draft = format!("{base}/{BIN}/.new-{}", Uuid::now_v7());
        let mut command = self.command(&format!(
            "umask 022 && mkdir -p {base}/{BIN} && cat > {draft} && chmod 755 {draft} && mv {draft} {base}/{BIN}/{name}"
        ));
        let program = File::open(&self.program.source).map_err(|error| format!("the runner: {error}"))?;
        command.stdin(program).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("the SSH client: {error}"))?;
        let status = match tokio::time::timeout(INSTALL_LIMIT, child.wait()).await {
            Ok(status) => status.map_err(|error| error.to_string())?,
            Err(_) => return Err("copying the runner takes too long".into()),
        };
        match status.success() {
            true => Ok(()),
            false => Err(format!("the runner cannot be put into {base}/{BIN}: {}", last_words(child).await.1)),
        }
    }

    fn command(&self, remote: &str) -> Command {
        let mut command = Command::new(&self.config.program);
        command.args(self.config.arguments(&self.known_hosts)).arg(remote);
        command
    }
}
