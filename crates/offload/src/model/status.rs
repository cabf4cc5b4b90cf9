//! How a pod goes, as a virtual node wants to read it (Kubernetes container statuses).

use dte_base::time::Timestamp;
use dte_compute::{ContainerReport, ContainerState as Reported, PodReport};
use dte_protocol_interlink::PodStatus;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::state::State;
use crate::store::PodHead;

/// A container's name and image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    pub image: String,
}

/// The containers of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    pub init: Vec<Named>,
    pub main: Vec<Named>,
}

/// Exit code shown for a pod that failed without a program to blame.
const NO_PROGRAM: i32 = 1;

/// The status of a pod. `live` is what the site says now, for a pod that runs.
pub fn status(pod: &PodHead, live: Option<&PodReport>) -> PodStatus {
    let report = pod.report.as_ref().or(live);
    let render = |named: &Named, list: fn(&PodReport) -> &Vec<ContainerReport>, is_main: bool| {
        let reported = report.and_then(|report| list(report).iter().find(|one| one.name == named.name));
        container(pod, named, reported, is_main)
    };
    PodStatus {
        name: pod.name.clone(),
        uid: pod.uid.to_string(),
        namespace: pod.namespace.clone(),
        jid: pod.uid.to_string(),
        containers: pod.containers.main.iter().map(|named| render(named, |r| &r.containers, true)).collect(),
        init_containers: pod.containers.init.iter().map(|named| render(named, |r| &r.init_containers, false)).collect(),
    }
}

fn container(pod: &PodHead, named: &Named, found: Option<&ContainerReport>, is_main: bool) -> ContainerStatus {
    let state = match (pod.state, found.map(|one| &one.state)) {
        // A pod that failed must not look as if all had gone well, as it would if only its outputs were lost.
        (State::Failed, Some(Reported::Terminated { exit_code: 0, started, finished, .. }))
            if is_main && blamed_elsewhere(pod) =>
        {
            failed(pod, *started, *finished)
        }
        (State::Failed, None) => failed(pod, None, ended(pod)),
        (State::Failed, Some(Reported::Waiting { .. })) if is_main => failed(pod, None, ended(pod)),
        // Ended, but the outputs are still on their way: it runs.
        (State::Running, Some(Reported::Terminated { exit_code: 0, started, finished, .. })) if is_main => {
            running(started.unwrap_or(*finished))
        }
        (State::Failed, Some(Reported::Terminated { .. })) if is_main && is_disruption(pod) => disrupted(pod, found),
        (_, Some(reported)) => of(reported),
        (State::Accepted, None) => waiting("Staging"),
        (State::Staged, None) if pod.reason.is_some() => waits(pod),
        (_, None) => waiting("ContainerCreating"),
    };
    ContainerStatus {
        name: named.name.clone(),
        image: named.image.clone(),
        // An init container that ended well is ready, as Kubernetes has it.
        ready: match (&state.running, &state.terminated) {
            (Some(_), _) => found.is_none_or(|one| one.ready),
            (None, Some(ended)) => !is_main && ended.exit_code == 0,
            _ => false,
        },
        started: Some(state.running.is_some() && found.is_none_or(|one| one.is_up)),
        restart_count: found.map_or(0, |one| i32::try_from(one.restarts).unwrap_or(i32::MAX)),
        last_state: Some(found.and_then(|one| one.last.as_ref()).map(of).unwrap_or_default()),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

/// Reasons that say that the pod did not fail by itself: what a Job may try again.
const DISRUPTIONS: [&str; 5] = ["Evicted", "Preempted", "NodeLost", "Lost", "DeadlineExceeded"];

fn is_disruption(pod: &PodHead) -> bool {
    pod.reason.as_deref().is_some_and(|reason| DISRUPTIONS.contains(&reason))
}

/// A container that was ended with its pod shows why the pod was.
fn disrupted(pod: &PodHead, reported: Option<&ContainerReport>) -> ContainerState {
    let mut state = reported.map_or_else(ContainerState::default, |one| of(&one.state));
    if let Some(terminated) = &mut state.terminated {
        terminated.reason = pod.reason.clone();
        terminated.message = terminated.message.take().or_else(|| pod.message.clone());
    }
    state
}

/// It could start, if the site had what it lacks.
fn waits(pod: &PodHead) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: pod.reason.clone(), message: pod.message.clone() };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// All containers ended well, and the pod failed nevertheless.
fn blamed_elsewhere(pod: &PodHead) -> bool {
    pod.report.as_ref().is_none_or(|report| report.exit_code().unwrap_or(0) == 0)
}

fn ended(pod: &PodHead) -> Timestamp {
    pod.finished.unwrap_or(pod.created)
}

fn failed(pod: &PodHead, started: Option<Timestamp>, finished: Timestamp) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: NO_PROGRAM,
        reason: pod.reason.clone(),
        message: pod.message.clone(),
        started_at: started.map(time),
        finished_at: Some(time(finished)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn waiting(reason: &str) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message: None };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn running(since: Timestamp) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(time(since)) };
    ContainerState { running: Some(running), ..ContainerState::default() }
}

