//! Whose pods are whose, and what becomes of them when their owner may not work.

use std::time::{Duration, Instant};

use dte_protocol_interlink::phase::Phase;
use dte_protocol_interlink::{LogOptions, LogStruct, PodCreateRequests, RawPod};
use serde_json::{Value, json};

use crate::bench::{Bench, annotate, ban, pod};

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

#[tokio::test]
async fn without_a_sandbox_only_administrators_run_pods() {
    let bench = Bench::with_site("sandbox = false").await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let refused = alice.create(&PodCreateRequests::of(pod("true"))).await.expect_err("refused").to_string();
    assert!(refused.starts_with("403") && refused.contains("sandbox"), "{refused}");
    assert_eq!(bench.run(&pod("true")).await["phase"], "Succeeded");
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
