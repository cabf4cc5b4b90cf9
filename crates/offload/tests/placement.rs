//! Pods that name no site, over two of them: placed, explained, kept waiting with the reason, refused.

#[allow(dead_code)]
#[path = "support/fake.rs"]
mod fake;

use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_protocol_interlink::{InterlinkClient, PodCreateRequests, RawPod};
use fake::Fake;
use http::{Method, StatusCode};
use serde_json::{Value, json};

struct Scene {
    engine: TestEngine,
    fake: Fake,
    _store: dte_store::testing::TemporaryStore,
}

impl Scene {
    /// Two sites with one place each.
    async fn new() -> Scene {
        let shim = env!("CARGO_BIN_EXE_dte-offload-pod-shim");
        let site = |name: &str, uid_first: u32| {
            format!(
                "[[compute.sites]]\nplugin = 'host'\nname = '{name}'\nslots = 1\ngrace = '300ms'\nshim = '{shim}'\nuid_first = {uid_first}\n"
            )
        };
        let config = format!(
            "[http]\npublic_url = 'http://127.0.0.1:8990'\n{}{}",
            site("near", 3_100_000),
            site("far", 3_200_000)
        );
        let store = dte_store::testing::stores().await.expect("stores").pop().expect("a store");
        let shared_store = Some(dte_store::Store::clone(&store));
        let fake = Fake::default();
        let world = fake.clone();
        let engine =
            TestEngine::start_with(TestSetup { shared_store, ..TestSetup::config(&config) }, async move |ctx| {
                world.world().url = ctx.url_of("/");
                let mut mounts = world.mounts();
                mounts.extend(dte_offload::Service::open(ctx).await?.mounts());
                Ok(mounts)
            })
            .await;
        Scene { engine, fake, _store: store }
    }

    fn client(&self, token: Secret) -> InterlinkClient {
        let base = self.engine.url_of("/interlink").parse().expect("a URL");
        InterlinkClient::new(self.engine.client.clone(), &base, Some(token))
    }

    async fn create(&self, pod: &Value) -> Result<(), String> {
        let made = self.client(self.engine.admin_token()).create(&PodCreateRequests::of(pod.clone())).await;
        made.map(drop).map_err(|error| error.to_string())
    }

    async fn get(&self, path: &str, token: &Secret) -> (StatusCode, Value) {
        let url = self.engine.url_of(&format!("/interlink{path}"));
        let reply = self.engine.client.request(Method::GET, url).bearer(token).send().await.expect("an answer");
        (reply.status, reply.json().await.unwrap_or_default())
    }

    async fn about(&self, pod: &Value) -> Value {
        let path = format!("/pods/{}", pod["metadata"]["uid"].as_str().expect("a uid"));
        let (status, about) = self.get(&path, &self.engine.admin_token()).await;
        assert_eq!(status, StatusCode::OK);
        about
    }

    async fn until(&self, pod: &Value, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let about = self.about(pod).await;
            if holds(&about) {
                return about;
            }
            assert!(Instant::now() < deadline, "never {what}: {about:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn pod(name: &str, script: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": new_id().to_string(), "annotations": {}},
        "spec": {"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script], "resources": {}}]},
    })
}

