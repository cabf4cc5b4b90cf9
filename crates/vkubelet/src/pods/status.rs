//! What the cluster is told of a pod, made from what the site says. Pure.
//!
//! Nothing goes back: a container that ended stays ended (unless it was started again), and what the site does not say stays as
//! it was.

use dte_protocol_interlink::PodStatus as News;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP, Pod,
    PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::node::Facts;

/// Exit code of a container whose end nobody saw.
const LOST: i32 = 137;
/// Reasons with which a batch system takes a pod away; the work itself did not fail.
const DISRUPTIONS: &[&str] = &["Evicted", "Preempted", "NodeFail", "NodeLost"];

/// The moment at which things are written.
#[derive(Clone, Copy, Debug)]
pub struct Now(pub jiff::Timestamp);

impl Now {
    pub fn get() -> Self {
        Now(jiff::Timestamp::now())
    }

    fn time(self) -> Time {
        Time(jiff::Timestamp::from_second(self.0.as_second()).unwrap_or_default())
    }
}

pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn spec(pod: &Pod) -> PodSpec {
    pod.spec.clone().unwrap_or_default()
}

/// A pod that waits: accepted and not yet seen at the site, or with something missing.
pub fn waiting(pod: &Pod, node: &Facts, reason: &str, message: Option<&str>, now: Now) -> PodStatus {
    let state = |reason: &str, message: Option<&str>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message: message.map(str::to_owned) }),
        ..ContainerState::default()
    };
    let spec = spec(pod);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let of = |list: &[Container], reason: &str| -> Vec<ContainerStatus> {
        list.iter().map(|container| blank(container, state(reason, message))).collect()
    };
    let mains = of(&spec.containers, if inits.is_empty() { reason } else { "PodInitializing" });
    assemble(pod, node, "Pending", of(inits, reason), mains, now)
}

/// A pod that ends without the site: it cannot run, or nobody knows what became of it.
pub fn failed(pod: &Pod, node: &Facts, reason: &str, message: &str, now: Now) -> PodStatus {
    let (inits, mains) = last(pod);
    let end = |mut status: ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        if let Some(running) = state.running {
            status.state = Some(ended(LOST, reason, Some(message), running.started_at, now));
        }
        (status.ready, status.started) = (false, Some(false));
        status
    };
    let (inits, mains) = (inits.into_iter().map(end).collect(), mains.into_iter().map(end).collect());
    let mut status = assemble(pod, node, "Failed", inits, mains, now);
    (status.reason, status.message) = (Some(reason.to_owned()), Some(message.to_owned()));
    status
}

/// A pod that was deleted and is gone at the site: its containers have ended, however they did.
pub fn gone(pod: &Pod, node: &Facts, now: Now) -> PodStatus {
    let (inits, mains) = last(pod);
    let end = |mut status: ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        if state.terminated.is_none() {
            let started = state.running.and_then(|running| running.started_at);
            status.state =
                Some(ended(LOST, "ContainerStatusUnknown", Some("the container was ended with its pod"), started, now));
        }
        (status.ready, status.started) = (false, Some(false));
        status
    };
    let mains: Vec<ContainerStatus> = mains.into_iter().map(end).collect();
    let inits = inits.into_iter().map(end).collect();
    assemble(pod, node, "Failed", inits, mains, now)
}

/// The containers as the cluster has them, or blank.
fn last(pod: &Pod) -> (Vec<ContainerStatus>, Vec<ContainerStatus>) {
    let spec = spec(pod);
    let status = pod.status.clone().unwrap_or_default();
    let of = |list: &[Container], known: Option<Vec<ContainerStatus>>| -> Vec<ContainerStatus> {
        let known = known.unwrap_or_default();
        let one = |container: &Container| {
            known.iter().find(|status| status.name == container.name).cloned().unwrap_or_else(|| {
                let state = ContainerStateWaiting { reason: Some("ContainerCreating".to_owned()), message: None };
                blank(container, ContainerState { waiting: Some(state), ..ContainerState::default() })
            })
        };
        list.iter().map(one).collect()
    };
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    (of(inits, status.init_container_statuses), of(&spec.containers, status.container_statuses))
}

fn blank(container: &Container, state: ContainerState) -> ContainerStatus {
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(state),
        started: Some(false),
        ..ContainerStatus::default()
    }
}

