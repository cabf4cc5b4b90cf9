//! What a submission means: a job and its files, or a refusal in the words of FTS.

use dte_base::time::Timestamp;
use dte_protocol_fts::{FileState, JobType, SelectionStrategy, VerifyChecksum};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::model::params::{self, JobParams, ReadParams};
use crate::model::place::StorageUrl;
use crate::model::reader::{Reader, Refusal};

const FILE_METADATA_LIMIT: usize = 4096;
const STAGING_METADATA_LIMIT: usize = 1024;
const SCITAGS: std::ops::RangeInclusive<i64> = 65..=65_535;
/// What answers show when no checksum was stated.
const NO_CHECKSUM: &str = "ADLER32";
const LONGEST_ACTIVITY: usize = 255;
const DEFAULT_ACTIVITY: &str = "default";

/// A job as wanted.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub job_type: JobType,
    pub params: JobParams,
    /// The job's identifier is derived from it when there is one.
    pub sid: Option<String>,
    pub files: Vec<NewFile>,
    /// Tokens that came with the files; checked, never kept.
    pub tokens: Vec<String>,
}

/// A file as wanted: one pair of source and destination.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Place in the submission; replicas of one file share it.
    pub index: i64,
    pub source: StorageUrl,
    pub destination: StorageUrl,
    pub state: FileState,
    /// `ADLER32`, or `ADLER32:0a1b2c3d`.
    pub checksum: String,
    pub user_filesize: Option<i64>,
    pub metadata: Option<Value>,
    pub staging_metadata: Option<Value>,
    pub archive_metadata: Option<Value>,
    pub activity: String,
    pub strategy: SelectionStrategy,
    pub scitag: Option<i64>,
}

/// Reads the body of `POST /jobs`. `most_files` limits the pairs of sources and destinations.
pub fn parse(body: &[u8], most_files: usize, now: Timestamp) -> Result<NewJob, Refusal> {
    let document: Value = serde_json::from_slice(body).map_err(|_| Refusal::bad("Badly formatted JSON request"))?;
    let Value::Object(document) = document else { return Err(Refusal::bad("Expecting a dictionary")) };
    let reader = Reader::new(&document);
    if reader.get("delete").is_some() {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Deletion jobs are no longer supported by FTS"));
    }
    let listed = match reader.get("files").or_else(|| reader.get("Files")) {
        Some(Value::Array(files)) if !files.is_empty() => files,
        None | Some(Value::Array(_)) => return Err(Refusal::bad("No transfers operations specified")),
        Some(_) => return Err(Refusal::value("files is not a list")),
    };
    let empty = Map::new();
    let params = match reader.get("params") {
        None => &empty,
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Refusal::value("params is not a dictionary")),
    };
    let ReadParams { job: mut params, checksum_unsaid, multihop, reuse, sid } = params::read(params, now)?;

    let mut files = Vec::with_capacity(listed.len());
    let mut tokens = Vec::new();
    let mut replicas = false;
    for (index, listed) in (0_i64..).zip(listed) {
        let Value::Object(members) = listed else { return Err(Refusal::value("a file is not a dictionary")) };
        let read = read_file(index, members, &mut tokens)?;
        replicas |= read.several_sources;
        files.extend(read.pairs);
        if files.len() > most_files {
            return Err(Refusal::bad(format!("Too many files in one job, the limit is {most_files}")));
        }
    }
    if files.is_empty() {
        return Err(Refusal::bad("No valid pairs available"));
    }
    let job_type = job_type(replicas, multihop, reuse, listed.len())?;
    if job_type == JobType::SessionReuse && !one_link(&files) {
        return Err(Refusal::bad("Reuse jobs must only contain transfers for the same source ad destination storage"));
    }
    if matches!(job_type, JobType::MultipleReplica | JobType::MultiHop) {
        for waiting in files.iter_mut().skip(1) {
            waiting.state = FileState::NotUsed;
        }
    }
    if checksum_unsaid && files.iter().any(|file| file.checksum.contains(':')) {
        params.verify_checksum = VerifyChecksum::Target;
    }
    Ok(NewJob { job_type, params, sid, files, tokens })
}

