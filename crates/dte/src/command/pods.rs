//! `dte pods`: what waits and runs, one pod in full, why it is where it is, and its end.

use dte_base::time::Timestamp;
use dte_protocol_interlink::{InterlinkClient, RawPod};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::{Common, PodCommand, Pods};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const API: &str = "/interlink/pods";
/// Pods in one list.
const MOST: usize = 1_000;

pub async fn pods(common: &Common, command: &Pods) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    match (&command.command, &command.name) {
        (Some(PodCommand::Explain { name }), _) => explain(&remote, name, common.json).await,
        (Some(PodCommand::Delete { names }), _) => delete(&remote, names).await,
        (None, Some(name)) => {
            let pod = by_name(&remote, name).await?;
            if common.json { show::json(&pod) } else { print(&pod) }
        }
        (None, None) => list(&remote, command.all, common.json).await,
    }
}

/// A pod by its UID, or the newest of that name.
pub async fn by_name(remote: &Remote, name: &str) -> Result<Value, Failure> {
    if name.parse::<Uuid>().is_ok() {
        return by_uid(remote, name).await;
    }
    let mut url = remote.base(API)?;
    url.query_pairs_mut().append_pair("name", name);
    let reply = remote.client.get(url.as_str()).bearer(&remote.token).send().await?;
    let found: Value = reply.ok().await?.json().await?;
    match found["items"][0]["uid"].as_str() {
        Some(uid) => by_uid(remote, uid).await,
        None => Err(Failure::new(format!("there is no pod {name}; `dte pods --all` lists them"))),
    }
}

pub async fn by_uid(remote: &Remote, uid: &str) -> Result<Value, Failure> {
    remote.get(&format!("{API}/{uid}")).await
}

async fn list(remote: &Remote, all: bool, as_json: bool) -> Result<(), Failure> {
    let list: Value = remote.get(&format!("{API}?limit={MOST}")).await?;
    let wanted = |pod: &&Value| all || pod["finished"].is_null();
    let pods: Vec<&Value> = list["items"].as_array().into_iter().flatten().filter(wanted).collect();
    if as_json {
        return show::json(&pods);
    }
    if pods.is_empty() {
        show::line(if all { "there are no pods" } else { "no pod waits or runs; --all lists those that have ended" });
        return Ok(());
    }
    let cells: Vec<Vec<String>> = pods
        .iter()
        .map(|pod| {
            let age = pod["created"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            let age = age.map_or_else(String::new, |time| since(Timestamp::now(), time));
            let text = |key: &str| show::cell(&pod[key]);
            vec![
                text("name"),
                text("phase"),
                text("site"),
                text("exit_code"),
                age,
                text("user"),
                text("reason"),
                text("uid"),
            ]
        })
        .collect();
    show::table(&["NAME", "PHASE", "SITE", "EXIT", "AGE", "USER", "REASON", "UID"], &cells);
    Ok(())
}

/// `90 s`, `5 min`, `3 h`, `2 d`
fn since(now: Timestamp, then: Timestamp) -> String {
    match now.since(then).as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn print(pod: &Value) -> Result<(), Failure> {
    let text = |key: &str| show::cell(&pod[key]);
    show::line(format!("pod         {}  ({})", text("name"), text("uid")));
    show::line(format!("phase       {} at {}, of {}", text("phase"), text("site"), text("user")));
    if let Some(why) = pod["waits"].as_str() {
        show::line(format!("waits       {why}"));
    }
    if !pod["reason"].is_null() {
        show::line(format!("because     {}: {}", text("reason"), text("message")));
    }
    show::line(format!("placement   {}", show::cell(&pod["placement"]["reason"])));
    for container in pod["containers"].as_array().into_iter().flatten() {
        let kind = if container["init"] == true { "init" } else { "container" };
        let exit = match container["exit_code"].as_i64() {
            Some(code) => format!(", exit code {code}"),
            None => String::new(),
        };
        let (name, image) = (show::cell(&container["name"]), show::cell(&container["image"]));
        show::line(format!("{kind:<12}{name}: {}{exit} ({image})", show::cell(&container["state"])));
    }
    if let Some(cpu) = pod["usage"]["cpu_micros"].as_u64() {
        let memory = pod["usage"]["max_rss_bytes"].as_u64().unwrap_or(0) >> 20;
        show::line(format!("used        {:.2} CPU s, at most {memory} MiB", cpu as f64 / 1e6));
    }
    for step in pod["timeline"].as_array().into_iter().flatten() {
        show::line(format!("  {}  {}", show::cell(&step["at"]), show::cell(&step["what"])));
    }
    Ok(())
}

async fn explain(remote: &Remote, name: &str, as_json: bool) -> Result<(), Failure> {
    let pod = by_name(remote, name).await?;
    let why: Value = remote.get(&format!("{API}/{}/explain", show::cell(&pod["uid"]))).await?;
    if as_json {
        return show::json(&why);
    }
    show::line(format!("{}: {}", show::cell(&why["name"]), show::cell(&why["reason"])));
    if let Some(waits) = why["waits"].as_str().filter(|waits| Some(*waits) != why["reason"].as_str()) {
        show::line(format!("it waits: {waits}"));
    }
    let rows: Vec<Vec<String>> = why["considered"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|site| ["site", "verdict", "reason"].iter().map(|key| show::cell(&site[*key])).collect())
        .collect();
    if !rows.is_empty() {
        show::table(&["SITE", "VERDICT", "REASON"], &rows);
    }
    Ok(())
}

async fn delete(remote: &Remote, names: &[String]) -> Result<(), Failure> {
    let client = InterlinkClient::new(remote.client.clone(), &remote.base("/interlink")?, Some(remote.token.clone()));
    for name in names {
        let pod = by_name(remote, name).await?;
        let metadata = json!({ "name": pod["name"], "namespace": pod["namespace"], "uid": pod["uid"] });
        client.delete(&RawPod(json!({ "metadata": metadata }))).await?;
        show::line(format!("{} is ended and forgotten", show::cell(&pod["name"])));
    }
    Ok(())
}
