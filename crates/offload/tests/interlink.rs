//! The service through its public API, with real processes and a small data lake.

#[path = "support/fake.rs"]
mod fake;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_protocol_interlink::phase::{Phase, phase_of};
use dte_protocol_interlink::{InterlinkClient, LogOptions, LogStruct, PodCreateRequests, PodStatus, RawPod};
use dte_store::{Event, Store};
use fake::Fake;
use http::Method;
use serde_json::{Value, json};

const FINISHED: &str = "org.dte.offload.pod.finished";

struct Bench {
    engine: TestEngine,
    fake: Fake,
    store: Store,
    data_dir: PathBuf,
    _kept: Option<(dte_store::testing::TemporaryStore, tempfile::TempDir)>,
}

fn config(site: &str) -> String {
    let shim = env!("CARGO_BIN_EXE_dte-offload-pod-shim");
    format!(
        "[http]\npublic_url = 'http://127.0.0.1:8990'\n[offload]\nattempts = 3\nlongest_wait = '300ms'\n
         [[compute.sites]]\nplugin = 'host'\nname = 'local'\nslots = 8\ngrace = '300ms'\nshim = '{shim}'\n{site}\n"
    )
}

impl Bench {
    async fn new() -> Bench {
        Self::with_site("").await
    }

    async fn with_site(site: &str) -> Bench {
        // The last one is PostgreSQL, where the tests have one.
        let kept = dte_store::testing::stores().await.expect("stores").pop().expect("a store");
        let dir = tempfile::tempdir().expect("a folder");
        let (store, data_dir) = (Store::clone(&kept), dir.path().to_path_buf());
        let mut bench = Self::start(store, data_dir, Fake::default(), site).await;
        bench._kept = Some((kept, dir));
        bench
    }

