//! What the shim is told: the pod, where it runs, and behind which walls.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::pod::{Action, ContainerPlan, PodPlan, VolumeSource, expand};

use super::folder::{INPUTS, OUTPUTS, RunFolder, TMP, WORK};
use super::mounts::Placed;

/// `PATH` of a pod that sets none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// What programs take a terminal for, where the pod does not say: as container runtimes do.
const TERMINAL: &str = "xterm";

/// By these a batch system tells which of a machine's devices are the job's. Programs look for them, so pods get them too.
pub const DEVICES: [&str; 4] =
    ["CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"];

/// The job that starts a pod may name here, with blanks between, which more of its variables the pod gets: what a site's set-up
/// made of them, or what the batch system says of the job.
pub const POD_VARIABLES: &str = "DTE_POD_VARIABLES";

/// Variables of the calling process that pods get too.
pub fn handed_on() -> Vec<(String, String)> {
    let more = std::env::var(POD_VARIABLES).unwrap_or_default();
    let more = more.split_ascii_whitespace().filter(|name| !name.starts_with("DTE_"));
    let names = DEVICES.into_iter().chain(more);
    names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

/// The walls around one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Walls {
    /// The engine is root: the pod runs as this user and group, which are nobody else's.
    OtherUser { uid: u32 },
    /// The pod runs as the engine's user, seen from outside, in a user namespace.
    UserNamespace,
    /// None: for trusted people where nothing better is possible.
    Open,
}

impl Walls {
    /// The user that the pod runs as, if that is another than the engine's.
    pub fn user(&self) -> Option<u32> {
        match self {
            Walls::OtherUser { uid } => Some(*uid),
            Walls::UserNamespace | Walls::Open => None,
        }
    }
}

/// What the shim reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunSpec {
    pub plan: PodPlan,
    pub walls: Walls,
    /// The engine's data directory, which the pod must not see.
    pub data_dir: PathBuf,
    /// More that it must not see.
    pub hide: Vec<PathBuf>,
    /// Beneath what is hidden, still visible, read-only.
    pub visible: Vec<PathBuf>,
    pub grace_seconds: u64,
    /// Bytes of log kept for each container.
    pub log_limit: u64,
    /// Processes that the pod may have at once.
    pub max_processes: u64,
    /// How long a container that ended again waits before its next start; doubled each time.
    #[serde(default = "usual_restart_wait")]
    pub restart_wait_millis: u64,
    /// Folders of the machine that the pod may mount (`hostPath`).
    #[serde(default)]
    pub host_paths: Vec<PathBuf>,
}

/// What kubelet does.
pub fn usual_restart_wait() -> u64 {
    10_000
}

/// A container as it is started: nothing left to look up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub folder: PathBuf,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: PathBuf,
    pub memory_bytes: Option<u64>,
    pub storage_bytes: Option<u64>,
    pub cpu_seconds: Option<u64>,
    pub max_processes: u64,
    /// The walls to build in the program's own process too.
    pub walls: Walls,
    /// What it mounts. None of the pod's containers mounts anything: `None`.
    pub mounts: Option<Vec<Placed>>,
    /// Where the process joins the control group that limits its memory.
    pub group: Option<PathBuf>,
    /// Done in place of executing `argv`.
    pub action: Option<Action>,
    /// Standard input is a terminal that it gets for itself.
    pub terminal: bool,
    /// In place of executing anything, carries bytes between standard input and output and this port of the pod's.
    pub forward: Option<u16>,
}

impl Launch {
    /// Something else that is done in the same container.
    pub fn doing(&self, action: &Action) -> Launch {
        match action {
            Action::Exec { argv } => Launch { argv: argv.clone(), ..self.clone() },
            other => Launch { action: Some(other.clone()), ..self.clone() },
        }
    }
}

