//! Suspending and resuming a pod: the engine notes its wish in the run folder and tells the shim, which orders the init to stop
//! (SIGSTOP) or continue (SIGCONT) every process of the pod.

use rustix::process::{Signal, pidfd_send_signal};
use uuid::Uuid;

use super::site::{Inner, State};
use crate::site::SiteError;

impl Inner {
    pub(super) fn set_suspended(&self, uid: Uuid, wanted: bool) -> Result<(), SiteError> {
        let what = if wanted { "suspending" } else { "resuming" };
        let failed = |error| SiteError::Io { what: format!("{what} pod {uid}"), source: error };
        let (folder, handle) = {
            let known = self.known();
            let run = known.runs.get(&uid).ok_or(SiteError::Unknown(uid))?;
            match &run.state {
                State::Ended(_) => return Ok(()),
                State::Prepared => return Err(SiteError::Refused(format!("pod {uid} does not run yet"))),
                State::Running(handle) => (run.folder.clone(), handle.clone()),
            }
        };
        // The note first: a shim that starts only now reads it once it has taken the pod, and one that has taken it is told.
        folder.set_suspended(wanted).map_err(failed)?;
        match folder.started().map_err(failed)? {
            Some(started) if started.suspends => match pidfd_send_signal(handle.get_ref(), Signal::USR1) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(failed(error.into())),
            },
            Some(_) => return Err(SiteError::Refused(format!("the shim of pod {uid} is too old to suspend it"))),
            None => {}
        }
        if let Some(run) = self.known().runs.get_mut(&uid) {
            run.suspended = wanted;
        }
        Ok(())
    }
}