    async fn start(store: Store, data_dir: PathBuf, fake: Fake, site: &str) -> Bench {
        let setup = TestSetup {
            config: config(site),
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
        Bench { engine, fake, store, data_dir, _kept: None }
    }

    /// The engine stops, and another begins with what it left.
    async fn restart(mut self) -> Bench {
        assert!(self.engine.stop().await);
        let kept = self._kept.take();
        let mut next = Self::start(self.store.clone(), self.data_dir.clone(), self.fake.clone(), "").await;
        next._kept = kept;
        next
    }

    fn client(&self, token: Secret) -> InterlinkClient {
        let base = self.engine.url_of("/interlink").parse().expect("a URL");
        InterlinkClient::new(self.engine.client.clone(), &base, Some(token))
    }

    fn admin(&self) -> InterlinkClient {
        self.client(self.engine.admin_token())
    }

    async fn finished(&self) -> Vec<Event> {
        self.store.events_after(0, 1000, &[FINISHED]).await.expect("events")
    }

    /// The event that tells of this pod's end.
    async fn end_of(&self, pod: &Value) -> Value {
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

    async fn status(&self, client: &InterlinkClient, pod: &Value) -> Option<PodStatus> {
        client.status(&[RawPod(pod.clone())]).await.expect("status").pop()
    }

    async fn run(&self, pod: &Value) -> Value {
        self.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
        self.end_of(pod).await
    }

    async fn wait_for_phase(&self, pod: &Value, phase: Phase) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status(&self.admin(), pod).await.map(|status| phase_of(&status)) != Some(phase) {
            assert!(Instant::now() < deadline, "never {phase:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Nothing of what the store holds of pods, and of what is told of them, has one of these words.
    async fn keeps_to_itself(&self, words: &[&'static str]) {
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
    async fn shows(&self, pod: &Value, reason: Option<&str>) {
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

    async fn log(&self, pod: &Value, options: LogOptions) -> String {
        let asked = LogStruct {
            namespace: "default".into(),
            pod_uid: pod["metadata"]["uid"].as_str().expect("uid").into(),
            options,
            ..LogStruct::default()
        };
        self.admin().logs(&asked).await.expect("log").text().await.expect("text")
    }
}

fn pod(script: &str) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": new_id().to_string(), "creationTimestamp": null, "annotations": {}},
        "spec": {"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script], "resources": {}}],
                 "nodeSelector": {"dte.site": "local"}},
        "status": {}
    })
}

fn annotate(pod: &mut Value, name: &str, value: Value) {
    pod["metadata"]["annotations"][name] = Value::from(value.to_string());
}

#[tokio::test]
async fn data_there_and_back() {
    let bench = Bench::new().await;
    let model = b"#!/bin/sh\ncat $DTE_INPUTS/observations/*.csv > $DTE_OUTPUTS/forecast.csv\necho modelled $1\n";
    let mut pod = pod("");
    pod["spec"]["containers"][0]["command"] = json!(["model"]);
    pod["spec"]["containers"][0]["args"] = json!(["now"]);
    let inputs = [
        bench.fake.add("enso:a.csv", b"a,1\n", "observations/a.csv"),
        bench.fake.add("enso:b.csv", b"b,2\n", "observations/b.csv"),
    ];
    bench.fake.add("enso:model-1", model, "");
    annotate(&mut pod, "dte.io/inputs", json!(inputs));
    annotate(&mut pod, "dte.io/code", json!({"did": "enso:model-1", "path": "model"}));
    let output = json!({"path": "forecast.csv", "did": "enso:f.csv", "dataset": "enso:ds", "rse": "LOCAL"});
    annotate(
        &mut pod,
        "dte.io/outputs",
        json!([output, {"path": "extra", "did": "enso:x", "rse": "LOCAL", "required": false}]),
    );
    annotate(&mut pod, "dte.io/twin", json!("enso"));
    let created = bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    assert_eq!(created, bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created again"));
    let end = bench.end_of(&pod).await;
    assert_eq!(
        (&end["phase"], &end["exit_code"], &end["site"], &end["user"]),
        (&json!("Succeeded"), &json!(0), &json!("local"), &json!("admin")),
        "{end}"
    );
    assert_eq!(bench.fake.stored("enso:f.csv").expect("stored"), "a,1\nb,2\n");
    let sum = fake::adler32(b"a,1\nb,2\n");
    assert_eq!(bench.fake.world().replicas["enso:f.csv"], (8, sum.clone()));
    assert!(bench.fake.world().datasets["enso:ds"].contains("enso:f.csv"));
    assert_eq!(end["outputs"][0]["adler32"], sum);
    assert_eq!(end["outputs"].as_array().map(Vec::len), Some(1));
    assert_eq!(end["inputs"][1]["did"], "enso:b.csv");
    assert!(end["inputs"][1]["pfn"].as_str().is_some_and(|pfn| pfn.ends_with("/dav/local/enso/b.csv")), "{end}");
    assert_eq!(end["code"]["sha256"].as_str().map(str::len), Some(64));
    assert!(end["annotations"]["dte.io/inputs"].is_null());
    assert_eq!(bench.log(&pod, LogOptions::default()).await, "modelled now\n");
    let status = bench.status(&bench.admin(), &pod).await.expect("a status");
    assert_eq!((phase_of(&status), status.jid.as_str()), (Phase::Succeeded, created.pod_jid.as_str()));

    // Again with the same data: nothing is fetched twice, and a third time under the old name nothing runs.
    let reads = bench.fake.world().reads;
    let mut second = pod.clone();
    second["metadata"]["uid"] = new_id().to_string().into();
    assert_eq!(bench.run(&second).await["phase"], "Succeeded");
    assert_eq!(bench.fake.world().reads - reads, 0, "inputs come from the cache");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created a third time");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.finished().await.len(), 2);
}

#[tokio::test]
async fn pods_fail_for_a_reason() {
    let bench = Bench::new().await;
    let output = json!([{"path": "f", "did": "s:f", "rse": "LOCAL"}]);
    let cases: [(&str, &str, Option<Value>); 6] = [
        ("exit 3", "Error", None),
        ("true", "OutputMissing", Some(output.clone())),
        ("ln -s /etc/passwd $DTE_OUTPUTS/f", "OutputUnreadable", Some(output.clone())),
        ("mkdir $DTE_OUTPUTS/f", "OutputUnreadable", Some(output.clone())),
        ("mkfifo $DTE_OUTPUTS/f", "OutputUnreadable", Some(output)),
        (
            "ln -s /etc $DTE_OUTPUTS/d",
            "OutputUnreadable",
            Some(json!([{"path": "d/passwd", "did": "s:f", "rse": "LOCAL"}])),
        ),
    ];
    for (script, reason, outputs) in cases {
        let mut pod = pod(script);
        if let Some(outputs) = outputs {
            annotate(&mut pod, "dte.io/outputs", outputs);
        }
        let end = bench.run(&pod).await;
        assert_eq!((end["phase"].as_str(), end["reason"].as_str()), (Some("Failed"), Some(reason)), "{script}: {end}");
        let status = bench.status(&bench.admin(), &pod).await.expect("a status");
        assert_eq!(phase_of(&status), Phase::Failed, "{script}");
    }
    assert_eq!(bench.fake.world().writes, 0);
    let mut late = pod("sleep 30");
    late["spec"]["activeDeadlineSeconds"] = json!(1);
    assert_eq!(bench.run(&late).await["reason"], "DeadlineExceeded");
    let mut never_late = pod("true");
    never_late["spec"]["activeDeadlineSeconds"] = json!(i64::MAX);
    assert_eq!(bench.run(&never_late).await["phase"], "Succeeded");
}

#[tokio::test]
async fn inputs_are_verified() {
    let bench = Bench::new().await;
    let input = bench.fake.add("s:n", b"content", "n");
    let mut good = pod("cat $DTE_INPUTS/n");
    annotate(&mut good, "dte.io/inputs", json!([input]));
    bench.fake.world().outages = 1;
    assert_eq!(bench.run(&good).await["phase"], "Succeeded", "an outage passes");

    let rotten = bench.fake.add("s:rotten", b"content", "n");
    bench.fake.world().is_rotten = true;
    let mut bad = pod("cat $DTE_INPUTS/n");
    annotate(&mut bad, "dte.io/inputs", json!([rotten]));
    let end = bench.run(&bad).await;
    assert_eq!((&end["phase"], &end["reason"]), (&json!("Failed"), &json!("InputChecksumMismatch")), "{end}");
    assert!(end["message"].as_str().is_some_and(|text| text.contains("s:rotten")), "{end}");

    let mut other = pod("true");
    annotate(&mut other, "dte.io/inputs", json!([{"did": "s:n", "path": "n", "adler32": "00000001"}]));
    assert_eq!(bench.run(&other).await["reason"], "InputChecksumMismatch");
    let mut missing = pod("true");
    annotate(&mut missing, "dte.io/inputs", json!([{"did": "s:missing", "path": "n"}]));
    assert_eq!(bench.run(&missing).await["reason"], "InputMissing");
    let mut changed = pod("true");
    bench.fake.world().is_rotten = false;
    annotate(&mut changed, "dte.io/code", json!({"did": "s:n", "path": "m", "sha256": "0".repeat(64)}));
    assert_eq!(bench.run(&changed).await["reason"], "CodeChanged");
}

#[tokio::test]
async fn others_see_nothing() {
    let bench = Bench::new().await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let bob = bench.client(bench.engine.token_for("bob", &[]).await);
    let pod = pod("sleep 30");
    alice.create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    bench.wait_for_phase(&pod, Phase::Running).await;
    assert!(bench.status(&alice, &pod).await.is_some());
    assert!(bench.status(&bob, &pod).await.is_none());
    assert!(bob.status(&[]).await.expect("all").is_empty());
    assert_eq!(bench.admin().status(&[]).await.expect("all").len(), 1);
    let asked = LogStruct {
        namespace: "default".into(),
        pod_uid: pod["metadata"]["uid"].as_str().expect("uid").into(),
        ..LogStruct::default()
    };
    assert!(bob.logs(&asked).await.expect_err("refused").to_string().starts_with("404"));
    bob.delete(&RawPod(pod.clone())).await.expect("does nothing");
    assert!(bob.create(&PodCreateRequests::of(pod.clone())).await.expect_err("taken").to_string().starts_with("409"));
    assert!(bench.finished().await.is_empty());

    let reader = bench.client(bench.engine.token_for("alice", &["compute.read"]).await);
    assert!(bench.status(&reader, &pod).await.is_some());
    assert!(reader.delete(&RawPod(pod.clone())).await.expect_err("refused").to_string().starts_with("403"));

    // What the pod's owner may not read is not read for them, and the engine's own files neither.
    let mut secret = self::pod("cat $DTE_INPUTS/secret");
    annotate(&mut secret, "dte.io/code", json!({"path": "/etc/passwd", "name": "secret"}));
    alice.create(&PodCreateRequests::of(secret.clone())).await.expect("created");
    assert_eq!(bench.end_of(&secret).await["reason"], "CodeForbidden");

    bench
        .engine
        .identity
        .ban(dte_identity::NewBan { subject: Some("alice".into()), ..ban() }, "test")
        .await
        .expect("banned");
    bench.shows(&pod, Some("Suspended")).await;
    bench.admin().delete(&RawPod(pod.clone())).await.expect("deleted");
    assert_eq!(bench.end_of(&pod).await["reason"], "Cancelled");
}

fn ban() -> dte_identity::NewBan {
    serde_json::from_value(json!({"reason": "test"})).expect("a ban")
}

#[tokio::test]
async fn deleting_ends_and_forgets() {
    let bench = Bench::new().await;
    let pod = pod("trap 'exit 0' TERM; echo here; while :; do sleep 0.02; done");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    bench.wait_for_phase(&pod, Phase::Running).await;
    bench.admin().delete(&RawPod(pod.clone())).await.expect("deleted");
    let end = bench.end_of(&pod).await;
    assert_eq!((end["phase"].as_str(), end["reason"].as_str()), (Some("Failed"), Some("Cancelled")));
    assert!(bench.status(&bench.admin(), &pod).await.is_none());
    bench.admin().delete(&RawPod(pod.clone())).await.expect("deleted again");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("answers as before");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(bench.status(&bench.admin(), &pod).await.is_none(), "it does not come back");

    let ended = self::pod("true");
    bench.run(&ended).await;
    let folder = bench.data_dir.join("runs").join(ended["metadata"]["uid"].as_str().expect("uid"));
    assert!(folder.exists());
    bench.admin().delete(&RawPod(ended)).await.expect("deleted");
    let deadline = Instant::now() + Duration::from_secs(5);
    while folder.exists() {
        assert!(Instant::now() < deadline, "the run folder stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let bench = Bench::new().await;
    let input = bench.fake.add("s:n", b"content", "n");
    let pods: Vec<Value> = (0..6)
        .map(|n| {
            let mut pod = pod(&format!("sleep 0.{n}; cat $DTE_INPUTS/n > $DTE_OUTPUTS/f; echo once"));
            annotate(&mut pod, "dte.io/inputs", json!([input]));
            annotate(&mut pod, "dte.io/outputs", json!([{"path": "f", "did": format!("s:f{n}"), "rse": "LOCAL"}]));
            pod
        })
        .collect();
    for pod in &pods {
        bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    let bench = bench.restart().await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let bench = bench.restart().await;
    for pod in &pods {
        let end = bench.end_of(pod).await;
        assert_eq!(end["phase"], "Succeeded", "{end}");
        assert_eq!(bench.log(pod, LogOptions::default()).await, "once\n");
    }
    assert_eq!(bench.finished().await.len(), pods.len());
}

#[tokio::test]
async fn clumsy_requests() {
    let bench = Bench::new().await;
    let send = async |method: Method, path: &str, body: &str| {
        let url = bench.engine.url_of(&format!("/interlink/{path}"));
        let request = bench.engine.client.request(method, url).bearer(&bench.engine.admin_token());
        let reply = request.bytes(body.to_owned()).send().await.expect("an answer");
        (reply.status.as_u16(), reply.text().await.expect("text"))
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod("true");
        change(&mut pod);
        json!({"pod": pod, "configmaps": null, "secrets": null, "projectedvolumesmaps": null, "jobscriptURL": ""})
            .to_string()
    };
    for (body, words) in [
        ("{".to_owned(), "invalid request body"),
        ("[1]".to_owned(), "not a pod"),
        ("null".to_owned(), "not a pod"),
        (with(&|pod| pod["metadata"]["uid"] = json!("../../etc")), "not a UUID"),
        (with(&|pod| pod["spec"]["nodeSelector"]["dte.site"] = json!("moon")), "no site \"moon\""),
        (with(&|pod| pod["spec"]["containers"][0]["image"] = json!("alpine")), "host"),
        (with(&|pod| pod["metadata"]["annotations"]["dte.io/inputs"] = json!("[{")), "dte.io/inputs"),
        (with(&|pod| annotate(pod, "dte.io/outputs", json!([{"path": "../x", "did": "s:n", "rse": "R"}]))), "dots"),
        (with(&|pod| pod["spec"]["containers"] = json!([])), "no containers"),
    ] {
        let (status, text) = send(Method::POST, "create", &body).await;
        assert!(status == 400 && text.contains(words), "{body}: {status} {text}");
    }
    let good = with(&|_| {});
    assert_eq!(send(Method::PUT, "create", &good).await.0, 200, "any method, as upstream");
    assert_eq!(send(Method::GET, "status", "null").await.0, 200);
    assert_eq!(send(Method::GET, "status", "7").await.0, 400);
    assert_eq!(
        send(Method::GET, "getLogs", "{}").await,
        (400, "invalid namespace: must be a valid DNS label\n".to_owned())
    );
    assert_eq!(send(Method::DELETE, "delete", "{}").await.0, 400);
    assert_eq!(send(Method::POST, "updateCache", &new_id().to_string()).await, (200, "Updated cache".to_owned()));
    assert_eq!(send(Method::POST, "ping", "").await, (200, "0".to_owned()));
    assert_eq!(send(Method::POST, "setKubeCFG", "apiVersion: v1").await.0, 200);
    let ping = bench.admin().ping().await.expect("a ping").expect("JSON");
    assert_eq!(ping.resources.and_then(|r| r.pods).as_deref(), Some("8"));
    let reply = bench.engine.client.get(bench.engine.url_of("/interlink/status")).send().await.expect("an answer");
    assert_eq!(reply.status, 401);
    for (what, token) in bench.engine.hostile_tokens() {
        let reply = bench.engine.client.post(bench.engine.url_of("/interlink/create")).bearer(&token).send().await;
        assert!(reply.is_err() || reply.is_ok_and(|reply| matches!(reply.status.as_u16(), 401 | 431)), "{what}");
    }
    let listed = send(Method::GET, "pods?limit=1", "").await;
    assert!(listed.0 == 200 && listed.1.contains("\"phase\""), "{listed:?}");
    assert!(send(Method::GET, "sites", "").await.1.contains("\"local\""));
}

#[tokio::test]
async fn logs_are_cut_and_followed() {
    let bench = Bench::new().await;
    let pod = pod("for n in 1 2 3 4 5; do echo line $n; sleep 0.1; done");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    let followed = bench.log(&pod, LogOptions { follow: true, ..LogOptions::default() }).await;
    assert_eq!(followed.lines().count(), 5, "{followed}");
    bench.end_of(&pod).await;
    assert_eq!(bench.log(&pod, LogOptions { tail: 2, ..LogOptions::default() }).await, "line 4\nline 5\n");
    assert_eq!(bench.log(&pod, LogOptions { bytes: 6, ..LogOptions::default() }).await, "line 1");
    let stamped = bench.log(&pod, LogOptions { timestamps: true, tail: 1, ..LogOptions::default() }).await;
    assert!(stamped.ends_with("Z line 5\n"), "{stamped}");
}

#[tokio::test]
async fn the_log_of_a_pod_that_never_ran_ends_with_the_pod() {
    let bench = Bench::new().await;
    let mut lost = pod("true");
    annotate(&mut lost, "dte.io/inputs", json!([{"did": "s:nowhere", "path": "f"}]));
    bench.admin().create(&PodCreateRequests::of(lost.clone())).await.expect("created");
    let follow = || LogOptions { follow: true, ..LogOptions::default() };
    let followed = tokio::time::timeout(Duration::from_secs(60), bench.log(&lost, follow())).await.expect("an end");
    assert_eq!(followed, "");
    assert_eq!(bench.end_of(&lost).await["phase"], "Failed");
    let again = tokio::time::timeout(Duration::from_secs(60), bench.log(&lost, follow())).await;
    assert_eq!(again.expect("an end"), "");
}

#[tokio::test]
async fn a_log_of_many_short_lines_comes_in_pieces() {
    let bench = Bench::new().await;
    let pod = pod("seq 300000");
    bench.run(&pod).await;
    let whole = bench.log(&pod, LogOptions::default()).await;
    assert_eq!(whole.lines().count(), 300_000);
    assert!(whole.lines().zip(1..).all(|(line, n)| line == n.to_string()));
    assert_eq!(bench.log(&pod, LogOptions { tail: 2, ..LogOptions::default() }).await, "299999\n300000\n");
    let followed = bench.log(&pod, LogOptions { follow: true, tail: 1, ..LogOptions::default() }).await;
    assert_eq!(followed, "300000\n");
}

/// Whoever fills one site does not hold up the others.
#[tokio::test]
async fn a_full_site_does_not_stop_another() {
    let shim = env!("CARGO_BIN_EXE_dte-offload-pod-shim");
    let more = format!("[[compute.sites]]\nplugin = 'host'\nname = 'small'\nslots = 1\nshim = '{shim}'");
    let bench = Bench::with_site(&more).await;
    let admin = bench.admin();
    let mut crowd = Vec::new();
    for _ in 0..1_200 {
        let mut one = pod("sleep 1000");
        one["spec"]["nodeSelector"]["dte.site"] = "small".into();
        admin.create(&PodCreateRequests::of(one.clone())).await.expect("created");
        crowd.push(one);
    }
    let end = tokio::time::timeout(Duration::from_secs(120), bench.run(&pod("true"))).await.expect("it ran");
    assert_eq!(end["phase"], "Succeeded");
}

#[tokio::test]
async fn without_a_sandbox_only_administrators_run_pods() {
    let bench = Bench::with_site("sandbox = false").await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let refused = alice.create(&PodCreateRequests::of(pod("true"))).await.expect_err("refused").to_string();
    assert!(refused.starts_with("403") && refused.contains("sandbox"), "{refused}");
    assert_eq!(bench.run(&pod("true")).await["phase"], "Succeeded");
}

#[tokio::test]
async fn many_inputs_cost_little() {
    let bench = Bench::new().await;
    let inputs: Vec<Value> =
        (0..400).map(|n| bench.fake.add(&format!("s:f{n}"), format!("{n}").as_bytes(), &format!("o/f{n}"))).collect();
    let timed = async || {
        let mut pod = pod("ls $DTE_INPUTS/o | wc -l");
        annotate(&mut pod, "dte.io/inputs", json!(inputs));
        let begun = Instant::now();
        assert_eq!(bench.run(&pod).await["phase"], "Succeeded");
        assert_eq!(bench.log(&pod, LogOptions::default()).await.trim(), "400");
        begun.elapsed()
    };
    let (cold, warm) = (timed().await, timed().await);
    println!("400 inputs: {cold:?} cold, {warm:?} from the cache");
    assert_eq!(bench.fake.world().reads, 400);
}

#[tokio::test]
async fn pods_of_a_suspended_owner_wait_and_go_on() {
    let bench = Bench::new().await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let running = pod("while ! [ -e go ]; do echo beat; sleep 0.05; done & sleep 0.1; wait $!");
    alice.create(&PodCreateRequests::of(running.clone())).await.expect("created");
    bench.wait_for_phase(&running, Phase::Running).await;
    let asked = LogStruct {
        namespace: "default".into(),
        pod_uid: running["metadata"]["uid"].as_str().expect("uid").into(),
        options: LogOptions { follow: true, ..LogOptions::default() },
        ..LogStruct::default()
    };
    let followed = alice.logs(&asked).await.expect("a log");
    let followed = tokio::spawn(async move { followed.text().await.is_ok() });

    // Suspending the account is as good as a ban.
    bench.engine.identity.set_user("alice", false, false, "test").await.expect("set");
    bench.shows(&running, Some("Suspended")).await;
    let rest = tokio::time::timeout(Duration::from_secs(30), followed).await;
    assert!(rest.is_ok(), "the log that was followed is closed");
    assert!(alice.create(&PodCreateRequests::of(pod("true"))).await.is_err(), "nothing new starts");
    let still = bench.log(&running, LogOptions::default()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.log(&running, LogOptions::default()).await, still);

    // Across a restart too.
    let bench = bench.restart().await;
    bench.shows(&running, Some("Suspended")).await;
    assert_eq!(bench.log(&running, LogOptions::default()).await, still);
    bench.engine.identity.set_user("alice", false, true, "test").await.expect("set");
    bench.shows(&running, None).await;
    let begun = Instant::now();
    while bench.log(&running, LogOptions::default()).await.len() <= still.len() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not go on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told: Vec<String> = bench
        .store
        .events_after(0, 100, &["org.dte.offload.pod."])
        .await
        .expect("events")
        .into_iter()
        .map(|e| e.kind)
        .collect();
    assert!(told.contains(&"org.dte.offload.pod.suspended".to_owned()), "{told:?}");
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    alice.delete(&RawPod(running.clone())).await.expect("deleted");
    bench.end_of(&running).await;
}

#[tokio::test]
async fn a_pod_that_has_not_started_waits_for_its_owner() {
    let bench = Bench::new().await;
    let others: Vec<Value> = (0..8).map(|_| pod("exec sleep 600")).collect();
    for one in &others {
        bench.admin().create(&PodCreateRequests::of(one.clone())).await.expect("created");
    }
    for one in &others {
        bench.wait_for_phase(one, Phase::Running).await;
    }
    // There is no place for this one when its owner is banned, and there is one afterwards.
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let waiting = pod("echo ran");
    alice.create(&PodCreateRequests::of(waiting.clone())).await.expect("created");
    let who = dte_identity::NewBan { subject: Some("alice".into()), ..ban() };
    let held = bench.engine.identity.ban(who, "test").await.expect("banned");
    for one in &others {
        bench.admin().delete(&RawPod(one.clone())).await.expect("deleted");
        bench.end_of(one).await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(bench.finished().await.len(), 8, "it has neither run nor failed");
    assert_eq!(bench.log(&waiting, LogOptions::default()).await, "");
    bench.engine.identity.lift_ban(&held.id, "test").await.expect("lifted");
    assert_eq!(bench.end_of(&waiting).await["phase"], "Succeeded");
}

/// A pod's request with what its volumes hold.
fn with_volumes(pod: Value) -> PodCreateRequests {
    serde_json::from_value(json!({
        "pod": pod,
        "configmaps": [{"metadata": {"name": "settings"}, "data": {"a": "alpha"}}],
        "secrets": [{"metadata": {"name": "keys"}, "data": {"key": "dmVyeS1zZWNyZXQtd29yZA=="}}],
        "projectedvolumesmaps": null, "jobscriptURL": "",
    }))
    .expect("a request")
}

fn mounting(script: &str, key: &str) -> Value {
    let mut pod = pod(script);
    pod["spec"]["volumes"] = json!([
        {"name": "v", "configMap": {"name": "settings", "items": [{"key": key, "path": "a"}]}},
        {"name": "k", "secret": {"secretName": "keys", "defaultMode": 0o400}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/settings-of-it"}, {"name": "k", "mountPath": "/keys-of-it"}]);
    pod
}

#[tokio::test]
async fn volumes_survive_a_restart_and_secrets_are_sealed() {
    let bench = Bench::new().await;
    let mut second = mounting(
        "sleep 2; cat /settings-of-it/a /keys-of-it/key; stat -c %a /keys-of-it/key; echo ${#WORD} ${#0}",
        "a",
    );
    second["spec"]["containers"][0]["args"] = json!(["a-telling-argument"]);
    second["spec"]["containers"][0]["env"] = json!([{"name": "WORD", "value": "open sesame"}]);
    let copy = second.to_string();
    annotate(&mut second, "kubectl.kubernetes.io/last-applied-configuration", json!(copy));
    bench.admin().create(&with_volumes(second.clone())).await.expect("created");
    let words = ["very-secret-word", "dmVyeS1zZWNyZXQtd29yZA", "alpha", "open sesame", "a-telling-argument"];
    bench.keeps_to_itself(&words).await;
    let bench = bench.restart().await;
    let end = bench.end_of(&second).await;
    assert_eq!(end["phase"], "Succeeded", "{end} {}", bench.log(&second, LogOptions::default()).await);
    assert_eq!(bench.log(&second, LogOptions::default()).await, "alphavery-secret-word400\n11 18\n");
    bench.keeps_to_itself(&words).await;
    let left = bench.store.read(|tx| tx.query("SELECT uid FROM offload_volumes", &[], |row| row.get::<String>(0)));
    assert!(left.await.expect("rows").is_empty(), "they are kept no longer than needed");

    let refused = bench.admin().create(&with_volumes(mounting("true", "b"))).await.expect_err("there is no such key");
    assert!(refused.to_string().contains("items[0].key"), "{refused}");
    let mut up = mounting("true", "a");
    up["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("../../x");
    let refused = bench.admin().create(&with_volumes(up)).await.expect_err("it leads out");
    assert!(refused.to_string().contains("subPath"), "{refused}");
}

#[tokio::test]
async fn a_status_has_restarts_readiness_and_last_words() {
    let bench = Bench::with_site("restart_wait = '100ms'").await;
    let mut pod = pod(
        "test -e $DTE_OUTPUTS/1 && test -e $DTE_OUTPUTS/2 || { test -e $DTE_OUTPUTS/1 && touch $DTE_OUTPUTS/2; touch $DTE_OUTPUTS/1; echo why; exit 3; }",
    );
    pod["spec"]["restartPolicy"] = json!("OnFailure");
    pod["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    assert_eq!(bench.run(&pod).await["phase"], "Succeeded");
    let status = bench.status(&bench.admin(), &pod).await.expect("a status");
    let container = &status.containers[0];
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref()).expect("it ended before");
    assert_eq!((container.restart_count, last.exit_code, last.message.as_deref()), (2, 3, Some("why\nwhy\n")));
    assert_eq!(phase_of(&status), Phase::Succeeded);
}

#[tokio::test]
async fn programs_run_in_a_pod_over_a_web_socket() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{Error, Message};

    let bench = Bench::new().await;
    let server = bench.engine.listen();
    let pod = pod("touch $DTE_OUTPUTS/up; sleep 30");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    bench.wait_for_phase(&pod, Phase::Running).await;
    let uid = pod["metadata"]["uid"].as_str().expect("uid");
    let address =
        server.address("http").or_else(|| server.addresses().first().map(|(_, address)| *address)).expect("an address");
    let connect = async |query: &str, token: Option<Secret>| {
        let mut request = format!("ws://{address}/interlink/exec?{query}").into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().expect("a header"));
        if let Some(token) = token {
            let value = format!("Bearer {}", token.expose());
            request.headers_mut().insert("authorization", value.parse().expect("a header"));
        }
        let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        tokio_tungstenite::client_async(request, stream).await
    };
    let query =
        format!("pod={uid}&command=sh&command=-c&command=cat%3B+echo+bad+%3E%262%3B+exit+7&stdin=1&stdout=1&stderr=1");
    let (mut socket, answer) = connect(&query, Some(bench.engine.admin_token())).await.expect("a socket");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    socket.send(Message::Binary(b"\0hello\n".to_vec().into())).await.expect("sent");
    socket.send(Message::Binary(vec![255, 0].into())).await.expect("sent");
    let mut heard: Vec<(u8, String)> = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            heard.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned()));
        }
    }
    let all =
        |channel: u8| heard.iter().filter(|(on, _)| *on == channel).map(|(_, text)| text.as_str()).collect::<String>();
    assert_eq!((all(1).as_str(), all(2).as_str()), ("hello\n", "bad\n"));
    let status: Value = serde_json::from_str(&all(3)).expect("a status");
    assert_eq!(
        (&status["reason"], &status["details"]["causes"][0]["message"]),
        (&json!("NonZeroExitCode"), &json!("7"))
    );

    let refused = async |query: &str, token: Option<Secret>| match connect(query, token).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&query, None).await, 401);
    let stranger = bench.engine.token_for("stranger", &["compute.modify"]).await;
    assert_eq!(refused(&query, Some(stranger)).await, 404);
    let reader = bench.engine.token_for("admin", &["compute.read"]).await;
    assert_eq!(refused(&query, Some(reader)).await, 403);
    assert_eq!(refused(&format!("pod={uid}&stdout=1"), Some(bench.engine.admin_token())).await, 400);
    bench.admin().delete(&RawPod(pod)).await.expect("deleted");
    server.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_pod_waits_for_what_the_site_lacks_and_old_pods_are_forgotten() {
    let bench = Bench::with_site("resources = { \"nvidia.com/gpu\" = 1 }").await;
    let asking = |script: &str, count: &str| {
        let mut pod = pod(script);
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": count}});
        pod
    };
    let first = asking("while ! test -e $DTE_OUTPUTS/end; do sleep 0.02; done", "1");
    bench.admin().create(&PodCreateRequests::of(first.clone())).await.expect("created");
    bench.wait_for_phase(&first, Phase::Running).await;
    let (second, third) = (asking("true", "1"), asking("true", "2"));
    for pod in [&second, &third] {
        bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
        bench.shows(pod, Some("InsufficientResources")).await;
    }
    let status = bench.status(&bench.admin(), &third).await.expect("a status");
    let waiting = status.containers[0].state.as_ref().and_then(|state| state.waiting.as_ref()).expect("it waits");
    assert!(waiting.message.as_deref().is_some_and(|text| text.contains("0 of 1 nvidia.com/gpu free")), "{waiting:?}");
    assert_eq!(phase_of(&status), Phase::Pending);
    let outputs = bench.data_dir.join(format!("runs/{}/outputs/end", first["metadata"]["uid"].as_str().expect("uid")));
    std::fs::write(outputs, "").expect("the sign to end");
    assert_eq!(bench.end_of(&second).await["phase"], "Succeeded");
    assert_eq!(phase_of(&bench.status(&bench.admin(), &third).await.expect("a status")), Phase::Pending);
    bench.admin().delete(&RawPod(third.clone())).await.expect("deleted");
    assert_eq!(bench.end_of(&third).await["reason"], "Cancelled");

    let now = dte_base::time::Timestamp::now();
    assert_eq!(dte_offload::store::prune(&bench.store, now - Duration::from_secs(60)).await.expect("pruned"), 0);
    assert_eq!(dte_offload::store::prune(&bench.store, now + Duration::from_secs(60)).await.expect("pruned"), 3);
    assert!(bench.status(&bench.admin(), &second).await.is_none());
}
