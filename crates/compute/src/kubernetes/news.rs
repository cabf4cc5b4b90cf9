//! From what the cluster says of a pod to how it goes. Pure.

use dte_base::time::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;

use crate::report::{ContainerReport, ContainerState, Phase, PodReport, Usage};

/// Exit codes of containers whose end nobody saw: of a pod that was lost, and of one that was told to end.
const LOST: i32 = 137;
const TOLD: i32 = 143;

/// Reasons to wait that seldom go away by themselves.
const STUCK: [&str; 7] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// How a pod goes.
pub fn report_of(uid: Uuid, object: &core::Pod) -> PodReport {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let phase = match status.phase.as_deref() {
        Some("Running" | "Unknown") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        _ => Phase::Pending,
    };
    let of = |list: &[core::Container], statuses: &[core::ContainerStatus]| -> Vec<ContainerReport> {
        list.iter().map(|one| container(one, statuses.iter().find(|status| status.name == one.name))).collect()
    };
    let mut report = PodReport {
        uid,
        phase,
        reason: status.reason.clone(),
        message: status.message.clone(),
        started: status.start_time.as_ref().and_then(at),
        finished: None,
        init_containers: of(
            spec.init_containers.as_deref().unwrap_or_default(),
            status.init_container_statuses.as_deref().unwrap_or_default(),
        ),
        containers: of(&spec.containers, status.container_statuses.as_deref().unwrap_or_default()),
        usage: Usage::default(),
    };
    if phase.is_terminal() {
        end_all(&mut report, LOST, "ContainerStatusUnknown");
    }
    if phase == Phase::Failed && report.reason.is_none() {
        (report.reason, report.message) = why(&report);
    }
    if phase == Phase::Pending && report.reason.is_none() {
        (report.reason, report.message) = why_it_waits(&status);
    }
    report
}

/// The outcome of a pod that nobody will hear of any more, or that was ended for `reason`.
pub fn concluded(report: &PodReport, reason: &str, message: Option<&str>) -> PodReport {
    let mut report = PodReport { phase: Phase::Failed, reason: Some(reason.to_owned()), ..report.clone() };
    if message.is_some() {
        report.message = message.map(str::to_owned);
    }
    end_all(&mut report, TOLD, reason);
    report
}

/// Containers that had not ended have now; and so has the pod.
fn end_all(report: &mut PodReport, exit_code: i32, reason: &str) {
    let now = Timestamp::now();
    let phase = report.phase;
    for one in report.containers.iter_mut().chain(&mut report.init_containers) {
        one.ready = false;
        let started = match &one.state {
            ContainerState::Terminated { .. } => continue,
            ContainerState::Running { started } => Some(*started),
            ContainerState::Waiting { .. } if phase == Phase::Succeeded => continue,
            ContainerState::Waiting { .. } => None,
        };
        one.state = ContainerState::Terminated {
            exit_code,
            signal: None,
            reason: reason.to_owned(),
            message: None,
            started,
            finished: now,
        };
    }
    let last = report.containers.iter().filter_map(|one| match &one.state {
        ContainerState::Terminated { finished, .. } => Some(*finished),
        _ => None,
    });
    report.finished = Some(last.max().unwrap_or(now));
}

fn container(plan: &core::Container, status: Option<&core::ContainerStatus>) -> ContainerReport {
    let is_sidecar = plan.restart_policy.as_deref() == Some("Always");
    let Some(status) = status else {
        let waiting = ContainerState::Waiting { reason: "ContainerCreating".to_owned() };
        return ContainerReport { is_sidecar, ..ContainerReport::new(plan.name.clone(), waiting) };
    };
    ContainerReport {
        ready: status.ready,
        is_up: status.started.unwrap_or(false),
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        is_sidecar,
        last: status.last_state.as_ref().filter(|last| last.terminated.is_some()).map(state_of),
        ..ContainerReport::new(plan.name.clone(), status.state.as_ref().map_or_else(creating, state_of))
    }
}

fn creating() -> ContainerState {
    ContainerState::Waiting { reason: "ContainerCreating".to_owned() }
}

