//! How pods go and end.

use std::time::{Duration, Instant};

use dte_protocol_interlink::phase::{Phase, phase_of};
use dte_protocol_interlink::{LogOptions, PodCreateRequests, RawPod};
use serde_json::{Value, json};

use crate::bench::{Bench, annotate, pod};

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

/// A UID that was deleted may come again, as another run; not while the old one is still ending.
#[tokio::test]
async fn a_deleted_pod_may_come_again() {
    let bench = Bench::new().await;
    let first = pod("trap 'sleep 0.2; exit 0' TERM; echo first; while :; do sleep 0.02; done");
    let second = json!({"metadata": first["metadata"], "spec": pod("echo second")["spec"], "status": {}});
    bench.admin().create(&PodCreateRequests::of(first.clone())).await.expect("created");
    bench.wait_for_phase(&first, Phase::Running).await;
    bench.admin().delete(&RawPod(first.clone())).await.expect("deleted");
    let refused = bench.admin().create(&PodCreateRequests::of(second.clone())).await.expect_err("it is still ending");
    assert!(refused.to_string().starts_with("409") && refused.to_string().contains("still ending"), "{refused}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.admin().create(&PodCreateRequests::of(second.clone())).await.is_err() {
        assert!(Instant::now() < deadline, "it never ends");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ends = async || {
        let all = bench.finished().await.into_iter().filter(|event| event.subject == first["metadata"]["uid"]);
        all.collect::<Vec<_>>()
    };
    while ends().await.len() < 2 {
        assert!(Instant::now() < deadline, "the second does not run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ends = ends().await;
    assert_eq!((&ends[0].data["reason"], &ends[1].data["phase"]), (&json!("Cancelled"), &json!("Succeeded")));
    assert_ne!(ends[0].id, ends[1].id, "two runs are two events");
    assert_eq!((&ends[0].data["run"], &ends[1].data["run"]), (&Value::Null, &json!(1)));
    assert_eq!(bench.log(&second, LogOptions::default()).await, "second\n");
    // The same again is still the same.
    bench.admin().create(&PodCreateRequests::of(second.clone())).await.expect("known");
    assert_eq!(bench.finished().await.len(), 2);

    // What a service derived from what a pod is for stays that pod, also when it was deleted.
    let mut derived = pod("true");
    derived["metadata"]["uid"] = dte_base::id::derived_id(&["test", "derived"]).to_string().into();
    bench.run(&derived).await;
    bench.admin().delete(&RawPod(derived.clone())).await.expect("deleted");
    bench.admin().create(&PodCreateRequests::of(derived.clone())).await.expect("done already");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.finished().await.len(), 3);
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
    let refused = bench.try_log(&pod, LogOptions { previous: true, ..LogOptions::default() }).await.map(drop);
    assert_eq!(refused, Ok(()), "it ran before");
}

#[tokio::test]
async fn the_log_of_the_run_before() {
    let bench = Bench::with_site("restart_wait = '100ms'").await;
    let previous = || LogOptions { previous: true, ..LogOptions::default() };
    let mut pod =
        pod("n=$(cat $DTE_OUTPUTS/n || echo 1); echo $((n+1)) > $DTE_OUTPUTS/n; echo run $n; printf 'end %s' $n; \
         test $n -lt 3 || { while ! test -e $DTE_OUTPUTS/go; do sleep 0.02; done; exit 0; }; exit 3");
    pod["spec"]["restartPolicy"] = json!("OnFailure");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    let deadline = Instant::now() + Duration::from_secs(15);
    while !bench.log(&pod, LogOptions::default()).await.contains("end 3") {
        assert!(Instant::now() < deadline, "no third run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.log(&pod, previous()).await, "run 2\nend 2\n");
    assert_eq!(bench.log(&pod, LogOptions { tail: 1, follow: true, ..previous() }).await, "end 2\n");
    let go = bench.data_dir.join(format!("runs/{}/outputs/go", pod["metadata"]["uid"].as_str().expect("uid")));
    std::fs::write(go, "").expect("the sign to end");
    bench.end_of(&pod).await;
    assert_eq!(bench.log(&pod, previous()).await, "run 2\nend 2\n");
    let once = self::pod("echo once");
    bench.run(&once).await;
    let refused = bench.try_log(&once, previous()).await.expect_err("it ran once");
    assert!(refused.starts_with("400") && refused.contains("previous terminated container"), "{refused}");
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
