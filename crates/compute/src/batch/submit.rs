//! Handing a pod over: once, however often it is asked for and wherever the engine dies.

use std::collections::HashSet;
use std::path::Path;

use uuid::Uuid;

use super::index::Record;
use super::jobs::{Job, Stage};
use super::site::Inner;
use super::system::{JobPlace, Refusal};
use super::{Settings, WallsSetting, runtime};
use crate::host::sandbox::HIDDEN_BY_DEFAULT;
use crate::host::spec::{RunSpec, Walls, usual_restart_wait};
use crate::place::{Order, PlaceError};
use crate::pod::PodPlan;
use crate::site::SiteError;

/// The longest time, in seconds, that a pod can ask for between being told to end and being ended.
const LONGEST_GRACE: u64 = 300;

/// Says that a pod is being handed over, until dropped.
struct Turn<'a> {
    inner: &'a Inner,
    uid: Uuid,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.inner.handing_over.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.uid);
    }
}

impl Inner {
    pub(super) async fn submit(&self, plan: &PodPlan) -> Result<(), SiteError> {
        let uid = plan.uid;
        let plan = &runtime::contained(
            self.settings.container.as_ref(),
            &self.settings.name,
            plan,
            &self.place.run_folder(uid),
            grace_of(&self.settings, plan),
        )
        .map_err(SiteError::Refused)?;
        let description = self.describe(plan).map_err(SiteError::Refused)?;
        let busy = || SiteError::Busy(self.settings.name.clone());
        if !self.handing_over.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(uid) {
            return Err(busy());
        }
        let _turn = Turn { inner: self, uid };
        let unsure = {
            let jobs = self.jobs();
            match jobs.get(&uid).map(|job| &job.stage) {
                Some(Stage::Queued(_) | Stage::Ended(_)) => return Ok(()),
                Some(Stage::Unsure(_)) => true,
                Some(Stage::Prepared) | None => false,
            }
        };
        if !unsure && self.jobs().values().filter(|job| job.is_active()).count() as u64 >= self.settings.max_pods {
            return Err(busy());
        }
        match self.hand_over(plan, description, unsure).await {
            Err(PlaceError::Unreachable(why)) => {
                tracing::info!(%uid, site = self.settings.name, why, "a pod waits for its site");
                Err(busy())
            }
            Err(PlaceError::Failed(why)) => {
                Err(SiteError::Io { what: format!("starting pod {uid}"), source: std::io::Error::other(why) })
            }
            Ok(Err(Refusal::Never(why))) => {
                // Nothing of it is there: it may be forgotten.
                self.keep(uid, Stage::Prepared);
                Err(SiteError::Refused(why))
            }
            Ok(Err(Refusal::Later(why))) => {
                tracing::info!(%uid, site = self.settings.name, why, "a pod waits for room in the queue");
                Err(busy())
            }
            Ok(Err(Refusal::Unsure(why))) => {
                Err(SiteError::Io { what: format!("starting pod {uid}"), source: std::io::Error::other(why) })
            }
            Ok(Ok(())) => Ok(()),
        }
    }

    fn describe(&self, plan: &PodPlan) -> Result<String, String> {
        let run_folder = self.place.run_folder(plan.uid);
        let grace_seconds = grace_of(&self.settings, plan);
        self.system.describe(plan, &JobPlace { run_folder: &run_folder, runner: self.place.runner(), grace_seconds })
    }

