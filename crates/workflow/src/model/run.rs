//! The life of a run: one model on one arrival.

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Decided and committed; the pod may or may not have been handed over.
    Starting,
    /// The pod is accepted.
    Submitted,
    /// The pod has ended; its result waits to be judged.
    Ended,
    /// The products are recorded.
    Succeeded,
    /// It gave nothing; the twin goes on with the next arrival.
    Failed,
    /// What it needed failed before it.
    Skipped,
}

/// What happens to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Accepted,
    /// The pod came to its end.
    PodEnded,
    Recorded,
    GaveNothing,
    /// It gave nothing and is tried again as another pod.
    TriedAgain,
}

pub const ALL: [State; 6] =
    [State::Starting, State::Submitted, State::Ended, State::Succeeded, State::Failed, State::Skipped];

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Submitted => "submitted",
            State::Ended => "ended",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Skipped => "skipped",
        }
    }

    pub fn parse(text: &str) -> Option<State> {
        ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Nothing more will happen to it.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Skipped)
    }

    /// The state after `happening`; `None` when that is no news (told twice, or too late).
    pub const fn after(self, happening: Happening) -> Option<State> {
        match (self, happening) {
            (State::Starting, Happening::Accepted) => Some(State::Submitted),
            // The end may be told before the answer to the hand-over was noted.
            (State::Starting | State::Submitted, Happening::PodEnded) => Some(State::Ended),
            (State::Ended, Happening::Recorded) => Some(State::Succeeded),
            // A pod that is refused for good never runs.
            (State::Starting | State::Ended, Happening::GaveNothing) => Some(State::Failed),
            (State::Ended, Happening::TriedAgain) => Some(State::Starting),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAPPENINGS: [Happening; 5] =
        [Happening::Accepted, Happening::PodEnded, Happening::Recorded, Happening::GaveNothing, Happening::TriedAgain];

    #[test]
    fn final_states_stay() {
        for state in ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            if state.is_final() {
                assert!(HAPPENINGS.iter().all(|happening| state.after(*happening).is_none()), "{state:?}");
            }
        }
    }

    #[test]
    fn what_is_told_twice_is_no_news() {
        for state in ALL {
            for happening in HAPPENINGS {
                if let Some(next) = state.after(happening) {
                    assert_eq!(next.after(happening), None, "{state:?} {happening:?}");
                }
            }
        }
    }
}
