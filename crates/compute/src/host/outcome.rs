//! From news of containers to how the pod goes: pure bookkeeping of the shim.

use dte_base::time::Timestamp;

use super::channel::News;
use crate::pod::PodPlan;
use crate::report::{ContainerReport, ContainerState, Phase, PodReport, Usage};

/// What is known of a pod while it runs.
pub struct Outcome {
    report: PodReport,
    /// Why it was ended before its time, in a word and perhaps in a sentence.
    ended_for: Option<(String, Option<String>)>,
    /// It stands still.
    suspended: bool,
    /// Why nothing could run, or what became of it.
    trouble: Option<(&'static str, String)>,
}

impl Outcome {
    pub fn new(plan: &PodPlan, now: Timestamp) -> Outcome {
        let waiting = |reason: &'static str| {
            move |name: &String| ContainerReport::new(name.clone(), ContainerState::Waiting { reason: reason.into() })
        };
        let reason = if plan.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        Outcome {
            report: PodReport {
                uid: plan.uid,
                phase: Phase::Pending,
                reason: None,
                message: None,
                started: Some(now),
                finished: None,
                init_containers: plan
                    .init_containers
                    .iter()
                    .map(|c| ContainerReport { is_sidecar: c.sidecar, ..waiting("ContainerCreating")(&c.name) })
                    .collect(),
                containers: plan.containers.iter().map(|c| &c.name).map(waiting(reason)).collect(),
                usage: Usage::default(),
            },
            ended_for: None,
            suspended: false,
            trouble: None,
        }
    }

    fn container(&mut self, index: usize) -> Option<&mut ContainerReport> {
        let inits = self.report.init_containers.len();
        match index.checked_sub(inits) {
            None => self.report.init_containers.get_mut(index),
            Some(main) => self.report.containers.get_mut(main),
        }
    }

    pub fn note(&mut self, news: News, now: Timestamp) {
        match news {
            News::Started { container } => {
                if container >= self.report.init_containers.len() {
                    self.report.phase = Phase::Running;
                }
                if let Some(report) = self.container(container) {
                    report.restarts += u32::from(report.last.is_some());
                    report.state = ContainerState::Running { started: now };
                }
            }
            News::Checked { container, is_up, is_ready } => {
                if let Some(report) = self.container(container) {
                    (report.is_up, report.ready) = (is_up, is_ready);
                }
            }
            News::Ended { container, exit_code, signal, out_of_memory, again_in } => {
                let reason = match (out_of_memory, exit_code) {
                    (true, _) => "OOMKilled",
                    (false, 0) => "Completed",
                    _ => "Error",
                };
                if let Some(report) = self.container(container) {
                    terminate(report, exit_code, signal, reason, now);
                    if again_in.is_some() {
                        report.last = Some(report.state.clone());
                        report.state = ContainerState::Waiting { reason: BACK_OFF.into() };
                    }
                }
            }
            // Whoever asked for it is told by the shim.
            News::ExecEnded { .. } | News::ExecFailed { .. } => {}
            News::Impossible { message } => self.impossible(message),
            News::Finished { usage } => self.report.usage = usage,
        }
    }

    /// A container starts, and has written so many bytes in its earlier runs.
    pub fn log_begins(&mut self, container: usize, written: u64) {
        let Some(report) = self.container(container) else { return };
        if report.log_from.len() > 1 {
            report.log_from.remove(0);
        }
        report.log_from.push(written);
    }

    /// What a container said of its end.
    pub fn say(&mut self, container: usize, text: String) {
        let Some(report) = self.container(container) else { return };
        let ended = match &mut report.state {
            ContainerState::Waiting { .. } => report.last.as_mut(),
            state => Some(state),
        };
        if let Some(ContainerState::Terminated { message, .. }) = ended {
            *message = Some(text);
        }
    }

    /// The pod is being ended; the first reason counts.
    pub fn end_for(&mut self, reason: &str) {
        self.ended_for.get_or_insert_with(|| (reason.to_owned(), None));
    }

    /// The same, saying more.
    pub fn end_because(&mut self, reason: &str, message: String) {
        self.ended_for.get_or_insert_with(|| (reason.to_owned(), Some(message)));
    }

    pub fn impossible(&mut self, message: String) {
        self.trouble.get_or_insert(("StartError", message));
    }

    pub fn lost(&mut self, message: &str) {
        self.trouble.get_or_insert_with(|| ("Killed", message.to_owned()));
    }

    pub fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// How it goes now.
    pub fn state(&self) -> PodReport {
        PodReport { reason: self.suspended.then(|| SUSPENDED.to_owned()), ..self.report.clone() }
    }

