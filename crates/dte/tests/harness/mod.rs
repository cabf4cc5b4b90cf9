//! A real `dte` process for tests: started on a free loopback port in a temporary folder, killed or stopped by its process id.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dte_base::secret::Secret;
use dte_http::{Client, HttpConfig};
use serde_json::{Value, json};

/// The programs under test.
pub fn dte() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dte"));
    command.env_remove("DTE_STORE").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The model of the example: built beside `dte` by `cargo build --workspace`, or now.
pub fn model() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_dte")).with_file_name("enso-model");
    if !path.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo).args(["build", "--quiet", "-p", "enso-model"]).status().expect("cargo runs");
        assert!(built.success() && path.exists(), "{} cannot be built", path.display());
    }
    path
}

/// A running engine.
pub struct Engine {
    child: Child,
    pub url: String,
    pub data_dir: PathBuf,
}

impl Engine {
    /// Starts `dte ARGUMENTS… --data-dir D --listen 127.0.0.1:0` and waits until it is ready.
    pub fn start(data_dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Engine {
        let ready = data_dir.with_extension("ready");
        drop(std::fs::remove_file(&ready));
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(data_dir.with_extension("log")).expect("log");
        let child = dte()
            .args(arguments)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .envs(env.iter().copied())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("dte starts");
        let mut engine = Engine { child, url: String::new(), data_dir: data_dir.to_owned() };
        let began = Instant::now();
        loop {
            if let Ok(address) = std::fs::read_to_string(&ready)
                && !address.is_empty()
            {
                engine.url = format!("http://{}", address.trim());
                return engine;
            }
            if let Ok(Some(status)) = engine.child.try_wait() {
                panic!("dte ended with {status}:\n{}", engine.log());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "dte is not ready:\n{}", engine.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.data_dir.with_extension("log")).unwrap_or_default();
        let from = text.len().saturating_sub(6_000);
        text.get(from..).unwrap_or(&text).to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("waits");
    }

    /// SIGTERM; it must end well within ten seconds.
    pub fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signals");
        let began = Instant::now();
        while self.ended().is_none() {
            assert!(began.elapsed() < Duration::from_secs(15), "does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self, limit: Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                assert!(status.success(), "{status}:\n{}", self.log());
                return;
            }
            assert!(began.elapsed() < limit, "does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `dte token ARGUMENTS…` prints.
    pub fn token_with(&self, arguments: &[&str]) -> String {
        let output = dte().arg("token").args(arguments).arg("--data-dir").arg(&self.data_dir).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    pub fn token(&self) -> String {
        self.token_with(&[])
    }

    pub fn api(&self) -> Api {
        Api::new(&self.url, &self.token())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Requests with one token.
pub struct Api {
    client: Client,
    url: String,
    token: Secret,
}

impl Api {
    pub fn new(url: &str, token: &str) -> Api {
        let nobody = "http://nobody.invalid".parse().expect("a URL");
        Api { client: Client::new(&HttpConfig::default(), nobody), url: url.to_owned(), token: Secret::new(token) }
    }

    pub async fn get(&self, path: &str) -> Value {
        let text = self.text(path).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    pub async fn text(&self, path: &str) -> String {
        let reply = self.client.get(format!("{}{path}", self.url)).bearer(&self.token).send().await.expect("answers");
        reply.ok().await.unwrap_or_else(|error| panic!("{path}: {error}")).text().await.expect("text")
    }

    pub fn token(&self) -> &Secret {
        &self.token
    }

    pub async fn post_text(&self, path: &str, body: &Value) -> String {
        let url = format!("{}{path}", self.url);
        let reply = self.client.post(url).bearer(&self.token).json(body).send().await.expect("answers");
        reply.ok().await.unwrap_or_else(|error| panic!("{path}: {error}")).text().await.expect("text")
    }

    /// The values of a stream of JSON lines.
    pub async fn post_lines(&self, path: &str, body: &Value) -> Vec<Value> {
        let reply = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer(&self.token)
            .json(body)
            .send()
            .await
            .expect("answers");
        let text = reply.ok().await.unwrap_or_else(|error| panic!("{path}: {error}")).text().await.expect("text");
        text.lines().filter(|l| !l.is_empty()).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// All items of a paged list.
    pub async fn pages(&self, path: &str, key: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{join}limit=500{after}")).await;
            all.extend(page[key].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }

    /// Everything about the twin that must be the same after any number of crashes: no times in it.
    pub async fn end_state(&self) -> BTreeMap<String, Value> {
        let mut state = BTreeMap::new();
        let dids = self.text("/rucio/dids/enso/dids/search?type=all&name=*").await;
        let mut names: Vec<String> =
            dids.lines().map(|l| l.trim_matches('"').to_owned()).filter(|l| !l.is_empty()).collect();
        names.sort();
        state.insert("names".to_owned(), json!(names));
        for container in ["nino12", "forecast"] {
            let body = json!({ "dids": [{ "scope": "enso", "name": container }] });
            for file in self.post_lines("/rucio/replicas/list", &body).await {
                let mut rses: Vec<&String> = file["rses"].as_object().expect("rses").keys().collect();
                rses.sort();
                let seen = json!({ "bytes": file["bytes"], "adler32": file["adler32"], "rses": rses });
                state.insert(format!("file {}", file["name"].as_str().expect("name")), seen);
            }
        }
        for run in self.pages("/twins/api/v1/twins/enso/runs", "items").await {
            let seen = json!({ "id": run["id"], "state": run["state"], "issue": run["issue_month"], "site": run["site"], "reason": run["reason"] });
            let clash = state.insert(format!("run {}", run["arrival"]), seen);
            assert!(clash.is_none(), "two runs of one arrival: {clash:?} and {run}");
        }
        for kind in ["compute", "storage", "transfer"] {
            let records = self.pages(&format!("/accounting/records?kind={kind}"), "records").await;
            let mut seen: Vec<String> = records
                .iter()
                .filter(|r| r["twin"] == "enso")
                .map(|r| {
                    format!("{} at {}: {}", portless(r["subject"].as_str().unwrap_or_default()), r["site"], r["bytes"])
                })
                .collect();
            seen.sort();
            state.insert(format!("charged {kind}"), json!({ "count": seen.len(), "of": seen }));
        }
        let alerts = self.get("/twins/api/v1/twins/enso/alerts").await;
        let alerts: Vec<Value> = alerts["items"]
            .as_array()
            .expect("alerts")
            .iter()
            .map(|a| json!([a["id"], a["issue_month"], a["lead"], a["ended_issue_month"]]))
            .collect();
        state.insert("alerts".to_owned(), json!(alerts));
        state
    }
}

/// A storage address without the port that an engine happened to get.
fn portless(subject: &str) -> &str {
    subject.find("/dav/").map_or(subject, |at| &subject[at..])
}

/// Says where two end states differ.
pub fn assert_same(left: &BTreeMap<String, Value>, right: &BTreeMap<String, Value>, what: &str) {
    let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let different: Vec<String> = keys
        .into_iter()
        .filter(|key| left.get(*key) != right.get(*key))
        .take(12)
        .map(|key| format!("{key}:\n    {:?}\n    {:?}", left.get(key), right.get(key)))
        .collect();
    assert!(different.is_empty(), "{what}: the end states differ:\n{}", different.join("\n"));
}
