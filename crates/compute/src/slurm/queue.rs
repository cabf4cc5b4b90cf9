//! What `squeue`, `sacct`, the job completion log and `sinfo` print.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::batch::state::JobState;
use crate::batch::system::{JobName, Queued};

/// The columns asked of `squeue`; the name, which others may choose, comes last. Of a task of an array, the number is
/// `ARRAY_TASK`, and the one after it its own.
pub const COLUMNS: &str = "%i|%A|%T|%r|%N|%j";

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

/// Jobs that are called as a pod or as an array of pods. Of two jobs of one name, the one that runs counts, else one that waits, else the
/// last.
pub fn read_queue(text: &str) -> HashMap<JobName, Queued> {
    let mut jobs: HashMap<JobName, Queued> = HashMap::new();
    for line in text.lines() {
        let mut columns = line.splitn(6, '|');
        let [Some(id), Some(own_id), Some(state), Some(reason), Some(nodes), Some(name)] =
            [(); 6].map(|()| columns.next())
        else {
            continue;
        };
        let (Some((id, task)), Ok(name)) = (read_number(id), name.trim().parse::<Uuid>()) else { continue };
        let name = JobName { name, task };
        let job = Queued {
            id,
            own_id: own_id.trim().parse().unwrap_or(id),
            state: read_state(state),
            reason: reason.trim().to_owned(),
            nodes: nodes.trim().to_owned(),
            code: None,
        };
        if jobs.get(&name).is_none_or(|known| known.rank() < job.rank()) {
            jobs.insert(name, job);
        }
    }
    jobs
}

/// `12`, or `12_3` of a task. Tasks that are named together (`12_[4-9]`) are none.
fn read_number(text: &str) -> Option<(u64, Option<u32>)> {
    match text.trim().split_once('_') {
        Some((id, task)) => Some((id.parse().ok()?, Some(task.parse().ok()?))),
        None => Some((text.trim().parse().ok()?, None)),
    }
}

/// Where a job was when it was last written of, its exit code and signal.
pub type Last = (JobState, Option<(i32, i32)>);

/// The last that a history (`JobID|State|ExitCode` lines of `sacct`) says of each job and task.
pub fn read_sacct(text: &str) -> BTreeMap<(u64, Option<u32>), Last> {
    text.lines()
        .filter_map(|line| {
            let mut columns = line.split('|');
            let id = read_number(columns.next()?)?;
            let state = read_state(columns.next()?);
            Some((id, (state, columns.next().and_then(read_code))))
        })
        .collect()
}

/// The same of the job completion log: `JobId=1 … Name=… JobState=FAILED … ArrayJobId=1 ArrayTaskId=3 … ExitCode=3:0`.
pub fn read_jobcomp(text: &str, called: JobName) -> Option<Last> {
    let name = format!(" Name={} ", called.name);
    let task = called.task.map(|task| format!(" ArrayTaskId={task} "));
    let is_it = |line: &&str| line.contains(&name) && task.as_ref().is_none_or(|task| line.contains(task.as_str()));
    let line = text.lines().rev().find(is_it)?;
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
            "7|7|PENDING|Resources||{UID}\n5|5|CANCELLED|None|n1|{UID}\n9_4|11|RUNNING|None|n1|{UID}\n8|8|RUNNING|None|n2|somebody|else's\n12_[1-5]|12|PENDING|None||{UID}\n\nrubbish\n"
        );
        let jobs = read_queue(&text);
        let waiting = Queued {
            id: 7,
            own_id: 7,
            state: JobState::Waiting,
            reason: "Resources".into(),
            nodes: String::new(),
            code: None,
        };
        let (state, reason, nodes) = (JobState::Running, "None".into(), "n1".into());
        let task = Queued { id: 9, own_id: 11, state, reason, nodes, code: None };
        let uid = UID.parse().expect("uid");
        assert_eq!(jobs, HashMap::from([(JobName::own(uid), waiting), (JobName::task(uid, 4), task)]));
        // Of two jobs of one pod the later waits for what the earlier one runs.
        let two =
            read_queue(&format!("8|8|PENDING|Resources||{UID}\n7|7|RUNNING|None|n1|{UID}\n9|9|FAILED|None|n1|{UID}\n"));
        assert_eq!(two[&JobName::own(uid)].id, 7);
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
        let sacct =
            read_sacct("5|CANCELLED by 1000|0:15\n6|OUT_OF_MEMORY|0:125\n6.batch|FAILED|1:0\n7_12|TIMEOUT|0:0\n");
        assert_eq!(sacct[&(5, None)], (JobState::Cancelled, Some((0, 15))));
        assert_eq!(sacct[&(7, Some(12))].0, JobState::Timeout);
        assert_eq!(sacct.len(), 3);
        let log = format!(
            "JobId=3 UserId=root(0) GroupId=root(0) Name={UID} JobState=TIMEOUT Partition=debug DerivedExitCode=0:0 ExitCode=0:0 \n"
        );
        let uid = UID.parse().expect("uid");
        assert_eq!(read_jobcomp(&log, JobName::own(uid)), Some((JobState::Timeout, Some((0, 0)))));
        assert_eq!(read_jobcomp(&log, JobName::task(uid, 1)), None);
        assert_eq!(read_jobcomp(&log, JobName::own(Uuid::nil())), None);
    }

    #[test]
    fn nodes_count_once_and_only_if_they_work() {
        let text = "a|16000|0/32/0/32|idle\na|16000|0/32/0/32|idle\nb|1000+|4/4/0/8|mixed\nc|9|0/0/9/9|down*\n";
        assert_eq!(read_nodes(text), (40_000, 17_000 << 20));
    }
}
