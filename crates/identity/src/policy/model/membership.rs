//! What a membership goes through: requested → active → expiring → expired, or suspended, or left.

use std::time::Duration;

use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::group::Group;

/// So long before its end a membership is shown as expiring.
pub(crate) const WARNING: Duration = Duration::from_secs(30 * 86_400);
/// The longest path of a group, in bytes.
pub(crate) const LONGEST_PATH: usize = 255;
/// The longest name of a role, in bytes.
pub(crate) const LONGEST_ROLE: usize = 64;

/// Where a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Asked for; nobody has decided.
    Requested,
    Active,
    /// Active, and its end is near.
    Expiring,
    Expired,
    Suspended,
    /// Over: left, removed, declined. It can begin again.
    Left,
}

/// What happens to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    /// The person asks to be let in.
    Request,
    /// A manager lets the person in, asked or not.
    Admit,
    /// A manager says no.
    Decline,
    /// The end comes near.
    Warn,
    /// The end has come.
    Expire,
    /// A new end is set.
    Renew,
    Suspend,
    Resume,
    /// The person leaves or is removed.
    Leave,
}

impl State {
    pub(crate) const ALL: [State; 6] =
        [State::Requested, State::Active, State::Expiring, State::Expired, State::Suspended, State::Left];

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Requested => "requested",
            State::Active => "active",
            State::Expiring => "expiring",
            State::Expired => "expired",
            State::Suspended => "suspended",
            State::Left => "left",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the person counts as a member.
    pub(crate) fn counts(self) -> bool {
        matches!(self, State::Active | State::Expiring)
    }

    /// The state after an event; nothing when the event cannot happen here.
    pub(crate) fn after(self, event: Event) -> Option<State> {
        use State::{Active, Expired, Expiring, Left, Requested, Suspended};
        match (self, event) {
            (Expired | Left, Event::Request) => Some(Requested),
            // Whoever is suspended must be resumed, which is a decision of its own.
            (Requested | Active | Expiring | Expired | Left, Event::Admit) => Some(Active),
            (Requested, Event::Decline) => Some(Left),
            (Active, Event::Warn) => Some(Expiring),
            (Active | Expiring, Event::Expire) => Some(Expired),
            (Active | Expiring | Expired, Event::Renew) => Some(Active),
            (Active | Expiring, Event::Suspend) => Some(Suspended),
            (Suspended, Event::Resume) => Some(Active),
            (Requested | Active | Expiring | Expired | Suspended, Event::Leave) => Some(Left),
            _ => None,
        }
    }

    /// What can happen here.
    pub(crate) fn allowed(self) -> Vec<Event> {
        Event::ALL.into_iter().filter(|event| self.after(*event).is_some()).collect()
    }

    /// The state that the clock makes of the one that was decided.
    pub(crate) fn at(self, expires: Option<Timestamp>, now: Timestamp) -> State {
        let event = match expires {
            Some(end) if end <= now => Event::Expire,
            Some(end) if end - WARNING <= now => Event::Warn,
            _ => return self,
        };
        self.after(event).unwrap_or(self)
    }
}

impl Event {
    pub(crate) const ALL: [Event; 9] = [
        Event::Request,
        Event::Admit,
        Event::Decline,
        Event::Warn,
        Event::Expire,
        Event::Renew,
        Event::Suspend,
        Event::Resume,
        Event::Leave,
    ];
}

/// `/vo[/group]*`, checked.
pub(crate) fn group_path(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_PATH {
        return Err(format!("the path of a group has at most {LONGEST_PATH} bytes"));
    }
    let slashed = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    match Group::from_wlcg(&slashed) {
        Some(_) => Ok(slashed),
        None => Err(format!("{text:?} is not a group such as /vo/group: each part begins with a letter or digit")),
    }
}

/// The path of the group above; nothing for a community.
pub(crate) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

/// A role; `member` and nothing are the same.
pub(crate) fn role(text: &str) -> Result<String, String> {
    let good = text.len() <= LONGEST_ROLE
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    match (good, text) {
        (true, "member") => Ok(String::new()),
        (true, _) => Ok(text.to_owned()),
        (false, _) => Err(format!("a role has letters, digits, `.`, `_`, `-`, at most {LONGEST_ROLE}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every state with every event: what is not in this table cannot happen.
    #[test]
    fn every_state_and_event() {
        use State::{Active, Expired, Expiring, Left, Requested, Suspended};
        //            Request          Admit         Decline     Warn            Expire         Renew         Suspend          Resume        Leave
        let table = [
            (Requested, [None, Some(Active), Some(Left), None, None, None, None, None, Some(Left)]),
            (
                Active,
                [
                    None,
                    Some(Active),
                    None,
                    Some(Expiring),
                    Some(Expired),
                    Some(Active),
                    Some(Suspended),
                    None,
                    Some(Left),
                ],
            ),
            (
                Expiring,
                [None, Some(Active), None, None, Some(Expired), Some(Active), Some(Suspended), None, Some(Left)],
            ),
            (Expired, [Some(Requested), Some(Active), None, None, None, Some(Active), None, None, Some(Left)]),
            (Suspended, [None, None, None, None, None, None, None, Some(Active), Some(Left)]),
            (Left, [Some(Requested), Some(Active), None, None, None, None, None, None, None]),
        ];
        assert_eq!(table.len(), State::ALL.len());
        for (state, row) in table {
            for (event, wanted) in Event::ALL.into_iter().zip(row) {
                assert_eq!(state.after(event), wanted, "{state:?} {event:?}");
                assert_eq!(state.allowed().contains(&event), wanted.is_some());
            }
            assert_eq!(State::named(state.name()), Some(state));
        }
    }

    #[test]
    fn the_clock_expires_what_counts() {
        let now = Timestamp::from_seconds(1_000_000_000);
        let hour = Duration::from_secs(3_600);
        assert_eq!(State::Active.at(None, now), State::Active);
        assert_eq!(State::Active.at(Some(now + WARNING + hour), now), State::Active);
        assert_eq!(State::Active.at(Some(now + hour), now), State::Expiring);
        assert_eq!(State::Active.at(Some(now), now), State::Expired);
        for state in [State::Requested, State::Suspended, State::Left, State::Expired] {
            assert_eq!(state.at(Some(now), now), state);
        }
    }

    #[test]
    fn paths() {
        assert_eq!(group_path("vo/a").as_deref(), Ok("/vo/a"));
        assert_eq!((parent("/vo/a/b"), parent("/vo")), (Some("/vo/a"), None));
        for bad in ["", "/", "/vo/", "/vo/../x", "/vo a", &format!("/{}", "x".repeat(300))] {
            assert!(group_path(bad).is_err(), "{bad}");
        }
        assert_eq!(role("member").as_deref(), Ok(""));
        assert!(role("a b").is_err());
    }

    proptest! {
        /// Nobody who is suspended or gone counts, whatever the clock says, and time alone makes no members.
        #[test]
        fn time_only_takes_away(index in 0usize..6, end in proptest::option::of(-100_000_000i64..100_000_000), now in -100_000_000i64..100_000_000) {
            let state = State::ALL[index];
            let then = state.at(end.map(Timestamp::from_seconds), Timestamp::from_seconds(now));
            prop_assert!(!then.counts() || state.counts());
            prop_assert!(end.is_none_or(|end| end > now) || !then.counts());
        }
    }
}
