//! Handing a pod over: once, however often it is asked for and wherever the engine dies.

use std::collections::HashSet;
use std::path::Path;

use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::index::Record;
use super::jobs::{Job, Stage};
use super::site::Inner;
use super::system::{JobName, JobPlace, Queued, Refusal};
use super::{Settings, WallsSetting, runtime};
use crate::host::sandbox::HIDDEN_BY_DEFAULT;
use crate::host::spec::{RunSpec, Walls, usual_restart_wait};
use crate::place::{Order, PlaceError, SCRIPT};
use crate::pod::PodPlan;
use crate::site::SiteError;

/// The longest time, in seconds, that a pod can ask for between being told to end and being ended.
const LONGEST_GRACE: u64 = 300;

/// What came of handing a pod over.
pub(super) type Handed = Result<Result<(), Refusal>, PlaceError>;

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
        let known = {
            let jobs = self.jobs();
            match jobs.get(&uid).map(|job| &job.stage) {
                Some(Stage::Queued(_) | Stage::Ended(_)) => return Ok(()),
                Some(Stage::Unsure(record)) => Some((**record).clone()),
                Some(Stage::Prepared) | None => None,
            }
        };
        let active = self.jobs().values().filter(|job| job.is_active()).count();
        let Some((_turn, others)) = self.take_turn(uid) else { return Err(busy()) };
        if known.is_none() && (active + others) as u64 >= self.settings.max_pods {
            return Err(busy());
        }
        let failed =
            |why: String| SiteError::Io { what: format!("starting pod {uid}"), source: std::io::Error::other(why) };
        match self.hand_over(plan, description, known).await {
            Err(PlaceError::Unreachable(why)) => {
                tracing::info!(%uid, site = self.settings.name, why, "a pod waits for its site");
                Err(busy())
            }
            Err(PlaceError::Failed(why)) => Err(failed(why)),
            Ok(Err(Refusal::Never(why))) => {
                // Nothing of it is there: it may be forgotten.
                self.keep(uid, Stage::Prepared);
                Err(SiteError::Refused(why))
            }
            Ok(Err(Refusal::Later(why))) => {
                tracing::info!(%uid, site = self.settings.name, why, "a pod waits for room in the queue");
                Err(busy())
            }
            Ok(Err(Refusal::Unreachable(why))) => {
                tracing::info!(%uid, site = self.settings.name, why, "a pod waits for its site");
                Err(busy())
            }
            Ok(Err(Refusal::Unsure(why))) => Err(failed(why)),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Nobody else hands the pod over meanwhile. How many others are being handed over that have no record yet.
    fn take_turn(&self, uid: Uuid) -> Option<(Turn<'_>, usize)> {
        let mut all = self.handing_over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !all.insert(uid) {
            return None;
        }
        let jobs = self.jobs();
        let others = all.iter().filter(|other| **other != uid && !jobs.get(other).is_some_and(Job::is_active)).count();
        Some((Turn { inner: self, uid }, others))
    }

    pub(super) fn job_place<'a>(&'a self, plan: &PodPlan, run_folder: &'a Path) -> JobPlace<'a> {
        JobPlace { run_folder, runner: self.place.runner(), grace_seconds: grace_of(&self.settings, plan) }
    }

    fn describe(&self, plan: &PodPlan) -> Result<String, String> {
        let run_folder = self.place.run_folder(plan.uid);
        self.system.describe(plan, &self.job_place(plan, &run_folder))
    }

    /// `known`: what was noted by an earlier try, which may have come through.
    async fn hand_over(&self, plan: &PodPlan, description: String, known: Option<Record>) -> Handed {
        let turn = self.turn_to_submit().await?;
        let mut record = Record::new(plan);
        let is_new = known.is_none();
        if let Some(known) = known {
            if let Some(found) = self.came_through(&known).await? {
                return self.note(plan.uid, found).await.map(Ok);
            }
            record.shared = known.shared;
        }
        if let Err(why) = self.arrange(plan, &mut record, description.into_bytes()).await? {
            return Ok(Err(Refusal::Later(why)));
        }
        let run_folder = self.place.run_folder(plan.uid);
        if is_new && let Some(common) = self.system.array_of(plan, &self.job_place(plan, &run_folder)) {
            drop(turn);
            if let Some(handed) = self.hand_over_together(common, plan, &record).await {
                return handed;
            }
            let _turn = self.turn_to_submit().await?;
            return self.hand_over_alone(plan.uid, record).await;
        }
        self.hand_over_alone(plan.uid, record).await
    }

    pub(super) async fn turn_to_submit(&self) -> Result<SemaphorePermit<'_>, PlaceError> {
        self.submissions.acquire().await.map_err(|error| PlaceError::Failed(error.to_string()))
    }

    /// What is to be noted of a pod of which the queue has a job, or whose folder a runner has taken.
    async fn came_through(&self, known: &Record) -> Result<Option<Record>, PlaceError> {
        let mut record = known.clone();
        if let Some((name, job)) = self.find(known).await? {
            record.call(name);
            record.job = Some(job.id);
            return Ok(Some(record));
        }
        let seen = self.place.look(vec![known.plan.uid]).await?.pop();
        Ok(seen.is_some_and(|seen| seen.started).then_some(record))
    }

    /// The pod's job, if the queue has one: of several the one that runs, else one that waits.
    pub(super) async fn find(&self, record: &Record) -> Result<Option<(JobName, Queued)>, PlaceError> {
        let names: Vec<JobName> = record.names().collect();
        let found = self.system.find(&names).await?;
        Ok(found.into_iter().max_by_key(|(_, job)| job.rank()))
    }

    /// Brings the pod to where its job will find it. What it lacks now, if it does.
    pub(super) async fn arrange(
        &self,
        plan: &PodPlan,
        record: &mut Record,
        description: Vec<u8>,
    ) -> Result<Result<(), String>, PlaceError> {
        let uid = plan.uid;
        self.index.create(uid).map_err(PlaceError::failed(format!("the folder of pod {uid}")))?;
        if !self.place.is_local() {
            self.place.order(Order::Prepare { uid }).await?;
            self.send_inputs(uid).await?;
        }
        match self.user_for(uid) {
            Ok(user) => record.user = user,
            Err(why) => return Ok(Err(why)),
        }
        let spec = Box::new(self.spec(plan, record.user));
        self.place.ask(Order::Arrange { uid, spec }, description).await?;
        Ok(Ok(()))
    }

    async fn hand_over_alone(&self, uid: Uuid, mut record: Record) -> Handed {
        record.call(JobName::own(uid));
        self.note_attempt(uid, &record)?;
        match self.system.submit(&self.place.run_folder(uid).join(SCRIPT)).await {
            Ok(number) => {
                record.job = Some(number);
                self.note(uid, record).await.map(Ok)
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// From here on, whoever comes back to this pod asks the batch system first.
    pub(super) fn note_attempt(&self, uid: Uuid, record: &Record) -> Result<(), PlaceError> {
        self.index.save(uid, record).map_err(PlaceError::failed(format!("the folder of pod {uid}")))?;
        self.keep(uid, Stage::Unsure(Box::new(record.clone())));
        Ok(())
    }

    /// The batch system has the pod.
    pub(super) async fn note(&self, uid: Uuid, record: Record) -> Result<(), PlaceError> {
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

    pub(super) fn spec(&self, plan: &PodPlan, user: Option<u32>) -> RunSpec {
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