    /// How it went: nothing runs any more.
    pub fn report(mut self, now: Timestamp) -> PodReport {
        for container in self.report.init_containers.iter_mut().chain(&mut self.report.containers) {
            container.ready = false;
            // It waited for its next start, which will not be.
            if let (ContainerState::Waiting { .. }, Some(last)) = (&container.state, container.last.clone()) {
                container.state = last;
            }
        }
        let all = || self.report.init_containers.iter().chain(&self.report.containers);
        let failed = all().find(|c| !c.is_sidecar && !matches!(c.state.exit_code(), Some(0) | None));
        let unfinished = self.report.containers.iter().any(|c| c.state.exit_code().is_none());
        let (reason, message) = match (&self.ended_for, &self.trouble, failed) {
            (Some((reason, message)), ..) => (Some(reason.clone()), message.clone()),
            (None, Some((reason, message)), _) => (Some((*reason).to_owned()), Some(message.clone())),
            (None, None, Some(container)) => (Some(reason_of(container)), Some(describe(container))),
            (None, None, None) if unfinished => (Some("Killed".into()), Some("the pod ended too early".into())),
            (None, None, None) => (None, None),
        };
        self.report.phase = if reason.is_some() { Phase::Failed } else { Phase::Succeeded };
        let fallback = reason.clone().unwrap_or_else(|| "Killed".into());
        for container in self.report.init_containers.iter_mut().chain(&mut self.report.containers) {
            if matches!(container.state, ContainerState::Running { .. }) {
                terminate(container, KILLED, Some(9), &fallback, now);
            }
        }
        (self.report.reason, self.report.message) = (reason, message);
        self.report.finished = Some(now);
        self.report
    }
}

/// The reason of a container that waits for its next start.
const BACK_OFF: &str = "CrashLoopBackOff";
/// The reason that a pod shows while it stands still.
pub(crate) const SUSPENDED: &str = "Suspended";
/// Exit code of a container that was killed with the whole tree.
const KILLED: i32 = 137;

fn terminate(report: &mut ContainerReport, exit_code: i32, signal: Option<i32>, reason: &str, now: Timestamp) {
    let started = match report.state {
        ContainerState::Running { started } => Some(started),
        _ => None,
    };
    (report.ready, report.is_up) = (false, false);
    report.state = ContainerState::Terminated {
        exit_code,
        signal,
        reason: reason.to_owned(),
        message: None,
        started,
        finished: now,
    };
}

fn reason_of(container: &ContainerReport) -> String {
    match &container.state {
        ContainerState::Terminated { reason, .. } => reason.clone(),
        _ => "Error".into(),
    }
}

fn describe(container: &ContainerReport) -> String {
    let name = &container.name;
    match &container.state {
        ContainerState::Terminated { signal: Some(signal), .. } => {
            format!("container {name} was ended by signal {signal}")
        }
        ContainerState::Terminated { exit_code, .. } => format!("container {name} ended with exit code {exit_code}"),
        _ => format!("container {name} did not run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::ContainerPlan;

    fn outcome(inits: usize, mains: usize) -> Outcome {
        let containers = |count: usize, prefix: &str| {
            (0..count)
                .map(|n| ContainerPlan {
                    name: format!("{prefix}{n}"),
                    argv: vec!["true".into()],
                    ..ContainerPlan::default()
                })
                .collect()
        };
        let plan = PodPlan {
            uid: uuid::Uuid::nil(),
            namespace: "n".into(),
            name: "p".into(),
            init_containers: containers(inits, "i"),
            containers: containers(mains, "m"),
            ..PodPlan::default()
        };
        Outcome::new(&plan, Timestamp::EPOCH)
    }

    fn ended(container: usize, exit_code: i32) -> News {
        News::Ended { container, exit_code, signal: None, out_of_memory: false, again_in: None }
    }

    fn play(inits: usize, mains: usize, news: Vec<News>) -> PodReport {
        let mut outcome = outcome(inits, mains);
        for one in news {
            outcome.note(one, Timestamp::EPOCH);
        }
        outcome.report(Timestamp::EPOCH)
    }

    #[test]
    fn phases() {
        let started = |container| News::Started { container };
        assert_eq!(play(0, 1, vec![started(0), ended(0, 0)]).phase, Phase::Succeeded);
        let failed = play(0, 2, vec![started(0), started(1), ended(0, 0), ended(1, 3)]);
        assert_eq!(
            (failed.phase, failed.exit_code(), failed.reason.as_deref()),
            (Phase::Failed, Some(3), Some("Error"))
        );
        let init = play(1, 1, vec![started(0), ended(0, 2)]);
        assert_eq!((init.phase, init.exit_code()), (Phase::Failed, Some(2)));
        assert!(matches!(init.containers[0].state, ContainerState::Waiting { .. }));
        let lost = play(0, 1, vec![started(0)]);
        assert_eq!((lost.phase, lost.exit_code()), (Phase::Failed, Some(137)));
        assert_eq!(play(0, 1, vec![]).reason.as_deref(), Some("Killed"));
    }

    #[test]
    fn an_ended_pod_failed_for_the_reason_given_first() {
        let mut outcome = outcome(0, 1);
        outcome.note(News::Started { container: 0 }, Timestamp::EPOCH);
        outcome.end_for("DeadlineExceeded");
        outcome.end_for("Cancelled");
        outcome.note(ended(0, 0), Timestamp::EPOCH);
        let report = outcome.report(Timestamp::EPOCH);
        assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("DeadlineExceeded")));
    }
}
