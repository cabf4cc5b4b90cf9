//! One pod's way from accepted to ended: each call goes on from what the store says, so it may be cut off anywhere.

use std::sync::Arc;
use std::time::Duration;

use dte_base::time::Timestamp;
use dte_compute::site::Cancellation;
use dte_compute::{Phase, PodReport, Site, SiteError};
use dte_store::Outcome;
use dte_store::work::Claim;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::hold::{self, Wish};
use super::line::{BUSY, Got, free_place, get_place, turn_to_stage, wait_for_line};
use super::turns::Turn;
use super::{SUSPENDED, collect, place, stage};
use crate::Service;
use crate::model::failure::Failure;
use crate::model::finished::Ending;
use crate::model::order::{CollectedOutput, Order};
use crate::model::state::State;
use crate::model::volumes;
use crate::shared::Shared;
use crate::store::{self, PodRow};

/// How often a pod that runs is looked at if no news comes; and where another process may have noted a cancellation.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_SHARED: Duration = Duration::from_secs(2);
/// How often to look whether all services are open.
const OPENING: Duration = Duration::from_millis(5);

/// The same for one that lacks something that another pod may have, and the reason that the pod shows meanwhile.
const LACKING: Duration = Duration::from_secs(1);
const INSUFFICIENT: &str = "InsufficientResources";

/// How a step left the pod.
pub(super) enum Next {
    /// Go on with the next step.
    Again,
    /// The work has ended.
    Done,
    Later(Duration),
}

/// The handler of the queue.
pub async fn drive(shared: Arc<Shared>, claim: Claim) -> Outcome {
    let Ok(uid) = claim.id.parse::<Uuid>() else {
        return Outcome::Dead { error: format!("{:?} is not a pod's UID", claim.id) };
    };
    if !ready(&shared).await {
        return Outcome::Later(Duration::ZERO);
    }
    loop {
        let pod = match store::pod(&shared.store, uid).await {
            Ok(Some(pod)) => pod,
            Ok(None) => return Outcome::Done,
            Err(error) => return Outcome::Retry { error: error.to_string() },
        };
        if pod.state.is_terminal() {
            return Outcome::Done;
        }
        let failure = match advance(&shared, &claim, &pod).await {
            Ok(Next::Again) => continue,
            Ok(Next::Done) => return Outcome::Done,
            Ok(Next::Later(wait)) => return Outcome::Later(wait),
            // An engine that stops refuses itself: that says nothing about the pod.
            Err(_) if shared.tasks.is_stopping() => return Outcome::Later(Duration::ZERO),
            // So does it when it may not act for the owner: the pod goes on where it was when it may again.
            Err(failure) if failure.reason == SUSPENDED || hold::nothing_runs(&shared, &pod) => {
                let _waits = claim.park();
                match hold::until_wanted(&shared, &pod).await {
                    Ok(true) => continue,
                    Ok(false) => return Outcome::Later(Duration::ZERO),
                    Err(failure) => return Outcome::Retry { error: failure.to_string() },
                }
            }
            Err(failure) => failure,
        };
        if failure.is_transient {
            let tries = store::failed_try(&shared.store, uid, failure.to_string()).await;
            match tries {
                Ok(tries) if tries >= shared.settings.attempts => {}
                Ok(_) => return Outcome::Retry { error: failure.to_string() },
                Err(error) => return Outcome::Retry { error: error.to_string() },
            }
        }
        return match give_up(&shared, &claim, &pod, failure).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry { error: error.to_string() },
        };
    }
}

/// Work begins when the engine can call itself: its services open one after the other. `false`: it stops instead.
async fn ready(shared: &Shared) -> bool {
    let own = shared.client.url_of(Service::PREFIX);
    while !shared.client.is_own(&own) {
        tokio::select! {
            () = tokio::time::sleep(OPENING) => {}
            () = shared.tasks.stopping() => return false,
        }
    }
    true
}