struct ReadFile {
    pairs: Vec<NewFile>,
    several_sources: bool,
}

fn read_file(index: i64, members: &Map<String, Value>, tokens: &mut Vec<String>) -> Result<ReadFile, Refusal> {
    let reader = Reader::new(members);
    let sources = urls(&reader.texts("sources")?)?;
    let destinations = urls(&reader.texts("destinations")?)?;
    read_tokens(&reader, sources.len(), destinations.len(), tokens)?;
    let strategy = match reader.text("selection_strategy")? {
        None => SelectionStrategy::Auto,
        Some(word) => {
            word.parse().map_err(|_| Refusal::bad(format!("{word} algorithm is not supported by Scheduler")))?
        }
    };
    let scitag = reader.integer("scitag")?;
    if scitag.is_some_and(|tag| !SCITAGS.contains(&tag)) {
        return Err(Refusal::value("SciTag must be in the [65, 65535] range"));
    }
    let activity = reader.text("activity")?.unwrap_or(DEFAULT_ACTIVITY);
    if activity.chars().count() > LONGEST_ACTIVITY {
        return Err(Refusal::value(format!("activity is longer than {LONGEST_ACTIVITY} characters")));
    }
    let template = |source: &StorageUrl, destination: &StorageUrl| -> Result<NewFile, Refusal> {
        Ok(NewFile {
            index,
            source: source.clone(),
            destination: destination.clone(),
            state: FileState::Submitted,
            checksum: reader
                .text("checksum")?
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .unwrap_or(NO_CHECKSUM)
                .to_owned(),
            user_filesize: reader.integer("filesize")?.filter(|bytes| *bytes >= 0),
            metadata: reader.metadata("metadata", FILE_METADATA_LIMIT)?,
            staging_metadata: reader.object("staging_metadata", "Staging", STAGING_METADATA_LIMIT)?,
            archive_metadata: reader.object("archive_metadata", "Archive", STAGING_METADATA_LIMIT)?,
            activity: activity.to_owned(),
            strategy,
            scitag,
        })
    };
    let mut pairs = Vec::with_capacity(sources.len() * destinations.len());
    for source in &sources {
        for destination in &destinations {
            pairs.push(template(source, destination)?);
        }
    }
    Ok(ReadFile { pairs, several_sources: sources.len() > 1 })
}

fn urls(texts: &[&str]) -> Result<Vec<StorageUrl>, Refusal> {
    texts.iter().map(|text| StorageUrl::parse(text).map_err(Refusal::value)).collect()
}

/// Per file either a token for each URL or none.
fn read_tokens(
    reader: &Reader<'_>,
    sources: usize,
    destinations: usize,
    tokens: &mut Vec<String>,
) -> Result<(), Refusal> {
    for (name, of, wanted) in
        [("source_tokens", "sources", sources), ("destination_tokens", "destinations", destinations)]
    {
        let Some(found) = reader.optional_texts(name)? else { continue };
        if found.len() != wanted {
            return Err(Refusal::bad(format!("Length of {name} should be equal to the length of {of}.")));
        }
        // Bulk submissions carry the same token thousands of times.
        for token in found {
            if !tokens.iter().any(|known| known == token) {
                tokens.push(token.to_owned());
            }
        }
    }
    let has = |name| reader.get(name).is_some();
    if has("source_tokens") != has("destination_tokens") {
        return Err(Refusal::bad("Both source_tokens and destination_tokens must be given, or none"));
    }
    Ok(())
}

fn job_type(replicas: bool, multihop: bool, reuse: bool, files: usize) -> Result<JobType, Refusal> {
    match (replicas, multihop, reuse) {
        (true, false, false) if files > 1 => Err(Refusal::bad("Multiple replica jobs must only have one unique file")),
        (true, false, false) => Ok(JobType::MultipleReplica),
        (true, _, _) => Err(Refusal::bad("Multiple replica jobs can not be multihop or reuse jobs")),
        (false, true, true) => Err(Refusal::bad("Multihop and reuse can not be combined")),
        (false, true, false) => Ok(JobType::MultiHop),
        (false, false, true) => Ok(JobType::SessionReuse),
        (false, false, false) => Ok(JobType::Normal),
    }
}

