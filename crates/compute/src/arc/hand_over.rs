//! Handing a pod over: a job first, whose number is noted; then the files that it waits for.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::description::{self, Input, RUNNER, SCRIPT, SPEC};
use super::site::{Inner, Record};
use super::wire;
use crate::batch::resources::Wanted;
use crate::batch::{runtime, transfer};
use crate::host::folder::INPUTS;
use crate::host::spec::{RunSpec, Walls, usual_restart_wait};
use crate::pod::{Action, PodPlan};
use crate::site::SiteError;

/// The running program, also if its file was replaced.
const SELF: &str = "/proc/self/exe";
/// The longest time, in seconds, that a pod can ask for between being told to end and being ended.
const LONGEST_GRACE: u64 = 300;
/// Processes that one pod may have at once, where the site lets the runner limit them.
const PROCESSES: u64 = 4_096;
/// By this name a pod knows its run folder, wherever its job runs.
const RUN_FOLDER: &str = "$(DTE_RUN_DIR)";

impl Inner {
    pub(super) async fn submit(&self, plan: &PodPlan) -> Result<(), SiteError> {
        let uid = plan.uid;
        let grace = plan.grace_seconds.unwrap_or(self.config.grace.0.as_secs()).min(LONGEST_GRACE);
        let made = self.contained(plan, grace).map_err(SiteError::Refused)?;
        let wanted = Wanted::of_pod(plan, grace, &self.config.name).map_err(SiteError::Refused)?;
        let busy = || SiteError::Busy(self.config.name.clone());
        let Some(_turn) = self.turn(uid) else { return Err(busy()) };
        let known = {
            let pods = self.pods();
            let entry = pods.get(&uid);
            if entry.is_some_and(|entry| entry.is_over) {
                return Ok(());
            }
            let known = entry.and_then(|entry| entry.record.clone());
            if known.is_none() && pods.values().filter(|entry| entry.is_active()).count() as u64 >= self.config.pods {
                return Err(busy());
            }
            known
        };
        if known.as_ref().is_some_and(|record| record.is_complete || record.cancelled.is_some()) {
            return Ok(());
        }
        self.index.create(uid).map_err(self.folder_failed(uid))?;
        let files = self.files(uid)?;
        let mut record = match known {
            Some(record) => record,
            None => self.create(plan, &wanted, &files).await?,
        };
        if self.takes_files(&record.job).await? {
            let spec = serde_json::to_vec(&self.spec(made, grace)).map_err(std::io::Error::from);
            self.send(&record.job, &files, spec.map_err(self.folder_failed(uid))?).await?;
        }
        record.is_complete = true;
        self.note(uid, &record)?;
        self.wake.notify_one();
        Ok(())
    }

    /// A job of which nobody here has the number stays without files, so it never runs: no earlier try is looked for.
    async fn create(&self, plan: &PodPlan, wanted: &Wanted, files: &[(Input, PathBuf)]) -> Result<Record, SiteError> {
        let mut inputs = vec![Input::new(SCRIPT, false), Input::new(SPEC, false)];
        inputs.extend(files.iter().map(|(input, _)| input.clone()));
        let description = description::render(plan.uid, self.config.queue.as_deref(), wanted, &inputs);
        let made =
            self.rest.create(description.map_err(SiteError::Refused)?).await.map_err(|error| self.away(&error))?;
        let job = made.map_err(|why| SiteError::Refused(format!("the computing element takes no such job: {why}")))?;
        let record = Record { plan: plan.without_secrets(), job, is_complete: false, cancelled: None };
        self.note(plan.uid, &record)?;
        Ok(record)
    }

    /// Whether the job waits for its files. One that does not has them all, or will never run.
    async fn takes_files(&self, job: &str) -> Result<bool, SiteError> {
        let answers = self.rest.act("status", &[job]).await.map_err(|error| self.away(&error))?;
        Ok(answers.iter().any(|answer| answer.id == job && wire::takes_files(&answer.state)))
    }

    async fn send(&self, job: &str, files: &[(Input, PathBuf)], spec: Vec<u8>) -> Result<(), SiteError> {
        let away = |error| self.away(&error);
        for (input, path) in files {
            self.rest.put(job, &input.name, path).await.map_err(away)?;
        }
        let script = description::script(self.config.runner_on_nodes.as_deref());
        self.rest.put_text(job, SCRIPT, script.into_bytes()).await.map_err(away)?;
        // What may be secret goes last: the job starts, and the runner removes it.
        self.rest.put_text(job, SPEC, spec).await.map_err(away)
    }

    /// The runner, if it has to be sent, and the pod's inputs.
    fn files(&self, uid: Uuid) -> Result<Vec<(Input, PathBuf)>, SiteError> {
        let mut files = Vec::new();
        if self.config.runner_on_nodes.is_none() {
            let runner = self.config.runner.clone().unwrap_or_else(|| SELF.into());
            files.push((Input::new(RUNNER, true), runner));
        }
        let root = self.index.inputs(uid);
        for path in transfer::files(&root).map_err(self.folder_failed(uid))? {
            let name = path.to_str().filter(|name| !name.chars().any(char::is_control)).ok_or_else(|| {
                SiteError::Refused(format!(
                    "the name of input {} cannot be sent to a computing element",
                    path.display()
                ))
            })?;
            let is_program = is_program(&root.join(&path)).map_err(self.folder_failed(uid))?;
            files.push((Input::new(format!("{INPUTS}/{name}"), is_program), root.join(&path)));
        }
        Ok(files)
    }

    /// The pod with its containers as commands of the nodes' container program. Where its run folder is, only its job knows.
    fn contained(&self, plan: &PodPlan, grace: u64) -> Result<PodPlan, String> {
        let config = &self.config;
        let stand_in = format!("/dte-run-folder-{}", plan.uid);
        let mut made = runtime::contained(config.container.as_ref(), &config.name, plan, Path::new(&stand_in), grace)?;
        let put = |text: &mut String| *text = text.replace(&stand_in, RUN_FOLDER);
        for container in made.init_containers.iter_mut().chain(&mut made.containers) {
            container.argv.iter_mut().for_each(put);
            container.env.iter_mut().for_each(|(_, value)| put(value));
            if let Some(Action::Exec { argv }) = &mut container.pre_stop {
                argv.iter_mut().for_each(put);
            }
        }
        Ok(made)
    }

    fn spec(&self, plan: PodPlan, grace_seconds: u64) -> RunSpec {
        RunSpec {
            plan: plan.unattended(),
            walls: Walls::Open,
            data_dir: PathBuf::new(),
            hide: Vec::new(),
            visible: Vec::new(),
            grace_seconds,
            log_limit: self.config.log_limit.0,
            max_processes: PROCESSES,
            restart_wait_millis: usual_restart_wait(),
            host_paths: Vec::new(),
        }
    }
}

fn is_program(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o111 != 0)
}
