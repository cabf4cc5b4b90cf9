//! Going on where an earlier engine stopped.

use super::jobs::{Job, Stage};
use super::site::Inner;
use crate::site::SiteError;

impl Inner {
    /// Takes up the pods that are remembered. What became of them meanwhile, the first look at the queue and the folders says.
    pub(super) fn adopt(&self) -> Result<(), SiteError> {
        let all = self.index.all().map_err(SiteError::io(format!("the folder of site {}", self.settings.name)))?;
        let mut jobs = self.jobs();
        for pod in all {
            let user = pod.record.as_ref().and_then(|record| record.user);
            let stage = match (pod.exit, pod.record) {
                (Some(report), _) => Stage::Ended(Box::new(report)),
                (None, Some(record)) if record.job.is_some() => Stage::Queued(Box::new(record)),
                (None, Some(record)) => Stage::Unsure(Box::new(record)),
                (None, None) => Stage::Prepared,
            };
            jobs.insert(pod.uid, Job { user, ..Job::new(stage) });
        }
        Ok(())
    }
}
