//! Placing: a pod that names no site gets one, or waits and is looked at again.

use std::collections::BTreeMap;
use std::time::Duration;

use dte_base::time::Timestamp;
use dte_compute::{Capacity, PodReport, Sandbox, Site};
use dte_protocol_interlink::RawPod;

use crate::model::failure::Failure;
use crate::model::order::{Order, StagedInput};
use crate::model::placement::{self, Candidate, Needs};
use crate::shared::Shared;
use crate::store::{self, PodRow};

/// How long an input that was staged at a site is thought to be there.
const REMEMBERED: Duration = Duration::from_secs(86_400);
/// So many of a pod's inputs stand for all of them.
const LOOKED_AT: usize = 1_000;
/// A site that does not say what it has in this time does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A pod that waits is looked at again when it has waited a tenth longer, within these bounds.
const SOONEST: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_secs(15);

/// Places the pod. Says when to look again if no site takes it now.
pub async fn settle(shared: &Shared, pod: &PodRow) -> Result<Option<Duration>, Failure> {
    let order = Order::read(&pod.pod).map_err(|error| Failure::lasting("BadPod", error.to_string()))?;
    let dids: Vec<String> = order.inputs.iter().take(LOOKED_AT).map(|input| input.did.to_string()).collect();
    let needs = Needs::read(&pod.pod, pod.trusted, dids.len());
    let held = match dids.is_empty() {
        true => BTreeMap::new(),
        false => store::placement::inputs_held(&shared.store, dids, Timestamp::now() - REMEMBERED).await?,
    };
    let mut sites = Vec::with_capacity(shared.sites.len());
    for site in &shared.sites {
        let inputs_held = held.get(site.name()).copied().unwrap_or(0);
        sites.push(Candidate { inputs_held, ..candidate(shared, site.as_ref()).await });
    }
    let decision = store::placement::decide(&shared.store, pod, needs, sites).await?;
    Ok(match decision.site {
        Some(site) => {
            tracing::debug!(uid = %pod.uid, site, reason = decision.reason, "a pod was placed");
            None
        }
        None => Some((Timestamp::now().since(pod.created) / 10).clamp(SOONEST, LATEST)),
    })
}

/// Why no site can ever take a pod that names none, if that is so.
pub async fn hopeless(shared: &Shared, pod: &RawPod, is_trusted: bool) -> Option<String> {
    let needs = Needs::read(pod, is_trusted, 0);
    let mut sites = Vec::with_capacity(shared.sites.len());
    for site in &shared.sites {
        sites.push(candidate(shared, site.as_ref()).await);
    }
    let decision = placement::place(&needs, &sites);
    decision.is_hopeless().then_some(decision.reason)
}

/// A site as it is now. What has been given to it stands in the store.
pub async fn candidate(shared: &Shared, site: &dyn Site) -> Candidate {
    let able = site.capabilities();
    let capacity = capacity(site).await;
    let about = Candidate {
        name: site.name().to_owned(),
        unsafe_because: match able.sandbox {
            Sandbox::None { why } => Some(why),
            _ => None,
        },
        images: able.images.iter().map(|image| (*image).to_owned()).collect(),
        mean_run: shared.run_times.mean(site.name()),
        takes_no_data: !site.stages_data(),
        ..Candidate::default()
    };
    match capacity {
        Ok(capacity) => Candidate {
            cpu_millis: capacity.cpu_millis,
            memory_bytes: capacity.memory_bytes,
            places: capacity.pods,
            running: capacity.pods_running,
            extended: capacity.extended,
            ..about
        },
        Err(why) => Candidate { down: Some(why), ..about },
    }
}

/// What the site has, or why it does not say.
pub async fn capacity(site: &dyn Site) -> Result<Capacity, String> {
    match tokio::time::timeout(PATIENCE, site.capacity()).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
    }
}

/// Notes which inputs are at the pod's site now, where there is a choice of sites at all.
pub async fn note_staged(shared: &Shared, pod: &PodRow, inputs: &[StagedInput]) -> Result<(), Failure> {
    if shared.sites.len() < 2 || inputs.is_empty() {
        return Ok(());
    }
    let mut dids: Vec<String> = inputs.iter().take(LOOKED_AT).map(|input| input.did.clone()).collect();
    dids.sort_unstable();
    dids.dedup();
    let forget = Timestamp::now() - REMEMBERED;
    Ok(store::placement::note_staged(&shared.store, pod.site.clone(), dids, forget).await?)
}

/// How long pods ran at each site, the later ones counting more. Of this process; a new one learns it again.
#[derive(Default)]
pub struct RunTimes(std::sync::Mutex<BTreeMap<String, Duration>>);

impl RunTimes {
    /// The part of a newly ended pod in the mean.
    const WEIGHT: f64 = 0.2;

    pub fn note(&self, site: &str, report: &PodReport) {
        let (Some(started), Some(finished)) = (report.started, report.finished) else { return };
        let ran = finished.since(started);
        let mut means = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mean = means.entry(site.to_owned()).or_insert(ran);
        *mean = mean.mul_f64(1.0 - Self::WEIGHT) + ran.mul_f64(Self::WEIGHT);
    }

    pub fn mean(&self, site: &str) -> Option<Duration> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(site).copied()
    }
}
