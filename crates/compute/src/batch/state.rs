//! Where a batch system has a job, and what its end means for a pod.

/// Where the batch system has a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its turn, or to be started again.
    Waiting,
    Running,
    /// It stands still by the batch system's doing.
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
    /// It was put aside and will not go on by itself.
    Held,
    /// A word that is not known here.
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
    pub const fn is_terminal(self) -> bool {
        !matches!(
            self,
            JobState::Waiting | JobState::Running | JobState::Suspended | JobState::Completing | JobState::Other
        )
    }

    /// Of several jobs of one pod, which counts most.
    pub const fn standing(self) -> u8 {
        match self {
            JobState::Running | JobState::Suspended | JobState::Completing => 2,
            JobState::Waiting | JobState::Other => 1,
            _ => 0,
        }
    }

    /// Why the runner was told to end, if it was the batch system's doing. An outcome that it still wrote says only that it was told.
    pub fn reason_to_end(self) -> Option<&'static str> {
        match self {
            JobState::Timeout | JobState::Deadline => Some("DeadlineExceeded"),
            JobState::Preempted => Some("Preempted"),
            JobState::NodeFail | JobState::BootFail | JobState::Revoked => Some("NodeFail"),
            JobState::Cancelled => Some("Cancelled"),
            JobState::OutOfMemory => Some("OOMKilled"),
            JobState::Held => Some("JobHeld"),
            _ => None,
        }
    }

    /// What became of a job that ended and left no outcome. `code`: the batch system's own exit code and signal, if known. A
    /// time limit may have 0:0 there, so that is never believed. `system`: what people call the batch system.
    pub fn verdict(self, system: &str, code: Option<(i32, i32)>, started: bool, complaint: &str) -> Verdict {
        let say = |reason, message: &str, exit_code, signal| {
            let message = if complaint.is_empty() { message.to_owned() } else { format!("{message}: {complaint}") };
            Verdict { reason, message, exit_code, signal }
        };
        let failed = code.map(|(code, signal)| if signal > 0 { 128 + signal } else { code }).filter(|code| *code != 0);
        match self {
            JobState::Timeout => say(
                "DeadlineExceeded",
                &format!("{system}JobTimeout: the job reached {system}'s time limit"),
                TERMINATED,
                Some(15),
            ),
            JobState::Deadline => {
                say("DeadlineExceeded", &format!("the job reached its deadline in {system}"), TERMINATED, Some(15))
            }
            JobState::Cancelled => {
                say("Cancelled", &format!("the job was cancelled in {system}"), TERMINATED, Some(15))
            }
            JobState::Held => say("JobHeld", &format!("{system} holds the job"), 1, None),
            JobState::OutOfMemory => say(
                "OOMKilled",
                &format!("{system} ended the job: it used more memory than it asked for"),
                KILLED,
                Some(9),
            ),
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
        use JobState::*;
        let ends = [
            Completed,
            Failed,
            Cancelled,
            Timeout,
            OutOfMemory,
            NodeFail,
            BootFail,
            Preempted,
            Deadline,
            Revoked,
            Held,
        ];
        for state in ends {
            assert!(state.is_terminal(), "{state:?}");
            for started in [false, true] {
                for code in [None, Some((0, 0)), Some((0, 53))] {
                    assert_ne!(state.verdict("Slurm", code, started, "").exit_code, 0, "{state:?}");
                }
            }
        }
        for state in [Waiting, Running, Suspended, Completing, Other] {
            assert!(!state.is_terminal(), "{state:?}");
        }
        assert_eq!(Timeout.verdict("Slurm", Some((0, 0)), true, "").exit_code, 143);
        assert_eq!(OutOfMemory.verdict("Slurm", None, true, "").reason, "OOMKilled");
        assert!(Failed.verdict("Slurm", Some((127, 0)), false, "no runner").message.ends_with(": no runner"));
    }
}
