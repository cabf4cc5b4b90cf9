//! `dte`: the command line and the composition root. The only crate that knows every service.
//!
//! Rooms: [`cli`] (what may be typed), [`command`] (a file each), [`services`] (which there are), [`engine`] (one in this
//! process), [`drop_in`] (upstream's files), [`remote`] (one that runs elsewhere), [`settings`], [`show`] (tables and JSON), [`failure`],
//! [`terminal`] (the one in front of a person, handed to a pod).
//!
//! The program is also the shim under which pods run: it then knows nothing of all this.

mod cli;
mod command;
mod drop_in;
mod engine;
mod facts;
mod failure;
mod remote;
mod services;
mod settings;
mod show;
mod terminal;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::cli::Cli;

/// How long work that cannot be called off may take when everything has been told to end, such as reading a file that never comes.
const LAST_WORK: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if dte_compute::host::is_shim(&arguments) {
        return dte_compute::host::shim_main(&arguments);
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("dte: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(command::run(cli));
    runtime.shutdown_timeout(LAST_WORK);
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("dte: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
