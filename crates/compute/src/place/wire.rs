//! What can be asked of a place, and what it answers.

use std::path::PathBuf;

use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::host::spec::RunSpec;
use crate::report::PodReport;
use crate::site::Cancellation;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Runs a program with exactly these arguments and this environment, and waits for it.
    Run { program: PathBuf, arguments: Vec<String>, environment: Vec<(String, String)> },
    /// Makes the pod's run folder.
    Prepare { uid: Uuid },
    /// Writes what the pod's runner reads, and the batch script that starts it (the body).
    Arrange { uid: Uuid, spec: Box<RunSpec> },
    /// Writes the batch script (the body) of an array of which this pod is the first task.
    ArrangeArray { uid: Uuid },
    /// How these pods go, by their folders.
    Look { uids: Vec<Uuid> },
    /// Tell when the outcome of this pod is written.
    Watch { uid: Uuid },
    /// A piece of a container's log.
    Log { uid: Uuid, container: String, from: u64 },
    /// Notes why the pod shall end.
    Cancel { uid: Uuid, how: Cancellation },
    /// Notes whether the pod shall stand still.
    Suspend { uid: Uuid, wanted: bool },
    /// Takes the pod in place of a runner, so that none will. Answers whether no runner had taken it.
    Claim { uid: Uuid },
    /// Writes the outcome in place of the runner, if there is none yet.
    Conclude { uid: Uuid, report: Box<PodReport> },
    /// Removes the run folder.
    Remove { uid: Uuid },
    /// Writes a piece (the body) of an input; the first one makes the file.
    Put { uid: Uuid, path: PathBuf, offset: u64, mode: u32 },
    /// The pod's output files.
    Outputs { uid: Uuid },
    /// A piece of an output.
    Get { uid: Uuid, path: PathBuf, offset: u64, limit: u64 },
    /// The last bytes of a file of the place.
    Tail { path: PathBuf, limit: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done,
    Yes(bool),
    Ran(Ran),
    Seen(Vec<Seen>),
    /// The lines' times and lengths; their text is the body.
    Log {
        lines: Vec<(Timestamp, usize)>,
        next: u64,
        /// Nothing more was there.
        all: bool,
    },
    Files(Vec<FileEntry>),
    /// The body is what was asked for.
    Bytes,
}

/// What became of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// None: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// What it said went wrong, in one line.
    pub fn complaint(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match (lines.is_empty(), self.code) {
            (false, _) => lines.join("; "),
            (true, Some(code)) => format!("it ended with exit code {code} and said nothing"),
            (true, None) => "it was ended by a signal".into(),
        }
    }
}

/// What a pod's folder says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub uid: Uuid,
    /// A runner has taken it.
    pub started: bool,
    pub state: Option<PodReport>,
    pub exit: Option<PodReport>,
    pub cancelled: Option<Cancellation>,
    /// What the batch script and the runner themselves complained of, if the pod has no outcome.
    pub complaint: String,
}

/// A file among a pod's outputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Beneath the folder of outputs.
    pub path: PathBuf,
    pub bytes: u64,
    pub mode: u32,
}
