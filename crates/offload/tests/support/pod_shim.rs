//! The stages of a pod's shim, as the engine's own program has them.

fn main() -> std::process::ExitCode {
    dte_compute::host::shim_main(&std::env::args_os().collect::<Vec<_>>())
}
