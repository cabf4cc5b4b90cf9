//! From what an interLink server says of a pod to a report of ours; and what is no news.

use dte_base::time::Timestamp;
use dte_protocol_interlink::phase::{self, phase_of};
use dte_protocol_interlink::{PodStatus, RawPod};
use k8s_openapi::api::core::v1::{ContainerState as WireState, ContainerStatus};
use serde_json::Value;
use uuid::Uuid;

use crate::report::{ContainerReport, ContainerState, Phase, PodReport, Usage};

/// The exit code of containers that were ended because the pod was.
const TERMINATED: i32 = 143;

/// The report that `status` amounts to, if it says anything.
pub fn report_of(uid: Uuid, pod: &RawPod, status: &PodStatus) -> Option<PodReport> {
    // A server that has nothing to say of a pod, or of some of its containers, leaves containers out or gives them no state.
    let is_said = |name: &str| status.containers.iter().any(|container| container.name == name);
    if status.containers.is_empty() || !main_containers(pod).all(is_said) {
        return None;
    }
    let phase = match phase_of(status) {
        phase::Phase::Unknown => return None,
        phase::Phase::Pending => Phase::Pending,
        phase::Phase::Running => Phase::Running,
        phase::Phase::Succeeded => Phase::Succeeded,
        phase::Phase::Failed => Phase::Failed,
    };
    let init_containers: Vec<ContainerReport> = status.init_containers.iter().map(container).collect();
    let containers: Vec<ContainerReport> = status.containers.iter().map(container).collect();
    let states = || init_containers.iter().chain(&containers).map(|one| &one.state);
    let started = states().filter_map(started).min();
    let finished = states().filter_map(finished).max().or_else(|| phase.is_terminal().then(Timestamp::now));
    let (reason, message) = match phase {
        Phase::Failed => why(status),
        _ => (None, None),
    };
    Some(PodReport {
        uid,
        phase,
        reason,
        message,
        started,
        finished: finished.filter(|_| phase.is_terminal()),
        init_containers,
        containers,
        usage: Usage::default(),
    })
}

/// Whether a status is more than a name.
pub fn says_something(status: &PodStatus) -> bool {
    status
        .containers
        .iter()
        .filter_map(|container| container.state.as_ref())
        .any(|state| state.terminated.is_some() || state.running.is_some() || state.waiting.is_some())
}

/// The report of a pod that nothing is known of yet: all containers wait, for this reason.
pub fn waiting(uid: Uuid, pod: &RawPod, reason: &str) -> PodReport {
    every(uid, pod, Phase::Pending, &ContainerState::Waiting { reason: reason.to_owned() })
}

/// The report of a pod that was ended for `reason`, with what was known before.
pub fn ended(last: &PodReport, reason: &str) -> PodReport {
    let now = Timestamp::now();
    let end = |report: &ContainerReport| match &report.state {
        ContainerState::Terminated { .. } => report.clone(),
        other => ContainerReport {
            ready: false,
            state: ContainerState::Terminated {
                exit_code: TERMINATED,
                signal: None,
                reason: reason.to_owned(),
                message: None,
                started: started(other),
                finished: now,
            },
            ..report.clone()
        },
    };
    PodReport {
        phase: Phase::Failed,
        reason: Some(reason.to_owned()),
        finished: Some(now),
        init_containers: last.init_containers.iter().map(end).collect(),
        containers: last.containers.iter().map(end).collect(),
        ..last.clone()
    }
}

fn every(uid: Uuid, pod: &RawPod, phase: Phase, state: &ContainerState) -> PodReport {
    let of = |list: &str| -> Vec<ContainerReport> {
        let containers = pod.0.get("spec").and_then(|spec| spec.get(list)).and_then(Value::as_array);
        let named = |one: &Value| one.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        containers.into_iter().flatten().map(|one| ContainerReport::new(named(one), state.clone())).collect()
    };
    PodReport {
        uid,
        phase,
        reason: None,
        message: None,
        started: None,
        finished: None,
        init_containers: of("initContainers"),
        containers: of("containers"),
        usage: Usage::default(),
    }
}

fn main_containers(pod: &RawPod) -> impl Iterator<Item = &str> {
    let list = pod.0.get("spec").and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|one| one.get("name").and_then(Value::as_str))
}

fn started(state: &ContainerState) -> Option<Timestamp> {
    match state {
        ContainerState::Running { started } => Some(*started),
        ContainerState::Terminated { started, .. } => *started,
        ContainerState::Waiting { .. } => None,
    }
}

fn finished(state: &ContainerState) -> Option<Timestamp> {
    match state {
        ContainerState::Terminated { finished, .. } => Some(*finished),
        _ => None,
    }
}

