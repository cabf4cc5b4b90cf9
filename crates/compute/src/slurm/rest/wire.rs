//! What `slurmrestd` is sent, and what it answers. Newer versions write some numbers as objects and states as lists; both are read.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::asked::bytes;
use crate::batch::system::{JobName, Queued};
use crate::place::JOB_OUTPUT;
use crate::slurm::flags::Flag;
use crate::slurm::queue::read_state;
use crate::slurm::script;
use crate::slurm::template::Template;

const MEBIBYTE: u64 = 1 << 20;
/// Jobs have to be given some environment.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// From this version on it is a list of `NAME=value`.
const LIST_OF_VARIABLES: u32 = 39;

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// A number, or what else the option may say.
    Number,
    Megabytes,
    Yes,
}

/// Options of `sbatch`, and the properties that mean the same.
const PROPERTIES: [(&str, &str, Kind); 26] = [
    ("account", "account", Kind::Text),
    ("begin", "begin_time", Kind::Text),
    ("comment", "comment", Kind::Text),
    ("constraint", "constraints", Kind::Text),
    ("core-spec", "core_specification", Kind::Number),
    ("cpus-per-gpu", "cpus_per_gpu", Kind::Text),
    ("cpus-per-task", "cpus_per_task", Kind::Number),
    ("deadline", "deadline", Kind::Text),
    ("exclusive", "exclusive", Kind::Yes),
    ("gpus", "gpus", Kind::Text),
    ("gpus-per-node", "gpus_per_node", Kind::Text),
    ("gres", "gres", Kind::Text),
    ("gres-flags", "gres_flags", Kind::Text),
    ("licenses", "licenses", Kind::Text),
    ("mem", "memory_per_node", Kind::Megabytes),
    ("mem-per-cpu", "memory_per_cpu", Kind::Megabytes),
    ("mem-per-gpu", "memory_per_gpu", Kind::Megabytes),
    ("nice", "nice", Kind::Number),
    ("oversubscribe", "oversubscribe", Kind::Yes),
    ("partition", "partition", Kind::Text),
    ("priority", "priority", Kind::Text),
    ("qos", "qos", Kind::Text),
    ("reservation", "reservation", Kind::Text),
    ("time", "time_limit", Kind::Number),
    ("time-min", "time_minimum", Kind::Number),
    ("tmp", "temporary_disk_per_node", Kind::Megabytes),
];

/// The body of a request for a pod's job. Its script is the one that `sbatch` would be given.
pub fn description(
    uid: Uuid,
    run_folder: &Path,
    runner: &Path,
    flags: &[Flag],
    version: &str,
) -> Result<String, String> {
    let folder = run_folder.display().to_string();
    let number = version.rsplit('.').next().and_then(|number| number.parse::<u32>().ok());
    let environment = match number {
        Some(number) if number >= LIST_OF_VARIABLES => json!([format!("PATH={PATH}")]),
        _ => json!({ "PATH": PATH }),
    };
    let mut job = Map::new();
    for (name, value) in flags {
        let (property, value) = property(name, value.as_deref())?;
        job.insert(property.to_owned(), value);
    }
    job.insert("name".into(), json!(uid.to_string()));
    job.insert("tasks".into(), json!(1));
    job.insert("standard_output".into(), json!(format!("{folder}/{JOB_OUTPUT}")));
    job.insert("current_working_directory".into(), json!(folder));
    job.insert("environment".into(), environment);
    let script = script::render(uid, run_folder, runner, flags, &Template::default());
    Ok(json!({ "script": script, "job": job }).to_string())
}

fn property(name: &str, value: Option<&str>) -> Result<(&'static str, Value), String> {
    let known = PROPERTIES.iter().find(|(option, ..)| *option == name);
    let (_, property, kind) = known.ok_or_else(|| format!("the option --{name} cannot be given to slurmrestd"))?;
    let text = value.unwrap_or_default();
    let value = match kind {
        Kind::Text => json!(text),
        Kind::Yes => json!("true"),
        Kind::Number => text.parse::<i64>().map_or(json!(text), |number| json!(number)),
        Kind::Megabytes => {
            let bytes = bytes(text, MEBIBYTE).ok_or_else(|| format!("{text:?} of --{name} is not an amount"))?;
            json!(bytes.div_ceil(MEBIBYTE))
        }
    };
    Ok((property, value))
}