fn of(reported: &Reported) -> ContainerState {
    match reported {
        Reported::Waiting { reason } => waiting(reason),
        Reported::Running { started } => running(*started),
        Reported::Terminated { exit_code, signal, reason, message, started, finished } => {
            let terminated = ContainerStateTerminated {
                exit_code: *exit_code,
                signal: *signal,
                reason: Some(reason.clone()),
                message: message.clone(),
                started_at: started.map(time),
                finished_at: Some(time(*finished)),
                ..ContainerStateTerminated::default()
            };
            ContainerState { terminated: Some(terminated), ..ContainerState::default() }
        }
    }
}

/// Whole seconds, as Go peers write them.
fn time(at: Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(at.as_seconds()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dte_compute::{Phase, Usage};
    use dte_protocol_interlink::phase::{Phase as Seen, phase_of};

    fn head(state: State, report: Option<PodReport>) -> PodHead {
        PodHead {
            uid: uuid::Uuid::nil(),
            namespace: "n".into(),
            name: "p".into(),
            owner: dte_identity::UserRef { issuer: "i".into(), subject: "s".into(), name: "s".into() },
            site: "local".into(),
            node: "n".into(),
            state,
            containers: Containers { init: vec![], main: vec![Named { name: "c".into(), image: "host".into() }] },
            report,
            reason: Some("OutputMissing".into()),
            message: Some("no file".into()),
            created: Timestamp::EPOCH,
            finished: None,
            trusted: false,
        }
    }

    fn report(state: Reported) -> PodReport {
        PodReport {
            uid: uuid::Uuid::nil(),
            phase: Phase::Running,
            reason: None,
            message: None,
            started: None,
            finished: None,
            init_containers: vec![],
            containers: vec![ContainerReport::new("c", state)],
            usage: Usage::default(),
        }
    }

    fn ended(exit_code: i32) -> Reported {
        let finished = Timestamp::EPOCH;
        Reported::Terminated { exit_code, signal: None, reason: "x".into(), message: None, started: None, finished }
    }

    #[test]
    fn a_virtual_node_sees_the_right_phase() {
        let running = || report(Reported::Running { started: Timestamp::EPOCH });
        let seen = |head: PodHead, live: Option<PodReport>| phase_of(&status(&head, live.as_ref()));
        assert_eq!(seen(head(State::Accepted, None), None), Seen::Pending);
        assert_eq!(seen(head(State::Staged, None), None), Seen::Pending);
        assert_eq!(seen(head(State::Running, None), None), Seen::Pending);
        assert_eq!(seen(head(State::Running, None), Some(running())), Seen::Running);
        assert_eq!(seen(head(State::Running, None), Some(report(ended(0)))), Seen::Running);
        assert_eq!(seen(head(State::Running, None), Some(report(ended(2)))), Seen::Failed);
        assert_eq!(seen(head(State::Succeeded, Some(report(ended(0)))), None), Seen::Succeeded);
        assert_eq!(seen(head(State::Failed, Some(report(ended(3)))), None), Seen::Failed);
        assert_eq!(seen(head(State::Failed, Some(report(ended(0)))), None), Seen::Failed);
        assert_eq!(seen(head(State::Failed, None), None), Seen::Failed);
        let waiting = report(Reported::Waiting { reason: "x".into() });
        assert_eq!(seen(head(State::Failed, Some(waiting)), None), Seen::Failed);
    }

    #[test]
    fn go_can_read_it() {
        let status = status(&head(State::Failed, None), None);
        let text = serde_json::to_value(&status).expect("json");
        let container = &text["containers"][0];
        assert_eq!(container["state"]["terminated"]["finishedAt"], "1970-01-01T00:00:00Z");
        assert_eq!(container["state"]["terminated"]["reason"], "OutputMissing");
        assert_eq!((&container["imageID"], &container["restartCount"]), (&"".into(), &0.into()));
        assert!(container["lastState"].is_object());
    }
}
