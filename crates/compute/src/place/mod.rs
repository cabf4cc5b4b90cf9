//! A place: where pods' run folders are and where commands run. It is a folder of this machine ([`LocalPlace`]), or one of a
//! machine that is reached through SSH ; plugins for batch systems do not know the difference.
//!
//! What can be asked of a place is one list, [`Order`], in words of pods and never of a shell: a command is a program and its
//! arguments, a file is bytes. For a far place, the same list crosses the connection to the same code on the other side
//! ([`agent`]).
//!
//! ```text
//! BASE/bin/dte-DIGEST   the program with the runner's stages
//! BASE/runs/UID/        a pod's run folder, see crate::host::folder
//! ```

pub mod agent;
mod folders;
mod frame;
mod local;
mod program;
mod watch;
mod wire;

use std::future::Future;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;

use tokio::sync::broadcast;
use uuid::Uuid;

pub(crate) use folders::{ARRAY_SCRIPT, JOB_OUTPUT, SCRIPT};
pub use frame::{Frame, read_frame, write_frame};
pub use local::LocalPlace;
pub(crate) use local::inherited;
pub use program::RunnerProgram;
pub use wire::{FileEntry, Order, Ran, Reply, Seen};

use crate::site::SiteError;

/// Beneath the place's folder.
pub const RUNS: &str = "runs";
pub const BIN: &str = "bin";
/// Ends that a slow receiver may have unread.
const UNREAD_ENDS: usize = 16_384;

/// Why a place did not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlaceError {
    /// Nothing is known of what it did; it may answer again later.
    #[error("the place cannot be reached now: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Failed(String),
}

impl PlaceError {
    pub(crate) fn failed(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> PlaceError {
        move |error| PlaceError::Failed(format!("{what}: {error}"))
    }
}

impl From<PlaceError> for SiteError {
    fn from(error: PlaceError) -> SiteError {
        let what = match &error {
            PlaceError::Unreachable(_) => "asking the site",
            PlaceError::Failed(_) => "the site",
        };
        SiteError::Io { what: what.into(), source: std::io::Error::other(error.to_string()) }
    }
}

/// What came of an order, with the bytes that belong to it.
pub type Told<'a> = Pin<Box<dyn Future<Output = Result<(Reply, Vec<u8>), PlaceError>> + Send + 'a>>;

/// Where run folders are and commands run.
pub trait Place: Send + Sync {
    /// Does what is ordered. Every order may be repeated.
    fn ask(&self, order: Order, body: Vec<u8>) -> Told<'_>;

    /// Pods under watch whose outcome has been written.
    fn ended(&self) -> broadcast::Receiver<Uuid>;

    /// The place's folder.
    fn base(&self) -> &Path;

    /// The program to start a pod with.
    fn runner(&self) -> &Path;

    /// Whether its files can be opened from here.
    fn is_local(&self) -> bool;
}

/// Typed questions.
impl dyn Place + '_ {
    pub async fn order(&self, order: Order) -> Result<(), PlaceError> {
        self.ask(order, Vec::new()).await.map(drop)
    }

    pub async fn run(
        &self,
        program: &Path,
        arguments: Vec<String>,
        env: &[(String, String)],
    ) -> Result<Ran, PlaceError> {
        let (program, environment) = (program.to_path_buf(), env.to_vec());
        match self.ask(Order::Run { program, arguments, environment }, Vec::new()).await? {
            (Reply::Ran(ran), _) => Ok(ran),
            (other, _) => Err(unexpected(&other)),
        }
    }

    pub async fn look(&self, uids: Vec<Uuid>) -> Result<Vec<Seen>, PlaceError> {
        if uids.is_empty() {
            return Ok(Vec::new());
        }
        match self.ask(Order::Look { uids }, Vec::new()).await? {
            (Reply::Seen(seen), _) => Ok(seen),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Whether it was so, of orders that answer yes or no.
    pub async fn yes(&self, order: Order) -> Result<bool, PlaceError> {
        match self.ask(order, Vec::new()).await? {
            (Reply::Yes(yes), _) => Ok(yes),
            (other, _) => Err(unexpected(&other)),
        }
    }

    pub async fn bytes(&self, order: Order) -> Result<Vec<u8>, PlaceError> {
        self.ask(order, Vec::new()).await.map(|(_, body)| body)
    }

    pub fn run_folder(&self, uid: Uuid) -> PathBuf {
        self.base().join(RUNS).join(uid.to_string())
    }
}

pub(crate) fn unexpected(reply: &Reply) -> PlaceError {
    PlaceError::Failed(format!("an answer that does not belong to the question: {reply:?}"))
}

/// A folder that is written into batch scripts and command lines: absolute, and of letters that mean themselves everywhere.
pub fn check_folder(setting: &str, path: &Path) -> Result<(), SiteError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    let text = path.to_str().unwrap_or_default();
    let normal = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && normal && text.len() > 1 && text.chars().all(plain) {
        return Ok(());
    }
    Err(SiteError::Configuration(format!(
        "{setting}: {} must be an absolute path of letters, digits and / . _ - + @ only",
        path.display()
    )))
}
