//! Finding out by trying: a tiny pod is run behind the walls that this machine should allow, and tries to look over them.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use dte_base::id::new_id;
use nix::unistd::geteuid;

use super::exec::landlock_available;
use super::folder::{RunFolder, remove_tree};
use super::spec::{RunSpec, Walls};
use super::{HostConfig, POD_PROBE, POD_SHIM, SELF};
use crate::pod::{ContainerPlan, PodPlan};
use crate::report::Phase;
use crate::site::Sandbox;

/// Runs folders of probes start so.
pub const PREFIX: &str = ".probe-";
const TIME_LIMIT_SECONDS: u64 = 10;

/// Inside the walls: succeeds if `forbidden` cannot be read and the process tree is the pod's own.
pub fn main(forbidden: &Path) -> ExitCode {
    let hidden = fs::read(forbidden).is_err();
    let alone = std::os::unix::process::parent_id() == 1;
    let privileged = fs::read_to_string("/proc/self/status").map_or(true, |status| {
        status
            .lines()
            .any(|line| line.strip_prefix("CapEff:").is_some_and(|caps| !caps.trim().trim_matches('0').is_empty()))
    });
    if hidden && alone && !privileged { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The walls that this engine should be able to build.
pub fn walls_to_try(first_uid: u32) -> Walls {
    if geteuid().is_root() { Walls::OtherUser { uid: first_uid } } else { Walls::UserNamespace }
}

/// Which sandbox this machine allows to whoever asks, with default settings. Blocks for a few milliseconds.
///
/// The calling program must know the shim's stages, see [`super::is_shim`].
pub fn probe() -> Sandbox {
    let data_dir = std::env::temp_dir().join(format!("dte-probe-{}", new_id()));
    let sandbox = match fs::DirBuilder::new().mode(0o700).create(&data_dir) {
        Ok(()) => probe_at(&HostConfig::default(), &data_dir),
        Err(error) => return Sandbox::None { why: format!("cannot try: {}: {error}", data_dir.display()) },
    };
    match remove_tree(&data_dir) {
        Ok(()) => sandbox,
        Err(error) => Sandbox::None { why: format!("cannot clean up: {}: {error}", data_dir.display()) },
    }
}

/// Which sandbox this machine allows for an engine with this data directory.
pub fn probe_at(config: &HostConfig, data_dir: &Path) -> Sandbox {
    if !config.sandbox {
        return Sandbox::None { why: "it is switched off in the configuration".into() };
    }
    let walls = walls_to_try(config.uid_first);
    match try_walls(config, data_dir, &walls) {
        Ok(()) => {
            let landlock = landlock_available();
            match walls {
                Walls::OtherUser { .. } => Sandbox::OtherUser { landlock },
                _ => Sandbox::UserNamespace { landlock },
            }
        }
        Err(why) => Sandbox::None { why },
    }
}

fn try_walls(config: &HostConfig, data_dir: &Path, walls: &Walls) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let data_dir = fs::canonicalize(data_dir).map_err(text)?;
    let runs = data_dir.join("runs");
    fs::create_dir_all(&runs).map_err(text)?;
    let path = runs.join(format!("{PREFIX}{}", new_id()));
    let outcome = (|| {
        let draft = RunFolder::create(&runs, new_id()).map_err(text)?;
        fs::rename(draft.path(), &path).map_err(text)?;
        let folder = RunFolder::at(&path);
        let forbidden = path.join("spec.json");
        folder.write_spec(&spec(config, &data_dir, walls.clone(), &forbidden)).map_err(text)?;
        super::site::hand_over(&folder, walls).map_err(text)?;
        let shim = Command::new(config.shim_program())
            .arg(POD_SHIM)
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(folder.shim_errors().map_err(text)?)
            .status()
            .map_err(text)?;
        match folder.exit().map_err(text)? {
            Some(report) if report.phase == Phase::Succeeded => Ok(()),
            Some(report) => Err(report.message.or(report.reason).unwrap_or_default()),
            None => Err(format!("the shim ended with {shim}: {}", folder.shim_error_text())),
        }
    })();
    remove_tree(&path).map_err(text)?;
    outcome
}

fn spec(config: &HostConfig, data_dir: &Path, walls: Walls, forbidden: &Path) -> RunSpec {
    let program = ContainerPlan {
        name: "probe".into(),
        image: "host".into(),
        argv: vec![SELF.into(), POD_PROBE.into(), forbidden.to_string_lossy().into_owned()],
        ..ContainerPlan::default()
    };
    RunSpec {
        plan: PodPlan {
            uid: new_id(),
            namespace: "dte".into(),
            name: "probe".into(),
            containers: vec![program],
            deadline_seconds: Some(TIME_LIMIT_SECONDS),
            ..PodPlan::default()
        },
        hide: super::hidden::places(config, &walls, &[]),
        walls,
        data_dir: data_dir.to_path_buf(),
        visible: config.visible.clone(),
        grace_seconds: 1,
        log_limit: 64 << 10,
        max_processes: config.max_processes,
        restart_wait_millis: 1,
        host_paths: Vec::new(),
    }
}