    async fn hand_over(
        &self,
        plan: &PodPlan,
        description: String,
        unsure: bool,
    ) -> Result<Result<(), Refusal>, PlaceError> {
        let uid = plan.uid;
        let failed = || PlaceError::failed(format!("the folder of pod {uid}"));
        let _turn = self.submissions.acquire().await.map_err(|error| PlaceError::Failed(error.to_string()))?;
        let mut record = Record::new(plan);
        if unsure {
            // An earlier try may have come through: the queue has the job, or a runner has taken the folder.
            let found = self.system.find(uid).await?;
            let seen = self.place.look(vec![uid]).await?.pop();
            if found.is_some() || seen.is_some_and(|seen| seen.started) {
                record.job = found.as_ref().map(|job| job.id);
                return self.note(uid, record).await.map(Ok);
            }
        }
        self.index.create(uid).map_err(failed())?;
        if !self.place.is_local() {
            self.place.order(Order::Prepare { uid }).await?;
            self.send_inputs(uid).await?;
        }
        match self.user_for(uid) {
            Ok(user) => record.user = user,
            Err(why) => return Ok(Err(Refusal::Later(why))),
        }
        let folder = self.place.run_folder(uid);
        let spec = Box::new(self.spec(plan, record.user));
        self.place.ask(Order::Arrange { uid, spec }, description.into_bytes()).await?;
        // From here on, whoever comes back here asks the batch system first.
        self.index.save(uid, &record).map_err(failed())?;
        self.keep(uid, Stage::Unsure(Box::new(record.clone())));
        match self.system.submit(&folder.join("job.sh")).await {
            Ok(number) => {
                record.job = Some(number);
                self.note(uid, record).await.map(Ok)
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The batch system has the pod.
    async fn note(&self, uid: Uuid, record: Record) -> Result<(), PlaceError> {
        self.index.save(uid, &record).map_err(PlaceError::failed(format!("the folder of pod {uid}")))?;
        self.keep(uid, Stage::Queued(Box::new(record)));
        self.wake.notify_one();
        // If it fails, the next look at the queue does it.
        if self.place.order(Order::Watch { uid }).await.is_ok()
            && let Some(job) = self.jobs().get_mut(&uid)
        {
            job.is_watched = true;
        }
        Ok(())
    }

    fn keep(&self, uid: Uuid, stage: Stage) {
        let mut jobs = self.jobs();
        match jobs.get_mut(&uid) {
            // It ended while we were told that it began.
            Some(Job { stage: Stage::Ended(_), .. }) => {}
            Some(job) => {
                let user = job.user;
                job.stage = stage;
                job.user = job.record().and_then(|record| record.user).or(user);
            }
            None => drop(jobs.insert(uid, Job::new(stage))),
        }
    }

    /// A user id that no other pod has, if pods get one.
    fn user_for(&self, uid: Uuid) -> Result<Option<u32>, String> {
        if self.settings.walls != WallsSetting::OtherUser {
            return Ok(None);
        }
        let mut jobs = self.jobs();
        let taken: HashSet<u32> = jobs.values().filter_map(|job| job.user).collect();
        let job = jobs.entry(uid).or_insert_with(|| Job::new(Stage::Prepared));
        let last = self.settings.uid_first.saturating_add(self.settings.uid_count);
        let user = job.user.or_else(|| (self.settings.uid_first..last).find(|user| !taken.contains(user)));
        job.user = user;
        user.map(Some).ok_or_else(|| "all user ids for pods are taken".to_owned())
    }

    fn spec(&self, plan: &PodPlan, user: Option<u32>) -> RunSpec {
        let config = &self.settings;
        let own = self.place.is_local().then_some(self.data_dir.clone());
        let hide = HIDDEN_BY_DEFAULT.iter().map(Into::into).chain(config.hide.clone()).chain(own);
        RunSpec {
            plan: plan.unattended(),
            walls: match (config.walls, user) {
                (WallsSetting::OtherUser, Some(uid)) => Walls::OtherUser { uid },
                (WallsSetting::UserNamespace, _) => Walls::UserNamespace,
                _ => Walls::Open,
            },
            // Other pods' folders are there, which is what the walls are about.
            data_dir: config.folder.clone(),
            hide: hide.filter(|place| !config.folder.starts_with(place) || place.as_path() == Path::new("/")).collect(),
            visible: config.visible.clone(),
            grace_seconds: grace_of(config, plan),
            log_limit: config.log_limit.0,
            max_processes: config.max_processes,
            restart_wait_millis: usual_restart_wait(),
            host_paths: Vec::new(),
        }
    }
}

pub(super) fn grace_of(config: &Settings, plan: &PodPlan) -> u64 {
    plan.grace_seconds.unwrap_or(config.grace.0.as_secs()).min(LONGEST_GRACE)
}
