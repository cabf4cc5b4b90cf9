//! A client of interLink's northern interface, as a load generator needs it.

use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dte_base::id::new_id;
use serde_json::{Value, json};

pub type Failure = Box<dyn Error + Send + Sync>;

const CONNECTIONS: usize = 16;

/// Where pods are handed over: `NAME=PLACE[,TOKEN_FILE[,SITE]]`, a place being `unix:PATH` or `http://HOST:PORT/PREFIX`.
pub struct Server {
    pub name: String,
    place: Place,
    token: Option<String>,
    site: Option<String>,
}

pub enum Place {
    Socket(PathBuf),
    Address { host: String, prefix: String },
}

pub fn parse(text: &str) -> Result<Server, Failure> {
    let (name, rest) = text.split_once('=').ok_or("NAME=PLACE")?;
    let mut parts = rest.split(',');
    let place = parts.next().unwrap_or_default();
    let place = match (place.strip_prefix("unix:"), place.strip_prefix("http://")) {
        (Some(path), _) => Place::Socket(path.into()),
        (_, Some(rest)) => {
            let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            Place::Address { host: host.into(), prefix: format!("/{prefix}").trim_end_matches('/').into() }
        }
        _ => return Err(format!("{place:?} is neither unix:PATH nor http://…").into()),
    };
    let token = parts.next().filter(|file| !file.is_empty()).map(std::fs::read_to_string).transpose()?;
    let site = parts.next().map(str::to_owned);
    Ok(Server { name: name.into(), place, token: token.map(|text| text.trim().to_owned()), site })
}

impl Server {
    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<String, Failure> {
        let text = body.to_string();
        let (host, prefix) = match &self.place {
            Place::Socket(_) => ("unix", ""),
            Place::Address { host, prefix } => (host.as_str(), prefix.as_str()),
        };
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n{token}Content-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let mut answer = Vec::new();
        match &self.place {
            Place::Socket(path) => exchange(UnixStream::connect(path)?, &request, &mut answer)?,
            Place::Address { host, .. } => exchange(TcpStream::connect(host)?, &request, &mut answer)?,
        }
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{path}: {} {body}", head.lines().next().unwrap_or_default()).into());
        }
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Ok(if is_chunked { unchunked(body) } else { body.to_owned() })
    }

    pub fn create(&self, pod: &Value) -> Result<(), Failure> {
        let request =
            json!({"pod": pod, "configmaps": null, "secrets": null, "projectedvolumesmaps": null, "jobscriptURL": ""});
        self.ask("POST", "/create", &request).map(drop)
    }

    pub fn pod(&self, script: &str) -> Value {
        let mut pod = json!({
            "metadata": {"name": "bench", "namespace": "default", "uid": new_id().to_string(), "creationTimestamp": null},
            "spec": {"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script],
                     "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}}]},
            "status": {"phase": "Pending"}
        });
        if let Some(site) = &self.site {
            pod["spec"]["nodeSelector"] = json!({ "dte.site": site });
        }
        pod
    }
}

fn exchange(mut stream: impl Read + Write, request: &str, answer: &mut Vec<u8>) -> std::io::Result<()> {
    stream.write_all(request.as_bytes())?;
    stream.read_to_end(answer).map(drop)
}

fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut text = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        text.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    text
}

/// Hands over pods from 16 connections at once: how many milliseconds each took, and how many were refused.
pub fn hand_over(server: &Server, pods: &[Value]) -> (Vec<f64>, usize) {
    let next = AtomicUsize::new(0);
    let took = Mutex::new(Vec::new());
    let refused = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                while let Some(pod) = pods.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let asked = Instant::now();
                    if server.create(pod).is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    let mut took = took.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    took.push(asked.elapsed().as_secs_f64() * 1e3);
                }
            });
        }
    });
    (took.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()), refused.into_inner())
}

/// Which pods `/status` says are over.
pub fn ended(server: &Server, pods: &[Value]) -> Result<HashMap<String, bool>, Failure> {
    let mut over: HashMap<String, bool> =
        pods.iter().filter_map(|pod| Some((pod["metadata"]["uid"].as_str()?.to_owned(), false))).collect();
    let text = server.ask("GET", "/status", &Value::from(pods.to_vec())).unwrap_or_default();
    let statuses: Option<Vec<Value>> = serde_json::from_str(&text).unwrap_or_default();
    for status in statuses.unwrap_or_default() {
        let is_over = status["containers"][0]["state"]["terminated"].is_object();
        if let Some(known) = status["UID"].as_str().and_then(|uid| over.get_mut(uid)) {
            *known = is_over;
        }
    }
    Ok(over)
}

pub fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}

pub fn spread(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values.get(((values.len() as f64 - 1.0) * part).round() as usize).copied();
    json!({ "p50": at(0.5), "p99": at(0.99) })
}
