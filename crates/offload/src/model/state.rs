//! Where a pod is on its way.
//!
//! ```text
//! Accepted ──Staged──> Staged ──Started──> Running ──Succeeded──> Succeeded
//!     └──────────────────┴────────Failed──────┴──────────────────> Failed
//! ```
//!
//! Collecting outputs belongs to `Running`: until they are registered, the pod has not succeeded.

/// A pod's state as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Known, nothing done.
    Accepted,
    /// Its inputs are in its run folder.
    Staged,
    /// The site has it.
    Running,
    Succeeded,
    Failed,
}

/// What happens to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    InputsStaged,
    Started,
    /// All containers ended well and the outputs are registered.
    Succeeded,
    /// For whatever reason.
    Failed,
}

impl State {
    pub const ALL: [State; 5] = [State::Accepted, State::Staged, State::Running, State::Succeeded, State::Failed];

    /// The state after `step`; `None` where the step has no place.
    pub const fn after(self, step: Step) -> Option<State> {
        match (self, step) {
            (State::Accepted, Step::InputsStaged) => Some(State::Staged),
            (State::Staged, Step::Started) => Some(State::Running),
            (State::Running, Step::Succeeded) => Some(State::Succeeded),
            (State::Accepted | State::Staged | State::Running, Step::Failed) => Some(State::Failed),
            _ => None,
        }
    }

    pub const fn is_terminal(self) -> bool {
        matches!(self, State::Succeeded | State::Failed)
    }

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Staged => "staged",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// The Kubernetes phase.
    pub const fn phase(self) -> &'static str {
        match self {
            State::Accepted | State::Staged => "Pending",
            State::Running => "Running",
            State::Succeeded => "Succeeded",
            State::Failed => "Failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_step() {
        use State::{Accepted, Failed, Running, Staged, Succeeded};
        let steps = [Step::InputsStaged, Step::Started, Step::Succeeded, Step::Failed];
        let expected = [
            (Accepted, [Some(Staged), None, None, Some(Failed)]),
            (Staged, [None, Some(Running), None, Some(Failed)]),
            (Running, [None, None, Some(Succeeded), Some(Failed)]),
            (Succeeded, [None; 4]),
            (Failed, [None; 4]),
        ];
        assert_eq!(expected.len(), State::ALL.len());
        for (state, after) in expected {
            for (step, wanted) in steps.iter().zip(after) {
                assert_eq!(state.after(*step), wanted, "{state:?} {step:?}");
            }
            assert_eq!(state.is_terminal(), after.iter().all(Option::is_none));
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("lost"), None);
    }
}
