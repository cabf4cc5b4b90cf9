//! `dte run`: a program as a pod at a site, its output here, its exit code ours.

use std::collections::BTreeMap;
use std::time::Duration;

use dte_base::id::new_id;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{Common, Run};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub async fn run(common: &Common, command: &Run) -> Result<u8, Failure> {
    let remote = Remote::find(common).await?;
    let uid = new_id().to_string();
    let pod = pod(command, &uid)?;
    let _: Value = remote.call(Method::POST, "/interlink/create", Some(&json!({ "pod": pod }))).await?;
    let progress = indicatif::ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(120));
    let state = loop {
        let found: Value = remote.call(Method::POST, "/interlink/status", Some(&json!([pod]))).await?;
        let container = &found[0]["containers"][0];
        let state = &container["state"];
        if !state["terminated"].is_null() {
            break state["terminated"].clone();
        }
        progress.set_message(if state["running"].is_null() { "waiting" } else { "running" });
        tokio::time::sleep(LOOK_EVERY).await;
    };
    progress.finish_and_clear();
    let asked = json!({ "Namespace": "default", "PodUID": uid, "PodName": pod["metadata"]["name"], "ContainerName": "main", "Opts": {} });
    let logs =
        remote.client.post(remote.url_of("/interlink/getLogs")).bearer(&remote.token).json(&asked).send().await?;
    let log = logs.ok().await?.text().await?;
    if common.json {
        show::json(&json!({ "uid": uid, "state": state, "log": log }))?;
    } else {
        show::line(log.trim_end());
    }
    let code = state["exitCode"].as_i64().unwrap_or(1);
    let reason = state["reason"].as_str().unwrap_or_default();
    if code != 0 {
        eprintln!("dte: the program ended with exit code {code} ({reason}) {}", show::cell(&state["message"]));
    }
    Ok(u8::try_from(code).unwrap_or(1))
}

fn pod(command: &Run, uid: &str) -> Result<Value, Failure> {
    let mut env = BTreeMap::new();
    for pair in &command.env {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::new(format!("--env {pair}: write NAME=VALUE")).with_code(2))?;
        env.insert(name, value);
    }
    let env: Vec<Value> = env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("run-{}", &uid[uid.len() - 8..]), "namespace": "default", "uid": uid },
        "spec": {
            "nodeSelector": { "dte.site": command.site },
            "restartPolicy": "Never",
            "activeDeadlineSeconds": command.timeout.map(|t| t.as_secs().max(1)),
            "containers": [{ "name": "main", "image": "host", "command": command.command, "env": env }],
        },
    }))
}
