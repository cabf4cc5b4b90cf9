//! The words of the state machines, exactly as they stand in answers. Clients know these and no others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is none of the words of the protocol.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a {what}")]
pub struct UnknownWord {
    what: &'static str,
    text: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every word, in the order of the life of the thing.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(UnknownWord { what: $what, text: text.to_owned() }),
                }
            }
        }
    };
}

words!(
    /// The state of a job.
    JobState, "job state" {
        Staging = "STAGING",
        Submitted = "SUBMITTED",
        Ready = "READY",
        Active = "ACTIVE",
        Archiving = "ARCHIVING",
        Delete = "DELETE",
        QosTransition = "QOS_TRANSITION",
        QosRequestSubmitted = "QOS_REQUEST_SUBMITTED",
        Finished = "FINISHED",
        Failed = "FAILED",
        /// Some files arrived, some did not.
        FinishedDirty = "FINISHEDDIRTY",
        Canceled = "CANCELED",
    }
);

impl JobState {
    /// Whether nothing will change any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, JobState::Finished | JobState::Failed | JobState::FinishedDirty | JobState::Canceled)
    }
}

words!(
    /// The state of one file of a job.
    FileState, "file state" {
        TokenPrep = "TOKEN_PREP",
        Staging = "STAGING",
        Started = "STARTED",
        /// Waits for another replica to fail (R) or for the hop before it (H).
        NotUsed = "NOT_USED",
        OnHold = "ON_HOLD",
        OnHoldStaging = "ON_HOLD_STAGING",
        Submitted = "SUBMITTED",
        ForceStart = "FORCE_START",
        Ready = "READY",
        Active = "ACTIVE",
        Archiving = "ARCHIVING",
        Finished = "FINISHED",
        Failed = "FAILED",
        Canceled = "CANCELED",
    }
);

impl FileState {
    /// Whether nothing will change any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, FileState::Finished | FileState::Failed | FileState::Canceled)
    }
}

words!(
    /// How the files of a job belong together.
    JobType, "job type" {
        /// Each file for itself.
        Normal = "N",
        /// Several sources of one file, tried one after another.
        MultipleReplica = "R",
        /// A chain; each file starts when the one before it has arrived.
        MultiHop = "H",
        /// One connection for all files.
        SessionReuse = "Y",
    }
);

words!(
    /// Which checksums are compared, by the letter that answers carry.
    VerifyChecksum, "checksum mode" {
        None = "n",
        /// The source against what the user said.
        Source = "s",
        /// The destination against what the user said.
        Target = "t",
        /// Both of these, and source against destination.
        Both = "b",
    }
);

words!(
    /// Which of several replicas is tried first.
    SelectionStrategy, "selection strategy" {
        Auto = "auto",
        Orderly = "orderly",
        Queue = "queue",
        Success = "success",
        Throughput = "throughput",
        FileThroughput = "file-throughput",
        PendingData = "pending-data",
        WaitingTime = "waiting-time",
        WaitingTimeWithError = "waiting-time-with-error",
        Duration = "duration",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().expect("parses"), *state);
            assert_eq!(serde_json::to_string(state).expect("a string"), format!("\"{state}\""));
        }
        for state in FileState::ALL {
            assert_eq!(state.as_str().parse::<FileState>().expect("parses"), *state);
        }
        assert!("HALF_DONE".parse::<FileState>().is_err());
        assert_eq!(JobState::ALL.iter().filter(|s| s.is_terminal()).count(), 4);
        assert_eq!(FileState::ALL.iter().filter(|s| s.is_terminal()).count(), 3);
    }
}