/// What an answer complains of, if it does.
pub fn complaint(answer: &Value) -> Option<String> {
    let errors = answer["errors"].as_array()?;
    let words = |error: &Value| {
        let texts = ["error", "description"].into_iter().filter_map(|key| error[key].as_str());
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let all: Vec<String> = errors.iter().map(words).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// `5`, or `{"set": true, "number": 5}`
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value["number"].as_i64())
}

/// `"RUNNING"`, or `["RUNNING"]`
fn word(value: &Value) -> &str {
    value.as_str().or_else(|| value.get(0)?.as_str()).unwrap_or_default()
}

/// The raw status of a process, or an object that says it in words.
fn code(value: &Value) -> Option<(i32, i32)> {
    if let Some(status) = value.as_i64() {
        return Some((i32::try_from((status >> 8) & 0xff).ok()?, i32::try_from(status & 0x7f).ok()?));
    }
    let returned = number(&value["return_code"]).unwrap_or(0);
    let signal = number(&value["signal"]["id"]).or_else(|| number(&value["signal"]["signal_id"])).unwrap_or(0);
    Some((i32::try_from(returned).ok()?, i32::try_from(signal).ok()?))
}

/// Jobs of this user that are called as a pod. Of two of one name, the one that runs counts, else one that waits, else the
/// last.
pub fn jobs(answer: &Value, user: &str) -> HashMap<JobName, Queued> {
    let mut jobs: HashMap<JobName, Queued> = HashMap::new();
    for job in answer["jobs"].as_array().into_iter().flatten() {
        let (Some(id), Some(Ok(uid))) = (job["job_id"].as_u64(), job["name"].as_str().map(str::parse::<Uuid>)) else {
            continue;
        };
        if job["user_name"].as_str() != Some(user) {
            continue;
        }
        let state = read_state(word(&job["job_state"]));
        let queued = Queued {
            id,
            own_id: id,
            state,
            reason: job["state_reason"].as_str().unwrap_or_default().to_owned(),
            nodes: job["nodes"].as_str().unwrap_or_default().to_owned(),
            code: code(&job["exit_code"]).filter(|_| state.is_terminal()),
        };
        let name = JobName::own(uid);
        if jobs.get(&name).is_none_or(|known| known.rank() < queued.rank()) {
            jobs.insert(name, queued);
        }
    }
    jobs
}

