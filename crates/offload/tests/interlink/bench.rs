//! An engine with the service, a site, and a small data lake.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_protocol_interlink::phase::{Phase, phase_of};
use dte_protocol_interlink::{InterlinkClient, LogOptions, LogStruct, PodCreateRequests, PodStatus, RawPod};
use dte_store::{Event, Store};
use serde_json::{Value, json};

use crate::fake::Fake;

pub const FINISHED: &str = "org.dte.offload.pod.finished";

pub struct Bench {
    pub engine: TestEngine,
    pub fake: Fake,
    pub store: Store,
    pub data_dir: PathBuf,
    config: String,
    kept: Option<(dte_store::testing::TemporaryStore, tempfile::TempDir)>,
}

/// `settings`: of the service; `site`: of the site.
pub fn config(settings: &str, site: &str) -> String {
    let shim = env!("CARGO_BIN_EXE_dte-offload-pod-shim");
    let slots = if site.starts_with("slots") { "" } else { "slots = 8\n" };
    format!(
        "[http]\npublic_url = 'http://127.0.0.1:8990'\n[offload]\nattempts = 3\nlongest_wait = '300ms'\n{settings}\n
         [[compute.sites]]\nplugin = 'host'\nname = 'local'\n{slots}grace = '300ms'\nshim = '{shim}'\n{site}\n"
    )
}

impl Bench {
    pub async fn new() -> Bench {
        Self::with_site("").await
    }

    pub async fn with_site(site: &str) -> Bench {
        Self::with_settings("", site).await
    }

    pub async fn with_settings(settings: &str, site: &str) -> Bench {
        let config = config(settings, site);
        // The last one is PostgreSQL, where the tests have one.
        let kept = dte_store::testing::stores().await.expect("stores").pop().expect("a store");
        let dir = tempfile::tempdir().expect("a folder");
        let (store, data_dir) = (Store::clone(&kept), dir.path().to_path_buf());
        let mut bench = Self::start(store, data_dir, Fake::default(), config).await;
        bench.kept = Some((kept, dir));
        bench
    }

    pub async fn start(store: Store, data_dir: PathBuf, fake: Fake, config: String) -> Bench {
        let setup = TestSetup {
            config: config.clone(),
            store: None,
            shared_store: Some(store.clone()),
            data_dir: Some(data_dir.clone()),
        };
        let world = fake.clone();
        let engine = TestEngine::start_with(setup, async move |ctx| {
            world.world().url = ctx.url_of("/");
            let mut mounts = world.mounts();
            mounts.extend(dte_offload::Service::open(ctx).await?.mounts());
            Ok(mounts)
        })
        .await;
        Bench { engine, fake, store, data_dir, config, kept: None }
    }

    /// The engine stops, and another begins with what it left.
    pub async fn restart(mut self) -> Bench {
        assert!(self.engine.stop().await);
        let kept = self.kept.take();
        let mut next =
            Self::start(self.store.clone(), self.data_dir.clone(), self.fake.clone(), self.config.clone()).await;
        next.kept = kept;
        next
    }

    pub fn client(&self, token: Secret) -> InterlinkClient {
        let base = self.engine.url_of("/interlink").parse().expect("a URL");
        InterlinkClient::new(self.engine.client.clone(), &base, Some(token))
    }

    pub fn admin(&self) -> InterlinkClient {
        self.client(self.engine.admin_token())
    }

    pub async fn finished(&self) -> Vec<Event> {
        self.store.events_after(0, 1000, &[FINISHED]).await.expect("events")
    }

