//! The engine's side of the plugin: starts shims, watches them, and adopts those that run already.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dte_base::tasks::Tasks;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::cgroup::Group;
use super::folder::{INPUTS, OUTPUTS, RunFolder, TMP, WORK, remove_tree};
use super::spec::{RunSpec, Walls};
use super::users::{LAST_USER, Users};
use super::{HostConfig, POD_SHIM, hidden, logfile, probe};
use crate::logs::LogChunk;
use crate::pod::PodPlan;
use crate::report::{Phase, PodReport};
use crate::site::{Cancellation, Sandbox, SiteContext, SiteError, Staging};

/// What a pod's image must be called.
pub const IMAGE: &str = "host";
/// The longest time, in seconds, that a pod can ask for between being told to end and being ended.
const LONGEST_GRACE: u64 = 300;
/// Ends that a slow receiver of [`Site::ended`] may have unread.
const UNREAD_ENDS: usize = 4_096;

/// The site itself.
pub struct HostSite {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: HostConfig,
    pub(super) data_dir: PathBuf,
    pub(super) runs: PathBuf,
    pub(super) sandbox: Sandbox,
    pub(super) sockets: Vec<PathBuf>,
    pub(super) slots: usize,
    pub(super) tasks: Tasks,
    pub(super) known: Mutex<Known>,
    pub(super) ended: broadcast::Sender<Uuid>,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) runs: HashMap<Uuid, Run>,
    pub(super) uids: HashSet<u32>,
}

pub(super) struct Run {
    pub(super) folder: RunFolder,
    pub(super) state: State,
    pub(super) uid: Option<u32>,
    /// It stands still, and its place is free for another.
    pub(super) suspended: bool,
    /// Extended resources that it has while it is there, also when it stands still.
    pub(super) extended: BTreeMap<String, u64>,
}

impl Run {
    pub(super) fn takes_a_place(&self) -> bool {
        matches!(self.state, State::Running(_)) && !self.suspended
    }
}

pub(super) enum State {
    /// The folder is there; nothing runs and nothing ever ran.
    Prepared,
    /// A shim runs it; its handle.
    Running(Arc<AsyncFd<OwnedFd>>),
    Ended(Box<PodReport>),
}

impl HostSite {
    /// Opens the site and adopts the pods whose run folders are there.
    pub async fn open(config: HostConfig, context: &SiteContext) -> Result<Arc<HostSite>, SiteError> {
        let sockets = context.sockets.clone();
        let setup = {
            let (config, data_dir) = (config.clone(), context.data_dir.clone());
            move || -> Result<(PathBuf, PathBuf, Sandbox), SiteError> {
                let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
                make(&data_dir).map_err(SiteError::io("the data directory"))?;
                let data_dir = fs::canonicalize(&data_dir).map_err(SiteError::io("the data directory"))?;
                let runs = data_dir.join("runs");
                make(&runs).map_err(SiteError::io("the folder of runs"))?;
                fs::set_permissions(&runs, fs::Permissions::from_mode(0o700))
                    .map_err(SiteError::io("the folder of runs"))?;
                sweep(&runs).map_err(SiteError::io("the folder of runs"))?;
                let sandbox = probe::probe_at(&config, &data_dir);
                Ok((data_dir, runs, sandbox))
            }
        };
        let (data_dir, runs, sandbox) = blocking(setup).await?;
        let sandbox = hidden::told(sandbox, &config.name, &sockets);
        if let Sandbox::None { why } = &sandbox {
            tracing::warn!(site = config.name, why, "no sandbox: only administrators' pods may run here");
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Arc::new(Inner {
            slots: config.slots.unwrap_or((cpus * 2).max(4)),
            config,
            data_dir,
            runs,
            sandbox,
            sockets,
            tasks: context.tasks.clone(),
            known: Mutex::default(),
            ended: broadcast::channel(UNREAD_ENDS).0,
        });
        inner.adopt()?;
        Ok(Arc::new(HostSite { inner }))
    }
}

/// Removes what an earlier engine left half-made or half-removed.
fn sweep(runs: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runs)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with('.')) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the control groups of a pod whose shim could not do it.
fn remove_groups(folder: &RunFolder) {
    let Ok(Some(spec)) = folder.spec() else { return };
    for number in 0..spec.plan.all_containers().count() {
        if let Some(group) = Group::made(folder, number) {
            group.remove();
        }
    }
}

