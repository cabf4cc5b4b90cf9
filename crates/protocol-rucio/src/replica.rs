//! Replicas: one copy of a file at one storage element.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of a copy. Answers have the name; registration and update take the letter (the name is understood too).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaState {
    #[default]
    Available,
    Unavailable,
    Copying,
    BeingDeleted,
    Bad,
    TemporaryUnavailable,
}

impl ReplicaState {
    pub const fn letter(self) -> &'static str {
        match self {
            ReplicaState::Available => "A",
            ReplicaState::Unavailable => "U",
            ReplicaState::Copying => "C",
            ReplicaState::BeingDeleted => "B",
            ReplicaState::Bad => "D",
            ReplicaState::TemporaryUnavailable => "T",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            ReplicaState::Available => "AVAILABLE",
            ReplicaState::Unavailable => "UNAVAILABLE",
            ReplicaState::Copying => "COPYING",
            ReplicaState::BeingDeleted => "BEING_DELETED",
            ReplicaState::Bad => "BAD",
            ReplicaState::TemporaryUnavailable => "TEMPORARY_UNAVAILABLE",
        }
    }

    pub fn from_letter(text: &str) -> Option<Self> {
        Some(match text {
            "A" => ReplicaState::Available,
            "U" => ReplicaState::Unavailable,
            "C" => ReplicaState::Copying,
            "B" => ReplicaState::BeingDeleted,
            "D" => ReplicaState::Bad,
            "T" => ReplicaState::TemporaryUnavailable,
            _ => return None,
        })
    }

    /// Reads the letter or the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_letter(text).or(match text {
            "AVAILABLE" => Some(ReplicaState::Available),
            "UNAVAILABLE" => Some(ReplicaState::Unavailable),
            "COPYING" => Some(ReplicaState::Copying),
            "BEING_DELETED" => Some(ReplicaState::BeingDeleted),
            "BAD" => Some(ReplicaState::Bad),
            "TEMPORARY_UNAVAILABLE" => Some(ReplicaState::TemporaryUnavailable),
            _ => None,
        })
    }
}

/// A copy to be registered. The file's DID is made when it is not known yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewReplica {
    pub scope: String,
    pub name: String,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adler32: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// Required where the storage element is not deterministic; elsewhere it must equal the derived one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pfn: Option<String>,
    /// A letter; `A` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl NewReplica {
    /// An available copy.
    pub fn new(did: &crate::Did, bytes: u64, adler32: impl Into<String>) -> Self {
        NewReplica {
            scope: did.scope.clone(),
            name: did.name.clone(),
            bytes,
            adler32: Some(adler32.into()),
            md5: None,
            pfn: None,
            state: None,
        }
    }
}

/// A file and where its copies are: one item of `/replicas/list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaEntry {
    pub scope: String,
    pub name: String,
    pub bytes: Option<u64>,
    pub adler32: Option<String>,
    pub md5: Option<String>,
    /// The PFNs at each storage element.
    #[serde(default)]
    pub rses: BTreeMap<String, Vec<String>>,
    /// The state's name at each storage element.
    #[serde(default)]
    pub states: BTreeMap<String, String>,
    /// All PFNs, best first.
    #[serde(default)]
    pub pfns: serde_json::Map<String, serde_json::Value>,
}

impl ReplicaEntry {
    /// The PFN to read from first.
    pub fn best_pfn(&self) -> Option<&str> {
        self.pfns.keys().next().map(String::as_str).or_else(|| self.rses.values().flatten().next().map(String::as_str))
    }

    pub fn did(&self) -> crate::Did {
        crate::Did::new(&self.scope, &self.name)
    }
}
