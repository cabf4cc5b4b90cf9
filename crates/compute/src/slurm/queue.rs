//! What `squeue`, `sacct`, the job completion log and `sinfo` print.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::batch::state::JobState;
use crate::batch::system::Queued;

/// The columns asked of `squeue`; the name, which others may choose, comes last.
pub const COLUMNS: &str = "%i|%T|%r|%N|%j";

/// Reads the long name, as `squeue`, `sacct` and the job completion log have it (`CANCELLED by 1000`).
pub fn read_state(text: &str) -> JobState {
    let word = text.split([' ', '+', ',']).next().unwrap_or_default();
    match word {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
            JobState::Waiting
        }
        "RUNNING" | "RESIZING" | "SIGNALING" | "STAGE_OUT" => JobState::Running,
        "SUSPENDED" | "STOPPED" => JobState::Suspended,
        "COMPLETING" => JobState::Completing,
        "COMPLETED" => JobState::Completed,
        "FAILED" => JobState::Failed,
        "CANCELLED" => JobState::Cancelled,
        "TIMEOUT" => JobState::Timeout,
        "OUT_OF_MEMORY" => JobState::OutOfMemory,
        "NODE_FAIL" => JobState::NodeFail,
        "BOOT_FAIL" => JobState::BootFail,
        "PREEMPTED" => JobState::Preempted,
        "REVOKED" => JobState::Revoked,
        "DEADLINE" => JobState::Deadline,
        _ => JobState::Other,
    }
}

/// Jobs that are called as a pod. Of two jobs of one name, the one that has not ended counts, else the later.
pub fn read_queue(text: &str) -> HashMap<Uuid, Queued> {
    let mut jobs: HashMap<Uuid, Queued> = HashMap::new();
    for line in text.lines() {
        let mut columns = line.splitn(5, '|');
        let (Some(id), Some(state), Some(reason), Some(nodes), Some(name)) =
            (columns.next(), columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let (Ok(id), Ok(uid)) = (id.trim().parse::<u64>(), name.trim().parse::<Uuid>()) else { continue };
        let job = Queued {
            id,
            state: read_state(state),
            reason: reason.trim().to_owned(),
            nodes: nodes.trim().to_owned(),
            code: None,
        };
        let rank = |job: &Queued| (!job.state.is_terminal(), job.id);
        if jobs.get(&uid).is_none_or(|known| rank(known) < rank(&job)) {
            jobs.insert(uid, job);
        }
    }
    jobs
}

/// The last that a history (`JobID|State|ExitCode` lines of `sacct`) says of each job.
pub fn read_sacct(text: &str) -> BTreeMap<u64, (JobState, Option<(i32, i32)>)> {
    text.lines()
        .filter_map(|line| {
            let mut columns = line.split('|');
            let id = columns.next()?.parse().ok()?;
            let state = read_state(columns.next()?);
            Some((id, (state, columns.next().and_then(read_code))))
        })
        .collect()
}

/// The same of the job completion log: `JobId=1 … Name=… JobState=FAILED … ExitCode=3:0`.
pub fn read_jobcomp(text: &str, uid: Uuid) -> Option<(JobState, Option<(i32, i32)>)> {
    let name = format!(" Name={uid} ");
    let line = text.lines().rev().find(|line| line.contains(&name))?;
    let field = |key: &str| line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)).next_back();
    Some((read_state(field("JobState=")?), field("ExitCode=").and_then(read_code)))
}

/// `code:signal`
pub fn read_code(text: &str) -> Option<(i32, i32)> {
    let (code, signal) = text.trim().split_once(':')?;
    Some((code.parse().ok()?, signal.parse().ok()?))
}

/// Columns of `sinfo -N`: node, memory in MiB, processors as allocated/idle/other/total, state.
pub const NODE_COLUMNS: &str = "%n|%m|%C|%T";

/// Processors (thousandths) and memory of the nodes that can work.
pub fn read_nodes(text: &str) -> (u64, u64) {
    let mut nodes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in text.lines() {
        let columns: Vec<&str> = line.split('|').collect();
        let &[name, memory, cpus, state] = columns.as_slice() else { continue };
        if ["down", "drain", "fail", "maint", "unk", "inval", "not_responding"].iter().any(|bad| state.contains(bad)) {
            continue;
        }
        let total = cpus.rsplit('/').next().and_then(|total| total.trim().parse::<u64>().ok()).unwrap_or(0);
        let memory = memory.trim().trim_end_matches('+').parse::<u64>().unwrap_or(0);
        nodes.insert(name, (total * 1_000, memory << 20));
    }
    nodes.values().fold((0, 0), |sum, node| (sum.0 + node.0, sum.1 + node.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0190b0a0-0000-7000-8000-000000000001";

    #[test]
    fn queues_of_many_jobs() {
        let text = format!(
            "7|PENDING|Resources||{UID}\n5|CANCELLED|None|n1|{UID}\n8|RUNNING|None|n2|somebody|else's\n12_[1-5]|PENDING|None||{UID}\n\nrubbish\n"
        );
        let jobs = read_queue(&text);
        let wanted =
            Queued { id: 7, state: JobState::Waiting, reason: "Resources".into(), nodes: String::new(), code: None };
        assert_eq!(jobs, HashMap::from([(UID.parse().expect("uid"), wanted)]));
    }

    #[test]
    fn states() {
        for word in [
            "COMPLETED",
            "FAILED",
            "CANCELLED by 1000",
            "TIMEOUT",
            "OUT_OF_MEMORY",
            "NODE_FAIL",
            "BOOT_FAIL",
            "PREEMPTED",
            "DEADLINE",
            "REVOKED",
        ] {
            assert!(read_state(word).is_terminal(), "{word}");
        }
        for word in [
            "PENDING",
            "CONFIGURING",
            "RUNNING",
            "COMPLETING",
            "SUSPENDED",
            "STOPPED",
            "REQUEUED",
            "SIGNALING",
            "NEWER",
        ] {
            assert!(!read_state(word).is_terminal(), "{word}");
        }
    }

    #[test]
    fn histories() {
        let sacct = read_sacct("5|CANCELLED by 1000|0:15\n6|OUT_OF_MEMORY|0:125\n6.batch|FAILED|1:0\n");
        assert_eq!(sacct[&5], (JobState::Cancelled, Some((0, 15))));
        assert_eq!(sacct.len(), 2);
        let log = format!(
            "JobId=3 UserId=root(0) GroupId=root(0) Name={UID} JobState=TIMEOUT Partition=debug DerivedExitCode=0:0 ExitCode=0:0 \n"
        );
        assert_eq!(read_jobcomp(&log, UID.parse().expect("uid")), Some((JobState::Timeout, Some((0, 0)))));
        assert_eq!(read_jobcomp(&log, Uuid::nil()), None);
    }

    #[test]
    fn nodes_count_once_and_only_if_they_work() {
        let text = "a|16000|0/32/0/32|idle\na|16000|0/32/0/32|idle\nb|1000+|4/4/0/8|mixed\nc|9|0/0/9/9|down*\n";
        assert_eq!(read_nodes(text), (40_000, 17_000 << 20));
    }
}