/// Why a pod failed: what the first container that failed says.
fn why(status: &PodStatus) -> (Option<String>, Option<String>) {
    let failed = status.init_containers.iter().chain(&status.containers).filter_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then_some((container, ended))
    });
    match failed.into_iter().next() {
        Some((container, ended)) => {
            let reason = ended.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or_else(|| "Error".to_owned());
            let said = ended.message.clone().filter(|text| !text.is_empty());
            let message =
                said.unwrap_or_else(|| format!("container {} ended with {}", container.name, ended.exit_code));
            (Some(reason), Some(message))
        }
        None => (Some("Error".to_owned()), None),
    }
}

fn container(status: &ContainerStatus) -> ContainerReport {
    let last = status.last_state.clone().filter(|last| last.terminated.is_some());
    ContainerReport {
        ready: status.ready,
        is_up: status.started.unwrap_or(status.ready),
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        last: last.map(state_of),
        ..ContainerReport::new(status.name.clone(), state_of(status.state.clone().unwrap_or_default()))
    }
}

fn state_of(state: WireState) -> ContainerState {
    let word =
        |text: Option<String>, usual: &str| text.filter(|text| !text.is_empty()).unwrap_or_else(|| usual.to_owned());
    if let Some(ended) = state.terminated {
        let usual = if ended.exit_code == 0 { "Completed" } else { "Error" };
        ContainerState::Terminated {
            exit_code: ended.exit_code,
            signal: ended.signal,
            reason: word(ended.reason, usual),
            message: ended.message.filter(|text| !text.is_empty()),
            started: ended.started_at.and_then(|time| at(&time.0)),
            finished: ended.finished_at.and_then(|time| at(&time.0)).unwrap_or_else(Timestamp::now),
        }
    } else if let Some(running) = state.running {
        let since = running.started_at.and_then(|time| at(&time.0));
        ContainerState::Running { started: since.unwrap_or_else(Timestamp::now) }
    } else {
        ContainerState::Waiting { reason: word(state.waiting.and_then(|waiting| waiting.reason), "ContainerCreating") }
    }
}

/// Go's zero time stands for "no time".
fn at(time: &jiff::Timestamp) -> Option<Timestamp> {
    (time.as_second() > 0).then(|| Timestamp::from_micros(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(states: &[Value], inits: &[Value]) -> PodStatus {
        let of = |states: &[Value]| -> Vec<Value> {
            let one = |state: &Value| json!({"name": "c", "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": ""});
            states.iter().map(one).collect()
        };
        serde_json::from_value(json!({"name": "p", "UID": "u", "containers": of(states), "initContainers": of(inits)}))
            .expect("a status")
    }

    fn pod(names: &[&str]) -> RawPod {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        RawPod(json!({"spec": {"containers": containers}}))
    }

    #[test]
    fn silence_is_no_news() {
        let uid = Uuid::from_u128(1);
        assert_eq!(report_of(uid, &pod(&["c"]), &status(&[], &[])), None);
        assert_eq!(report_of(uid, &pod(&["c"]), &status(&[json!({})], &[])), None);
        let half = status(&[json!({"terminated": {"exitCode": 0}})], &[]);
        assert_eq!(report_of(uid, &pod(&["c", "d"]), &half), None, "nothing is said of one container");
        assert!(report_of(uid, &pod(&["c"]), &half).is_some());
    }

    #[test]
    fn ends_and_their_reasons() {
        let uid = Uuid::from_u128(1);
        let ended = |code: i32| json!({"terminated": {"exitCode": code, "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:06Z"}});
        let good = report_of(uid, &pod(&["c"]), &status(&[ended(0)], &[])).expect("news");
        assert_eq!((good.phase, good.exit_code()), (Phase::Succeeded, Some(0)));
        assert_eq!(good.finished.map(|time| time.as_seconds()), Some(1_767_323_046));
        let bad = report_of(uid, &pod(&["c"]), &status(&[ended(0), ended(3)], &[])).expect("news");
        assert_eq!((bad.phase, bad.exit_code(), bad.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
        let oom = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": "0001-01-01T00:00:00Z"}});
        let init = report_of(uid, &pod(&["c"]), &status(&[json!({"waiting": {}})], &[oom])).expect("news");
        assert_eq!((init.phase, init.reason.as_deref()), (Phase::Failed, Some("OOMKilled")));
        assert_eq!(init.started, None, "the year 1 is no time");
    }

    #[test]
    fn a_cancelled_pod_keeps_what_was_known() {
        let pod = RawPod(json!({"spec": {"containers": [{"name": "c"}]}}));
        let last = waiting(Uuid::from_u128(1), &pod, "Queued");
        let end = super::ended(&last, "Cancelled");
        assert_eq!((end.phase, end.reason.as_deref(), end.exit_code()), (Phase::Failed, Some("Cancelled"), Some(143)));
    }
}
