//! Waiting in line: for a place at a site, and for a turn to stage data.

use std::time::Duration;

use dte_base::time::Timestamp;
use dte_store::work::Claim;

use super::hold::{self, Wish};
use super::run::{Next, look_every};
use super::turns::Turn;
use crate::model::failure::Failure;
use crate::shared::Shared;
use crate::store::PodRow;

/// When a full site is asked again.
pub const BUSY: Duration = Duration::from_millis(500);
/// When a pod is looked at again, at the latest, that found no room in the line before a full site.
const IN_NO_LINE: Duration = Duration::from_secs(5);

/// What came of asking for a place at the pod's site.
pub enum Got {
    Place(Turn),
    /// It is not to run now.
    Wish(Wish),
    Later(Result<Next, Failure>),
}

/// A place at the pod's site, in fair order between owners.
pub async fn get_place(shared: &Shared, claim: &Claim, pod: &PodRow) -> Result<Got, Failure> {
    let places = shared.places.get(&pod.site);
    let places = places.ok_or_else(|| Failure::lasting("SiteUnknown", format!("there is no site {}", pod.site)))?;
    let mut cancelled = shared.cancelled.subscribe();
    match hold::wish(shared, pod).await? {
        Wish::Go => {}
        other => return Ok(Got::Wish(other)),
    }
    if let Some(place) = places.take(&pod.owner) {
        return Ok(Got::Place(place));
    }
    let Some(mut in_line) = places.line_up(&pod.owner) else { return Ok(Got::Later(wait_for_line(pod))) };
    let _waits = claim.park();
    loop {
        tokio::select! {
            // It is never closed before it was given.
            place = &mut in_line => return place
                .map(Got::Place)
                .map_err(|error| Failure::passing("Stopping", error.to_string())),
            _ = cancelled.recv() => {}
            () = tokio::time::sleep(look_every(shared)) => {}
            () = shared.tasks.stopping() => return Ok(Got::Later(Ok(Next::Later(Duration::ZERO)))),
        }
        match hold::wish(shared, pod).await? {
            Wish::Go => {}
            other => return Ok(Got::Wish(other)),
        }
    }
}

/// A turn to stage data, in fair order between owners. `None`: enough pods of this one wait for it.
pub async fn turn_to_stage(shared: &Shared, claim: &Claim, pod: &PodRow) -> Result<Option<Turn>, Failure> {
    if let Some(turn) = shared.staging.take(&pod.owner) {
        return Ok(Some(turn));
    }
    let Some(in_line) = shared.staging.line_up(&pod.owner) else { return Ok(None) };
    let _waits = claim.park();
    tokio::select! {
        turn = in_line => turn.map(Some).map_err(|error| Failure::passing("Stopping", error.to_string())),
        () = shared.tasks.stopping() => Ok(None),
    }
}

/// There is no place, and enough pods of this owner wait for one: this one is looked at again when it has waited a tenth longer.
pub fn wait_for_line(pod: &PodRow) -> Result<Next, Failure> {
    Ok(Next::Later((Timestamp::now().since(pod.created) / 10).clamp(BUSY, IN_NO_LINE)))
}

pub fn free_place(shared: &Shared, pod: &PodRow) -> Option<Turn> {
    shared.places.get(&pod.site).and_then(|places| places.take(&pod.owner))
}
