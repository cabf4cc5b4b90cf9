//! What is to be done next for a pod, and how it goes, from what its containers are. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dte_base::time::Timestamp;

use super::program::Status;
use crate::pod::{ContainerPlan, PodPlan, RestartPolicy};
use crate::report::{ContainerReport, ContainerState, Phase, PodReport, Usage};

/// The longest wait before a container is started again.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the container of this number, init containers first, and start it.
    Create(usize),
    /// Start one that was made.
    Start(usize),
    /// Start one again that has ended.
    Restart(usize),
}

/// What is known of a pod's containers.
pub struct View<'a> {
    pub plan: &'a PodPlan,
    pub seen: &'a BTreeMap<String, Status>,
    pub restarts: &'a HashMap<String, u32>,
    /// No more containers are to be started.
    pub is_ending: bool,
    pub restart_wait: Duration,
    pub now: Timestamp,
}

/// The next steps; none and `over`: the pod has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub over: bool,
}

impl View<'_> {
    pub fn next(&self) -> Plan {
        let mut plan = Plan::default();
        let inits = self.plan.init_containers.len();
        for (index, container) in self.plan.init_containers.iter().enumerate() {
            match self.seen.get(&container.name) {
                None if self.is_ending => return Plan { over: true, ..plan },
                None => plan.steps.push(Step::Create(index)),
                Some(Status::Created) if self.is_ending => return Plan { over: true, ..plan },
                Some(Status::Created) => plan.steps.push(Step::Start(index)),
                Some(Status::Running { .. }) => {}
                Some(Status::Exited { code: 0, .. }) => continue,
                Some(ended) => match self.again(container, ended, true) {
                    Again::Never => plan.over = true,
                    Again::Later => {}
                    Again::Now => plan.steps.push(Step::Restart(index)),
                },
            }
            return plan;
        }
        let mut going = 0;
        for (index, container) in self.plan.containers.iter().enumerate() {
            // The others join the network of the first, so it comes first.
            let waits = index > 0 && !self.seen.contains_key(&self.plan.containers[0].name);
            let number = inits + index;
            match self.seen.get(&container.name) {
                None | Some(Status::Created) if self.is_ending => continue,
                None if waits => {}
                None => plan.steps.push(Step::Create(number)),
                Some(Status::Created) => plan.steps.push(Step::Start(number)),
                Some(Status::Running { .. }) => {}
                Some(ended) => match self.again(container, ended, false) {
                    Again::Never => continue,
                    Again::Later => {}
                    Again::Now => plan.steps.push(Step::Restart(number)),
                },
            }
            going += 1;
        }
        plan.over = going == 0;
        plan
    }

    fn again(&self, container: &ContainerPlan, ended: &Status, is_init: bool) -> Again {
        let Status::Exited { code, finished, .. } = ended else { return Again::Later };
        let wanted = match self.plan.restart {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => *code != 0,
            RestartPolicy::Always => !is_init || *code != 0,
        };
        if !wanted || self.is_ending {
            return Again::Never;
        }
        let doublings = self.restarts.get(&container.name).copied().unwrap_or(0).min(16);
        let wait = (self.restart_wait * 2u32.pow(doublings)).min(LONGEST_WAIT.max(self.restart_wait));
        if self.now.since(*finished) >= wait { Again::Now } else { Again::Later }
    }

    /// How the pod goes.
    pub fn report(&self) -> PodReport {
        let inits: Vec<ContainerReport> =
            self.plan.init_containers.iter().map(|c| self.container(c, "PodInitializing", true)).collect();
        let containers: Vec<ContainerReport> =
            self.plan.containers.iter().map(|c| self.container(c, "ContainerCreating", false)).collect();
        let has_run = |c: &ContainerReport| !matches!(c.state, ContainerState::Waiting { .. }) || c.last.is_some();
        let began = self.seen.values().filter_map(|status| match status {
            Status::Running { started } => Some(*started),
            Status::Exited { started, .. } => *started,
            Status::Created => None,
        });
        PodReport {
            uid: self.plan.uid,
            phase: if containers.iter().any(has_run) { Phase::Running } else { Phase::Pending },
            reason: None,
            message: None,
            started: began.min(),
            finished: None,
            init_containers: inits,
            containers,
            usage: Usage::default(),
        }
    }

    fn container(&self, container: &ContainerPlan, waiting: &str, is_init: bool) -> ContainerReport {
        let restarts = self.restarts.get(&container.name).copied().unwrap_or(0);
        let mut last = None;
        let state = match self.seen.get(&container.name) {
            None | Some(Status::Created) => ContainerState::Waiting { reason: waiting.to_owned() },
            Some(Status::Running { started }) => ContainerState::Running { started: *started },
            Some(ended @ Status::Exited { code, out_of_memory, started, finished }) => {
                let limited = container.limits.memory_bytes.is_some();
                let reason = match *code {
                    // Old kernels' groups do not say so: killed, with a limit, and not by us.
                    137 if *out_of_memory || (limited && !self.is_ending) => "OOMKilled",
                    0 => "Completed",
                    _ => "Error",
                };
                let terminated = ContainerState::Terminated {
                    exit_code: *code,
                    signal: (*code > 128).then(|| *code - 128),
                    reason: reason.to_owned(),
                    message: None,
                    started: *started,
                    finished: *finished,
                };
                match self.again(container, ended, is_init) {
                    Again::Never => terminated,
                    Again::Later | Again::Now => {
                        last = Some(terminated);
                        ContainerState::Waiting { reason: "CrashLoopBackOff".into() }
                    }
                }
            }
        };
        ContainerReport { restarts, last, ..ContainerReport::new(container.name.clone(), state) }
    }
}

