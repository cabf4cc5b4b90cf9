//! How a file changes state, and what its files make of a job.

use dte_protocol_fts::{FileState, JobState, JobType};

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Its turn has come: the replica before it failed, or the hop before it arrived.
    Use,
    /// A mover takes it.
    Start,
    /// The copy is there and verified.
    Succeed,
    /// The copy failed, and will be tried again.
    FailForNow,
    /// The copy failed for good.
    FailForGood,
    /// Its submitter, or whoever bans, stops it.
    Cancel,
    /// It waited longer than its submitter allows.
    Expire,
    /// A storage is banned for a while.
    Hold,
    /// That ban was lifted.
    Release,
}

impl Trigger {
    pub const ALL: [Trigger; 9] = [
        Trigger::Use,
        Trigger::Start,
        Trigger::Succeed,
        Trigger::FailForNow,
        Trigger::FailForGood,
        Trigger::Cancel,
        Trigger::Expire,
        Trigger::Hold,
        Trigger::Release,
    ];
}

/// The state after `trigger`; none when it does not apply. Terminal states never change.
pub fn next(state: FileState, trigger: Trigger) -> Option<FileState> {
    use FileState::{Active, Canceled, Failed, Finished, ForceStart, NotUsed, OnHold, Ready, Submitted};
    if state.is_terminal() {
        return None;
    }
    match (state, trigger) {
        (NotUsed, Trigger::Use) => Some(Submitted),
        // Active again: the mover that had it died.
        (Submitted | ForceStart | Ready | Active, Trigger::Start) => Some(Active),
        (Active, Trigger::Succeed) => Some(Finished),
        (Active, Trigger::FailForNow) => Some(Submitted),
        (Active, Trigger::FailForGood) => Some(Failed),
        (Submitted | OnHold, Trigger::Expire) => Some(Canceled),
        (Submitted, Trigger::Hold) => Some(OnHold),
        (OnHold, Trigger::Release) => Some(Submitted),
        (_, Trigger::Cancel) => Some(Canceled),
        _ => None,
    }
}

/// How many files of a job are in which state. Files that only stand in for one another count as one
/// when the type of the job says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub finished: u64,
    pub failed: u64,
    pub canceled: u64,
    /// Of those that still may become something; without those whose turn will not come.
    pub open: u64,
    pub not_used: u64,
}

impl Tally {
    /// Counts `count` files in `state`.
    pub fn add(&mut self, state: FileState, count: u64) {
        *match state {
            FileState::Finished => &mut self.finished,
            FileState::Failed => &mut self.failed,
            FileState::Canceled => &mut self.canceled,
            FileState::NotUsed => &mut self.not_used,
            _ => &mut self.open,
        } += count;
    }

    /// The state that a job ends in; none while files are open.
    pub fn outcome(&self, job_type: JobType) -> Option<JobState> {
        if self.open > 0 {
            return None;
        }
        let some_arrived = self.finished > 0;
        Some(match job_type {
            JobType::MultipleReplica if some_arrived => JobState::Finished,
            _ if self.failed == 0 && self.canceled == 0 && some_arrived => JobState::Finished,
            _ if self.failed > 0 && some_arrived && job_type != JobType::MultiHop => JobState::FinishedDirty,
            _ if self.failed > 0 => JobState::Failed,
            _ => JobState::Canceled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair that has an effect; all others have none.
    const MOVES: &[(FileState, Trigger, FileState)] = &[
        (FileState::NotUsed, Trigger::Use, FileState::Submitted),
        (FileState::Submitted, Trigger::Start, FileState::Active),
        (FileState::ForceStart, Trigger::Start, FileState::Active),
        (FileState::Ready, Trigger::Start, FileState::Active),
        (FileState::Active, Trigger::Start, FileState::Active),
        (FileState::Active, Trigger::Succeed, FileState::Finished),
        (FileState::Active, Trigger::FailForNow, FileState::Submitted),
        (FileState::Active, Trigger::FailForGood, FileState::Failed),
        (FileState::Submitted, Trigger::Expire, FileState::Canceled),
        (FileState::OnHold, Trigger::Expire, FileState::Canceled),
        (FileState::Submitted, Trigger::Hold, FileState::OnHold),
        (FileState::OnHold, Trigger::Release, FileState::Submitted),
    ];

    #[test]
    fn every_state_with_every_trigger() {
        for state in FileState::ALL {
            for trigger in Trigger::ALL {
                let listed = MOVES.iter().find(|m| m.0 == *state && m.1 == trigger).map(|m| m.2);
                let cancelled = (trigger == Trigger::Cancel && !state.is_terminal()).then_some(FileState::Canceled);
                assert_eq!(next(*state, trigger), listed.or(cancelled), "{state} {trigger:?}");
            }
        }
    }

    #[test]
    fn every_mix_of_files_and_every_type() {
        for job_type in JobType::ALL {
            for bits in 0..16_u64 {
                let tally = Tally {
                    finished: bits & 1,
                    failed: bits >> 1 & 1,
                    canceled: bits >> 2 & 1,
                    open: bits >> 3 & 1,
                    not_used: 0,
                };
                let replicas = *job_type == JobType::MultipleReplica;
                let chain = *job_type == JobType::MultiHop;
                let expected = match (tally.open, tally.finished, tally.failed, tally.canceled) {
                    (1, ..) => None,
                    (_, 1, _, _) if replicas => Some(JobState::Finished),
                    (_, 1, 0, 0) => Some(JobState::Finished),
                    (_, 1, 1, _) => Some(if chain { JobState::Failed } else { JobState::FinishedDirty }),
                    (_, 0, 1, _) => Some(JobState::Failed),
                    _ => Some(JobState::Canceled),
                };
                assert_eq!(tally.outcome(*job_type), expected, "{job_type} {tally:?}");
            }
        }
    }
}
