//! The command line of podman or docker. No shell takes part.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use dte_base::time::Timestamp;
use serde::Deserialize;
use tokio::process::Command;
use uuid::Uuid;

use super::ContainerConfig;
use crate::logs::LogLine;

/// Labels of our containers.
pub const SITE: &str = "dte.site";
pub const POD: &str = "dte.pod";
pub const CONTAINER: &str = "dte.container";
/// How long a command may take, beyond what it waits for itself. Making a container may fetch its image.
const LIMIT: Duration = Duration::from_secs(60);
const CREATE_LIMIT: Duration = Duration::from_secs(1_800);
/// Containers looked at with one command.
const AT_ONCE: usize = 200;

/// A container as the program has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub pod: Uuid,
    pub container: String,
    pub status: Status,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Made, not started.
    Created,
    Running {
        started: Timestamp,
    },
    Exited {
        code: i32,
        out_of_memory: bool,
        started: Option<Timestamp>,
        finished: Timestamp,
    },
}

/// The name of a pod's container: a second one cannot be made.
pub fn name_of(pod: Uuid, container: &str) -> String {
    format!("dte-{pod}-{container}")
}

/// The program.
pub struct Program<'a> {
    pub config: &'a ContainerConfig,
}

impl Program<'_> {
    /// As it is called.
    pub fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.config.program);
        command.args(&self.config.args).args(arguments).kill_on_drop(true);
        command
    }

    /// What it printed, on both streams.
    async fn run(&self, arguments: &[String], limit: Duration) -> Result<(Vec<u8>, Vec<u8>), String> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        let verb = arguments.first().map(String::as_str).unwrap_or_default();
        let said = |text: &dyn std::fmt::Display| format!("{} {verb}: {text}", self.config.program.display());
        let output = match tokio::time::timeout(limit, command.output()).await {
            Ok(output) => output.map_err(|error| said(&error))?,
            Err(_) => return Err(said(&format_args!("it did not end within {} s", limit.as_secs()))),
        };
        if output.status.success() {
            return Ok((output.stdout, output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(if lines.is_empty() { said(&output.status) } else { said(&lines.join("; ")) })
    }

    /// All containers of this site, in whatever state.
    pub async fn all(&self) -> Result<Vec<Known>, String> {
        let filter = format!("label={SITE}={}", self.config.name);
        let words = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter].map(str::to_owned);
        let (ids, _) = self.run(&words, LIMIT).await?;
        let ids: Vec<String> = String::from_utf8_lossy(&ids).split_whitespace().map(str::to_owned).collect();
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            let words =
                [vec!["inspect".to_owned(), "--type".to_owned(), "container".to_owned()], some.to_vec()].concat();
            all.extend(read(&self.run(&words, LIMIT).await?.0)?);
        }
        Ok(all)
    }

    pub async fn create(&self, arguments: &[String]) -> Result<(), String> {
        self.run(arguments, CREATE_LIMIT).await.map(drop)
    }

    /// A verb about one container: `start`, `pause`, `unpause`.
    pub async fn tell(&self, verb: &str, name: &str) -> Result<(), String> {
        self.run(&[verb.to_owned(), name.to_owned()], LIMIT).await.map(drop)
    }

    /// SIGTERM, and SIGKILL after the grace.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<(), String> {
        let words = ["stop".to_owned(), "--time".to_owned(), grace.as_secs().to_string(), name.to_owned()];
        self.run(&words, LIMIT + grace).await.map(drop)
    }

    pub async fn remove(&self, names: &[String]) -> Result<(), String> {
        let words = [vec!["rm".to_owned(), "--force".to_owned(), "--volumes".to_owned()], names.to_vec()].concat();
        if names.is_empty() { Ok(()) } else { self.run(&words, LIMIT).await.map(drop) }
    }

    /// What the container wrote, both streams by their times.
    pub async fn logs(&self, name: &str) -> Result<Vec<LogLine>, String> {
        let (out, err) = self.run(&["logs".to_owned(), "--timestamps".to_owned(), name.to_owned()], LIMIT).await?;
        let mut lines = [read_log(&out), read_log(&err)].concat();
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }
}

/// Lines of `TIME TEXT`.
fn read_log(bytes: &[u8]) -> Vec<LogLine> {
    let mut lines: Vec<LogLine> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let stamp = std::str::from_utf8(&line[..space]).ok().and_then(|text| text.parse::<Timestamp>().ok());
        let (at, text) = match stamp {
            Some(at) => (at, &line[space + 1..]),
            None => (lines.last().map_or(Timestamp::EPOCH, |last| last.at), line),
        };
        lines.push(LogLine { at, text: text.to_vec() });
    }
    lines
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: InspectedState,
    config: InspectedConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    exit_code: i32,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: bool,
    started_at: String,
    finished_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// What `inspect` prints.
fn read(json: &[u8]) -> Result<Vec<Known>, String> {
    let all: Vec<Inspected> = serde_json::from_slice(json).map_err(|error| format!("inspect: {error}"))?;
    let ours = all.into_iter().filter_map(|one| {
        let labels = one.config.labels.unwrap_or_default();
        let pod = labels.get(POD)?.parse().ok()?;
        Some(Known { pod, container: labels.get(CONTAINER)?.clone(), status: read_status(&one.state) })
    });
    Ok(ours.collect())
}

fn read_status(state: &InspectedState) -> Status {
    // A time that never was is year 1 there.
    let time = |text: &str| text.parse::<Timestamp>().ok().filter(|at| *at > Timestamp::EPOCH);
    let started = time(&state.started_at);
    match (state.status.as_str(), started) {
        ("running" | "paused" | "stopping" | "restarting" | "removing", Some(started)) => Status::Running { started },
        ("exited" | "stopped" | "dead", _) => Status::Exited {
            code: state.exit_code,
            out_of_memory: state.oom_killed,
            started,
            finished: time(&state.finished_at).unwrap_or_else(Timestamp::now),
        },
        _ => Status::Created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_inspect_prints() {
        let text = r#"[{"Id":"a","State":{"Status":"exited","ExitCode":137,"OOMKilled":true,"StartedAt":"2026-01-01T00:00:01.5Z",
            "FinishedAt":"2026-01-01T00:00:02+01:00","Error":""},"Config":{"Labels":{"dte.pod":"0190b0a0-0000-7000-8000-000000000001",
            "dte.container":"main"}}},
            {"Id":"b","State":{"Status":"created","ExitCode":0,"StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"},
             "Config":{"Labels":{"dte.pod":"0190b0a0-0000-7000-8000-000000000001","dte.container":"next"}}},
            {"Id":"c","State":{"Status":"running","ExitCode":0,"StartedAt":"2026-01-01T00:00:01Z","FinishedAt":""},"Config":{"Labels":null}}]"#;
        let known = read(text.as_bytes()).expect("read");
        assert_eq!(known.len(), 2);
        assert!(matches!(known[0].status, Status::Exited { code: 137, out_of_memory: true, .. }));
        assert_eq!(known[1].status, Status::Created);
    }

    #[test]
    fn reads_logs() {
        let lines = read_log(b"2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02Z  two \nrest");
        let texts: Vec<&[u8]> = lines.iter().map(|line| line.text.as_slice()).collect();
        assert_eq!(texts, [&b"one\n"[..], b" two \n", b"rest"]);
    }
}
