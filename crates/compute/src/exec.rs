//! Sessions in a pod that runs already: a program (what `kubectl exec` and `dte exec` ask for), a container's own program (`attach`),
//! or a connection to one of its ports.

use tokio::sync::mpsc;
use uuid::Uuid;

/// What to run, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOrder {
    pub uid: Uuid,
    /// None: the pod's only or first container.
    pub container: Option<String>,
    pub argv: Vec<String>,
    /// Whether the program reads what is sent; otherwise its standard input is empty.
    pub stdin: bool,
    /// A terminal: standard error comes with standard output.
    pub tty: bool,
}

/// To which container, to see what its own program writes from now on, and to type what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOrder {
    pub uid: Uuid,
    /// None: the pod's first container.
    pub container: Option<String>,
    /// Whether something will be typed. A container that asks for no input reads nothing of it.
    pub stdin: bool,
    /// Whoever asks takes what comes for a terminal's output.
    pub tty: bool,
}

/// What is sent to the program, or over the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput {
    Stdin(Vec<u8>),
    /// Nothing more will be sent to its standard input.
    StdinEnd,
    /// The terminal has this size now.
    Resize {
        columns: u16,
        rows: u16,
    },
}

/// What comes back. [`ExecOutput::Exit`] or [`ExecOutput::Failed`] is the last; a connection that was closed exits with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Nothing more comes on its output, and its input is still read: of connections only.
    StdoutEnd,
    /// Its exit code, 128 and the signal's number where a signal ended it.
    Exit {
        exit_code: i32,
    },
    /// It could not be started, or is lost.
    Failed {
        message: String,
    },
}

/// A program that runs, or a connection. Dropping `input` closes its standard input (that direction of the connection); dropping
/// `output` ends it.
#[derive(Debug)]
pub struct ExecSession {
    pub input: mpsc::Sender<ExecInput>,
    pub output: mpsc::Receiver<ExecOutput>,
}
