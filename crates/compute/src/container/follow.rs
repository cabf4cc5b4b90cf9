//! The loop: looks at all containers with two commands, takes the next steps of each pod, and notices ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dte_base::time::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::advance::{Plan, Step, View};
use super::arguments::{self, Places};
use super::folder::{Ending, Folder};
use super::program::{Status, name_of};
use super::site::{Inner, Stage};
use crate::pod::PodPlan;
use crate::report::{ContainerState, Phase, PodReport};
use crate::site::Cancellation;

/// The longest grace in seconds.
const LONGEST_GRACE: u64 = 300;
/// Exit code of a container that was ended before it began.
const TERMINATED: i32 = 143;
/// Tries of making or starting a container before the pod fails.
const TRIES: u32 = 3;

type Seen = HashMap<Uuid, BTreeMap<String, Status>>;

impl Inner {
    pub(super) fn start(self: &Arc<Self>) {
        let this = self.clone();
        self.tasks.spawn("containers", async move {
            tokio::select! {
                () = this.clone().again_and_again() => {}
                () = this.tasks.stopping() => {}
            }
        });
    }

    async fn again_and_again(self: Arc<Self>) {
        let mut is_failing = false;
        loop {
            if !self.pods().values().any(|pod| matches!(pod.stage, Stage::Running(_))) {
                self.wake.notified().await;
            }
            match self.look().await {
                Ok(()) => is_failing = false,
                Err(why) if !is_failing => {
                    tracing::warn!(site = self.config.name, why, "cannot look at the containers");
                    is_failing = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.poll.0) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), String> {
        let mut seen: Seen = HashMap::new();
        for known in self.program().all().await? {
            seen.entry(known.pod).or_default().insert(known.container, known.status);
        }
        let running: Vec<Uuid> = {
            let mut pods = self.pods();
            let running = pods.iter_mut().filter(|(_, pod)| matches!(pod.stage, Stage::Running(_)));
            // A pod that is being worked on already is left alone.
            running.filter_map(|(uid, pod)| (!std::mem::replace(&mut pod.is_busy, true)).then_some(*uid)).collect()
        };
        let mut steps = JoinSet::new();
        for uid in running {
            let (this, seen) = (self.clone(), seen.remove(&uid).unwrap_or_default());
            steps.spawn(async move {
                let outcome = this.advance(uid, seen).await;
                if let Some(pod) = this.pods().get_mut(&uid) {
                    pod.is_busy = false;
                }
                if let Err(why) = outcome {
                    tracing::warn!(%uid, why, "a step of a pod did not work");
                }
            });
        }
        // Steps may take long (an image is fetched), so others are not kept waiting.
        let this = self.clone();
        self.tasks.spawn("steps of pods", async move {
            tokio::select! {
                () = async { while steps.join_next().await.is_some() {} } => {}
                () = this.tasks.stopping() => {}
            }
        });
        Ok(())
    }

    async fn advance(self: &Arc<Self>, uid: Uuid, seen: BTreeMap<String, Status>) -> Result<(), String> {
        let Some((plan, restarts)) = self.pods().get(&uid).and_then(|pod| match &pod.stage {
            Stage::Running(plan) => Some((plan.clone(), pod.restarts.clone())),
            _ => None,
        }) else {
            return Ok(());
        };
        let folder = Folder::of(&self.root, uid);
        let said = |error: std::io::Error| format!("the folder of pod {uid}: {error}");
        let mut ending = folder.ending().map_err(said)?;
        let now = Timestamp::now();
        let view = |is_ending: bool| View {
            plan: &plan,
            seen: &seen,
            restarts: &restarts,
            is_ending,
            restart_wait: self.config.restart_wait.0,
            now,
        };
        let report = view(ending.is_some()).report();
        let late = |seconds: u64| report.started.is_some_and(|started| now.since(started).as_secs() >= seconds);
        if ending.is_none() && plan.deadline_seconds.is_some_and(late) {
            let how = Cancellation { reason: "DeadlineExceeded".into(), grace: None };
            let late = Ending { how, since: now };
            folder.save_ending(&late).map_err(said)?;
            ending = Some(late);
        }
        let view = view(ending.is_some());
        let Plan { steps, over } = view.next();
        if over && !seen.values().any(|status| matches!(status, Status::Running { .. })) {
            return self
                .settle(uid, outcome(&plan, view.report(), ending.as_ref().map(|ending| ending.how.reason.as_str())))
                .map_err(said);
        }
        if let Some(ending) = &ending {
            return self.stop(&plan, &seen, ending).await;
        }
        if let Some(pod) = self.pods().get_mut(&uid) {
            pod.last = Some(view.report());
        }
        for step in steps {
            if let Err(why) = self.take(&plan, &folder, &step).await {
                let tries = self.pods().get_mut(&uid).map_or(TRIES, |pod| {
                    pod.failures += 1;
                    pod.failures
                });
                if tries >= TRIES {
                    let how = Cancellation { reason: "StartError".into(), grace: None };
                    folder.save_ending(&Ending { how, since: now }).map_err(said)?;
                    if let Some(pod) = self.pods().get_mut(&uid) {
                        pod.trouble = Some(why.clone());
                    }
                }
                return Err(why);
            }
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn take(&self, plan: &PodPlan, folder: &Folder, step: &Step) -> Result<(), String> {
        let program = self.program();
        let name =
            |index: usize| plan.all_containers().nth(index).map(|c| name_of(plan.uid, &c.name)).unwrap_or_default();
        match step {
            Step::Start(index) => program.tell("start", &name(*index)).await,
            Step::Restart(index) => {
                program.tell("start", &name(*index)).await?;
                if let (Some(pod), Some(container)) =
                    (self.pods().get_mut(&plan.uid), plan.all_containers().nth(*index))
                {
                    *pod.restarts.entry(container.name.clone()).or_default() += 1;
                }
                Ok(())
            }
            Step::Create(index) => {
                let (inputs, outputs, volumes) = (folder.inputs(), folder.outputs(), folder.volumes());
                let first = plan.containers.first().map(|c| name_of(plan.uid, &c.name));
                let joins = *index > plan.init_containers.len();
                let mut creation = Err(String::new());
                // The first may have ended already: then there is no network to share any more.
                for network_of in [first.as_deref().filter(|_| joins), None] {
                    let env_file = folder.write_environment("").map_err(|error| error.to_string())?;
                    let places = Places {
                        inputs: &inputs,
                        outputs: &outputs,
                        volumes: &volumes,
                        env_file: &env_file,
                        network_of,
                    };
                    let made = arguments::create(&self.config, plan, *index, &places)?;
                    std::fs::write(&env_file, &made.environment).map_err(|error| error.to_string())?;
                    creation = program.create(&made.arguments).await;
                    std::fs::remove_file(&env_file).map_err(|error| error.to_string())?;
                    if creation.is_ok() {
                        creation = program.tell("start", &name(*index)).await;
                    }
                    if creation.is_ok() || network_of.is_none() {
                        break;
                    }
                    program.remove(&[name(*index)]).await?;
                }
                creation
            }
        }
    }

    async fn stop(&self, plan: &PodPlan, seen: &BTreeMap<String, Status>, ending: &Ending) -> Result<(), String> {
        let own = plan.grace_seconds.map(|seconds| std::time::Duration::from_secs(seconds.min(LONGEST_GRACE)));
        let grace = ending.how.grace.or(own).unwrap_or(self.config.grace.0);
        let running = seen.iter().filter(|(_, status)| matches!(status, Status::Running { .. }));
        let names: Vec<String> = running.map(|(name, _)| name_of(plan.uid, name)).collect();
        let program = self.program();
        let all = names.iter().map(|name| program.stop(name, grace));
        for outcome in futures_util::future::join_all(all).await {
            outcome?;
        }
        self.wake.notify_one();
        Ok(())
    }

    /// The pod has ended.
    pub(super) fn settle(&self, uid: Uuid, mut report: PodReport) -> std::io::Result<()> {
        let trouble = self.pods().get(&uid).and_then(|pod| pod.trouble.clone());
        report.message = trouble.or(report.message);
        let folder = Folder::of(&self.root, uid);
        folder.save_exit(&report)?;
        folder.forget_secrets()?;
        if let Some(pod) = self.pods().get_mut(&uid) {
            pod.stage = Stage::Ended(Box::new(report));
        }
        // Nobody may be listening; who starts to listen asks for the status first.
        drop(self.ended.send(uid));
        Ok(())
    }
}

/// How a pod went whose containers run no more.
pub(super) fn outcome(plan: &PodPlan, mut report: PodReport, ended_for: Option<&str>) -> PodReport {
    let now = Timestamp::now();
    if let Some(reason) = ended_for {
        let all = report.containers.iter_mut();
        for container in all.filter(|container| matches!(container.state, ContainerState::Waiting { .. })) {
            container.state = container.last.take().unwrap_or(ContainerState::Terminated {
                exit_code: TERMINATED,
                signal: Some(15),
                reason: reason.to_owned(),
                message: None,
                started: None,
                finished: now,
            });
        }
    }
    let failed = report.init_containers.iter().chain(&report.containers).find_map(|container| match &container.state {
        ContainerState::Terminated { exit_code, reason, .. } if *exit_code != 0 => {
            Some((reason.clone(), format!("container {} ended with exit code {exit_code}", container.name)))
        }
        _ => None,
    });
    let (reason, message) = match (ended_for, failed) {
        (Some(reason), _) => (Some(reason.to_owned()), None),
        (None, Some((reason, message))) => (Some(reason), Some(message)),
        (None, None) => (None, None),
    };
    let phase = if reason.is_some() { Phase::Failed } else { Phase::Succeeded };
    PodReport { uid: plan.uid, phase, reason, message, finished: Some(now), ..report }
}