/// Makes a pod's places its own.
pub(crate) fn hand_over(folder: &RunFolder, walls: &Walls) -> io::Result<()> {
    fs::set_permissions(folder.sub(INPUTS), fs::Permissions::from_mode(0o755))?;
    if let Walls::OtherUser { uid } = walls {
        for name in [OUTPUTS, WORK, TMP] {
            chown(folder.sub(name), Some(*uid), Some(*uid))?;
        }
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SiteError> + Send + 'static,
) -> Result<T, SiteError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(SiteError::Io { what: "a task".into(), source: io::Error::other(error) }),
    }
}

impl Inner {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prepare(&self, uid: Uuid) -> Result<Staging, SiteError> {
        let folder =
            RunFolder::create(&self.runs, uid).map_err(SiteError::io(format!("the run folder of pod {uid}")))?;
        let staging = Staging { inputs: folder.sub(INPUTS), outputs: folder.sub(OUTPUTS) };
        self.known().runs.entry(uid).or_insert(Run {
            folder,
            state: State::Prepared,
            uid: None,
            suspended: false,
            extended: BTreeMap::new(),
        });
        Ok(staging)
    }

    pub(super) fn submit(self: &Arc<Self>, plan: &PodPlan) -> Result<(), SiteError> {
        let uid = plan.uid;
        let plan = &self.fit(plan)?;
        self.prepare(uid)?;
        let mut known = self.known();
        let running = known.runs.values().filter(|run| run.takes_a_place()).count();
        let run = known.runs.get(&uid).ok_or(SiteError::Unknown(uid))?;
        if !matches!(run.state, State::Prepared) {
            return Ok(());
        }
        if running >= self.slots {
            return Err(SiteError::Busy(self.config.name.clone()));
        }
        self.check_extended(&known, plan)?;
        let folder = run.folder.clone();
        let user = match run.uid {
            Some(user) => Some(user),
            None if matches!(self.sandbox, Sandbox::OtherUser { .. }) => {
                let users = Users { file: self.data_dir.join(LAST_USER), config: &self.config };
                let next = users.next(&known.uids).map_err(SiteError::io("the user ids of pods"))?;
                Some(next.ok_or_else(|| SiteError::Busy(self.config.name.clone()))?)
            }
            None => None,
        };
        known.uids.extend(user);
        if let Some(run) = known.runs.get_mut(&uid) {
            run.uid = user;
            run.extended = plan.extended().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        }
        // The lock is held while the shim starts (under a millisecond), so that a second call finds the first one's shim.
        let shim = self.start_shim(plan, &folder, user).map_err(SiteError::io(format!("starting pod {uid}")));
        drop(known);
        let child = shim?;
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let handle = pid
            .ok_or_else(|| io::Error::other("no process id"))
            .and_then(|pid| Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK)?));
        let handle = handle.map_err(SiteError::io(format!("watching pod {uid}")))?;
        self.watch(uid, folder, handle, Some(child)).map_err(SiteError::io(format!("watching pod {uid}")))
    }

    fn start_shim(&self, plan: &PodPlan, folder: &RunFolder, user: Option<u32>) -> io::Result<Child> {
        let walls = match (&self.sandbox, user) {
            (Sandbox::OtherUser { .. }, Some(uid)) => Walls::OtherUser { uid },
            (Sandbox::None { .. }, _) => Walls::Open,
            _ => Walls::UserNamespace,
        };
        let spec = RunSpec {
            plan: plan.clone(),
            hide: hidden::places(&self.config, &walls, &self.sockets),
            data_dir: self.data_dir.clone(),
            visible: self.config.visible.clone(),
            grace_seconds: plan.grace_seconds.unwrap_or(self.config.grace.0.as_secs()).min(LONGEST_GRACE),
            log_limit: self.config.log_limit.0,
            max_processes: self.config.max_processes,
            restart_wait_millis: u64::try_from(self.config.restart_wait.0.as_millis()).unwrap_or(u64::MAX),
            host_paths: self.config.host_paths.clone(),
            walls,
        };
        folder.write_spec(&spec)?;
        hand_over(folder, &spec.walls)?;
        Command::new(self.config.shim_program())
            .arg0("dte")
            .arg(POD_SHIM)
            .arg(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(folder.shim_errors()?)
            .spawn()
    }

    pub(super) fn report(&self, uid: Uuid) -> Option<PodReport> {
        let (folder, state) = {
            let known = self.known();
            let run = known.runs.get(&uid)?;
            match &run.state {
                State::Ended(report) => return Some((**report).clone()),
                State::Prepared => (run.folder.clone(), false),
                State::Running(_) => (run.folder.clone(), true),
            }
        };
        let seen = if state { folder.state().ok().flatten() } else { None };
        seen.or_else(|| {
            Some(PodReport {
                uid,
                phase: Phase::Pending,
                reason: None,
                message: None,
                started: None,
                finished: None,
                init_containers: Vec::new(),
                containers: Vec::new(),
                usage: crate::report::Usage::default(),
            })
        })
    }

    pub(super) fn read_log(&self, uid: Uuid, container: Option<&str>, from: u64) -> Result<LogChunk, SiteError> {
        let (folder, ended) = {
            let known = self.known();
            let run = known.runs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            (run.folder.clone(), matches!(run.state, State::Ended(_)))
        };
        let spec = folder.spec().map_err(SiteError::io(format!("pod {uid}")))?;
        let Some(spec) = spec else { return Ok(LogChunk { complete: ended, ..LogChunk::default() }) };
        let wanted = match container {
            Some(name) => spec.plan.all_containers().find(|c| c.name == name),
            None => spec.plan.containers.first(),
        };
        let Some(wanted) = wanted else {
            return Err(SiteError::Refused(format!("pod {uid} has no container {}", container.unwrap_or_default())));
        };
        let chunk = logfile::read(&folder.logs(), &wanted.name, from)
            .map_err(SiteError::io(format!("the log of pod {uid}")))?;
        Ok(LogChunk { complete: ended && chunk.complete, ..chunk })
    }

    pub(super) fn cancel(self: &Arc<Self>, uid: Uuid, how: &Cancellation) -> Result<(), SiteError> {
        let failed = |error| SiteError::Io { what: format!("ending pod {uid}"), source: error };
        let (folder, handle) = {
            let known = self.known();
            let run = known.runs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            match &run.state {
                State::Ended(_) => return Ok(()),
                State::Prepared => (run.folder.clone(), None),
                State::Running(handle) => (run.folder.clone(), Some(handle.clone())),
            }
        };
        folder.write_cancel(how).map_err(failed)?;
        match handle {
            Some(handle) => match pidfd_send_signal(handle.get_ref(), Signal::TERM) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(failed(error.into())),
            },
            // Nothing runs: whoever submits it later finds that it has ended.
            None if folder.spec().map_err(failed)?.is_some() => {
                self.look(uid, &folder, Some("nothing")).map_err(failed)
            }
            None => Ok(()),
        }
    }

    pub(super) fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        let run = {
            let mut known = self.known();
            match known.runs.get(&uid) {
                None => return Ok(()),
                Some(Run { state: State::Running(_), .. }) => {
                    return Err(SiteError::Refused(format!("pod {uid} still runs")));
                }
                Some(_) => known.runs.remove(&uid),
            }
        };
        let Some(run) = run else { return Ok(()) };
        if matches!(&run.state, State::Ended(report) if report.reason.as_deref() == Some("Lost")) {
            remove_groups(&run.folder);
        }
        let gone = self.runs.join(format!(".old-{}", Uuid::now_v7()));
        let failed = |error| SiteError::Io { what: format!("removing the run folder of pod {uid}"), source: error };
        fs::rename(run.folder.path(), &gone).map_err(failed)?;
        remove_tree(&gone).map_err(failed)?;
        if let Some(user) = run.uid {
            self.known().uids.remove(&user);
        }
        Ok(())
    }
}