fn one_link(files: &[NewFile]) -> bool {
    let link = |file: &NewFile| (file.source.storage_element(), file.destination.storage_element());
    files.windows(2).all(|pair| link(&pair[0]) == link(&pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<NewJob, Refusal> {
        parse(value.to_string().as_bytes(), 4, Timestamp::EPOCH)
    }

    fn file(source: &str, destination: &str) -> Value {
        json!({"sources": [source], "destinations": [destination]})
    }

    #[test]
    fn the_words_of_refusal() {
        let message = |value: Value| read(&value).expect_err("refused").message;
        assert_eq!(parse(b"{", 4, Timestamp::EPOCH).expect_err("refused").message, "Badly formatted JSON request");
        assert_eq!(message(json!([])), "Expecting a dictionary");
        assert_eq!(message(json!({})), "No transfers operations specified");
        assert_eq!(message(json!({"files": []})), "No transfers operations specified");
        assert_eq!(message(json!({"files": [{"sources": ["https://a/x"]}]})), "Missing parameter: 'destinations'");
        assert_eq!(message(json!({"files": [{"sources": [], "destinations": []}]})), "No valid pairs available");
        assert_eq!(
            message(json!({"files": [file("/etc/passwd", "https://b/x")]})),
            "Invalid value within the request: Missing scheme (/etc/passwd)"
        );
        assert_eq!(
            message(
                json!({"files": [file("https://a/x", "https://b/x"), file("https://c/x", "https://b/x")], "params": {"reuse": true}})
            ),
            "Reuse jobs must only contain transfers for the same source ad destination storage"
        );
        let mut with_strategy = file("https://a/x", "https://b/x");
        with_strategy["selection_strategy"] = "luck".into();
        assert_eq!(message(json!({"files": [with_strategy]})), "luck algorithm is not supported by Scheduler");
        let delete = read(&json!({"delete": ["https://a/x"]})).expect_err("refused");
        assert_eq!(
            (delete.status.as_u16(), delete.message.as_str()),
            (405, "Deletion jobs are no longer supported by FTS")
        );
        let mut named = file("https://a/x", "https://b/x");
        named["activity"] = "ä".repeat(255).into();
        assert!(read(&json!({"files": [named]})).is_ok());
        named["activity"] = "ä".repeat(256).into();
        assert_eq!(
            message(json!({"files": [named]})),
            "Invalid value within the request: activity is longer than 255 characters"
        );
        let five: Vec<Value> = (0..5).map(|_| file("https://a/x", "https://b/x")).collect();
        assert_eq!(message(json!({"files": five})), "Too many files in one job, the limit is 4");
        let mut tokens = file("https://a/x", "https://b/x");
        tokens["source_tokens"] = json!(["t", "u"]);
        assert_eq!(
            message(json!({"files": [tokens]})),
            "Length of source_tokens should be equal to the length of sources."
        );
    }

    #[test]
    fn kinds_of_jobs() {
        let job = read(&json!({"files": [file("https://a/x", "https://b/x")], "delete": null})).expect("parses");
        assert_eq!((job.job_type, job.files[0].checksum.as_str()), (JobType::Normal, "ADLER32"));

        let replicas = json!({"files": [{"sources": ["https://a/x", "https://c/x"], "destinations": ["https://b/x"],
            "checksum": "ADLER32:1", "filesize": 12.0, "metadata": "m"}]});
        let job = read(&replicas).expect("parses");
        assert_eq!(job.job_type, JobType::MultipleReplica);
        assert_eq!(job.params.verify_checksum, VerifyChecksum::Target);
        assert_eq!(
            job.files.iter().map(|f| (f.index, f.state)).collect::<Vec<_>>(),
            [(0, FileState::Submitted), (0, FileState::NotUsed)]
        );
        assert_eq!(job.files[0].user_filesize, Some(12));
        assert_eq!(job.files[0].metadata, Some(json!({"label": "m"})));

        let hops = json!({"files": [file("https://a/x", "https://b/x"), file("https://b/x", "https://c/x")], "params": {"multihop": true}});
        assert_eq!(read(&hops).expect("parses").job_type, JobType::MultiHop);
    }
}
