//! Running a program in a container that runs already: what `kubectl exec` and `dte exec` ask for.

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

/// What is sent to the program.
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

/// What comes from the program. [`ExecOutput::Exit`] is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Its exit code, 128 and the signal's number where a signal ended it.
    Exit {
        exit_code: i32,
    },
    /// It could not be started, or is lost.
    Failed {
        message: String,
    },
}

/// A program that runs. Dropping `input` closes its standard input; dropping `output` ends the program.
#[derive(Debug)]
pub struct ExecSession {
    pub input: mpsc::Sender<ExecInput>,
    pub output: mpsc::Receiver<ExecOutput>,
}
