//! Why a file is where it is, in a word for programs and a sentence for people.

use dte_base::time::Timestamp;
use dte_protocol_fts::FileState;

use crate::model::ban::BanStatus;
use crate::model::schedule::Why;

/// Where the work on a file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The movers do not have it yet.
    NotHandedOver,
    /// A mover has it.
    Claimed,
    /// It waits: not before this moment, behind so many others of its line.
    Waiting { run_at: Timestamp, before: usize },
}

/// What is known of a file.
#[derive(Clone, Debug)]
pub struct Facts {
    pub state: FileState,
    /// What its last try, or its end, came to.
    pub reason: Option<String>,
    pub host: Option<String>,
    pub retries: u32,
    /// Its submitter may work here.
    pub is_welcome: bool,
    pub is_user_banned: bool,
    pub ban: Option<(String, BanStatus)>,
    pub place: Place,
    /// What the scheduler says of its line now.
    pub why: Option<Why>,
    /// What the optimiser last said of its link.
    pub rationale: Option<String>,
    pub now: Timestamp,
}

/// A word and a sentence.
pub type Because = (&'static str, String);

/// Lines longer than this are not counted to their end.
pub const MOST_BEFORE: usize = 1_000;

pub fn explain(facts: &Facts) -> Because {
    let reason = || facts.reason.as_deref().unwrap_or("no reason was noted");
    match facts.state {
        FileState::Finished => ("finished", "It has arrived and was verified.".to_owned()),
        FileState::Failed => ("failed", format!("It failed for good: {}.", reason())),
        FileState::Canceled => ("canceled", format!("It was cancelled: {}.", reason())),
        FileState::NotUsed => ("not-used", "It waits for the replica or hop before it.".to_owned()),
        FileState::Active => {
            let host = facts.host.as_deref().unwrap_or("a mover");
            ("active", format!("{host} is copying it (try {}).", facts.retries + 1))
        }
        _ => kept_out(facts).unwrap_or_else(|| waiting(facts)),
    }
}

/// Bans, which come before everything else.
fn kept_out(facts: &Facts) -> Option<Because> {
    if let Some((storage, status)) = &facts.ban {
        let what = match status {
            BanStatus::Cancel => "it is about to be cancelled",
            BanStatus::Wait | BanStatus::WaitAs => "it waits until the ban is lifted",
        };
        return Some(("banned", format!("{storage} is banned ({}): {what}.", status.as_str())));
    }
    if facts.is_user_banned {
        return Some(("user-banned", "Its submitter is banned: it is about to be cancelled.".to_owned()));
    }
    if !facts.is_welcome {
        return Some(("user-suspended", "Its submitter may not work here now: no token is made for it.".to_owned()));
    }
    (facts.state == FileState::OnHold)
        .then(|| ("on-hold", "It was held because of a ban and is about to be released.".to_owned()))
}

fn waiting(facts: &Facts) -> Because {
    let (run_at, before) = match facts.place {
        Place::NotHandedOver => {
            return (
                "large-job",
                "The movers have enough files of its job; it is handed over as those end.".to_owned(),
            );
        }
        Place::Claimed => return ("begins", "A mover is taking it.".to_owned()),
        Place::Waiting { run_at, before } => (run_at, before),
    };
    if run_at > facts.now {
        let last = facts.reason.as_deref().map_or(String::new(), |last| format!("; the last try said: {last}"));
        return ("retry", format!("{} tries failed; the next is at {run_at}{last}.", facts.retries));
    }
    let others = match before {
        0 => String::new(),
        MOST_BEFORE => format!(" {MOST_BEFORE} files or more stand before it in its line."),
        1 => " One file stands before it in its line.".to_owned(),
        many => format!(" {many} files stand before it in its line."),
    };
    let (word, text) = of_line(facts);
    (word, format!("{text}{others}"))
}

fn of_line(facts: &Facts) -> Because {
    let full = |what: &str, running: &usize, most: &usize| format!("{what}: {running} of {most} copies run.");
    match &facts.why {
        None | Some(Why::Begins | Why::Later(_)) => {
            ("begins", "It begins with the next decision of a mover.".to_owned())
        }
        Some(Why::LinkFull { running, most, rule, is_found }) => {
            let by = if *is_found { "the optimiser found that number" } else { "its configuration says so" };
            let rationale = facts.rationale.as_deref().filter(|_| *is_found);
            let rationale = rationale.map_or(String::new(), |text| format!(" ({text})"));
            ("link-limit", format!("{} By rule {rule:?}: {by}{rationale}.", full("The link is full", running, most)))
        }
        Some(Why::AreaFull { running, most }) => {
            ("area-limit", full("The link between the two storage areas is full ([transfer] per_link)", running, most))
        }
        Some(Why::SourceFull { running, most }) => ("source-limit", full("The source is busy", running, most)),
        Some(Why::DestinationFull { running, most }) => {
            ("destination-limit", full("The destination is busy", running, most))
        }
        Some(Why::Priority(higher)) => {
            ("priority", format!("Files of its VO with priority {higher} go first on its link."))
        }
        Some(Why::VoShare) => ("vo-share", "It is the turn of other VOs, by the shares of its link.".to_owned()),
        Some(Why::ActivityShare) => {
            ("activity-share", "It is the turn of other activities of its VO, by their shares.".to_owned())
        }
        Some(Why::NoPlace) => ("no-mover", "All places of the movers are taken, or none runs.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(state: FileState) -> Facts {
        Facts {
            state,
            reason: Some("SOURCE [112] away".into()),
            host: Some("h1".into()),
            retries: 2,
            is_welcome: true,
            is_user_banned: false,
            ban: None,
            place: Place::Waiting { run_at: Timestamp::EPOCH, before: 3 },
            why: None,
            rationale: Some("Measuring".into()),
            now: Timestamp::from_seconds(100),
        }
    }

    #[test]
    fn words_and_sentences() {
        let submitted = facts(FileState::Submitted);
        let with = |why: Why| Facts { why: Some(why), ..submitted.clone() };
        let banned = Facts { ban: Some(("https://a".into(), BanStatus::Wait)), ..facts(FileState::OnHold) };
        let later = Place::Waiting { run_at: Timestamp::from_seconds(160), before: 0 };
        let link = Why::LinkFull { running: 4, most: 4, rule: "slow".into(), is_found: true };
        for (facts, word, part) in [
            (facts(FileState::Finished), "finished", "verified"),
            (facts(FileState::Failed), "failed", "SOURCE [112] away"),
            (facts(FileState::Active), "active", "h1 is copying it (try 3)"),
            (banned, "banned", "https://a is banned (WAIT)"),
            (Facts { is_welcome: false, ..submitted.clone() }, "user-suspended", "no token"),
            (Facts { place: Place::NotHandedOver, ..submitted.clone() }, "large-job", "enough files"),
            (Facts { place: later, ..submitted.clone() }, "retry", "1970-01-01T00:02:40"),
            (submitted.clone(), "begins", "3 files stand before it"),
            (
                with(link),
                "link-limit",
                "4 of 4 copies run. By rule \"slow\": the optimiser found that number (Measuring)",
            ),
            (with(Why::AreaFull { running: 1, most: 1 }), "area-limit", "per_link"),
            (with(Why::SourceFull { running: 1, most: 1 }), "source-limit", "1 of 1"),
            (with(Why::DestinationFull { running: 1, most: 1 }), "destination-limit", "1 of 1"),
            (with(Why::Priority(5)), "priority", "priority 5"),
            (with(Why::VoShare), "vo-share", "VOs"),
            (with(Why::ActivityShare), "activity-share", "activities"),
            (with(Why::NoPlace), "no-mover", "places"),
        ] {
            let (found, text) = explain(&facts);
            assert!(found == word && text.contains(part), "{word}: {found}: {text}");
        }
    }
}
