//! What `condor_q`, `condor_history` and `condor_status` print with `-json`: an array of ClassAds, or nothing where there are none.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use uuid::Uuid;

use crate::batch::state::JobState;
use crate::batch::system::{Past, Queued};

/// The attributes asked for.
pub const ATTRIBUTES: &str = "ClusterId,DtePod,JobStatus,HoldReason,HoldReasonCode,EnteredCurrentStatus,RemoveReason,ExitCode,\
                              ExitBySignal,ExitSignal,RemoteHost,LastRemoteHost,NumJobStarts";

/// Hold reasons that say that somebody wants it so: by hand, submitted on hold, waiting for its files.
const ON_PURPOSE: [i64; 3] = [1, 15, 16];
/// It used more memory than it asked for.
const TOO_MUCH_MEMORY: i64 = 34;
/// It ran longer than it was allowed to.
const TOO_LONG: [i64; 2] = [46, 47];

/// A job's ClassAd, as far as it is asked for. What a pool leaves out is none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobAd {
    cluster_id: u64,
    dte_pod: Option<String>,
    job_status: i64,
    hold_reason: Option<String>,
    hold_reason_code: Option<i64>,
    entered_current_status: Option<f64>,
    remove_reason: Option<String>,
    exit_code: Option<i32>,
    exit_by_signal: Option<bool>,
    exit_signal: Option<i32>,
    remote_host: Option<String>,
    last_remote_host: Option<String>,
    num_job_starts: Option<i64>,
}

/// Reads ads; one that is not understood hides no other.
pub fn read_ads<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let ads: Vec<serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| format!("what HTCondor says is not an array of ClassAds: {error}"))?;
    Ok(ads.into_iter().filter_map(|ad| serde_json::from_value(ad).ok()).collect())
}

impl JobAd {
    fn uid(&self) -> Option<Uuid> {
        self.dte_pod.as_ref()?.parse().ok()
    }

    /// Where the job is. One that has been on hold for too long will not go on. `now`: seconds of the epoch.
    fn state(&self, now: i64, held_for: i64) -> JobState {
        match self.job_status {
            1 => JobState::Waiting,
            2 => JobState::Running,
            // Only our own limit of time removes jobs by an expression.
            3 if self.remove_reason.as_deref().is_some_and(|why| why.contains("PeriodicRemove")) => JobState::Timeout,
            3 => JobState::Cancelled,
            4 if self.exit_by_signal == Some(true) || self.exit_code.is_some_and(|code| code != 0) => JobState::Failed,
            4 => JobState::Completed,
            5 => match self.hold_reason_code {
                Some(TOO_MUCH_MEMORY) => JobState::OutOfMemory,
                Some(code) if TOO_LONG.contains(&code) => JobState::Timeout,
                Some(code) if ON_PURPOSE.contains(&code) => JobState::Waiting,
                _ if self.entered_current_status.is_some_and(|since| now - since as i64 >= held_for) => JobState::Held,
                _ => JobState::Waiting,
            },
            6 => JobState::Completing,
            7 => JobState::Suspended,
            _ => JobState::Other,
        }
    }

    fn code(&self) -> Option<(i32, i32)> {
        match self.exit_by_signal {
            Some(true) => Some((0, self.exit_signal.unwrap_or(9))),
            _ => self.exit_code.map(|code| (code, 0)),
        }
    }

    fn reason(&self) -> String {
        let held = || self.hold_reason.as_ref().map(|why| format!("JobHeld: {why}"));
        let why = match self.job_status {
            5 => held(),
            3 => self.remove_reason.clone(),
            _ => None,
        };
        // HTCondor's reasons may quote a command's output.
        why.unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
    }

    fn queued(&self, now: i64, held_for: i64) -> Queued {
        let host = self.remote_host.as_ref().or(self.last_remote_host.as_ref());
        Queued {
            id: self.cluster_id,
            own_id: self.cluster_id,
            state: self.state(now, held_for),
            reason: self.reason(),
            nodes: host.cloned().unwrap_or_default(),
            code: self.code(),
        }
    }
}

const MAX_REASON: usize = 1_000;

/// Jobs by the pods that they carry. Of two jobs of one pod, the one that runs counts, else one that waits, else the last.
pub fn by_pod(ads: &[JobAd], now: i64, held_for: i64) -> HashMap<Uuid, Queued> {
    let mut jobs: HashMap<Uuid, Queued> = HashMap::new();
    for (uid, ad) in ads.iter().filter_map(|ad| Some((ad.uid()?, ad))) {
        let job = ad.queued(now, held_for);
        if jobs.get(&uid).is_none_or(|known| known.rank() < job.rank()) {
            jobs.insert(uid, job);
        }
    }
    jobs
}

/// What the history says, which comes latest first.
pub fn past_by_pod(ads: &[JobAd]) -> HashMap<Uuid, Past> {
    let mut past = HashMap::new();
    for (uid, ad) in ads.iter().filter_map(|ad| Some((ad.uid()?, ad))) {
        let known = Past { state: ad.state(0, i64::MAX), code: ad.code(), reason: ad.reason() };
        past.entry(uid).or_insert(known);
    }
    past
}

