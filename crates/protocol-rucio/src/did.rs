//! Data identifiers: `scope:name`, unique for ever, naming a file, a dataset of files or a container of collections.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A data identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Did {
    pub scope: String,
    pub name: String,
}

impl Did {
    pub fn new(scope: impl Into<String>, name: impl Into<String>) -> Self {
        Did { scope: scope.into(), name: name.into() }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, self.name)
    }
}

/// A text that is not `scope:name`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a data identifier such as user.jdoe:file.csv")]
pub struct BadDid(pub String);

impl FromStr for Did {
    type Err = BadDid;
    fn from_str(text: &str) -> Result<Self, BadDid> {
        let bad = || BadDid(text.to_owned());
        let (scope, name) = text.split_once(':').ok_or_else(bad)?;
        if !is_scope(scope) || !is_name(name) {
            return Err(bad());
        }
        Ok(Did::new(scope, name))
    }
}

/// Whether `text` may name a scope: `[a-zA-Z_\-.0-9]+`, at most 25 characters.
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.len() <= 25 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// Whether `text` may be a name: `[/A-Za-z0-9][/A-Za-z0-9.\-_]*`, at most 250 characters, and no `.` or `..` component,
/// since a name becomes a path.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'/');
    first
        && text.len() <= 250
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/.-_".contains(&b))
        && text.split('/').all(|part| part != "." && part != "..")
}

/// Whether `text` may name an account: `[a-z0-9-_]+`, at most 25 characters.
pub fn is_account(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 25
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// What a DID is. Wire form by name; the database and some inputs have the letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DidType {
    #[serde(alias = "F")]
    File,
    #[serde(alias = "D")]
    Dataset,
    #[serde(alias = "C")]
    Container,
}

impl DidType {
    pub const fn letter(self) -> &'static str {
        match self {
            DidType::File => "F",
            DidType::Dataset => "D",
            DidType::Container => "C",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            DidType::File => "FILE",
            DidType::Dataset => "DATASET",
            DidType::Container => "CONTAINER",
        }
    }

    /// Reads the letter or the name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "F" | "FILE" => Some(DidType::File),
            "D" | "DATASET" => Some(DidType::Dataset),
            "C" | "CONTAINER" => Some(DidType::Container),
            _ => None,
        }
    }

    pub const fn is_collection(self) -> bool {
        !matches!(self, DidType::File)
    }
}

/// A collection to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewDid {
    pub scope: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: DidType,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub meta: serde_json::Map<String, serde_json::Value>,
    /// Rules to be made in the same transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<serde_json::Value>,
    /// Children to be attached in the same transaction; files must exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dids: Vec<Did>,
}

impl NewDid {
    pub fn dataset(did: &Did) -> Self {
        NewDid::of(did, DidType::Dataset)
    }

    pub fn container(did: &Did) -> Self {
        NewDid::of(did, DidType::Container)
    }

    fn of(did: &Did, kind: DidType) -> Self {
        NewDid {
            scope: did.scope.clone(),
            name: did.name.clone(),
            kind,
            meta: serde_json::Map::new(),
            rules: Vec::new(),
            dids: Vec::new(),
        }
    }
}

/// `GET /dids/<did>`. What a file has and what a collection has are told apart by `kind`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DidInfo {
    pub scope: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: DidType,
    pub account: String,
    /// Collections only.
    #[serde(default)]
    pub open: Option<bool>,
    /// Number of files: of a file 1, of an open collection unknown.
    #[serde(default)]
    pub length: Option<u64>,
    #[serde(default)]
    pub bytes: Option<u64>,
    #[serde(default)]
    pub adler32: Option<String>,
    #[serde(default)]
    pub md5: Option<String>,
}

/// One direct child of a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContentEntry {
    pub scope: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: DidType,
    pub bytes: Option<u64>,
    pub adler32: Option<String>,
    pub md5: Option<String>,
}

/// One file below a collection, at any depth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    pub scope: String,
    pub name: String,
    pub bytes: Option<u64>,
    pub adler32: Option<String>,
}

/// One parent and the children to attach to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attachment {
    pub scope: String,
    pub name: String,
    pub dids: Vec<Did>,
}

impl Attachment {
    pub fn new(parent: &Did, children: impl IntoIterator<Item = Did>) -> Self {
        Attachment { scope: parent.scope.clone(), name: parent.name.clone(), dids: children.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        assert_eq!("user.jdoe:a/b.csv".parse::<Did>().expect("did"), Did::new("user.jdoe", "a/b.csv"));
        for bad in ["nocolon", "s:", ":n", "s:a b", "s p:n", "s:../x", "s:a/../b", "s:.hidden"] {
            assert!(bad.parse::<Did>().is_err(), "{bad}");
        }
        assert!(!is_name(&"x".repeat(251)));
        assert!(!is_account("Upper"));
    }
}