fn ended(code: i32, reason: &str, message: Option<&str>, started: Option<Time>, now: Now) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: code,
        reason: Some(reason.to_owned()),
        message: message.map(str::to_owned),
        started_at: started.or_else(|| Some(now.time())),
        finished_at: Some(now.time()),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// The status after `news`.
pub fn next(pod: &Pod, node: &Facts, news: &News, now: Now) -> PodStatus {
    let (old_inits, old_mains) = last(pod);
    // Some plugins tell of init containers among the others.
    let all: Vec<&ContainerStatus> = news.init_containers.iter().chain(&news.containers).collect();
    let merge = |old: ContainerStatus| match all.iter().find(|told| told.name == old.name) {
        Some(told) => merged(old, told, pod, now),
        None => old,
    };
    let inits: Vec<ContainerStatus> = old_inits.into_iter().map(merge).collect();
    let mut mains: Vec<ContainerStatus> = old_mains.into_iter().map(merge).collect();
    let phase = phase_of(pod, &inits, &mains);
    if phase == "Pending" && inits_wait(pod, &inits) {
        for main in &mut mains {
            if let Some(waiting) = main.state.as_mut().and_then(|state| state.waiting.as_mut()) {
                waiting.reason = Some("PodInitializing".to_owned());
            }
        }
    }
    let mut status = assemble(pod, node, phase, inits, mains, now);
    if phase == "Failed" {
        blame(&mut status, now);
    }
    status
}

