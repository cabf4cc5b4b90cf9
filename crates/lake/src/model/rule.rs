//! How the locks of a rule make its state, and how a copy makes a lock.

use dte_protocol_rucio::{LockState, ReplicaState, RuleState};

/// Number of locks in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockCounts {
    pub ok: i64,
    pub replicating: i64,
    pub stuck: i64,
}

impl LockCounts {
    /// Adds `number` locks in `state`.
    pub fn add(&mut self, state: LockState, number: i64) {
        match state {
            LockState::Ok => self.ok += number,
            LockState::Replicating => self.replicating += number,
            LockState::Stuck => self.stuck += number,
        }
    }

    pub fn is_zero(&self) -> bool {
        *self == LockCounts::default()
    }
}

/// The state that follows from the locks. `pending`: locks of some files are still to be made.
///
/// Suspended rules and rules that wait for approval stay what they are until a person says otherwise.
pub fn state_of(now: RuleState, locks: LockCounts, pending: bool) -> RuleState {
    match now {
        RuleState::Suspended | RuleState::WaitingApproval => now,
        RuleState::Inject if pending => RuleState::Inject,
        _ if locks.stuck > 0 => RuleState::Stuck,
        _ if locks.replicating > 0 || pending => RuleState::Replicating,
        _ => RuleState::Ok,
    }
}

/// What has to happen where a rule wants a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The copy is there.
    Nothing,
    /// Somebody brings it already: an upload, or a transfer for another rule.
    Wait,
    /// A transfer has to be started.
    Transfer,
    /// It cannot come: no copy to read from, or nothing may be written there.
    Impossible,
}

impl Need {
    pub const fn lock_state(self) -> LockState {
        match self {
            Need::Nothing => LockState::Ok,
            Need::Wait | Need::Transfer => LockState::Replicating,
            Need::Impossible => LockState::Stuck,
        }
    }
}

/// What has to happen, given the copy that is there (if any), whether a copy can be read elsewhere, and whether the
/// storage element may be written.
pub fn need(there: Option<ReplicaState>, has_source: bool, writable: bool) -> Need {
    match there {
        Some(ReplicaState::Available | ReplicaState::TemporaryUnavailable) => Need::Nothing,
        Some(ReplicaState::Copying) => Need::Wait,
        Some(ReplicaState::Bad | ReplicaState::BeingDeleted | ReplicaState::Unavailable) | None => {
            if has_source && writable { Need::Transfer } else { Need::Impossible }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_locks() {
        let counts = |ok, replicating, stuck| LockCounts { ok, replicating, stuck };
        for now in [RuleState::Ok, RuleState::Replicating, RuleState::Stuck, RuleState::Inject] {
            assert_eq!(state_of(now, counts(0, 0, 0), false), RuleState::Ok);
            assert_eq!(state_of(now, counts(5, 0, 0), false), RuleState::Ok);
            assert_eq!(state_of(now, counts(5, 1, 0), false), RuleState::Replicating);
            assert_eq!(state_of(now, counts(5, 1, 1), false), RuleState::Stuck);
        }
        assert_eq!(state_of(RuleState::Inject, counts(1, 0, 0), true), RuleState::Inject);
        assert_eq!(state_of(RuleState::Ok, counts(1, 0, 0), true), RuleState::Replicating);
        assert_eq!(state_of(RuleState::Suspended, counts(0, 0, 0), false), RuleState::Suspended);
    }

    #[test]
    fn needs() {
        assert_eq!(need(Some(ReplicaState::Available), false, false), Need::Nothing);
        assert_eq!(need(Some(ReplicaState::Copying), true, true), Need::Wait);
        assert_eq!(need(None, true, true), Need::Transfer);
        assert_eq!(need(None, false, true), Need::Impossible);
        assert_eq!(need(Some(ReplicaState::Unavailable), true, false), Need::Impossible);
    }
}
