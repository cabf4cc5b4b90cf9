//! The world around the workflow service, as little of it as it takes: a lake, a storage edge, folder watches and a
//! place that runs pods. They keep what they were told, for tests to look at, and can be made to fail.

#![allow(dead_code, clippy::unwrap_used)]

mod edge;
mod events;
mod hook;
mod lake;
mod offload;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dte_identity::testing::{TestEngine, TestSetup};
use dte_store::{Event, Store};
use dte_workflow::Service;
use http::StatusCode;
use serde_json::{Value, json};

/// What everybody in the world knows.
#[derive(Default)]
pub struct Facts {
    pub scopes: BTreeSet<String>,
    /// DID → kind (`FILE`, `DATASET`, `CONTAINER`).
    pub dids: BTreeMap<String, &'static str>,
    pub open: BTreeSet<String>,
    pub contents: BTreeMap<String, BTreeSet<String>>,
    pub rules: Vec<Value>,
    /// DID → bytes and adler32.
    pub replicas: BTreeMap<String, (u64, String)>,
    pub metadata: BTreeMap<String, Value>,
    /// Path below `/dav` → content.
    pub files: BTreeMap<String, Vec<u8>>,
    pub watches: BTreeMap<String, Value>,
    /// What the webhook was told.
    pub hooked: Vec<Value>,
    /// UID → pod, as handed over.
    pub pods: BTreeMap<String, Value>,
    /// How often each pod was handed over.
    pub handed_over: HashMap<String, u32>,
    /// In the order of their first hand-over.
    pub order: Vec<String>,
    /// Issue months whose run fails, and how.
    pub failing: HashMap<String, &'static str>,
    /// While true, the edge has no room.
    pub full: bool,
    /// While true, pods are taken but do not end.
    pub stuck: bool,
}

/// A running engine with the workflow service in the world.
pub struct World {
    pub engine: TestEngine,
    pub facts: Arc<Mutex<Facts>>,
    pub folder: PathBuf,
    _folder: Arc<tempfile::TempDir>,
}

/// What the services of the world share.
#[derive(Clone)]
pub struct Shared {
    pub facts: Arc<Mutex<Facts>>,
    pub store: Store,
    /// Below which PFNs are.
    pub dav: String,
}

pub const DOCUMENT: &str = include_str!("../../../../examples/enso/enso.yaml");
const DATA: &str = include_str!("../../../../examples/enso/data/nino12-sst-monthly-1950-2010.csv");

impl World {
    pub async fn new() -> World {
        World::with(TestSetup::default(), Arc::default(), Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// Another engine in the same world: after a kill, or beside the first.
    pub async fn again(&self, setup: TestSetup) -> World {
        World::with(setup, Arc::clone(&self.facts), Arc::clone(&self._folder)).await
    }

    pub async fn with(setup: TestSetup, facts: Arc<Mutex<Facts>>, folder: Arc<tempfile::TempDir>) -> World {
        let own = Arc::clone(&facts);
        let engine = TestEngine::start_with(setup, async |ctx| {
            let shared = Shared { facts: own, store: ctx.store.clone(), dav: ctx.url_of("/dav/local") };
            let service = Service::open(ctx.for_service(Service::NAME)).await?;
            let mut mounts = service.mounts();
            mounts.extend([
                lake::mount(&shared),
                edge::mount(&shared),
                events::mount(&shared),
                offload::mount(&shared),
                hook::mount(&shared),
            ]);
            Ok(mounts)
        })
        .await;
        let path = folder.path().to_owned();
        std::fs::create_dir_all(path.join("observations")).unwrap();
        std::fs::write(path.join("enso-model"), b"#!/bin/true\n").unwrap();
        World { engine, facts, folder: path, _folder: folder }
    }

    pub async fn call(&self, method: http::Method, path: &str, body: Option<&str>) -> (StatusCode, Value) {
        self.call_as(&self.engine.admin_token(), method, path, body).await
    }

    pub async fn call_as(
        &self,
        token: &dte_base::secret::Secret,
        method: http::Method,
        path: &str,
        body: Option<&str>,
    ) -> (StatusCode, Value) {
        let url = self.engine.url_of(&format!("/twins/api/v1/twins{path}"));
        let mut request = self.engine.client.request(method, url).bearer(token);
        if let Some(body) = body {
            request = request.bytes(body.to_owned());
        }
        let reply = request.send().await.unwrap();
        let status = reply.status;
        let text = reply.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(http::Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Applies a document.
    pub async fn apply(&self, document: &str) -> (StatusCode, Value) {
        let path = format!("/enso?base={}", self.folder.display());
        self.call(http::Method::PUT, &path, Some(document)).await
    }

    /// Applies the example.
    pub async fn begin(&self) {
        let (status, body) = self.apply(DOCUMENT).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(body["state"], "active", "{body}");
    }

    /// Puts a file into the folder and announces it.
    pub async fn arrive(&self, name: &str, content: &str) {
        std::fs::write(self.folder.join("observations").join(name), content).unwrap();
        self.announce(name, content).await;
    }

    pub async fn announce(&self, name: &str, content: &str) {
        let adler32 = format!("{:08x}", simd_adler32::adler32(&content.as_bytes()));
        let data = json!({
            "watch": "twin.enso.nino12", "owner": "admin", "name": name, "size": content.len(), "adler32": adler32,
            "path": self.folder.join("observations").join(name),
        });
        let event = Event::new("org.dte.events.file.created", "/events", name, data);
        self.engine.store.write(move |tx| tx.emit(event.clone())).await.map_err(|e: dte_store::Error| e).unwrap();
    }

    /// 1950 to 1979 in one file.
    pub async fn history_arrives(&self) {
        let rows: String = DATA.lines().take(361).map(|line| format!("{line}\n")).collect();
        self.arrive("nino12-history.csv", &rows).await;
    }

    /// Months from January 1980 on, each in a file of its own.
    pub async fn months_arrive(&self, months: std::ops::Range<usize>) {
        for index in months {
            let (name, text) = month_file(index, None);
            self.arrive(&name, &text).await;
        }
    }

    /// Waits until `done` says so of the status.
    pub async fn until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.get("/enso/status").await;
            if done(&status) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn until_runs(&self, state: &str, count: u64) -> Value {
        self.until(&format!("{count} {state} runs"), |status| status["models"][0]["runs"][state] == count).await
    }

    /// Events of a type so far.
    pub async fn told(&self, kind: &str) -> Vec<Event> {
        self.engine.store.events_after(0, 100_000, &[kind]).await.unwrap()
    }
}

/// The file of the month `index` months after January 1980; another value if given.
pub fn month_file(index: usize, value: Option<&str>) -> (String, String) {
    let row = DATA.lines().nth(361 + index).unwrap();
    let (month, real) = row.split_once(',').unwrap();
    (format!("nino12-{month}.csv"), format!("month,sst_c\n{month},{}\n", value.unwrap_or(real)))
}
