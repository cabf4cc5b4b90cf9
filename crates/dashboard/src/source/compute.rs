//! Sites and pods, from the public routes of `offload`.

use axum::body::Body;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_http::ClientError;
use http::{Request, Response};
use serde_json::{Value, json};

use super::{Reader, items, number, path, text};
use crate::address::component;
use crate::model::compute::{Considered, Container, Line, Pod, Pods, Site, Sites};

/// Pods on the page.
const MOST: usize = 200;
/// Lines of a log on the page of its pod.
const LINES: u64 = 400;

pub async fn sites(reader: &Reader) -> Sites {
    match reader.json::<Value>("/interlink/sites").await {
        Ok(answer) => Sites { sites: items(&answer).iter().map(site).collect(), missing: Vec::new() },
        Err(error) => Sites { sites: Vec::new(), missing: vec![("sites", error.to_string())] },
    }
}

fn site(site: &Value) -> Site {
    let (able, capacity) = (&site["capabilities"], &site["capacity"]);
    let images = able["images"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Site {
        name: text(site, &["name"]).unwrap_or_default(),
        is_up: site["state"] == "up",
        problem: text(site, &["problem"]),
        sandbox: text(site, &["sandbox"]).unwrap_or_default(),
        images: images.map(str::to_owned).collect(),
        can_suspend: able["suspend"] == true,
        cpu_millis: number(capacity, &["cpu_millis"]),
        memory: number(capacity, &["memory_bytes"]),
        places: number(capacity, &["pods"]),
        free: number(site, &["free_places"]),
        running: number(site, &["running"]).unwrap_or(0),
        waiting: number(site, &["waiting"]).unwrap_or(0),
        mean_run_seconds: site["mean_run_seconds"].as_f64(),
    }
}

pub async fn pods(reader: &Reader) -> Pods {
    match reader.json::<Value>(&format!("/interlink/pods?limit={MOST}")).await {
        Ok(answer) => Pods { pods: items(&answer).iter().map(line).collect(), missing: Vec::new() },
        Err(error) => Pods { pods: Vec::new(), missing: vec![("pods", error.to_string())] },
    }
}

fn line(pod: &Value) -> Line {
    Line {
        uid: text(pod, &["uid"]).unwrap_or_default(),
        name: text(pod, &["name"]).unwrap_or_default(),
        phase: text(pod, &["phase"]).unwrap_or_default(),
        site: text(pod, &["site"]),
        user: text(pod, &["user"]).unwrap_or_default(),
        reason: text(pod, &["reason"]),
        exit_code: pod["exit_code"].as_i64(),
        created: time(&pod["created"]),
        started: time(&pod["started"]),
        finished: time(&pod["finished"]),
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// One pod with the end of a container's log: of the one asked for, or else of its first main one.
pub async fn pod(reader: &Reader, uid: &str, container: Option<&str>) -> Result<Pod, ClientError> {
    let answer: Value = reader.json(&path("/interlink/pods/{}", &[uid])).await?;
    let containers: Vec<Container> = items(&answer["containers"]).iter().map(self::container).collect();
    let asked = containers.iter().find(|one| Some(one.name.as_str()) == container);
    let shown = asked.or(containers.iter().find(|one| !one.is_init)).map(|one| one.name.clone()).unwrap_or_default();
    let placement = &answer["placement"];
    let considered = items(&placement["considered"]).iter().map(|one| Considered {
        site: text(one, &["site"]).unwrap_or_default(),
        verdict: text(one, &["verdict"]).unwrap_or_default(),
        reason: text(one, &["reason"]).unwrap_or_default(),
    });
    let steps = items(&answer["timeline"]).iter();
    let mut pod = Pod {
        line: line(&answer),
        message: text(&answer, &["message"]),
        waits: text(&answer, &["waits"]),
        why_there: text(placement, &["reason"]).unwrap_or_default(),
        considered: considered.collect(),
        timeline: steps.map(|step| (time(&step["at"]), text(step, &["what"]).unwrap_or_default())).collect(),
        containers,
        shown,
        cpu_seconds: number(&answer["usage"], &["cpu_micros"]).map(|micros| micros as f64 / 1e6),
        memory: number(&answer["usage"], &["max_rss_bytes"]),
        ..Pod::default()
    };
    match log(reader, &answer, &pod.shown).await {
        Ok(log) => pod.log = log,
        Err(error) => pod.missing.push(("log", error.to_string())),
    }
    Ok(pod)
}

/// Asks for a session in a container, with the caller's own handshake; `query` is that of `/interlink/exec` but for the pod.
pub async fn exec(
    reader: &Reader,
    tasks: &Tasks,
    uid: &str,
    query: &str,
    caller: Request<Body>,
) -> Result<Response<Body>, ClientError> {
    reader.relay(tasks, &format!("/interlink/exec?pod={}&{query}", component(uid)), caller).await
}

fn container(one: &Value) -> Container {
    Container {
        name: text(one, &["name"]).unwrap_or_default(),
        image: text(one, &["image"]).unwrap_or_default(),
        state: text(one, &["state"]).unwrap_or_default(),
        exit_code: one["exit_code"].as_i64(),
        is_init: one["init"] == true,
    }
}

async fn log(reader: &Reader, pod: &Value, container: &str) -> Result<String, ClientError> {
    // Nobody has the log of a pod that has no site yet.
    if pod["site"].is_null() {
        return Ok(String::new());
    }
    let asked = json!({
        "Namespace": pod["namespace"], "PodUID": pod["uid"], "PodName": pod["name"], "ContainerName": container,
        "Opts": { "Tail": LINES },
    });
    reader.text_of("/interlink/getLogs", &asked).await
}