enum Again {
    Never,
    Later,
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Status {
        Status::Exited { code, out_of_memory: false, started: None, finished: Timestamp::from_seconds(100) }
    }

    fn next(restart: RestartPolicy, seen: &[(&str, Status)], is_ending: bool) -> Plan {
        let named = |name: &str| ContainerPlan { name: name.into(), ..ContainerPlan::default() };
        let plan = PodPlan {
            init_containers: vec![named("i")],
            containers: vec![named("a"), named("b")],
            restart,
            ..PodPlan::default()
        };
        let seen = seen.iter().map(|(name, status)| ((*name).to_owned(), status.clone())).collect();
        let restarts = HashMap::from([("b".to_owned(), 2)]);
        let now = Timestamp::from_seconds(130);
        View { plan: &plan, seen: &seen, restarts: &restarts, is_ending, restart_wait: Duration::from_secs(10), now }
            .next()
    }

    #[test]
    fn one_after_the_other_then_side_by_side() {
        use RestartPolicy::{Always, Never, OnFailure};
        let running = Status::Running { started: Timestamp::from_seconds(100) };
        let steps = |steps: &[Step]| Plan { steps: steps.to_vec(), over: false };
        let over = Plan { steps: vec![], over: true };
        assert_eq!(next(Never, &[], false), steps(&[Step::Create(0)]));
        assert_eq!(next(Never, &[("i", Status::Created)], false), steps(&[Step::Start(0)]));
        assert_eq!(next(Never, &[("i", running.clone())], false), steps(&[]));
        assert_eq!(next(Never, &[("i", exited(1))], false), over);
        assert_eq!(next(Always, &[("i", exited(1))], false), steps(&[Step::Restart(0)]));
        assert_eq!(next(Never, &[("i", exited(0))], false), steps(&[Step::Create(1)]));
        let first = [("i", exited(0)), ("a", running.clone())];
        assert_eq!(next(Never, &first, false), steps(&[Step::Create(2)]));
        let ended = [("i", exited(0)), ("a", exited(0)), ("b", exited(3))];
        assert_eq!(next(Never, &ended, false), over);
        // Two restarts before: forty seconds are not over.
        assert_eq!(next(OnFailure, &ended, false), steps(&[]));
        assert_eq!(next(Always, &ended, false), steps(&[Step::Restart(1)]));
        assert_eq!(next(Always, &ended, true), over);
        assert_eq!(next(Never, &[], true), over);
        assert_eq!(next(Never, &[("i", running)], true), steps(&[]));
    }
}
