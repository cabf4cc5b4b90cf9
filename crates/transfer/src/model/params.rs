//! How a job is to be done: the `params` of a submission.

use dte_base::time::Timestamp;
use dte_protocol_fts::VerifyChecksum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::reader::{Reader, Refusal};

/// Serialized bytes of a job's metadata.
const JOB_METADATA_LIMIT: usize = 2048;
const DEFAULT_PRIORITY: i64 = 3;
const PRIORITIES: std::ops::RangeInclusive<i64> = 1..=5;

/// What happens to a destination that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overwrite {
    #[serde(rename = "")]
    Never,
    #[serde(rename = "Y")]
    Always,
    /// Only when a copy is tried again.
    #[serde(rename = "R")]
    OnRetry,
    /// All hops of a chain but the last.
    #[serde(rename = "M")]
    Hops,
}

impl Overwrite {
    /// The letter of answers; none for never.
    pub fn letter(self) -> Option<&'static str> {
        match self {
            Overwrite::Never => None,
            Overwrite::Always => Some("Y"),
            Overwrite::OnRetry => Some("R"),
            Overwrite::Hops => Some("M"),
        }
    }

    /// Whether this copy may replace what is there.
    pub fn applies(self, is_retry: bool, is_last_hop: bool) -> bool {
        match self {
            Overwrite::Never => false,
            Overwrite::Always => true,
            Overwrite::OnRetry => is_retry,
            Overwrite::Hops => !is_last_hop,
        }
    }
}

/// What is stored of a job's parameters, and shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobParams {
    pub verify_checksum: VerifyChecksum,
    pub overwrite: Overwrite,
    pub retry: i64,
    pub retry_delay: i64,
    pub priority: i64,
    /// Seconds since 1970 after which waiting files are given up.
    pub max_time_in_queue: Option<i64>,
    /// Seconds for one copy.
    pub timeout: Option<u64>,
    pub strict_copy: bool,
    pub disable_cleanup: bool,
    pub dst_file_report: bool,
    pub source_spacetoken: Option<String>,
    pub destination_spacetoken: Option<String>,
    pub internal_job_params: Option<String>,
    pub job_metadata: Value,
}

/// What `params` says beyond what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadParams {
    pub job: JobParams,
    /// Whether `verify_checksum` was left to the server: then a stated checksum is compared with the destination.
    pub checksum_unsaid: bool,
    pub multihop: bool,
    pub reuse: bool,
    pub sid: Option<String>,
}

/// Reads `params`; unknown keys are ignored, as clients send them.
pub fn read(params: &Map<String, Value>, now: Timestamp) -> Result<ReadParams, Refusal> {
    let reader = Reader::new(params);
    let (verify_checksum, checksum_unsaid) = checksum_mode(&reader)?;
    let multihop = reader.flag("multihop");
    for tape in ["bring_online", "copy_pin_lifetime", "archive_timeout"] {
        if reader.integer(tape)?.is_some_and(|seconds| seconds > 0) {
            return Err(Refusal::bad(format!("{tape} is not supported for token submissions")));
        }
    }
    let sid = match reader.text("id_generator")? {
        Some("deterministic") => Some(
            reader
                .text("sid")?
                .filter(|sid| !sid.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| Refusal::bad("Need sid for deterministic job id generation"))?,
        ),
        _ => None,
    };
    let nonempty = |name| reader.text(name).map(|text| text.filter(|t| !t.is_empty()).map(str::to_owned));
    let job = JobParams {
        verify_checksum,
        overwrite: overwrite(&reader, multihop)?,
        retry: reader.integer("retry")?.unwrap_or(0),
        retry_delay: reader.integer("retry_delay")?.unwrap_or(0).max(0),
        priority: reader.integer("priority")?.map_or(DEFAULT_PRIORITY, clamp_priority),
        max_time_in_queue: max_time_in_queue(&reader, now)?,
        timeout: reader.integer("timeout")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0),
        strict_copy: reader.flag("strict_copy"),
        disable_cleanup: reader.flag("disable_cleanup"),
        dst_file_report: reader.flag("dst_file_report"),
        source_spacetoken: nonempty("source_spacetoken")?,
        destination_spacetoken: nonempty("destination_spacetoken")?,
        internal_job_params: internal(&reader)?,
        job_metadata: job_metadata(&reader)?,
    };
    Ok(ReadParams { job, checksum_unsaid, multihop, reuse: reader.flag("reuse"), sid })
}

/// Priorities beyond the scale are taken to its ends.
pub fn clamp_priority(priority: i64) -> i64 {
    priority.clamp(*PRIORITIES.start(), *PRIORITIES.end())
}

fn checksum_mode(reader: &Reader<'_>) -> Result<(VerifyChecksum, bool), Refusal> {
    match reader.get("verify_checksum") {
        None | Some(Value::Bool(false)) => Ok((VerifyChecksum::None, true)),
        Some(Value::Bool(true)) => Ok((VerifyChecksum::Both, false)),
        // Only the first letter counts.
        Some(Value::String(word)) => match word.chars().next().map(|c| c.to_ascii_lowercase()) {
            Some('n') => Ok((VerifyChecksum::None, false)),
            Some('s') => Ok((VerifyChecksum::Source, false)),
            Some('t') => Ok((VerifyChecksum::Target, false)),
            Some('b') => Ok((VerifyChecksum::Both, false)),
            _ => Err(Refusal::value(format!("verify_checksum {word}"))),
        },
        Some(other) => Err(Refusal::value(format!("verify_checksum {other}"))),
    }
}

