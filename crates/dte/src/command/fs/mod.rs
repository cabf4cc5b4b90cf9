//! `dte fs`: files by their URLs, wherever they are. Needs no engine.
//!
//! Exit codes are the numbers of the operating system, as those of the gfal commands.

mod change;
mod copy;
mod look;
mod place;
mod renewed;
mod tokens;

use dte_storage::Error;

use crate::cli::{Common, Fs, FsCommand};
use crate::failure::Failure;
use place::Reach;

pub async fn fs(common: &Common, fs: Fs) -> Result<(), Failure> {
    let reach = Reach::new(common, &fs.token_for)?;
    let outcome = run(&reach, fs.command, common.json).await;
    reach.end().await;
    outcome
}

async fn run(reach: &Reach, command: FsCommand, as_json: bool) -> Result<(), Failure> {
    match command {
        FsCommand::Ls { places, long, directory, human } => {
            look::ls(reach, &places, look::Style { long, directory, human, as_json }).await
        }
        FsCommand::Stat { places } => look::stat(reach, &places, as_json).await,
        FsCommand::Sum { place, algorithm } => look::sum(reach, &place, algorithm, as_json).await,
        FsCommand::Cat { places } => look::cat(reach, &places).await,
        FsCommand::Cp(wanted) => copy::cp(reach, &wanted, as_json).await,
        FsCommand::Mv { source, destination, force } => change::mv(reach, &source, &destination, force).await,
        FsCommand::Rm { places, recursive, dry_run } => change::rm(reach, &places, recursive, dry_run).await,
        FsCommand::Mkdir { places, parents } => change::mkdir(reach, &places, parents).await,
    }
}

/// In the words of the gfal commands: number, what it means, and what it is about.
fn said(error: &Error) -> Failure {
    let number = error.errno.number();
    Failure::new(format!("{number} ({}) - {}", error.errno, error.message)).with_code(u8::try_from(number).unwrap_or(1))
}

/// Says each failure as it comes, and fails in the end like the first.
#[derive(Default)]
struct Failures {
    first: Option<u8>,
    count: usize,
}

impl Failures {
    fn note(&mut self, failure: &Failure) {
        eprintln!("dte: {failure}");
        self.first.get_or_insert(failure.code);
        self.count += 1;
    }

    fn end(self, what: &str) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some(code) => Err(Failure::new(format!("{} of what was asked for {what}", self.count)).with_code(code)),
        }
    }
}
