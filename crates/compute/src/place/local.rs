//! A place of this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use tokio::process::Command;
use tokio::sync::{Semaphore, broadcast};
use uuid::Uuid;

use super::folders::Folders;
use super::program::RunnerProgram;
use super::watch::Watch;
use super::wire::{Order, Ran, Reply};
use super::{Place, PlaceError, Told, UNREAD_ENDS};

/// Commands that run at once.
const COMMANDS: usize = 8;
/// How long a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Bytes of a command's output that are kept.
const OUTPUT_LIMIT: usize = 64 << 20;

/// A folder of this machine.
pub struct LocalPlace {
    base: PathBuf,
    runner: PathBuf,
    folders: Folders,
    watch: Arc<Watch>,
    ended: broadcast::Sender<Uuid>,
    commands: Semaphore,
}

impl LocalPlace {
    /// Opens the folder and puts the runner there. Blocks for as long as it takes to copy a program.
    pub fn open(base: &Path, runner: Option<&Path>, look_every: Duration, tasks: &Tasks) -> Result<Self, PlaceError> {
        let failed = || PlaceError::failed(format!("the folder {}", base.display()));
        let folders = Folders::open(base).map_err(failed())?;
        let program = RunnerProgram::read(runner).map_err(PlaceError::failed("the runner"))?;
        let runner = program.install(base).map_err(failed())?;
        Ok(Self::with(base, runner, folders, look_every, tasks))
    }

    /// The folder in which the running program was put by another.
    pub fn beside(base: &Path, runner: &Path, look_every: Duration, tasks: &Tasks) -> Result<Self, PlaceError> {
        let folders = Folders::open(base).map_err(PlaceError::failed(format!("the folder {}", base.display())))?;
        Ok(Self::with(base, runner.to_path_buf(), folders, look_every, tasks))
    }

    fn with(base: &Path, runner: PathBuf, folders: Folders, look_every: Duration, tasks: &Tasks) -> Self {
        let ended = broadcast::channel(UNREAD_ENDS).0;
        let watch = Watch::new(ended.clone(), look_every);
        let (weak, stop) = (Arc::downgrade(&watch), tasks.clone());
        tasks.spawn("watch of run folders", async move {
            tokio::select! {
                () = Watch::run(weak) => {}
                () = stop.stopping() => {}
            }
        });
        LocalPlace { base: base.to_path_buf(), runner, folders, watch, ended, commands: Semaphore::new(COMMANDS) }
    }

    async fn run(
        &self,
        program: PathBuf,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Ran, PlaceError> {
        let failed = |error: &dyn std::fmt::Display| PlaceError::Failed(format!("{}: {error}", program.display()));
        let _turn = self.commands.acquire().await.map_err(|error| failed(&error))?;
        let mut command = Command::new(&program);
        command
            .args(&arguments)
            .env_clear()
            .envs(inherited())
            .envs(environment)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = match tokio::time::timeout(COMMAND_LIMIT, command.output()).await {
            Ok(output) => output.map_err(|error| failed(&error))?,
            Err(_) => return Err(failed(&format_args!("it did not end within {} s", COMMAND_LIMIT.as_secs()))),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT_LIMIT)]).into_owned();
        Ok(Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }
}

/// What commands get of our own environment: nothing that a service manager or a login put there.
pub(crate) fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

impl Place for LocalPlace {
    fn ask(&self, order: Order, body: Vec<u8>) -> Told<'_> {
        Box::pin(async move {
            match order {
                Order::Run { program, arguments, environment } => {
                    Ok((Reply::Ran(self.run(program, arguments, environment).await?), Vec::new()))
                }
                Order::Watch { uid } => {
                    let (watch, folder) = (self.watch.clone(), self.folders.folder(uid).path().to_path_buf());
                    let add = move || {
                        watch.add(uid, folder);
                        Ok(())
                    };
                    blocking(add).await?;
                    Ok((Reply::Done, Vec::new()))
                }
                order => {
                    if let Order::Remove { uid } = &order {
                        self.watch.forget(*uid);
                    }
                    let folders = self.folders.clone();
                    blocking(move || folders.obey(&order, &body).map_err(|error| PlaceError::Failed(error.to_string())))
                        .await
                }
            }
        })
    }

    fn ended(&self) -> broadcast::Receiver<Uuid> {
        self.ended.subscribe()
    }

    fn base(&self) -> &Path {
        &self.base
    }

    fn runner(&self) -> &Path {
        &self.runner
    }

    fn is_local(&self) -> bool {
        true
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaceError> + Send + 'static,
) -> Result<T, PlaceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(PlaceError::Failed(error.to_string())))
}
