//! The stages of the `host` plugin's shim as a program of their own, for engines that are not the `dte` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dte_compute::host::shim_main(&std::env::args_os().collect::<Vec<_>>())
}