impl RunSpec {
    /// How to start `container`.
    pub fn launch(&self, container: &ContainerPlan, folder: &RunFolder) -> Launch {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut env: Vec<(String, String)> = vec![
            ("PATH".into(), DEFAULT_PATH.into()),
            ("HOME".into(), text(folder.sub(WORK))),
            ("TMPDIR".into(), text(folder.sub(TMP))),
        ];
        let own = [
            ("DTE_RUN_DIR", text(folder.path().to_path_buf())),
            ("DTE_INPUTS", text(folder.sub(INPUTS))),
            ("DTE_OUTPUTS", text(folder.sub(OUTPUTS))),
        ];
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        for (name, value) in handed_on() {
            match env.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => env.push((name, value)),
            }
        }
        env.extend(container.interactive.tty.then(|| ("TERM".to_owned(), TERMINAL.to_owned())));
        for (name, value) in &container.env {
            if name.starts_with("DTE_") && env.iter().any(|(known, _)| known == name) {
                continue;
            }
            let value = expand(value, |wanted| lookup(&env, wanted));
            match env.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = value,
                None => env.push((name.clone(), value)),
            }
        }
        let argv = container.argv.iter().map(|word| expand(word, |wanted| lookup(&env, wanted))).collect();
        let work = folder.sub(WORK);
        let cpu_seconds = match (container.limits.cpu_millis, self.plan.deadline_seconds) {
            (Some(millis), Some(deadline)) => Some(millis.saturating_mul(deadline).div_ceil(1_000).max(1)),
            _ => None,
        };
        Launch {
            folder: folder.path().to_path_buf(),
            argv,
            working_dir: container.working_dir.as_ref().map_or_else(|| work.clone(), |dir| work.join(dir)),
            env,
            memory_bytes: container.limits.memory_bytes,
            storage_bytes: container.limits.storage_bytes,
            cpu_seconds,
            max_processes: self.max_processes,
            walls: self.walls.clone(),
            mounts: None,
            group: None,
            action: None,
            terminal: false,
            forward: None,
        }
    }

    /// Volumes that are memory.
    pub fn memory_volumes(&self) -> impl Iterator<Item = &str> {
        let in_memory = |source: &VolumeSource| matches!(source, VolumeSource::EmptyDir { in_memory: true, .. });
        let has_mounts = self.walls != Walls::Open;
        self.plan.volumes.iter().filter(move |volume| has_mounts && in_memory(&volume.source)).map(|v| v.name.as_str())
    }

    /// Memory that all containers together may use, if each has a limit.
    pub fn memory_limit(&self) -> Option<u64> {
        self.plan
            .containers
            .iter()
            .map(|c| c.limits.memory_bytes)
            .try_fold(0u64, |sum, limit| Some(sum.saturating_add(limit?)))
    }
}

fn lookup(env: &[(String, String)], wanted: &str) -> Option<String> {
    env.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Limits;

    #[test]
    fn environment_is_the_pods_own() {
        let container = ContainerPlan {
            name: "c".into(),
            image: "host".into(),
            argv: vec!["$(DTE_RUN_DIR)/inputs/m".into(), "$(A)".into()],
            env: vec![
                ("A".into(), "x$(DTE_INPUTS)".into()),
                ("PATH".into(), "/p".into()),
                ("DTE_OUTPUTS".into(), "/etc".into()),
            ],
            limits: Limits { cpu_millis: Some(500), ..Limits::default() },
            ..ContainerPlan::default()
        };
        let spec = RunSpec {
            plan: PodPlan {
                uid: uuid::Uuid::nil(),
                namespace: "n".into(),
                name: "p".into(),
                containers: vec![container.clone()],
                deadline_seconds: Some(3),
                ..PodPlan::default()
            },
            walls: Walls::Open,
            data_dir: "/d".into(),
            hide: vec![],
            visible: vec![],
            grace_seconds: 1,
            log_limit: 1,
            max_processes: 1,
            restart_wait_millis: 1,
            host_paths: vec![],
        };
        let launch = spec.launch(&container, &RunFolder::at("/d/runs/u"));
        assert_eq!(launch.argv, ["/d/runs/u/inputs/m", "x/d/runs/u/inputs"]);
        let value = |name: &str| lookup(&launch.env, name).expect(name);
        assert_eq!((value("PATH"), value("DTE_OUTPUTS")), ("/p".into(), "/d/runs/u/outputs".into()));
        assert_eq!(launch.cpu_seconds, Some(2));
        assert_eq!(launch.working_dir, PathBuf::from("/d/runs/u/work"));
    }
}
