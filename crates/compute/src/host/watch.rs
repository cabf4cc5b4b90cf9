//! Watching shims: what a run folder says, who runs it, and how it ended.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

use super::folder::{RunFolder, Started};
use super::outcome::Outcome;
use super::process::ProcessIdentity;
use super::site::{Inner, Run, State, blocking};
use super::spec::Walls;
use crate::report::PodReport;
use crate::site::SiteError;

impl Inner {
    pub(super) fn adopt(self: &Arc<Self>) -> Result<(), SiteError> {
        let entries = fs::read_dir(&self.runs).map_err(SiteError::io("the folder of runs"))?;
        for entry in entries {
            let entry = entry.map_err(SiteError::io("the folder of runs"))?;
            let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse::<Uuid>().ok()) else { continue };
            let folder = RunFolder::at(entry.path());
            let spec = folder.spec().map_err(SiteError::io(format!("pod {uid}")))?;
            let user = match spec.as_ref().map(|spec| &spec.walls) {
                Some(Walls::OtherUser { uid }) => Some(*uid),
                _ => None,
            };
            {
                let mut known = self.known();
                known.uids.extend(user);
                let suspended = folder.is_suspended();
                let needs = spec.as_ref().map(|spec| spec.plan.extended()).unwrap_or_default();
                let extended = needs.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
                known.runs.insert(
                    uid,
                    Run { folder: folder.clone(), state: State::Prepared, uid: user, suspended, extended },
                );
            }
            self.look(uid, &folder, None).map_err(SiteError::io(format!("pod {uid}")))?;
        }
        Ok(())
    }

    /// Finds out where a pod is, from its folder, and watches it if it runs. `shim` is our child that just ended.
    pub(super) fn look(self: &Arc<Self>, uid: Uuid, folder: &RunFolder, shim: Option<&str>) -> io::Result<()> {
        if let Some(report) = folder.exit()? {
            // Its shim did it, unless it could not.
            folder.forget_secrets()?;
            self.settle(uid, report);
            return Ok(());
        }
        match folder.started()? {
            Some(started) => {
                if let Some(handle) = started.shim.handle()? {
                    return self.watch(uid, folder.clone(), handle, None);
                }
                // It may have finished between the two looks.
                let report = match folder.exit()? {
                    Some(report) => report,
                    None => self.give_up(folder, "Lost", "the pod's shim is gone and left no outcome")?,
                };
                self.settle(uid, report);
            }
            None => {
                let Some(ended) = shim else { return Ok(()) };
                // The shim of a started pod ended before it took the pod. We take it in its place, so that no other does.
                if !folder.claim(&Started { shim: ProcessIdentity::own()?, suspends: false })? {
                    return self.look(uid, folder, None);
                }
                let message = format!("the shim ended with {ended}: {}", folder.shim_error_text());
                let report = self.give_up(folder, "StartError", &message)?;
                self.settle(uid, report);
            }
        }
        Ok(())
    }

    /// Writes the outcome of a pod in place of its shim.
    fn give_up(&self, folder: &RunFolder, reason: &str, message: &str) -> io::Result<PodReport> {
        let spec = folder.spec()?.ok_or_else(|| io::Error::other("there is no spec.json"))?;
        let now = dte_base::time::Timestamp::now();
        let mut outcome = Outcome::new(&spec.plan, now);
        match folder.cancellation()? {
            Some(how) => outcome.end_for(&how.reason),
            None => outcome.end_for(reason),
        }
        let mut report = outcome.report(now);
        if let Some(last) = folder.state()? {
            report = PodReport { started: last.started, usage: last.usage, ..report };
        }
        report.message = Some(message.to_owned());
        folder.forget_secrets()?;
        folder.write_exit(&report)?;
        Ok(report)
    }

    fn settle(&self, uid: Uuid, report: PodReport) {
        if let Some(run) = self.known().runs.get_mut(&uid) {
            run.state = State::Ended(Box::new(report));
        }
        // Nobody may be listening; who starts to listen asks for the status first.
        drop(self.ended.send(uid));
    }

    pub(super) fn watch(
        self: &Arc<Self>,
        uid: Uuid,
        folder: RunFolder,
        handle: OwnedFd,
        child: Option<Child>,
    ) -> io::Result<()> {
        // Deprecated in favour of an `unsafe` one, because a caller might replace the descriptor inside: an `OwnedFd` behind
        // an `Arc` cannot be.
        #[allow(deprecated)]
        let handle = Arc::new(AsyncFd::with_interest(handle, Interest::READABLE)?);
        if let Some(run) = self.known().runs.get_mut(&uid) {
            run.state = State::Running(handle.clone());
        }
        let site = self.clone();
        self.tasks.clone().spawn("host pod", async move { site.follow(uid, folder, handle, child).await });
        Ok(())
    }

    async fn follow(
        self: Arc<Self>,
        uid: Uuid,
        folder: RunFolder,
        handle: Arc<AsyncFd<OwnedFd>>,
        child: Option<Child>,
    ) {
        tokio::select! {
            // The pod goes on; the next engine adopts it.
            () = self.tasks.stopping() => return,
            ready = handle.readable() => if let Err(error) = ready {
                tracing::error!(%uid, %error, "cannot watch a pod");
                return;
            },
        }
        let outcome = blocking(move || {
            // A child must be waited for; one that we adopted is somebody else's.
            let status = match child {
                Some(mut child) => child.wait().map_err(SiteError::io("waiting for a shim"))?.to_string(),
                None => "an unknown status".into(),
            };
            self.look(uid, &folder, Some(&status)).map_err(SiteError::io(format!("pod {uid}")))
        });
        if let Err(error) = outcome.await {
            tracing::error!(%uid, %error, "cannot read the outcome of a pod");
        }
    }
}
