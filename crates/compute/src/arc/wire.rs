//! What a computing element answers, in both of its manners: releases before 7 write a list of one as its one element, and an
//! empty list as nothing at all.

use serde::Deserialize;
use serde_json::Value;

use crate::batch::state::JobState;

/// One job in the answer to an action.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JobAnswer {
    #[serde(default)]
    pub id: String,
    /// Of HTTP, for this job alone.
    #[serde(rename = "status-code", default)]
    pub code: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub state: String,
}

/// The jobs of an answer.
pub fn jobs(text: &str) -> Result<Vec<JobAnswer>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let answer: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let read = |job: Value| serde_json::from_value(job).map_err(|error| format!("no job: {error}"));
    several(answer.get("job").cloned()).into_iter().map(read).collect()
}

/// What is in a session folder: files, then folders. What has the name of a place elsewhere is left out.
pub fn listing(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
    if text.trim().is_empty() {
        return Ok(Default::default());
    }
    let answer: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let is_plain = |name: &String| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    let names = |kind: &str| {
        let all = several(answer.get(kind).cloned()).into_iter();
        all.filter_map(|name| name.as_str().map(str::to_owned)).filter(is_plain).collect()
    };
    Ok((names("file"), names("dir")))
}

/// The exit code of a job and what went wrong, if they are told.
pub fn end_of(text: &str) -> (Option<i32>, String) {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let job = several(answer.get("job").cloned()).into_iter().next().unwrap_or_default();
    let about = &job["info_document"]["ComputingActivity"];
    let words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let code = about.get("ExitCode").and_then(|code| words(code).trim().parse().ok());
    let errors: Vec<String> = several(about.get("Error").cloned()).iter().map(words).collect();
    (code, errors.join("; "))
}

fn several(value: Option<Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    }
}

/// Where a job is, by the REST interface's word for it. `None` is its word for a job that it does not have.
pub fn state_of(word: &str) -> JobState {
    match word {
        "ACCEPTING" | "ACCEPTED" | "PREPARING" | "PREPARED" | "SUBMITTING" | "QUEUING" | "HELD" => JobState::Waiting,
        "RUNNING" => JobState::Running,
        "EXITINGLRMS" | "EXECUTED" | "FINISHING" | "KILLING" => JobState::Completing,
        "FINISHED" => JobState::Completed,
        "FAILED" => JobState::Failed,
        "KILLED" => JobState::Cancelled,
        _ => JobState::Other,
    }
}

/// It waits for files: what is sent again now does no harm.
pub fn takes_files(word: &str) -> bool {
    matches!(word, "ACCEPTING" | "ACCEPTED" | "PREPARING" | "PREPARED")
}

/// The computing element has forgotten the job, or never had it.
pub fn is_gone(answer: &JobAnswer) -> bool {
    answer.code == "404" || matches!(&answer.state[..], "None" | "WIPED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_manners() {
        let one = r#"{"job":{"status-code":"200","reason":"OK","id":"a","state":"RUNNING"}}"#;
        let many = r#"{"job":[{"status-code":"200","reason":"OK","id":"a","state":"RUNNING"},
                             {"status-code":"404","reason":"Job not found","id":"b","state":"None"}]}"#;
        assert_eq!(jobs(one).expect("jobs")[0], jobs(many).expect("jobs")[0]);
        assert!(is_gone(&jobs(many).expect("jobs")[1]));
        assert_eq!(jobs(" ").expect("none"), []);
        assert!(jobs("<html>").is_err());
        let names = |text| listing(text).expect("names");
        assert_eq!(names(r#"{"file":"f","dir":["d","..","a/b",""]}"#), (vec!["f".to_owned()], vec!["d".to_owned()]));
        assert_eq!(names(""), (vec![], vec![]));
    }

    #[test]
    fn ends() {
        let failed = r#"{"job":{"info_document":{"ComputingActivity":{"ExitCode":"3","Error":"LRMS error: (3)"}}}}"#;
        assert_eq!(end_of(failed), (Some(3), "LRMS error: (3)".to_owned()));
        assert_eq!(
            end_of(r#"{"job":[{"info_document":{"ComputingActivity":{"Error":["a","b"]}}}]}"#),
            (None, "a; b".into())
        );
        assert_eq!(end_of("no"), (None, String::new()));
    }

    #[test]
    fn every_state() {
        for word in ["FINISHED", "FAILED", "KILLED"] {
            assert!(state_of(word).is_terminal(), "{word}");
        }
        for word in
            ["ACCEPTING", "HELD", "QUEUING", "RUNNING", "EXITINGLRMS", "FINISHING", "KILLING", "None", "WIPED", "NEW"]
        {
            assert!(!state_of(word).is_terminal(), "{word}");
        }
    }
}
