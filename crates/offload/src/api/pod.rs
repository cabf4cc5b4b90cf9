//! `/pods/UID`: one pod with all that is known of it, and why it is where it is. For people and pages; not of interLink.

use std::sync::Arc;

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_compute::{ContainerReport, ContainerState, PodReport};
use dte_http::Json;
use dte_identity::Principal;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Refusal, may_see};
use super::list;
use super::status::live_reports;
use crate::model::state;
use crate::shared::Shared;
use crate::store::placement::Kept;
use crate::store::{self, PodHead};

/// A pod that this principal may see, and what its site says of it.
async fn find(
    shared: &Shared,
    principal: &Principal,
    uid: &str,
) -> Result<(PodHead, Option<PodReport>, Option<Kept>), Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no pod {uid}"));
    let id: Uuid = uid.parse().map_err(|_| unknown())?;
    let found = store::heads(&shared.store, vec![id]).await?.pop();
    let head = found.filter(|head| may_see(principal, &head.owner)).ok_or_else(unknown)?;
    let live = live_reports(shared, std::slice::from_ref(&head)).await?.remove(&id);
    let report = head.report.clone().or(live);
    let placed = store::placement::decision(&shared.store, id).await?;
    Ok((head, report, placed))
}

pub async fn pod(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(uid): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (head, report, placed) = find(&shared, &principal, &uid).await?;
    let mut about = list::line(&head, report.as_ref());
    about["waits"] = json!(waits(&head, report.as_ref(), placed.as_ref()));
    about["timeline"] = json!(timeline(&head, report.as_ref(), placed.as_ref()));
    about["containers"] = containers(&head, report.as_ref());
    about["placement"] = placement(&shared, &head, placed.as_ref());
    Ok(Json(about))
}

/// Why the pod is where it is, or why it waits, with what was thought of each site.
pub async fn explain(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    Path(uid): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (head, report, placed) = find(&shared, &principal, &uid).await?;
    let mut about = placement(&shared, &head, placed.as_ref());
    about["uid"] = json!(head.uid);
    about["name"] = json!(head.name);
    about["phase"] = json!(head.state.phase());
    about["waits"] = json!(waits(&head, report.as_ref(), placed.as_ref()));
    Ok(Json(about))
}

fn placement(shared: &Shared, head: &PodHead, placed: Option<&Kept>) -> Value {
    match placed {
        Some(Kept { decision, decided }) => json!({
            "site": decision.site, "reason": decision.reason, "considered": decision.considered, "decided": decided,
        }),
        None if head.site.is_empty() => {
            json!({ "site": null, "reason": "no site has been looked for yet", "considered": [], "decided": null })
        }
        None => {
            let reason = match shared.sites.len() {
                1 => format!("{} is the only site", head.site),
                _ => format!("the pod asked for {}", head.site),
            };
            json!({ "site": head.site, "reason": reason, "considered": [], "decided": head.created })
        }
    }
}

/// Why the pod does not run yet, in a sentence.
fn waits(head: &PodHead, report: Option<&PodReport>, placed: Option<&Kept>) -> Option<String> {
    let because = |what: String| match &head.message {
        Some(message) => format!("{what}; the last try: {message}"),
        None => what,
    };
    match head.state {
        state::State::Accepted if head.site.is_empty() => {
            let reason = placed.map(|kept| kept.decision.reason.clone());
            Some(reason.unwrap_or_else(|| "no site has been looked for yet".to_owned()))
        }
        state::State::Accepted => Some(because("its inputs are being staged".to_owned())),
        state::State::Staged => Some(because(format!("it waits for a place at {}", head.site))),
        state::State::Running => {
            let report = report.filter(|report| report.phase == dte_compute::Phase::Pending)?;
            let why = report.message.as_ref().or(report.reason.as_ref());
            Some(why.map_or_else(|| format!("{} has not started it yet", head.site), Clone::clone))
        }
        state::State::Succeeded | state::State::Failed => None,
    }
}

/// What happened, in order.
fn timeline(head: &PodHead, report: Option<&PodReport>, placed: Option<&Kept>) -> Vec<Value> {
    let mut steps: Vec<(Timestamp, String)> = vec![(head.created, format!("accepted from {}", head.owner.name))];
    if let Some(Kept { decision, decided }) = placed {
        let what = match &decision.site {
            Some(site) => format!("placed at {site}: {}", decision.reason),
            None => decision.reason.clone(),
        };
        steps.push((*decided, what));
    }
    if let Some(report) = report {
        steps.extend(report.started.map(|at| (at, format!("started at {}", head.site))));
        for container in report.init_containers.iter().chain(&report.containers) {
            steps.extend(of_container(container));
        }
    }
    if let Some(finished) = head.finished {
        let reason = head.reason.as_ref().or(report.and_then(|report| report.reason.as_ref()));
        let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        steps.push((finished, format!("{}{why}", head.state.as_str())));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps.into_iter().map(|(at, what)| json!({ "at": at, "what": what })).collect()
}

fn of_container(container: &ContainerReport) -> Vec<(Timestamp, String)> {
    let name = &container.name;
    match &container.state {
        ContainerState::Waiting { .. } => Vec::new(),
        ContainerState::Running { started, .. } => vec![(*started, format!("container {name} started"))],
        ContainerState::Terminated { exit_code, reason, started, finished, .. } => {
            let mut steps: Vec<_> = started.iter().map(|at| (*at, format!("container {name} started"))).collect();
            steps.push((*finished, format!("container {name} ended with exit code {exit_code} ({reason})")));
            steps
        }
    }
}

/// The containers, init containers first, with what is known of each.
fn containers(head: &PodHead, report: Option<&PodReport>) -> Value {
    let reported = |name: &str| {
        let all = report.into_iter().flat_map(|report| report.init_containers.iter().chain(&report.containers));
        let mut all = all.filter(|container| container.name == name);
        all.next().map_or_else(|| json!({ "state": "waiting" }), |container| json!(container))
    };
    let of = |named: &crate::model::status::Named, is_init: bool| {
        let mut about = reported(&named.name);
        about["name"] = json!(named.name);
        about["image"] = json!(named.image);
        about["init"] = json!(is_init);
        about
    };
    let init = head.containers.init.iter().map(|named| of(named, true));
    Value::Array(init.chain(head.containers.main.iter().map(|named| of(named, false))).collect())
}
