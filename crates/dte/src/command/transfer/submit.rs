//! From what was typed to a job.

use std::io::Read as _;
use std::path::Path;

use dte_protocol_fts::{FileSubmission, FtsClient, Params, Submission, VerifyChecksum};
use serde_json::json;

use super::{follow, said};
use crate::cli::{Common, TransferSubmit, Verify};
use crate::failure::Failure;
use crate::show;

/// The longest file of pairs that is read.
const LONGEST_LIST: u64 = 64 << 20;
/// FTS: 0 leaves the number of further tries to the server, less than that means none.
const NO_RETRY: i64 = -1;

/// The job that is meant.
pub fn read(wanted: &TransferSubmit) -> Result<Submission, Failure> {
    let mut files = match (&wanted.from_file, &wanted.source, &wanted.destination) {
        (Some(file), ..) => pairs(&text_of(file)?).map_err(|why| usage(format!("{}: {why}", file.display())))?,
        (None, Some(source), Some(destination)) => {
            let mut one = FileSubmission::new(source, destination);
            one.checksum = wanted.checksum.as_deref().map(checksum).transpose().map_err(usage)?;
            vec![one]
        }
        _ => return Err(usage("say SOURCE and DESTINATION, or --from-file".to_owned())),
    };
    for file in &mut files {
        file.activity.clone_from(&wanted.activity);
    }
    let seconds =
        |time: Option<std::time::Duration>| time.map(|t| u32::try_from(t.as_secs().max(1)).unwrap_or(u32::MAX));
    let params = Params {
        verify_checksum: wanted.verify.map(|verify| match verify {
            Verify::None => VerifyChecksum::None,
            Verify::Source => VerifyChecksum::Source,
            Verify::Target => VerifyChecksum::Target,
            Verify::Both => VerifyChecksum::Both,
        }),
        overwrite: wanted.overwrite,
        retry: wanted.retry.map(|count| if count == 0 { NO_RETRY } else { i64::from(count) }),
        retry_delay: seconds(wanted.retry_delay),
        timeout: seconds(wanted.timeout),
        priority: wanted.priority,
        multihop: wanted.multihop,
        ..Params::default()
    };
    Ok(Submission { files, params })
}

fn usage(text: String) -> Failure {
    Failure::new(text).with_code(2)
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let wrong = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
    let read = if file == Path::new("-") {
        std::io::stdin().take(LONGEST_LIST).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(wrong)?.take(LONGEST_LIST).read_to_string(&mut text)
    };
    if read.map_err(wrong)? as u64 >= LONGEST_LIST {
        return Err(usage(format!("{}: it is longer than {} MiB", file.display(), LONGEST_LIST >> 20)));
    }
    Ok(text)
}

/// `SOURCE DESTINATION [ALGORITHM:CHECKSUM [BYTES]]`, a line each.
fn pairs(text: &str) -> Result<Vec<FileSubmission>, String> {
    let mut files = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let file = match words.as_slice() {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            [source, destination] => Ok(FileSubmission::new(*source, *destination)),
            [source, destination, rest @ ..] if rest.len() <= 2 => {
                let mut file = FileSubmission::new(*source, *destination);
                let bytes = rest.get(1).map(|text| text.parse().map_err(|_| format!("{text:?} is no number of bytes")));
                checksum(rest[0]).and_then(|sum| Ok((sum, bytes.transpose()?))).map(|(sum, bytes)| {
                    (file.checksum, file.filesize) = (Some(sum), bytes);
                    file
                })
            }
            _ => Err("write SOURCE DESTINATION [ALGORITHM:CHECKSUM [BYTES]]".to_owned()),
        };
        files.push(file.map_err(|why| format!("line {number}: {why}"))?);
    }
    if files.is_empty() { Err("there is no pair in it".to_owned()) } else { Ok(files) }
}

/// `ADLER32:0a1b2c3d`, as FTS writes it.
fn checksum(text: &str) -> Result<String, String> {
    let parts = text.split_once(':').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) = parts.ok_or_else(|| format!("{text:?} is no checksum such as adler32:0a1b2c3d"))?;
    Ok(format!("{}:{value}", name.to_ascii_uppercase()))
}

pub async fn submit(common: &Common, fts: FtsClient, submission: &Submission, is_awaited: bool) -> Result<(), Failure> {
    let job = fts.submit(submission).await.map_err(said)?;
    if is_awaited {
        return follow::follow(common, fts, job).await;
    }
    if common.json {
        return show::json(&json!({ "job_id": job }));
    }
    show::line(job.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_pairs() {
        let text = "# two copies\nhttps://a/x https://b/x\n\n https://a/y\thttps://b/y adler32:0a1b2c3d 17\n";
        let files = pairs(text).expect("reads");
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].sources[0].as_str(), &files[0].checksum), ("https://a/x", &None));
        assert_eq!((files[1].checksum.as_deref(), files[1].filesize), (Some("ADLER32:0a1b2c3d"), Some(17)));
        let why = |text: &str| pairs(text).expect_err("is wrong");
        assert_eq!(why("# nothing\n"), "there is no pair in it");
        assert_eq!(why("\nhttps://a/x\n"), "line 2: write SOURCE DESTINATION [ALGORITHM:CHECKSUM [BYTES]]");
        assert_eq!(why("a b 0a1b"), "line 1: \"0a1b\" is no checksum such as adler32:0a1b2c3d");
        assert_eq!(why("a b md5:1 many"), "line 1: \"many\" is no number of bytes");
    }
}
