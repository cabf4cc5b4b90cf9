//! What a client asks for. What is left out has the server's default.
//!
//! A server reads submissions more leniently than these types write them (flags as words, numbers as texts); that is its affair.

use serde::Serialize;
use serde_json::Value;

use crate::state::{SelectionStrategy, VerifyChecksum};

/// The body of `POST /jobs`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Submission {
    pub files: Vec<FileSubmission>,
    pub params: Params,
}

/// One file: all pairs of sources and destinations are candidates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileSubmission {
    pub sources: Vec<String>,
    pub destinations: Vec<String>,
    /// `ADLER32:0a1b2c3d`: what the bytes should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesize: Option<u64>,
    /// Comes back as `file_metadata`, and in the events about this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_word")]
    pub selection_strategy: Option<SelectionStrategy>,
}

impl FileSubmission {
    /// From one place to another.
    pub fn new(source: impl Into<String>, destination: impl Into<String>) -> Self {
        FileSubmission { sources: vec![source.into()], destinations: vec![destination.into()], ..Default::default() }
    }

    /// States what the bytes should be; `adler32` as eight hexadecimal digits.
    pub fn expecting(mut self, bytes: u64, adler32: &str) -> Self {
        self.filesize = Some(bytes);
        self.checksum = Some(format!("ADLER32:{adler32}"));
        self
    }

    pub fn with_metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

/// Where a job's identifier comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdGenerator {
    Standard,
    /// From the submitter's VO and the `sid`.
    Deterministic,
}

/// How the job is to be done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Params {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_checksum_word")]
    pub verify_checksum: Option<VerifyChecksum>,
    /// Whether an existing destination is replaced.
    pub overwrite: bool,
    /// How often a file is tried again: none leaves it to the server, negative is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<i64>,
    /// Seconds between tries; none leaves it to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<u32>,
    /// 1 to 5; 5 goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_metadata: Option<Value>,
    /// Seconds for one copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub multihop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_generator: Option<IdGenerator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

impl Submission {
    /// One file from one place to another.
    pub fn copy(source: impl Into<String>, destination: impl Into<String>) -> Self {
        Submission { files: vec![FileSubmission::new(source, destination)], params: Params::default() }
    }

    /// Several files as one job.
    pub fn of(files: Vec<FileSubmission>) -> Self {
        Submission { files, params: Params::default() }
    }

    /// Makes submitting again the same as submitting once. `sid` says what the job is for and is the same on each try.
    pub fn deterministic(mut self, sid: impl Into<String>) -> Self {
        self.params.id_generator = Some(IdGenerator::Deterministic);
        self.params.sid = Some(sid.into());
        self
    }

    /// Compares both ends' checksums.
    pub fn verified(mut self) -> Self {
        self.params.verify_checksum = Some(VerifyChecksum::Both);
        self
    }

    pub fn overwriting(mut self) -> Self {
        self.params.overwrite = true;
        self
    }
}

fn as_word<S: serde::Serializer>(strategy: &Option<SelectionStrategy>, serializer: S) -> Result<S::Ok, S::Error> {
    strategy.map(SelectionStrategy::as_str).serialize(serializer)
}

/// Requests carry the whole word; only its first letter counts.
fn as_checksum_word<S: serde::Serializer>(mode: &Option<VerifyChecksum>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(|mode| match mode {
        VerifyChecksum::None => "none",
        VerifyChecksum::Source => "source",
        VerifyChecksum::Target => "target",
        VerifyChecksum::Both => "both",
    })
    .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_not_sent() {
        let submission = Submission::copy("https://a/x", "https://b/x").verified().deterministic("s");
        assert_eq!(
            serde_json::to_value(&submission).expect("json"),
            serde_json::json!({
                "files": [{"sources": ["https://a/x"], "destinations": ["https://b/x"]}],
                "params": {"verify_checksum": "both", "overwrite": false, "id_generator": "deterministic", "sid": "s"},
            })
        );
    }
}
