//! Last stage, `pod-exec`: becomes the container's program, or something that is run beside it.
//!
//! It mounts what this one container mounts, gives up all privileges, sets the limits, closes the file system to writing with
//! landlock where the kernel has it, and executes. An open file whose number is its argument carries the [`Launch`]; standard
//! input, output and error are the program's already.

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

use super::folder::{INPUTS, OUTPUTS, RunFolder, TMP, WORK};
use super::spec::{Launch, Walls};
use super::{action, forward, mounts, sandbox};

/// Exit codes of shells for programs that could not be started.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// `number` is that of the open file with the description.
pub fn main(number: &Path) -> ExitCode {
    match run(number) {
        Ok(code) => code,
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

fn run(number: &Path) -> Result<ExitCode, StartError> {
    let launch = read_launch(number).map_err(at("its description"))?;
    SigSet::empty().thread_set_mask().map_err(at("signals"))?;
    if let Some(group) = &launch.group {
        // Zero is whoever writes it.
        std::fs::write(group, "0").map_err(at("its control group"))?;
    }
    // Only who still has its privileges sees whose sockets there are.
    let connection = match launch.forward.map(|port| forward::connect(port, &launch.walls)).transpose() {
        Ok(connection) => connection,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(mounts) = &launch.mounts {
        let folder = RunFolder::at(&launch.folder);
        let owner = launch.walls.user();
        mounts::enter_own_mounts(mounts, &folder, owner).map_err(|error| at("its volumes")(io::Error::other(error)))?;
    }
    sandbox::drop_privileges(&launch.walls).map_err(|error| at("its walls")(io::Error::other(error)))?;
    std::env::set_current_dir(&launch.working_dir).map_err(at(&launch.working_dir.display().to_string()))?;
    set_limits(&launch).map_err(at("its limits"))?;
    if launch.walls != Walls::Open {
        confine(&launch).map_err(|error| at("landlock")(io::Error::other(error)))?;
    }
    if launch.terminal {
        take_terminal().map_err(at("its terminal"))?;
    }
    match (connection, &launch.action) {
        (Some(connection), _) => forward::carry(connection).map_err(at("the connection")),
        (None, Some(action)) => Ok(action::perform(action)),
        (None, None) => execute(&launch).map(|never| match never {}),
    }
}

/// The file is closed again, so that the program does not inherit it.
fn read_launch(number: &Path) -> io::Result<Launch> {
    let name = number.to_str().and_then(|text| text.parse::<i32>().ok());
    let name = name.ok_or_else(|| io::Error::other("no open file is named"))?;
    let launch = serde_json::from_reader(io::BufReader::new(File::open(format!("/proc/self/fd/{name}"))?))?;
    nix::unistd::close(name)?;
    Ok(launch)
}

/// Makes standard input the terminal of a session of our own.
fn take_terminal() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(io::stdin())?)
}

fn execute(launch: &Launch) -> Result<std::convert::Infallible, StartError> {
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
    // Where a control group counts, it is the one that decides.
    lower(Resource::RLIMIT_DATA, launch.memory_bytes.filter(|_| launch.group.is_none()))?;
    lower(Resource::RLIMIT_FSIZE, launch.storage_bytes)?;
    lower(Resource::RLIMIT_CPU, launch.cpu_seconds)?;
    lower(Resource::RLIMIT_CORE, Some(0))?;
    // Counted for each user, which is this pod alone only behind walls.
    lower(Resource::RLIMIT_NPROC, (launch.walls != Walls::Open).then_some(launch.max_processes))
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
    for placed in launch.mounts.iter().flatten().filter(|placed| !placed.read_only) {
        let all = AccessFs::from_all(KNOWN);
        // A file has none of the rights of folders.
        let is_dir = placed.target.is_dir();
        rules = allow(rules, &placed.target, if is_dir { all } else { all & AccessFs::from_file(KNOWN) })?;
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