fn overwrite(reader: &Reader<'_>, multihop: bool) -> Result<Overwrite, Refusal> {
    if reader.flag("overwrite_when_only_on_disk") {
        // Without tape there is no archiving to wait for.
        return Err(Refusal::bad("'overwrite-when-only-on-disk' requires 'archive-timeout' to be set"));
    }
    match (reader.flag("overwrite"), reader.flag("overwrite_on_retry"), reader.flag("overwrite_hop")) {
        (false, false, false) => Ok(Overwrite::Never),
        (true, false, false) => Ok(Overwrite::Always),
        (false, true, false) => Ok(Overwrite::OnRetry),
        (false, false, true) if multihop => Ok(Overwrite::Hops),
        (false, false, true) => Err(Refusal::bad("'overwrite-hop' requires multihop job submission")),
        _ => Err(Refusal::bad("Incompatible overwrite flags used at the same time")),
    }
}

/// A plain number is hours; with a letter `s`, `m`, `h` or `d` it is that.
fn max_time_in_queue(reader: &Reader<'_>, now: Timestamp) -> Result<Option<i64>, Refusal> {
    let seconds = match reader.get("max_time_in_queue") {
        Some(Value::String(text)) if text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            let (number, unit) = text.split_at(text.len() - 1);
            let number: i64 = number.trim().parse().map_err(|_| Refusal::value(format!("max_time_in_queue {text}")))?;
            let factor = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return Err(Refusal::value(format!("max_time_in_queue {text}"))),
            };
            number.saturating_mul(factor)
        }
        _ => reader.integer("max_time_in_queue")?.unwrap_or(0).saturating_mul(3_600),
    };
    Ok((seconds > 0).then(|| now.as_seconds().saturating_add(seconds)))
}

/// The comma list of `internal_job_params`, in the order of the reference.
fn internal(reader: &Reader<'_>) -> Result<Option<String>, Refusal> {
    let mut parts = Vec::new();
    for (member, name) in [("nostreams", "nostreams"), ("timeout", "timeout"), ("buffer_size", "buffersize")] {
        if let Some(number) = reader.integer(member)?.filter(|number| *number > 0) {
            parts.push(format!("{name}:{number}"));
        }
    }
    for (member, name) in [("strict_copy", "strict"), ("disable_cleanup", "disable-cleanup")] {
        if reader.flag(member) {
            parts.push(name.to_owned());
        }
    }
    match (reader.flag("ipv4"), reader.flag("ipv6")) {
        (true, _) => parts.push("ipv4".to_owned()),
        (false, true) => parts.push("ipv6".to_owned()),
        (false, false) => {}
    }
    if reader.flag("s3alternate") {
        parts.push("s3alternate".to_owned());
    }
    Ok((!parts.is_empty()).then(|| parts.join(",")))
}

fn job_metadata(reader: &Reader<'_>) -> Result<Value, Refusal> {
    let mut metadata = reader.metadata("job_metadata", JOB_METADATA_LIMIT)?.unwrap_or_else(|| json!({}));
    metadata["auth_method"] = "oauth2".into();
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<ReadParams, Refusal> {
        read(value.as_object().expect("an object"), Timestamp::from_seconds(1_000))
    }

    #[test]
    fn defaults() {
        let params = parse(json!({"unknown": 1, "retry": null})).expect("parses");
        assert_eq!(params.job.verify_checksum, VerifyChecksum::None);
        assert!(params.checksum_unsaid && !params.multihop && params.sid.is_none());
        assert_eq!((params.job.retry, params.job.priority, params.job.internal_job_params), (0, 3, None));
        assert_eq!(params.job.job_metadata, json!({"auth_method": "oauth2"}));
    }

    #[test]
    fn what_clients_say() {
        let params = parse(json!({
            "verify_checksum": "n", "priority": 9, "max_time_in_queue": "2m", "nostreams": "4", "timeout": 30,
            "ipv6": true, "job_metadata": "label", "overwrite": "yes",
        }))
        .expect("parses");
        assert!(!params.checksum_unsaid);
        assert_eq!(params.job.priority, 5);
        assert_eq!(params.job.max_time_in_queue, Some(1_120));
        assert_eq!(params.job.internal_job_params.as_deref(), Some("nostreams:4,timeout:30,ipv6"));
        assert_eq!(params.job.overwrite, Overwrite::Always);
        assert_eq!(parse(json!({"max_time_in_queue": 1})).expect("parses").job.max_time_in_queue, Some(4_600));
        assert_eq!(parse(json!({"verify_checksum": true})).expect("parses").job.verify_checksum, VerifyChecksum::Both);
    }

    #[test]
    fn refusals() {
        let message = |value| parse(value).expect_err("refused").message;
        assert_eq!(message(json!({"overwrite_hop": true})), "'overwrite-hop' requires multihop job submission");
        assert_eq!(
            message(json!({"overwrite": true, "overwrite_on_retry": true})),
            "Incompatible overwrite flags used at the same time"
        );
        assert_eq!(message(json!({"id_generator": "deterministic"})), "Need sid for deterministic job id generation");
        assert_eq!(
            message(json!({"overwrite_when_only_on_disk": true})),
            "'overwrite-when-only-on-disk' requires 'archive-timeout' to be set"
        );
        assert!(message(json!({"retry": "many"})).starts_with("Invalid value within the request: "));
        assert_eq!(message(json!({"job_metadata": [1]})), "Metadata neither JSON nor String");
        assert_eq!(
            message(json!({"job_metadata": "x".repeat(3000)})),
            "Job Submission Refused, metadata exceeds size limit of 2048"
        );
    }

    #[test]
    fn overwriting() {
        assert!(!Overwrite::Never.applies(true, true) && Overwrite::Always.applies(false, true));
        assert!(Overwrite::OnRetry.applies(true, true) && !Overwrite::OnRetry.applies(false, true));
        assert!(Overwrite::Hops.applies(false, false) && !Overwrite::Hops.applies(false, true));
    }
}