fn state_of(state: &core::ContainerState) -> ContainerState {
    if let Some(ended) = &state.terminated {
        let usual = if ended.exit_code == 0 { "Completed" } else { "Error" };
        return ContainerState::Terminated {
            exit_code: ended.exit_code,
            signal: ended.signal.filter(|signal| *signal != 0),
            reason: ended.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or_else(|| usual.to_owned()),
            message: ended.message.clone().filter(|text| !text.is_empty()),
            started: ended.started_at.as_ref().and_then(at),
            finished: ended.finished_at.as_ref().and_then(at).unwrap_or_else(Timestamp::now),
        };
    }
    if let Some(running) = &state.running {
        return ContainerState::Running {
            started: running.started_at.as_ref().and_then(at).unwrap_or_else(Timestamp::now),
        };
    }
    let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    ContainerState::Waiting { reason: reason.unwrap_or_else(|| "ContainerCreating".to_owned()) }
}

fn at(time: &Time) -> Option<Timestamp> {
    (time.0.as_second() > 0).then(|| Timestamp::from_micros(time.0.as_microsecond()))
}

/// Why a pod failed: what the first container that failed says.
fn why(report: &PodReport) -> (Option<String>, Option<String>) {
    let all = report.init_containers.iter().filter(|init| !init.is_sidecar).chain(&report.containers);
    for one in all {
        if let ContainerState::Terminated { exit_code, reason, message, .. } = &one.state
            && *exit_code != 0
        {
            let said = message.clone().unwrap_or_else(|| format!("container {} ended with {exit_code}", one.name));
            return (Some(reason.clone()), Some(said));
        }
    }
    (Some("Error".to_owned()), None)
}

/// Why it does not run yet: a container says so, else whoever could not find it a node.
fn why_it_waits(status: &core::PodStatus) -> (Option<String>, Option<String>) {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waiting = containers.filter_map(|one| one.state.as_ref()?.waiting.as_ref());
    for one in waiting {
        let usual = ["ContainerCreating", "PodInitializing"];
        if let Some(reason) = one.reason.as_ref().filter(|reason| !usual.contains(&reason.as_str())) {
            return (Some(reason.clone()), one.message.clone());
        }
    }
    let unscheduled =
        status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    unscheduled.map_or((None, None), |one| (one.reason.clone(), one.message.clone()))
}

/// The reason for which a pod waits, if it is one that seldom goes away.
pub fn stuck(report: &PodReport) -> Option<&str> {
    let reason = report.reason.as_deref().filter(|_| report.phase == Phase::Pending)?;
    STUCK.contains(&reason).then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(status: serde_json::Value) -> PodReport {
        let object: core::Pod = serde_json::from_value(json!({
            "metadata": {}, "status": status,
            "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}
        }))
        .expect("a pod");
        report_of(Uuid::from_u128(1), &object)
    }

    #[test]
    fn pods_that_wait() {
        assert_eq!(report(json!({})).phase, Phase::Pending);
        let none = report(
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}),
        );
        assert_eq!((none.reason.as_deref(), none.message.as_deref()), (Some("Unschedulable"), Some("0/3 nodes")));
        let image = report(
            json!({"phase": "Pending", "containerStatuses": [{"name": "a", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}),
        );
        assert_eq!((stuck(&image), image.message.as_deref()), (Some("ImagePullBackOff"), Some("no such image")));
    }

    #[test]
    fn pods_that_ended() {
        let ended = |name: &str, code: i32| {
            json!({"name": name, "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"terminated": {"exitCode": code, "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:06Z"}}})
        };
        let good = report(
            json!({"phase": "Succeeded", "initContainerStatuses": [ended("i", 0)], "containerStatuses": [ended("a", 0), ended("b", 0)]}),
        );
        assert_eq!(
            (good.phase, good.exit_code(), good.finished.map(|at| at.as_seconds())),
            (Phase::Succeeded, Some(0), Some(1_767_323_046))
        );
        let bad = report(
            json!({"phase": "Failed", "initContainerStatuses": [ended("i", 0)], "containerStatuses": [ended("a", 0), ended("b", 3)]}),
        );
        assert_eq!(
            (bad.exit_code(), bad.reason.as_deref(), bad.message.as_deref()),
            (Some(3), Some("Error"), Some("container b ended with 3"))
        );
        let late = report(json!({"phase": "Failed", "reason": "DeadlineExceeded", "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]}));
        assert_eq!((late.exit_code(), late.reason.as_deref()), (Some(137), Some("DeadlineExceeded")));
        let lost = concluded(&report(json!({"phase": "Running"})), "Cancelled", None);
        assert_eq!((lost.phase, lost.exit_code()), (Phase::Failed, Some(143)));
    }
}
