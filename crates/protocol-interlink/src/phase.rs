//! A pod's phase, as a virtual node computes it from container statuses. A server must answer so that this comes out right.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};

use crate::message::PodStatus;

/// What a virtual node makes of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    /// No news.
    Unknown,
}

fn state(container: &ContainerStatus) -> ContainerState {
    container.state.clone().unwrap_or_default()
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    state(container).terminated.map(|ended| ended.exit_code)
}

/// The phase that `status` says.
pub fn phase_of(status: &PodStatus) -> Phase {
    let inits = &status.init_containers;
    let init_failed = inits.iter().filter_map(exit_code).any(|code| code != 0);
    let init_pending = inits.iter().map(state).any(|state| state.waiting.is_some() || state.running.is_some());
    if init_pending && !init_failed {
        return Phase::Pending;
    }
    let codes: Vec<i32> = status.containers.iter().filter_map(exit_code).collect();
    if codes.len() == status.containers.len() {
        return if init_failed || codes.iter().any(|code| *code != 0) { Phase::Failed } else { Phase::Succeeded };
    }
    if status.containers.iter().any(|container| state(container).running.is_some()) {
        return Phase::Running;
    }
    if init_failed {
        return Phase::Failed;
    }
    match status.containers.iter().any(|container| state(container).waiting.is_some()) {
        true => Phase::Pending,
        false => Phase::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(inits: Vec<Value>, mains: Vec<Value>) -> PodStatus {
        let of = |states: Vec<Value>| -> Vec<Value> {
            let one = |state| json!({"name": "c", "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": ""});
            states.into_iter().map(one).collect()
        };
        serde_json::from_value(json!({"name": "p", "containers": of(mains), "initContainers": of(inits)}))
            .expect("a status")
    }

    #[test]
    fn phases() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let running = || json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}});
        let waiting = || json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(phase_of(&status(vec![], vec![ended(0)])), Phase::Succeeded);
        assert_eq!(phase_of(&status(vec![], vec![ended(0), ended(3)])), Phase::Failed);
        assert_eq!(phase_of(&status(vec![], vec![ended(0), running()])), Phase::Running);
        assert_eq!(phase_of(&status(vec![running()], vec![waiting()])), Phase::Pending);
        assert_eq!(phase_of(&status(vec![ended(2)], vec![waiting()])), Phase::Failed);
        assert_eq!(phase_of(&status(vec![], vec![waiting()])), Phase::Pending);
        assert_eq!(phase_of(&status(vec![], vec![json!({})])), Phase::Unknown);
    }
}