async fn advance(shared: &Arc<Shared>, claim: &Claim, pod: &PodRow) -> Result<Next, Failure> {
    if pod.site.is_empty() {
        return settle(shared, claim, pod).await;
    }
    let Some(site) = shared.site(Some(&pod.site)) else {
        return Err(Failure::lasting("SiteUnknown", format!("there is no site {} any more", pod.site)));
    };
    match pod.state {
        State::Accepted => {
            match hold::wish(shared, pod).await? {
                Wish::End(reason) => return end_before_start(shared, claim, pod, site.as_ref(), reason).await,
                Wish::Wait => return hold_on(shared, claim, pod).await,
                Wish::Go => {}
            }
            let order = Order::read(&pod.pod).map_err(|error| Failure::lasting("BadPod", error.to_string()))?;
            let Some(turn) = turn_to_stage(shared, claim, pod).await? else { return wait_for_line(pod) };
            let staged = stage::run(shared, site.as_ref(), pod, &order).await?;
            drop(turn);
            place::note_staged(shared, pod, &staged.inputs).await?;
            store::staged(&shared.store, pod.uid, staged.inputs, staged.code).await?;
            shared.tell(pod.uid);
            Ok(Next::Again)
        }
        State::Staged => {
            let place = match get_place(shared, claim, pod).await? {
                Got::Place(place) => place,
                Got::Wish(Wish::End(reason)) => {
                    return end_before_start(shared, claim, pod, site.as_ref(), reason).await;
                }
                Got::Wish(_) => return hold_on(shared, claim, pod).await,
                Got::Later(next) => return next,
            };
            if hold::nothing_runs(shared, pod) {
                return hold_on(shared, claim, pod).await;
            }
            let request = shared.request(pod).await?;
            let plan = volumes::plan(&request).map_err(|error| Failure::lasting("BadPod", error.to_string()))?;
            match site.submit_request(&request, &plan).await {
                Ok(()) => {}
                Err(SiteError::Busy(_)) => return Ok(Next::Later(BUSY)),
                Err(lacking @ SiteError::Lacks { .. }) => {
                    store::waits(&shared.store, pod.uid, INSUFFICIENT, lacking.to_string()).await?;
                    shared.tell(pod.uid);
                    return Ok(Next::Later(LACKING));
                }
                Err(SiteError::Refused(why)) => return Err(Failure::lasting("Refused", why)),
                Err(error) => return Err(Failure::passing("StartError", error.to_string())),
            }
            store::started(&shared.store, pod.uid).await?;
            shared.tell(pod.uid);
            let running = PodRow { state: State::Running, ..pod.clone() };
            watch(shared, claim, &running, site.as_ref(), Some(place)).await
        }
        State::Running => watch(shared, claim, pod, site.as_ref(), None).await,
        State::Succeeded | State::Failed => Ok(Next::Done),
    }
}

/// Finds a site for a pod that has none yet.
async fn settle(shared: &Arc<Shared>, claim: &Claim, pod: &PodRow) -> Result<Next, Failure> {
    match hold::wish(shared, pod).await? {
        Wish::End(reason) => {
            let message = Some("the pod was ended before it was placed at a site".to_owned());
            finish(shared, claim, pod, State::Failed, (Some(reason), message), None, Vec::new()).await?;
            return Ok(Next::Done);
        }
        Wish::Wait => return hold_on(shared, claim, pod).await,
        Wish::Go => {}
    }
    Ok(match place::settle(shared, pod).await? {
        None => Next::Again,
        Some(wait) => Next::Later(wait),
    })
}

/// Nothing of the pod runs, and nothing shall for now.
async fn hold_on(shared: &Shared, claim: &Claim, pod: &PodRow) -> Result<Next, Failure> {
    let _waits = claim.park();
    Ok(if hold::until_wanted(shared, pod).await? { Next::Again } else { Next::Later(Duration::ZERO) })
}

/// Waits for the end of a pod that runs, and brings it home.
async fn watch(
    shared: &Arc<Shared>,
    claim: &Claim,
    pod: &PodRow,
    site: &dyn Site,
    place: Option<Turn>,
) -> Result<Next, Failure> {
    let waits = claim.park();
    let Some(report) = wait_for_end(shared, pod, site, place).await? else { return Ok(Next::Later(Duration::ZERO)) };
    drop(waits);
    if report.phase != Phase::Succeeded {
        let (reason, message) = (report.reason.clone(), report.message.clone());
        finish(shared, claim, pod, State::Failed, (reason, message), Some(report), Vec::new()).await?;
        return Ok(Next::Done);
    }
    let order = Order::read(&pod.pod).map_err(|error| Failure::lasting("BadPod", error.to_string()))?;
    let staging =
        site.prepare(pod.uid).await.map_err(|error| Failure::passing("OutputUnreadable", error.to_string()))?;
    let outputs = collect::run(shared, pod, &order.outputs, &staging.outputs).await?;
    finish(shared, claim, pod, State::Succeeded, (None, None), Some(report), outputs).await?;
    Ok(Next::Done)
}

