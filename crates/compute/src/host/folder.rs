//! A pod's run folder: `DATA_DIR/runs/UID/`.
//!
//! It is the only thing that the engine and the shim share, and it is all that is needed to adopt a pod after a restart:
//!
//! | name | written by | meaning |
//! |---|---|---|
//! | `inputs/ outputs/ work/ tmp/` | engine, pod | all that the pod sees of the folder |
//! | `spec.json` | engine | what to run and how; the pod was submitted. When it has ended, without what may be secret |
//! | `started` | shim | who runs it; made with `O_EXCL`, so that a pod is started at most once, whatever happens |
//! | `cancel` | engine | why it shall end |
//! | `suspended` | engine | while it is there, the pod stands still |
//! | `state.json` | shim | how it goes |
//! | `exit.json` | shim | how it went; synced and renamed into place, the last thing that the shim does |
//! | `volumes/ termination/` | shim, pod | what volumes hold, and why containers ended; gone when the pod has ended |
//! | `door` | shim | the socket on which it takes orders to run a program in a container |
//! | `logs/` | shim | see [`super::logfile`] |
//! | `shim.err` | shim | what went wrong with the shim itself |

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::process::ProcessIdentity;
use super::spec::RunSpec;
use crate::files::{Durable, read_note, write_note};
use crate::report::PodReport;
use crate::site::Cancellation;

/// Sub-folders that the pod sees.
pub const VISIBLE: [&str; 4] = [INPUTS, OUTPUTS, WORK, TMP];
pub const INPUTS: &str = "inputs";
pub const OUTPUTS: &str = "outputs";
pub const WORK: &str = "work";
pub const TMP: &str = "tmp";
/// What volumes hold, a folder each; containers see it only where they mount it.
pub const VOLUMES: &str = "volumes";
/// Where containers write why they ended, a file each.
pub const TERMINATION: &str = "termination";

const SPEC: &str = "spec.json";
const STARTED: &str = "started";
const CANCEL: &str = "cancel";
const SUSPENDED: &str = "suspended";
const STATE: &str = "state.json";
/// The outcome. Whoever watches a run folder waits for this name.
pub const EXIT: &str = "exit.json";
const LOGS: &str = "logs";
const SHIM_ERRORS: &str = "shim.err";

/// What stands in `started`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    pub shim: ProcessIdentity,
    /// Whether the shim takes SIGUSR1 as "look whether the pod shall stand still"; an older one would die of it.
    #[serde(default)]
    pub suspends: bool,
}

/// A run folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    /// The folder of pod `uid` beneath `runs`, made complete or not at all.
    pub fn create(runs: &Path, uid: Uuid) -> io::Result<RunFolder> {
        let folder = RunFolder::at(runs.join(uid.to_string()));
        if folder.path.is_dir() {
            return Ok(folder);
        }
        let draft = runs.join(format!(".new-{}", Uuid::now_v7()));
        let private = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        private(&draft)?;
        for name in VISIBLE.iter().chain(&[LOGS]) {
            private(&draft.join(name))?;
        }
        match fs::rename(&draft, &folder.path) {
            Ok(()) => Ok(folder),
            // Another call was faster; its folder is as good.
            Err(_) if folder.path.is_dir() => {
                fs::remove_dir_all(&draft)?;
                Ok(folder)
            }
            Err(error) => Err(error),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn sub(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join(LOGS)
    }

    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    pub fn write_spec(&self, spec: &RunSpec) -> io::Result<()> {
        write_note(&self.path, SPEC, spec, Durable::No)
    }

    pub fn spec(&self) -> io::Result<Option<RunSpec>> {
        read_note(&self.path.join(SPEC))
    }

    /// Notes that the calling process runs this pod. `false`: another did before.
    pub fn claim(&self, started: &Started) -> io::Result<bool> {
        // The marker must never be seen half-written, and must be made once: a full draft is linked into place.
        let draft = self.path.join(format!(".{STARTED}-{}", std::process::id()));
        fs::write(&draft, serde_json::to_vec(started)?)?;
        let linked = fs::hard_link(&draft, self.path.join(STARTED));
        fs::remove_file(&draft)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn started(&self) -> io::Result<Option<Started>> {
        read_note(&self.path.join(STARTED))
    }

    pub fn write_cancel(&self, how: &Cancellation) -> io::Result<()> {
        write_note(&self.path, CANCEL, how, Durable::No)
    }

    pub fn cancellation(&self) -> io::Result<Option<Cancellation>> {
        read_note(&self.path.join(CANCEL))
    }

    /// Says whether the pod shall stand still. Saying it twice is fine.
    pub fn set_suspended(&self, wanted: bool) -> io::Result<()> {
        if wanted {
            return write_note(&self.path, SUSPENDED, &wanted, Durable::No);
        }
        match fs::remove_file(self.path.join(SUSPENDED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn is_suspended(&self) -> bool {
        self.path.join(SUSPENDED).exists()
    }

    pub fn write_state(&self, report: &PodReport) -> io::Result<()> {
        write_note(&self.path, STATE, report, Durable::No)
    }

    pub fn state(&self) -> io::Result<Option<PodReport>> {
        read_note(&self.path.join(STATE))
    }

    pub fn write_exit(&self, report: &PodReport) -> io::Result<()> {
        write_note(&self.path, EXIT, report, Durable::Yes)
    }

    pub fn exit(&self) -> io::Result<Option<PodReport>> {
        read_note(&self.path.join(EXIT))
    }

    pub fn has_exit(&self) -> bool {
        self.path.join(EXIT).exists()
    }

    /// Removes what may be secret of a pod of which nothing runs any more: what its volumes held, and the values in its plan.
    /// Its log, its outcome and its outputs stay.
    pub fn forget_secrets(&self) -> io::Result<()> {
        for name in [VOLUMES, TERMINATION] {
            remove_tree(&self.sub(name))?;
        }
        let Some(spec) = self.spec()? else { return Ok(()) };
        let bare = spec.plan.without_secrets();
        if bare == spec.plan { Ok(()) } else { self.write_spec(&RunSpec { plan: bare, ..spec }) }
    }

    /// Where the shim's own standard error goes.
    pub fn shim_errors(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.path.join(SHIM_ERRORS))
    }

    pub fn shim_error_text(&self) -> String {
        let text = fs::read(self.path.join(SHIM_ERRORS)).unwrap_or_default();
        String::from_utf8_lossy(&text[..text.len().min(2_000)]).trim().to_owned()
    }
}

/// Removes the folder tree `path`, of which a pod may have taken away its own rights.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        outcome => outcome,
    }
}

fn open_up(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::symlink_metadata(path)?.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(path)? {
            open_up(&entry?.path())?;
        }
    }
    Ok(())
}