/// The machine of a slot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SlotAd {
    machine: String,
    total_cpus: f64,
    total_memory: f64,
}

/// Processors (thousandths) and memory of the machines; each of the slots of one names them all.
pub fn machines(slots: &[SlotAd]) -> (u64, u64) {
    let by_name: BTreeMap<&str, &SlotAd> = slots.iter().map(|slot| (slot.machine.as_str(), slot)).collect();
    by_name.values().fold((0, 0), |(cpus, memory), slot| {
        (cpus + (slot.total_cpus.max(0.0) * 1_000.0) as u64, memory + ((slot.total_memory.max(0.0) as u64) << 20))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0190b0a0-0000-7000-8000-000000000001";

    fn one(ad: &str) -> Queued {
        let text = format!("[{{\"ClusterId\": 7, \"ProcId\": 0, \"DtePod\": \"{UID}\", {ad}}}\n]\n");
        let ads: Vec<JobAd> = read_ads(&text).expect("ads");
        by_pod(&ads, 2_000, 600).remove(&UID.parse().expect("uid")).expect("a job")
    }

    #[test]
    fn states_of_a_job() {
        assert_eq!(one("\"JobStatus\": 1").state, JobState::Waiting);
        let running = one("\"JobStatus\": 2, \"RemoteHost\": \"slot1_1@node7\", \"NumJobStarts\": 1");
        assert_eq!((running.state, running.nodes.as_str()), (JobState::Running, "slot1_1@node7"));
        let removed = one("\"JobStatus\": 3, \"RemoveReason\": \"via condor_rm (by user twin)\"");
        assert_eq!((removed.state, removed.reason.as_str()), (JobState::Cancelled, "via condor_rm (by user twin)"));
        let limit = one(
            "\"JobStatus\": 3, \"RemoveReason\": \"The job attribute PeriodicRemove expression '…' evaluated to TRUE\"",
        );
        assert_eq!(limit.state, JobState::Timeout);
        let ended = one("\"JobStatus\": 4, \"ExitCode\": 3, \"ExitBySignal\": false");
        assert_eq!((ended.state, ended.code), (JobState::Failed, Some((3, 0))));
        let shot = one("\"JobStatus\": 4, \"ExitBySignal\": true, \"ExitSignal\": 11");
        assert_eq!((shot.state, shot.code), (JobState::Failed, Some((0, 11))));
        assert_eq!(one("\"JobStatus\": 4, \"ExitCode\": 0, \"ExitBySignal\": false").state, JobState::Completed);
        assert_eq!(one("\"JobStatus\": 6").state, JobState::Completing);
        assert_eq!(one("\"JobStatus\": 7").state, JobState::Suspended);
        assert_eq!(one("\"JobStatus\": 99").state, JobState::Other);
    }

    #[test]
    fn holds() {
        let held = |code: i64, since: i64| {
            one(&format!(
                "\"JobStatus\": 5, \"HoldReasonCode\": {code}, \"HoldReason\": \"Error from node7: \\n no\", \"EnteredCurrentStatus\": {since}"
            ))
        };
        assert_eq!((held(6, 1_900).state, held(6, 1_000).state), (JobState::Waiting, JobState::Held));
        assert_eq!(held(6, 1_000).reason, "JobHeld: Error from node7:   no");
        assert_eq!(held(1, 0).state, JobState::Waiting, "somebody holds it on purpose");
        assert_eq!((held(34, 1_999).state, held(46, 1_999).state), (JobState::OutOfMemory, JobState::Timeout));
    }

    #[test]
    fn silence_and_rubbish() {
        assert!(read_ads::<JobAd>("").expect("none").is_empty());
        assert!(read_ads::<JobAd>("\n[\n]\n").expect("none").is_empty());
        assert!(read_ads::<JobAd>("-- Failed to fetch ads").is_err());
        let text = format!(
            "[{{\"ClusterId\": \"x\"}}, {{\"ClusterId\": 1, \"DtePod\": \"$(id)\"}}, {{\"ClusterId\": 2, \"DtePod\": \"{UID}\", \"JobStatus\": 4}},{{\"ClusterId\": 3, \"DtePod\": \"{UID}\", \"JobStatus\": 1}}]"
        );
        let ads: Vec<JobAd> = read_ads(&text).expect("ads");
        let jobs = by_pod(&ads, 0, 0);
        assert_eq!(jobs.values().map(|job| job.id).collect::<Vec<_>>(), [3]);
        assert_eq!(past_by_pod(&ads).len(), 1);
    }

    #[test]
    fn machines_count_once() {
        let text = "[{\"Machine\":\"a\",\"TotalCpus\":4.0,\"TotalMemory\":1000},{\"Machine\":\"a\",\"TotalCpus\":4,\"TotalMemory\":1000},{\"Machine\":\"b\",\"TotalCpus\":2,\"TotalMemory\":24}]";
        assert_eq!(machines(&read_ads(text).expect("ads")), (6_000, 1_024 << 20));
    }
}