/// The report of the ended pod; `None` when the engine stops before.
async fn wait_for_end(
    shared: &Shared,
    pod: &PodRow,
    site: &dyn Site,
    mut place: Option<Turn>,
) -> Result<Option<PodReport>, Failure> {
    let unavailable = |error: SiteError| Failure::passing("SiteUnavailable", error.to_string());
    let mut ended = site.ended();
    let mut cancelled = shared.cancelled.subscribe();
    let mut accounts = shared.identity.watch_changes();
    let mut is_ending = false;
    // A pod that ran before this process did may be suspended, and still takes a place, if there is one.
    let mut pause = hold::Pause::new(place.is_none());
    loop {
        // Seen before it is asked, so that a change in between is not slept through.
        accounts.borrow_and_update();
        match site.status(&[pod.uid]).await.map_err(unavailable)?.pop() {
            Some(report) if report.phase.is_terminal() => return Ok(Some(report)),
            Some(_) => {}
            None => return Err(Failure::lasting("Lost", "the site does not know the pod any more")),
        }
        if !is_ending {
            let reason = match hold::wish(shared, pod).await? {
                Wish::End(reason) => Some(reason),
                Wish::Wait if pause.stop(shared, pod, site).await? => {
                    // The place is for others meanwhile.
                    place = None;
                    None
                }
                Wish::Wait => Some(SUSPENDED.to_owned()),
                Wish::Go => {
                    pause.go_on(shared, pod, site).await?;
                    if place.is_none() {
                        place = free_place(shared, pod);
                    }
                    None
                }
            };
            if let Some(reason) = reason {
                let grace = grace_for(&reason);
                site.cancel(pod.uid, &Cancellation { reason, grace }).await.map_err(unavailable)?;
                is_ending = true;
            }
        }
        tokio::select! {
            () = heard(&mut ended, pod.uid) => {}
            () = heard(&mut cancelled, pod.uid) => {}
            changed = accounts.changed() => if changed.is_err() { return Ok(None) },
            () = tokio::time::sleep(look_every(shared)) => {}
            () = pause.over(), if !is_ending => {}
            () = shared.tasks.stopping() => return Ok(None),
        }
    }
}

/// Resolves when this pod is named, or when names were missed.
pub(super) async fn heard(names: &mut tokio::sync::broadcast::Receiver<Uuid>, uid: Uuid) {
    loop {
        match names.recv().await {
            Ok(named) if named != uid => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // Nobody will ever name one again.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

pub(super) fn look_every(shared: &Shared) -> Duration {
    if shared.store.is_shared() { LOOK_SHARED } else { LOOK }
}

/// Nothing of the pod runs yet, and nothing shall: not even if its last hand-over is still on its way.
async fn end_before_start(
    shared: &Shared,
    claim: &Claim,
    pod: &PodRow,
    site: &dyn Site,
    reason: String,
) -> Result<Next, Failure> {
    let how = Cancellation { reason: reason.clone(), grace: grace_for(&reason) };
    match site.cancel(pod.uid, &how).await {
        Ok(()) | Err(SiteError::Unknown(_)) => {}
        Err(error) => return Err(Failure::passing("SiteUnavailable", error.to_string())),
    }
    let running =
        site.status(&[pod.uid]).await.map_err(|error| Failure::passing("SiteUnavailable", error.to_string()))?;
    let report = match running.into_iter().next() {
        Some(report) if report.phase.is_terminal() => Some(report),
        Some(report) if report.phase == Phase::Running => wait_for_end(shared, pod, site, None).await?,
        _ => None,
    };
    let message = Some("the pod was ended before it started".to_owned());
    finish(shared, claim, pod, State::Failed, (Some(reason), message), report, Vec::new()).await?;
    Ok(Next::Done)
}

/// The pod failed for a reason of ours; what runs of it shall not.
async fn give_up(shared: &Shared, claim: &Claim, pod: &PodRow, failure: Failure) -> Result<(), Failure> {
    let mut report = None;
    let mut pod = pod.clone();
    if let Some(current) = store::pod(&shared.store, pod.uid).await? {
        pod = current;
    }
    if let Some(site) = shared.site(Some(&pod.site)) {
        let how = Cancellation { reason: failure.reason.to_owned(), grace: None };
        match site.cancel(pod.uid, &how).await {
            Ok(()) | Err(SiteError::Unknown(_)) => {}
            Err(error) => return Err(Failure::passing("SiteUnavailable", error.to_string())),
        }
        let known =
            site.status(&[pod.uid]).await.map_err(|error| Failure::passing("SiteUnavailable", error.to_string()))?;
        report = known.into_iter().next().filter(|report| report.phase.is_terminal());
    }
    let why = (Some(failure.reason.to_owned()), Some(failure.message));
    finish(shared, claim, &pod, State::Failed, why, report, Vec::new()).await
}

async fn finish(
    shared: &Shared,
    claim: &Claim,
    pod: &PodRow,
    state: State,
    (reason, message): (Option<String>, Option<String>),
    report: Option<PodReport>,
    outputs: Vec<CollectedOutput>,
) -> Result<(), Failure> {
    if let Some(report) = &report {
        shared.run_times.note(&pod.site, report);
    }
    let ending = Ending { state, reason, message, report, outputs };
    let clean_at = Timestamp::now() + shared.settings.retention.0;
    if store::finish(&shared.store, claim.clone(), pod.clone(), ending, shared.queues, clean_at).await? {
        shared.tally.ended(&pod.owner, pod.amounts);
    }
    shared.tell(pod.uid);
    Ok(())
}

/// A banned person's pod gets no time to end by itself.
fn grace_for(reason: &str) -> Option<std::time::Duration> {
    (reason == super::SUSPENDED).then_some(std::time::Duration::ZERO)
}
