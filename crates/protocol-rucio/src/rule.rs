//! Replication rules: "N copies of this DID on storage elements that match this expression", and their locks.

use serde::{Deserialize, Serialize};

macro_rules! lettered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $letter:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The database value, and the input form where an endpoint says "letter".
            pub const fn letter(self) -> &'static str {
                match self { $($name::$variant => $letter),+ }
            }
            /// The wire value.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// Reads the letter or the name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($letter | $word => Some($name::$variant),)+ _ => None }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown value {text:?}")))
            }
        }
    };
}

lettered!(
    /// Where a rule stands.
    RuleState {
        Replicating = "R" "REPLICATING",
        Ok = "O" "OK",
        Stuck = "S" "STUCK",
        Suspended = "U" "SUSPENDED",
        WaitingApproval = "W" "WAITING_APPROVAL",
        /// Locks of a large DID are still being made.
        Inject = "I" "INJECT",
    }
);

lettered!(
    /// Where the lock of one file on one storage element stands.
    LockState { Replicating = "R" "REPLICATING", Ok = "O" "OK", Stuck = "S" "STUCK" }
);

lettered!(
    /// What is placed together.
    Grouping {
        /// The whole DID on the same storage elements.
        All = "A" "ALL",
        /// Each dataset on its own.
        Dataset = "D" "DATASET",
        /// Each file on its own.
        None = "N" "NONE",
    }
);

lettered!(
    /// When a rule's progress is told.
    Notification { Yes = "Y" "YES", No = "N" "NO", Close = "C" "CLOSE", Progress = "P" "PROGRESS" }
);

/// A rule to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewRule {
    pub dids: Vec<crate::Did>,
    pub copies: u32,
    pub rse_expression: String,
    /// The caller when absent. The key itself must be on the wire.
    #[serde(default)]
    pub account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grouping: Option<Grouping>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<i64>,
}

impl NewRule {
    /// `copies` copies of `did` on storage elements that match `rse_expression`, for the caller.
    pub fn new(did: crate::Did, copies: u32, rse_expression: impl Into<String>) -> Self {
        NewRule {
            dids: vec![did],
            copies,
            rse_expression: rse_expression.into(),
            account: None,
            grouping: None,
            activity: None,
            comment: None,
            lifetime: None,
        }
    }
}

/// A rule as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleInfo {
    pub id: String,
    pub account: String,
    pub scope: String,
    pub name: String,
    pub did_type: crate::DidType,
    pub state: RuleState,
    pub error: Option<String>,
    pub rse_expression: String,
    pub copies: u32,
    pub locks_ok_cnt: u64,
    pub locks_replicating_cnt: u64,
    pub locks_stuck_cnt: u64,
}

/// One lock of a rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockEntry {
    pub scope: String,
    pub name: String,
    pub rse: String,
    pub state: LockState,
    pub rule_id: String,
}