    /// The event that tells of this pod's end.
    pub async fn end_of(&self, pod: &Value) -> Value {
        let uid = pod["metadata"]["uid"].as_str().expect("uid");
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(event) = self.finished().await.into_iter().find(|event| event.subject == uid) {
                return event.data;
            }
            assert!(Instant::now() < deadline, "the pod does not end: {:?}", self.status(&self.admin(), pod).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn status(&self, client: &InterlinkClient, pod: &Value) -> Option<PodStatus> {
        client.status(&[RawPod(pod.clone())]).await.expect("status").pop()
    }

    pub async fn run(&self, pod: &Value) -> Value {
        self.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
        self.end_of(pod).await
    }

    pub async fn wait_for_phase(&self, pod: &Value, phase: Phase) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status(&self.admin(), pod).await.map(|status| phase_of(&status)) != Some(phase) {
            assert!(Instant::now() < deadline, "never {phase:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Nothing of what the store holds of pods, and of what is told of them, has one of these words.
    pub async fn keeps_to_itself(&self, words: &[&'static str]) {
        let words = words.to_vec();
        let read = self.store.read(move |tx| {
            for (table, column) in [("offload_pods", "pod"), ("work", "payload"), ("event_log", "data")] {
                let texts = tx.query(&format!("SELECT {column} FROM {table}"), &[], |row| row.get::<String>(0))?;
                assert!(table != "offload_pods" || !texts.is_empty());
                for word in &words {
                    assert!(!texts.iter().any(|text| text.contains(word)), "{word} lies open in {table}");
                }
            }
            for sealed in tx.query("SELECT sealed FROM offload_volumes", &[], |row| row.get::<Vec<u8>>(0))? {
                for word in &words {
                    assert!(!sealed.windows(word.len()).any(|part| part == word.as_bytes()), "{word} is not sealed");
                }
            }
            Ok::<_, dte_store::Error>(())
        });
        read.await.expect("read");
    }

    /// Waits until the list of pods shows this reason for a pod.
    pub async fn shows(&self, pod: &Value, reason: Option<&str>) {
        let begun = Instant::now();
        loop {
            let asked =
                self.engine.client.get(self.engine.url_of("/interlink/pods")).bearer(&self.engine.admin_token());
            let list: Value = asked.send().await.expect("answers").json().await.expect("JSON");
            let items = list["items"].as_array().expect("items");
            let item = items.iter().find(|item| item["uid"] == pod["metadata"]["uid"]).expect("the pod");
            if item["reason"].as_str() == reason {
                return eprintln!("{reason:?} after {:?}", begun.elapsed());
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "not {reason:?}: {item}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn log(&self, pod: &Value, options: LogOptions) -> String {
        self.try_log(pod, options).await.expect("log")
    }

    pub async fn try_log(&self, pod: &Value, options: LogOptions) -> Result<String, String> {
        let reply = self.admin().logs(&asked(pod, options)).await;
        Ok(reply.map_err(|error| error.to_string())?.text().await.expect("text"))
    }

    /// Follows a log; what it said until its end is to be awaited.
    pub async fn follow(&self, pod: &Value) -> impl Future<Output = String> + use<> {
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let reply = self.admin().logs(&asked(pod, options)).await.expect("a log");
        async move { reply.text().await.expect("text") }
    }
}

fn asked(pod: &Value, options: LogOptions) -> LogStruct {
    LogStruct {
        namespace: "default".into(),
        pod_uid: pod["metadata"]["uid"].as_str().expect("uid").into(),
        options,
        ..LogStruct::default()
    }
}

pub fn pod(script: &str) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": new_id().to_string(), "creationTimestamp": null, "annotations": {}},
        "spec": {"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script], "resources": {}}],
                 "nodeSelector": {"dte.site": "local"}},
        "status": {}
    })
}

pub fn annotate(pod: &mut Value, name: &str, value: Value) {
    pod["metadata"]["annotations"][name] = Value::from(value.to_string());
}

pub fn ban() -> dte_identity::NewBan {
    serde_json::from_value(json!({"reason": "test"})).expect("a ban")
}

/// A pod's request with what its volumes hold.
pub fn with_volumes(pod: Value) -> PodCreateRequests {
    serde_json::from_value(json!({
        "pod": pod,
        "configmaps": [{"metadata": {"name": "settings"}, "data": {"a": "alpha"}}],
        "secrets": [{"metadata": {"name": "keys"}, "data": {"key": "dmVyeS1zZWNyZXQtd29yZA=="}}],
        "projectedvolumesmaps": null, "jobscriptURL": "",
    }))
    .expect("a request")
}

pub fn mounting(script: &str, key: &str) -> Value {
    let mut pod = pod(script);
    pod["spec"]["volumes"] = json!([
        {"name": "v", "configMap": {"name": "settings", "items": [{"key": key, "path": "a"}]}},
        {"name": "k", "secret": {"secretName": "keys", "defaultMode": 0o400}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/settings-of-it"}, {"name": "k", "mountPath": "/keys-of-it"}]);
    pod
}