#[tokio::test]
async fn pods_spread_wait_and_go_on() {
    let scene = Scene::new().await;
    // Each site has one place, and one more may wait there.
    let pods: Vec<Value> = (0..5).map(|n| pod(&format!("p{n}"), "sleep 12; echo done")).collect();
    for one in &pods {
        scene.create(one).await.expect("accepted");
    }
    let first = scene.until(&pods[0], "placed", |about| !about["site"].is_null()).await;
    let second = scene.until(&pods[1], "placed", |about| !about["site"].is_null()).await;
    assert_ne!(first["site"], second["site"], "they do not wait for each other");
    let why = |about: &Value| about["placement"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(!why(&first).is_empty() && !why(&second).is_empty(), "{first:#}");
    let considered = first["placement"]["considered"].as_array().expect("what was thought");
    assert_eq!(considered.len(), 2);
    assert!(considered.iter().all(|one| one["reason"].as_str().is_some_and(|why| !why.is_empty())));

    let mut waits = Vec::new();
    for one in &pods {
        let about = scene.about(one).await;
        if about["site"].is_null() {
            waits.push(scene.until(one, "explained", |about| about["reason"] == "Unschedulable").await);
        }
    }
    assert_eq!(waits.len(), 1, "two run, two wait for a place, one waits for a site");
    assert_eq!(waits[0]["phase"], "Pending");
    assert!(waits[0]["waits"].as_str().is_some_and(|why| why.contains("all 1 places are taken")), "{:#}", waits[0]);

    let (_, sites) = scene.get("/sites", &scene.engine.admin_token()).await;
    for site in sites["items"].as_array().expect("sites") {
        assert_eq!((&site["state"], &site["capacity"]["pods"]), (&json!("up"), &json!(1)), "{site:#}");
    }
    let waiting: u64 = sites["items"].as_array().expect("sites").iter().filter_map(|s| s["waiting"].as_u64()).sum();
    assert!(waiting <= 2, "{sites:#}");

    for one in &pods {
        let about = scene.until(one, "ended", |about| !about["finished"].is_null()).await;
        assert_eq!((&about["phase"], &about["exit_code"]), (&json!("Succeeded"), &json!(0)), "{about:#}");
        assert!(about["reason"].is_null(), "it does not wait any more: {about:#}");
        let steps: Vec<&str> =
            about["timeline"].as_array().expect("steps").iter().filter_map(|step| step["what"].as_str()).collect();
        assert!(steps.first().is_some_and(|step| step.starts_with("accepted")), "{steps:?}");
        assert!(steps.iter().any(|step| step.starts_with("placed at")), "{steps:?}");
        assert!(steps.last().is_some_and(|step| step.starts_with("succeeded")), "{steps:?}");
    }
    let ends = scene.engine.store.events_after(0, 100, &["org.dte.offload.pod.finished"]).await.expect("events");
    assert_eq!(ends.len(), 5);
    assert!(
        ends.iter().all(|end| end.data["why"].as_str().is_some_and(|why| why.contains("near") || why.contains("far")))
    );
}

#[tokio::test]
async fn the_site_with_the_data_is_chosen() {
    let scene = Scene::new().await;
    let input = scene.fake.add("s:obs.csv", b"1,2\n", "obs.csv");
    let with_data = |name: &str| {
        let mut pod = pod(name, "cat $DTE_INPUTS/obs.csv");
        pod["metadata"]["annotations"]["dte.io/inputs"] = Value::from(json!([input.clone()]).to_string());
        pod
    };
    let mut first = with_data("first");
    first["spec"]["nodeSelector"] = json!({"dte.site": "far"});
    scene.create(&first).await.expect("accepted");
    let about = scene.until(&first, "ended", |about| !about["finished"].is_null()).await;
    assert!(about["placement"]["reason"].as_str().is_some_and(|why| why.contains("asked for far")), "{about:#}");
    let second = with_data("second");
    scene.create(&second).await.expect("accepted");
    let about = scene.until(&second, "ended", |about| !about["finished"].is_null()).await;
    assert_eq!((&about["site"], &about["phase"]), (&json!("far"), &json!("Succeeded")), "{about:#}");
    assert!(about["placement"]["reason"].as_str().is_some_and(|why| why.contains("inputs")), "{about:#}");
}

#[tokio::test]
async fn what_no_site_can_take_is_refused() {
    let scene = Scene::new().await;
    let mut large = pod("large", "true");
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "4000"}});
    let refused = scene.create(&large).await.expect_err("refused");
    assert!(refused.contains("400") && refused.contains("resources cpu: 4000 asked for"), "{refused}");
    let mut image = pod("image", "true");
    image["spec"]["containers"][0]["image"] = json!("alpine; rm -rf /");
    let refused = scene.create(&image).await.expect_err("refused");
    assert!(refused.contains("spec.containers[main].image"), "{refused}");
    let mut nowhere = pod("nowhere", "true");
    nowhere["spec"]["nodeSelector"] = json!({"dte.site": "moon"});
    assert!(scene.create(&nowhere).await.expect_err("refused").contains("there is no site \"moon\""));
}

#[tokio::test]
async fn a_pod_that_waits_for_a_site_can_be_ended_and_is_nobody_elses() {
    let scene = Scene::new().await;
    let pods: Vec<Value> = (0..5).map(|n| pod(&format!("p{n}"), "sleep 60")).collect();
    for one in &pods {
        scene.create(one).await.expect("accepted");
        scene.until(one, "looked at", |about| !about["placement"]["decided"].is_null()).await;
    }
    let last = scene.until(&pods[4], "explained", |about| about["reason"] == "Unschedulable").await;
    let alice = scene.engine.token_for("alice", &[]).await;
    for path in [format!("/pods/{}", last["uid"].as_str().expect("uid")), "/pods/nonsense".to_owned()] {
        assert_eq!(scene.get(&path, &alice).await.0, StatusCode::NOT_FOUND);
        assert_eq!(scene.get(&format!("{path}/explain"), &alice).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(scene.get("/pods?name=p4", &alice).await.1["items"], json!([]));
    let (_, found) = scene.get("/pods?name=p4", &scene.engine.admin_token()).await;
    assert_eq!(found["items"][0]["uid"], last["uid"]);

    let client = scene.client(scene.engine.admin_token());
    for one in pods.iter().rev() {
        client.delete(&RawPod(one.clone())).await.expect("deleted");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let ends = scene.engine.store.events_after(0, 100, &["org.dte.offload.pod.finished"]).await.expect("events");
        if ends.len() == 5 {
            assert!(ends.iter().all(|end| end.data["reason"] == "Cancelled"), "{ends:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{} of 5 have ended", ends.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
