//! Slurm's states of a job, and what they mean for a pod.

/// Where Slurm has a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its turn, or to be started again.
    Waiting,
    Running,
    /// It stands still by Slurm's doing.
    Suspended,
    Completing,
    Completed,
    Failed,
    Cancelled,
    Timeout,
    OutOfMemory,
    NodeFail,
    BootFail,
    Preempted,
    Revoked,
    Deadline,
    /// A word of a newer Slurm.
    Other,
}

/// What is to be said of a pod whose runner left no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: &'static str,
    pub message: String,
    pub exit_code: i32,
    pub signal: Option<i32>,
}

const TERMINATED: i32 = 143;
const KILLED: i32 = 137;

impl JobState {
    /// Reads the long name, as `squeue`, `sacct` and the job completion log have it (`CANCELLED by 1000`).
    pub fn read(text: &str) -> JobState {
        let word = text.split([' ', '+', ',']).next().unwrap_or_default();
        match word {
            "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT"
            | "RESV_DEL_HOLD" => JobState::Waiting,
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

    pub const fn is_terminal(self) -> bool {
        !matches!(
            self,
            JobState::Waiting | JobState::Running | JobState::Suspended | JobState::Completing | JobState::Other
        )
    }

    /// Why the runner was told to end, if it was Slurm's doing. An outcome that it still wrote says only that it was told.
    pub fn reason_to_end(self) -> Option<&'static str> {
        match self {
            JobState::Timeout | JobState::Deadline => Some("DeadlineExceeded"),
            JobState::Preempted => Some("Preempted"),
            JobState::NodeFail | JobState::BootFail | JobState::Revoked => Some("NodeFail"),
            JobState::Cancelled => Some("Cancelled"),
            JobState::OutOfMemory => Some("OOMKilled"),
            _ => None,
        }
    }

    /// What became of a job that ended and left no outcome. `code`: Slurm's own exit code and signal, if known. A time limit
    /// has 0:0 there, so that is never believed.
    pub fn verdict(self, code: Option<(i32, i32)>, started: bool, complaint: &str) -> Verdict {
        let say = |reason, message: &str, exit_code, signal| {
            let message = if complaint.is_empty() { message.to_owned() } else { format!("{message}: {complaint}") };
            Verdict { reason, message, exit_code, signal }
        };
        let failed = code.map(|(code, signal)| if signal > 0 { 128 + signal } else { code }).filter(|code| *code != 0);
        match self {
            JobState::Timeout => {
                say("DeadlineExceeded", "SlurmJobTimeout: the job reached Slurm's time limit", TERMINATED, Some(15))
            }
            JobState::Deadline => {
                say("DeadlineExceeded", "the job reached its deadline in Slurm", TERMINATED, Some(15))
            }
            JobState::Cancelled => say("Cancelled", "the job was cancelled in Slurm", TERMINATED, Some(15)),
            JobState::OutOfMemory => {
                say("OOMKilled", "Slurm ended the job: it used more memory than it asked for", KILLED, Some(9))
            }
            JobState::NodeFail | JobState::BootFail => {
                say("NodeFail", "DisruptionTarget: a node of the job failed", 1, None)
            }
            JobState::Revoked => say("NodeFail", "DisruptionTarget: the job was revoked", 1, None),
            JobState::Preempted => say("Preempted", "DisruptionTarget: the job gave way to another", 1, None),
            _ if !started => {
                say("StartError", "the job ended before the pod's runner started", failed.unwrap_or(1), None)
            }
            _ => say("Lost", "the pod's runner is gone and left no outcome", failed.unwrap_or(KILLED), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_code_that_is_not_success() {
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
            let state = JobState::read(word);
            assert!(state.is_terminal(), "{word}");
            for started in [false, true] {
                for code in [None, Some((0, 0)), Some((0, 53))] {
                    assert_ne!(state.verdict(code, started, "").exit_code, 0, "{word}");
                }
            }
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
            assert!(!JobState::read(word).is_terminal(), "{word}");
        }
        assert_eq!(JobState::Timeout.verdict(Some((0, 0)), true, "").exit_code, 143);
        assert_eq!(JobState::OutOfMemory.verdict(None, true, "").reason, "OOMKilled");
        assert!(JobState::Failed.verdict(Some((127, 0)), false, "no runner").message.ends_with(": no runner"));
    }
}
