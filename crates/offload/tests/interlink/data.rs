//! Data of pods: staged, verified, collected.

use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_protocol_interlink::phase::{Phase, phase_of};
use dte_protocol_interlink::{LogOptions, PodCreateRequests};
use serde_json::{Value, json};

use crate::bench::{Bench, annotate, pod};
use crate::fake;

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