/// Processors (thousandths) and memory of the nodes that can work.
pub fn nodes(answer: &Value, partition: Option<&str>) -> (u64, u64) {
    let words = |value: &Value| -> Vec<String> {
        match value {
            Value::Array(all) => all.iter().filter_map(|one| one.as_str().map(str::to_lowercase)).collect(),
            other => other.as_str().map(str::to_lowercase).into_iter().collect(),
        }
    };
    let works = |node: &&Value| {
        let states = [words(&node["state"]), words(&node["state_flags"])].concat();
        let bad = ["down", "drain", "fail", "error", "maint", "unknown", "not_responding", "invalid"];
        let is_bad = states.iter().any(|state| bad.iter().any(|bad| state.contains(bad)));
        let is_there = partition.is_none_or(|name| words(&node["partitions"]).contains(&name.to_lowercase()));
        !is_bad && is_there
    };
    let all = answer["nodes"].as_array().into_iter().flatten().filter(works);
    all.fold((0, 0), |sum, node| {
        let amount = |key: &str| number(&node[key]).and_then(|amount| u64::try_from(amount).ok()).unwrap_or(0);
        (sum.0 + amount("cpus").saturating_mul(1_000), sum.1 + amount("real_memory").saturating_mul(MEBIBYTE))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::state::JobState;

    #[test]
    fn golden_description() {
        let flags = [("mem", "2G"), ("time", "5"), ("gres", "gpu:1"), ("nice", "10"), ("exclusive", "")]
            .map(|(name, value)| (name.to_owned(), (!value.is_empty()).then(|| value.to_owned())));
        let body = description(Uuid::from_u128(1), Path::new("/s/runs/a"), Path::new("/s/bin/dte"), &flags, "v0.0.38");
        let body: Value = serde_json::from_str(&body.expect("a body")).expect("JSON");
        let wanted = json!({
            "name": "00000000-0000-0000-0000-000000000001", "tasks": 1, "memory_per_node": 2048, "time_limit": 5,
            "gres": "gpu:1", "nice": 10, "exclusive": "true", "standard_output": "/s/runs/a/job.out",
            "current_working_directory": "/s/runs/a", "environment": {"PATH": PATH},
        });
        assert_eq!(body["job"], wanted);
        assert!(body["script"].as_str().is_some_and(|text| text.ends_with("exec /s/bin/dte pod-shim /s/runs/a\n")));
        let newer = description(Uuid::nil(), Path::new("/s"), Path::new("/r"), &[], "v0.0.40").expect("a body");
        assert!(newer.contains(r#""environment":["PATH="#), "{newer}");
        let exclude = [("exclude".to_owned(), Some("n1".to_owned()))];
        let why = description(Uuid::nil(), Path::new("/s"), Path::new("/r"), &exclude, "v0.0.38").expect_err("none");
        assert!(why.contains("--exclude"), "{why}");
    }

    #[test]
    fn answers_of_both_kinds() {
        let uid = "0190b0a0-0000-7000-8000-000000000001";
        let answer = json!({"errors": [], "jobs": [
            {"job_id": 5, "name": uid, "job_state": "FAILED", "exit_code": 768, "user_name": "u", "state_reason": "NonZeroExitCode"},
            {"job_id": 4, "name": uid, "job_state": "RUNNING", "exit_code": 0, "user_name": "u", "nodes": "n1"},
            {"job_id": 9, "name": uid, "job_state": "RUNNING", "exit_code": 0, "user_name": "other"},
            {"job_id": 6, "name": "somebody else's", "job_state": "RUNNING"},
            {"job_id": 7, "name": "0190b0a0-0000-7000-8000-000000000002", "job_state": ["TIMEOUT"], "user_name": "u",
             "exit_code": {"status": ["SIGNALED"], "return_code": {"set": true, "number": 0}, "signal": {"id": {"set": true, "number": 15}}}},
        ]});
        let jobs = jobs(&answer, "u");
        assert_eq!(jobs.len(), 2);
        let first = &jobs[&JobName::own(uid.parse().expect("uid"))];
        assert_eq!((first.id, first.state, first.nodes.as_str()), (4, JobState::Running, "n1"));
        let second = &jobs[&JobName::own("0190b0a0-0000-7000-8000-000000000002".parse().expect("uid"))];
        assert_eq!((second.state, second.code), (JobState::Timeout, Some((0, 15))));
        assert_eq!(code(&json!(768)), Some((3, 0)));
        assert_eq!(complaint(&answer), None);
        let refused =
            json!({"errors": [{"error_code": 2014, "error": "Requested node configuration is not available"}]});
        assert!(complaint(&refused).is_some_and(|why| why.contains("node configuration")));
    }

    #[test]
    fn nodes_that_work_in_the_partition() {
        let node = |state: Value, partition: &str| json!({"cpus": 4, "real_memory": 100, "state": state, "partitions": [partition]});
        let answer = json!({"nodes": [
            node(json!("idle"), "a"), node(json!(["ALLOCATED"]), "a"), node(json!("down"), "a"), node(json!("idle"), "b"),
            {"cpus": 4, "real_memory": 100, "state": "idle", "state_flags": ["DRAIN"], "partitions": ["a"]},
        ]});
        assert_eq!(nodes(&answer, Some("a")), (8_000, 200 << 20));
        assert_eq!(nodes(&answer, None), (12_000, 300 << 20));
    }
}
