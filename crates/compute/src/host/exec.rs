//! Last stage, `pod-exec`: becomes the container's program.
//!
//! It sets the limits of this one container, closes the file system to writing with landlock where the kernel has it, and
//! executes. Standard input carries the [`Launch`]; standard output and error are the log already.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;

use super::folder::{INPUTS, OUTPUTS, TMP, WORK};
use super::spec::Launch;

/// Exit codes of shells for programs that could not be started.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(5);

pub fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code)
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start the program: {what}: {source}")]
struct StartError {
    what: String,
    exit_code: u8,
    source: io::Error,
}

fn at<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> StartError {
    move |error| StartError { what: what.to_owned(), exit_code: CANNOT_EXECUTE, source: error.into() }
}

fn run() -> Result<std::convert::Infallible, StartError> {
    let launch: Launch =
        serde_json::from_reader(io::stdin().lock()).map_err(io::Error::from).map_err(at("its description"))?;
    let nothing = File::open("/dev/null").map_err(at("/dev/null"))?;
    rustix::stdio::dup2_stdin(&nothing).map_err(at("standard input"))?;
    SigSet::empty().thread_set_mask().map_err(at("signals"))?;
    std::env::set_current_dir(&launch.working_dir).map_err(at(&launch.working_dir.display().to_string()))?;
    set_limits(&launch).map_err(at("its limits"))?;
    if launch.confined {
        confine(&launch).map_err(|error| at("landlock")(io::Error::other(error)))?;
    }
    let Some((program, args)) = launch.argv.split_first() else {
        return Err(at("its command")(io::Error::other("there is none")));
    };
    let program = find(&launch.folder, program);
    let mut command = Command::new(&program);
    command.args(args).env_clear().envs(launch.env.iter().map(|(name, value)| (name, value)));
    let mut error = command.exec();
    // Whoever wrote the program may still be letting go of it.
    for _ in 0..BUSY_ATTEMPTS {
        if error.kind() != io::ErrorKind::ExecutableFileBusy {
            break;
        }
        std::thread::sleep(BUSY_WAIT);
        error = command.exec();
    }
    let exit_code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_EXECUTE };
    Err(StartError { what: program.display().to_string(), exit_code, source: error })
}

/// The program that a word means: one staged for this pod, else one of the machine.
fn find(folder: &Path, word: &str) -> PathBuf {
    let path = Path::new(word);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        let staged = [folder.join(INPUTS).join(path), folder.join(path)];
        if let Some(found) = staged.into_iter().find(|candidate| candidate.is_file()) {
            return found;
        }
    }
    path.to_path_buf()
}

fn set_limits(launch: &Launch) -> nix::Result<()> {
    let lower = |resource: Resource, wanted: Option<u64>| -> nix::Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, wanted.min(hard), wanted.min(hard))
    };
    // What a program may write to, not the address space that it reserves: run-times reserve far more than they use.
    lower(Resource::RLIMIT_DATA, launch.memory_bytes)?;
    lower(Resource::RLIMIT_FSIZE, launch.storage_bytes)?;
    lower(Resource::RLIMIT_CPU, launch.cpu_seconds)?;
    lower(Resource::RLIMIT_CORE, Some(0))?;
    // Counted for each user, which is this pod alone only behind walls.
    lower(Resource::RLIMIT_NPROC, launch.confined.then_some(launch.max_processes))
}

/// Files may be read and executed wherever they are visible, and written in the pod's own places; other processes' abstract
/// sockets and signals are out of reach.
fn confine(launch: &Launch) -> Result<RulesetStatus, landlock::RulesetError> {
    const KNOWN: ABI = ABI::V6;
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    let mut rules = allow(created, Path::new("/"), AccessFs::from_read(KNOWN))?;
    for name in [OUTPUTS, WORK, TMP] {
        rules = allow(rules, &launch.folder.join(name), AccessFs::from_all(KNOWN))?;
    }
    for place in ["/tmp", "/var/tmp", "/dev"] {
        rules = allow(rules, Path::new(place), AccessFs::from_all(KNOWN))?;
    }
    // Some programs adjust themselves there; whose files these are protects the rest.
    rules = allow(rules, Path::new("/proc"), AccessFs::from_all(KNOWN))?;
    Ok(rules.restrict_self()?.ruleset)
}

fn allow(
    rules: RulesetCreated,
    place: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    match PathFd::new(place) {
        Ok(handle) => rules.add_rule(PathBeneath::new(handle, access)),
        // A place that this machine does not have needs no rule.
        Err(_) => Ok(rules),
    }
}

/// Whether the kernel has landlock.
pub fn landlock_available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(|rules| rules.create())
        .is_ok()
}