/// One container, with what is told of it.
fn merged(old: ContainerStatus, told: &ContainerStatus, pod: &Pod, now: Now) -> ContainerStatus {
    let told_state = told.state.clone().unwrap_or_default();
    let old_state = old.state.clone().unwrap_or_default();
    let restarted = told.restart_count > old.restart_count;
    let silent = told_state.waiting.is_none() && told_state.running.is_none() && told_state.terminated.is_none();
    let backwards =
        !restarted && (old_state.terminated.is_some() || (old_state.running.is_some() && told_state.waiting.is_some()));
    if silent || backwards {
        return old;
    }
    let started = old_state.running.and_then(|running| running.started_at);
    let state =
        ContainerState { terminated: told_state.terminated.map(|end| settled(end, started, now)), ..told_state };
    let is_running = state.running.is_some();
    ContainerStatus {
        name: old.name.clone(),
        image: if told.image.is_empty() { old.image } else { told.image.clone() },
        image_id: if told.image_id.is_empty() { old.image_id } else { told.image_id.clone() },
        container_id: told.container_id.clone().filter(|id| !id.is_empty()).or_else(|| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            (state.waiting.is_none()).then(|| format!("dte://{uid}/{}", old.name))
        }),
        ready: told.ready && is_running,
        started: Some(told.started.unwrap_or(is_running) && is_running),
        restart_count: told.restart_count.max(old.restart_count),
        last_state: told.last_state.clone().filter(|last| *last != ContainerState::default()).or(old.last_state),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

/// An end with everything that others count on: both times in order, a reason, an exit code that there is.
fn settled(end: ContainerStateTerminated, started: Option<Time>, now: Now) -> ContainerStateTerminated {
    let exit_code = if end.exit_code < 0 { LOST } else { end.exit_code };
    let finished = end.finished_at.unwrap_or_else(|| now.time());
    let started =
        end.started_at.or(started).filter(|started| started.0 <= finished.0).unwrap_or_else(|| finished.clone());
    let usual = if exit_code == 0 { "Completed" } else { "Error" };
    ContainerStateTerminated {
        exit_code,
        reason: end.reason.filter(|reason| !reason.is_empty()).or_else(|| Some(usual.to_owned())),
        started_at: Some(started),
        finished_at: Some(finished),
        ..end
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|end| end.exit_code)
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// An init container that goes on beside the others.
fn is_sidecar(pod: &Pod, name: &str) -> bool {
    let inits = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    inits.iter().any(|one| one.name == name && one.restart_policy.as_deref() == Some("Always"))
}

/// Some init container has not done its work yet.
fn inits_wait(pod: &Pod, inits: &[ContainerStatus]) -> bool {
    inits.iter().any(|init| match is_sidecar(pod, &init.name) {
        true => !init.started.unwrap_or(false) && exit_code(init).is_none(),
        false => exit_code(init) != Some(0),
    })
}

fn restarts(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

fn phase_of(pod: &Pod, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> &'static str {
    let before = phase(pod);
    let steps = || inits.iter().filter(|init| !is_sidecar(pod, &init.name));
    let ended = mains.iter().all(|main| exit_code(main).is_some());
    if !mains.is_empty() && ended {
        let bad = mains.iter().chain(steps()).filter_map(exit_code).any(|code| code != 0);
        return if bad { "Failed" } else { "Succeeded" };
    }
    if steps().filter_map(exit_code).any(|code| code != 0) && restarts(pod) == "Never" {
        return "Failed";
    }
    let began = mains.iter().any(|main| is_running(main) || exit_code(main).is_some() || main.restart_count > 0);
    // Between two attempts nothing runs, and the pod does.
    if began || before == "Running" { "Running" } else { "Pending" }
}

/// A pod's own reason, from what ended its containers.
fn blame(status: &mut PodStatus, now: Now) {
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let ends: Vec<&ContainerStateTerminated> =
        all.filter_map(|one| one.state.as_ref()?.terminated.as_ref()).filter(|end| end.exit_code != 0).collect();
    let reason_of = |end: &&ContainerStateTerminated| end.reason.clone().unwrap_or_default();
    let special = ends.iter().find(|end| {
        let reason = reason_of(end);
        reason == "DeadlineExceeded" || DISRUPTIONS.contains(&reason.as_str())
    });
    let Some(end) = special else { return };
    let reason = reason_of(end);
    if DISRUPTIONS.contains(&reason.as_str()) {
        let message = end.message.clone().unwrap_or_else(|| "the site took the pod away".to_owned());
        let disrupted = PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("TerminationByKubelet".to_owned()),
            message: Some(message),
            last_transition_time: Some(now.time()),
            ..PodCondition::default()
        };
        status.conditions.get_or_insert_default().push(disrupted);
    }
    status.message = end.message.clone();
    status.reason = Some(reason);
}

fn assemble(
    pod: &Pod,
    node: &Facts,
    phase: &str,
    inits: Vec<ContainerStatus>,
    mains: Vec<ContainerStatus>,
    now: Now,
) -> PodStatus {
    let before = pod.status.clone().unwrap_or_default();
    let ip = node.ip.to_string();
    let conditions = conditions(pod, phase, &inits, &mains, now);
    let placed = phase == "Running" || before.pod_ip.is_some();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        start_time: before.start_time.or_else(|| Some(now.time())),
        host_ip: Some(ip.clone()),
        host_ips: Some(vec![HostIP { ip: ip.clone() }]),
        pod_ip: before.pod_ip.or_else(|| placed.then(|| ip.clone())),
        pod_ips: before.pod_ips.or_else(|| placed.then(|| vec![PodIP { ip }])),
        container_statuses: Some(mains),
        init_container_statuses: Some(inits).filter(|list| !list.is_empty()),
        ..PodStatus::default()
    }
}

/// Why a condition is not so: reason and message.
type Why = Option<(&'static str, String)>;

fn conditions(
    pod: &Pod,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
    now: Now,
) -> Vec<PodCondition> {
    let before = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unready: Vec<&str> = mains.iter().filter(|main| !main.ready).map(|main| main.name.as_str()).collect();
    let (ready, reason) = match phase {
        "Succeeded" => (false, Some(("PodCompleted", String::new()))),
        "Failed" => (false, Some(("PodFailed", String::new()))),
        _ if unready.is_empty() => (true, None),
        _ => (false, Some(("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))))),
    };
    let waits = inits_wait(pod, inits);
    let names: Vec<&str> = inits.iter().filter(|one| exit_code(one) != Some(0)).map(|one| one.name.as_str()).collect();
    let incomplete =
        || ("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names.join(" ")));
    let initialized = (!waits || phase == "Succeeded", waits.then(incomplete));
    let all = [
        ("PodScheduled", (true, None)),
        ("Initialized", initialized),
        ("ContainersReady", (ready, reason.clone())),
        ("Ready", (ready, reason)),
    ];
    let one = |(kind, (yes, why)): (&str, (bool, Why))| {
        let status = if yes { "True" } else { "False" };
        let old = before.iter().find(|old| old.type_ == kind && old.status == status);
        let why = if yes { None } else { why };
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: why.as_ref().map(|(reason, _)| (*reason).to_owned()),
            message: why.map(|(_, message)| message).filter(|message| !message.is_empty()),
            last_transition_time: old.and_then(|old| old.last_transition_time.clone()).or_else(|| Some(now.time())),
            ..PodCondition::default()
        }
    };
    all.into_iter().map(one).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
