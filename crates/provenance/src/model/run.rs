//! A finished run as the provenance knows it, read from the event that tells of its end.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A file that a run read or wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct File {
    /// `scope:name`
    pub did: String,
    pub bytes: u64,
    /// Eight hexadecimal digits; empty when it is not known.
    pub adler32: String,
    /// The dataset that it was written into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
}

impl File {
    /// Names this very content: the same for the same bytes under the same name, at all times and on every engine.
    pub fn id(&self) -> String {
        if self.adler32.is_empty() { format!("did:{}", self.did) } else { format!("did:{}#{}", self.did, self.adler32) }
    }
}

/// The program that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Its path or DID.
    pub name: String,
    pub sha256: String,
}

impl Code {
    pub fn id(&self) -> String {
        format!("code:{}", self.sha256)
    }
}

/// A run of a pod, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub id: String,
    pub about: About,
    pub inputs: Vec<File>,
    pub outputs: Vec<File>,
}

/// What is known of a run beside its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub name: String,
    /// Account name of whom it ran for.
    pub user: String,
    /// The service that acted for the user.
    pub acting: String,
    pub site: String,
    /// Why it ran there.
    pub why: Option<String>,
    pub twin: Option<String>,
    /// The model's run within the twin, as the twin names it.
    pub run: Option<String>,
    pub phase: String,
    pub reason: Option<String>,
    pub exit_code: Option<i64>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub code: Option<Code>,
}

/// An event that does not tell of a run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadRun {
    #[error("the event has no {0}")]
    Missing(&'static str),
}

impl Run {
    /// Reads the data of `org.dte.offload.pod.finished`. What is there but cannot be understood is left out; only a run
    /// without identity or user is refused.
    pub fn from_event(data: &Value) -> Result<Run, BadRun> {
        let id = text(data, "uid").ok_or(BadRun::Missing("uid"))?;
        let user = name_of(&data["user"]).ok_or(BadRun::Missing("user"))?;
        let annotations = &data["annotations"];
        let annotation = |name: &str| text(annotations, &format!("dte.io/{name}"));
        let twin = annotation("twin");
        let acting = text(data, "acting").or_else(|| annotation("acting"));
        let acting = acting.unwrap_or_else(|| if twin.is_some() { "workflow" } else { "offload" }.to_owned());
        let code = code(&data["code"]).or_else(|| code(&parsed(annotations, "dte.io/code")));
        let datasets: HashMap<String, String> = list(&parsed(annotations, "dte.io/outputs"))
            .filter_map(|output| Some((text(output, "did")?, text(output, "dataset")?)))
            .collect();
        let mut outputs = files(&data["outputs"]);
        for file in &mut outputs {
            file.dataset = datasets.get(&file.did).cloned();
        }
        let about = About {
            name: text(data, "name").unwrap_or_default(),
            user,
            acting,
            site: text(data, "site").unwrap_or_else(|| "unknown".to_owned()),
            why: text(data, "why"),
            twin,
            run: annotation("run"),
            phase: text(data, "phase").unwrap_or_else(|| "Unknown".to_owned()),
            reason: text(data, "reason"),
            exit_code: data["exit_code"].as_i64(),
            started: time(&data["started"]),
            finished: time(&data["finished"]),
            code,
        };
        Ok(Run { id, about, inputs: files(&data["inputs"]), outputs })
    }
}

fn text(data: &Value, key: &str) -> Option<String> {
    data.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// An account name, given as such or within a reference to a user.
fn name_of(user: &Value) -> Option<String> {
    match user {
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        Value::Object(_) => text(user, "name"),
        _ => None,
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(micros) => micros.as_i64().map(Timestamp::from_micros),
        _ => None,
    }
}

/// An annotation that holds JSON text.
fn parsed(annotations: &Value, name: &str) -> Value {
    annotations.get(name).and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn code(value: &Value) -> Option<Code> {
    let name = text(value, "did").or_else(|| text(value, "path")).unwrap_or_else(|| "program".to_owned());
    Some(Code { name, sha256: text(value, "sha256")?.to_ascii_lowercase() })
}

/// The files of a list, in the order of their names, each once.
fn files(value: &Value) -> Vec<File> {
    let mut files: Vec<File> = list(value)
        .filter_map(|one| {
            let bytes = one["bytes"].as_u64().unwrap_or(0);
            let adler32 = text(one, "adler32").unwrap_or_default().to_ascii_lowercase();
            Some(File { did: text(one, "did")?, bytes, adler32, dataset: None })
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_event_tells() {
        let data = json!({
            "uid": "u-1", "name": "enso-1980-01", "namespace": "default", "phase": "Succeeded", "exit_code": 0,
            "site": "local", "user": "alice", "started": "1980-02-01T00:00:00Z", "finished": "1980-02-01T00:00:01Z",
            "annotations": {"dte.io/twin": "enso", "dte.io/outputs":
                r#"[{"path":"forecast.csv","did":"enso:f.1980-01","dataset":"enso:FORECASTS"}]"#},
            "inputs": [{"did": "enso:b", "bytes": 2, "adler32": "0000000B"}, {"did": "enso:a", "bytes": 1, "adler32": "0a"},
                       {"did": "enso:a", "bytes": 1, "adler32": "0a"}, {"no": "did"}],
            "outputs": [{"did": "enso:f.1980-01", "bytes": 3, "adler32": "0c", "rse": "LOCAL"}],
            "code": {"path": "model", "sha256": "ABCD"},
        });
        let run = Run::from_event(&data).expect("a run");
        assert_eq!(run.inputs.iter().map(File::id).collect::<Vec<_>>(), ["did:enso:a#0a", "did:enso:b#0000000b"]);
        assert_eq!(run.outputs[0].dataset.as_deref(), Some("enso:FORECASTS"));
        assert_eq!(run.about.code.as_ref().map(Code::id).as_deref(), Some("code:abcd"));
        assert_eq!((run.about.acting.as_str(), run.about.twin.as_deref()), ("workflow", Some("enso")));
        assert!(run.about.started < run.about.finished);
    }

    #[test]
    fn events_without_a_run() {
        assert_eq!(Run::from_event(&json!({})), Err(BadRun::Missing("uid")));
        assert_eq!(Run::from_event(&json!({"uid": "u", "user": {}})), Err(BadRun::Missing("user")));
        let bare = Run::from_event(&json!({"uid": "u", "user": {"name": "bob"}, "annotations": 7, "inputs": {}}));
        assert_eq!(bare.expect("a run").about.acting, "offload");
    }
}
