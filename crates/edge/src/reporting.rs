//! What is stored where, looked through again and again while the engine runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use parking_lot::Mutex;

use crate::config::ReportConfig;
use crate::disk::area::SharedArea;
use crate::disk::{Fault, on_disk, usage};
use crate::edge::{Edge, HOME};
use crate::model::report::{Measured, Report, report};
use crate::model::star::records;

/// However often the operator wants it: to look through everything without a break is no use to anybody.
const LEAST: Duration = Duration::from_secs(1);

/// The latest numbers of all areas.
pub struct Reporting {
    edge: Arc<Edge>,
    config: ReportConfig,
    /// For each area that was looked at: what was found when that last worked.
    latest: Mutex<BTreeMap<String, Option<Measured>>>,
}

impl Reporting {
    /// Begins to look through the areas.
    pub fn start(edge: Arc<Edge>, config: ReportConfig, tasks: &Tasks) -> Arc<Reporting> {
        let reporting = Arc::new(Reporting { edge, config, latest: Mutex::default() });
        let (working, stop) = (reporting.clone(), tasks.stop_token());
        let started = Timestamp::now();
        tasks.spawn("edge report", async move {
            loop {
                for area in working.edge.areas() {
                    let goes_on = {
                        let stop = stop.clone();
                        move || !stop.is_cancelled()
                    };
                    match measure(area.clone(), working.time_of(&area.name).unwrap_or(started), goes_on).await {
                        Ok(Some(measured)) => {
                            working.latest.lock().insert(area.name.clone(), Some(measured));
                        }
                        Ok(None) => return,
                        // The numbers from before stay, with their own time.
                        Err(error) => {
                            tracing::warn!(area = area.name, %error, "an area could not be looked through");
                            working.latest.lock().entry(area.name.clone()).or_default();
                        }
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(working.config.every.0.max(LEAST)) => {}
                }
            }
        });
        reporting
    }

    pub fn is_public(&self) -> bool {
        self.config.public
    }

    fn time_of(&self, area: &str) -> Option<Timestamp> {
        self.latest.lock().get(area)?.as_ref().map(|measured| measured.when)
    }

    /// All areas, once every one was looked at. One that cannot be looked through is left out.
    fn areas(&self) -> Option<Vec<Measured>> {
        let latest = self.latest.lock();
        let looked_at: Option<Vec<Option<Measured>>> =
            self.edge.areas().map(|area| latest.get(&area.name).cloned()).collect();
        let found: Vec<Measured> = looked_at?.into_iter().flatten().collect();
        (!found.is_empty()).then_some(found)
    }

    /// The storage resource report.
    pub fn report(&self) -> Option<Report> {
        let name = self.config.name.as_deref();
        self.areas().map(|areas| report(name, self.config.quality, &self.edge.public_url, &areas))
    }

    /// The accounting records.
    pub fn records(&self) -> Option<String> {
        let host = self.edge.public_url.host_str().unwrap_or("localhost");
        self.areas().map(|areas| records(host, self.config.site.as_deref(), &areas))
    }
}

async fn measure(
    area: SharedArea,
    since: Timestamp,
    goes_on: impl Fn() -> bool + Send + 'static,
) -> Result<Option<Measured>, Fault> {
    on_disk(move || {
        let Some(found) = usage::measure(&area, goes_on)? else { return Ok(None) };
        let filesystem = usage::filesystem(&area)?;
        Ok(Some(Measured {
            area: area.name.clone(),
            vos: area.vos.clone(),
            usage: found.whole,
            people: (area.name == HOME).then_some(found.folders),
            filesystem,
            since,
            when: Timestamp::now(),
        }))
    })
    .await
}
