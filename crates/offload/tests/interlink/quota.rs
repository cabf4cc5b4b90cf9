//! What one person may have, and that nobody's many pods keep another's few away.

use std::time::Instant;

use dte_protocol_interlink::{InterlinkClient, PodCreateRequests, RawPod};
use serde_json::{Value, json};

use crate::bench::{Bench, pod};

async fn create(client: &InterlinkClient, pod: &Value) -> Result<(), String> {
    client.create(&PodCreateRequests::of(pod.clone())).await.map(drop).map_err(|error| error.to_string())
}

fn asking(script: &str, cpu: &str, memory: &str) -> Value {
    let mut pod = pod(script);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu, "memory": memory}});
    pod
}

#[tokio::test]
async fn one_person_has_so_many_pods_and_so_much() {
    let bench = Bench::with_settings("most_pods = 3\nmost_cores = 2\nmost_memory = '1GiB'", "").await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let bob = bench.client(bench.engine.token_for("bob", &[]).await);
    let first = asking("sleep 600", "1500m", "1Mi");
    create(&alice, &first).await.expect("within the quota");
    for (more, words) in [
        (asking("true", "600m", "1Mi"), "most_cores is 2, you have 1.5 and ask for 0.6"),
        (asking("true", "1m", "1Gi"), "most_memory is 1073741824 bytes, you have 1048576"),
    ] {
        let refused = create(&alice, &more).await.expect_err("too much");
        assert!(refused.starts_with("429") && refused.contains(words), "{refused}");
        create(&bob, &more).await.expect("another person's");
        bench.end_of(&more).await;
    }
    let others = [asking("sleep 600", "0", "0"), asking("sleep 600", "0", "0")];
    for other in &others {
        create(&alice, other).await.expect("within the quota");
    }
    let refused = create(&alice, &pod("true")).await.expect_err("one too many");
    assert!(refused.starts_with("429") && refused.contains("most_pods is 3, you have 3"), "{refused}");
    create(&alice, &first).await.expect("it is there already");
    create(&bench.admin(), &pod("true")).await.expect("administrators are not limited");

    // The numbers outlast a restart, and what has ended is free again.
    let bench = bench.restart().await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    assert!(create(&alice, &pod("true")).await.is_err());
    alice.delete(&RawPod(first.clone())).await.expect("deleted");
    bench.end_of(&first).await;
    let last = asking("true", "2", "1Gi");
    create(&alice, &last).await.expect("within the quota again");
    bench.end_of(&last).await;
    for other in &others {
        alice.delete(&RawPod(other.clone())).await.expect("deleted");
    }
}

/// What annotations ask of a batch system counts too: the site is not the only one that could understand them.
#[tokio::test]
async fn what_annotations_ask_for_is_counted() {
    let bench = Bench::with_settings("most_cores = 4\nmost_memory = '8GiB'", "").await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let annotated = |name: &str, flags: &str| {
        let mut pod = asking("true", "1", "1Gi");
        pod["metadata"]["annotations"] = json!({ name: flags });
        pod
    };
    let (slurm, condor) = ("slurm-job.vk.io/flags", "htcondor-job.vk.io/flags");
    for (name, flags, words) in [
        (slurm, "--cpus-per-task=64", "most_cores is 4, you have 0 and ask for 64"),
        (slurm, "-c 4 --mem-per-cpu=4G", "most_memory is 8589934592 bytes, you have 0 bytes and ask for 17179869184"),
        (condor, "request_cpus=5", "most_cores is 4, you have 0 and ask for 5"),
        (condor, "request_memory=9GB", "most_memory is 8589934592 bytes"),
    ] {
        let refused = create(&alice, &annotated(name, flags)).await.expect_err(flags);
        assert!(refused.starts_with("429") && refused.contains(words), "{refused}");
    }
    for (name, flags) in [(slurm, "--mem=0"), (condor, "request_cpus=4*16")] {
        let refused = create(&alice, &annotated(name, flags)).await.expect_err(flags);
        assert!(refused.starts_with("400") && refused.contains(name), "{refused}");
        let by_an_administrator = annotated(name, flags);
        create(&bench.admin(), &by_an_administrator).await.expect("administrators are not limited");
        bench.end_of(&by_an_administrator).await;
    }
    let within = annotated(slurm, "-c 4 --mem-per-cpu=2G");
    create(&alice, &within).await.expect("just what one may have");
    bench.end_of(&within).await;
}

/// Whoever asks for a place first, the one who has the fewest gets the next.
#[tokio::test]
async fn a_crowd_of_one_does_not_keep_another_waiting() {
    let bench = Bench::with_settings("", "slots = 2").await;
    let alice = bench.client(bench.engine.token_for("alice", &[]).await);
    let bob = bench.client(bench.engine.token_for("bob", &[]).await);
    let crowd: Vec<Value> = (0..400).map(|_| pod("sleep 0.3")).collect();
    for one in &crowd {
        create(&alice, one).await.expect("created");
    }
    // Making so many takes a while, in which some end.
    let already = bench.finished().await.len();
    let begun = Instant::now();
    let own = pod("true");
    create(&bob, &own).await.expect("created");
    bench.end_of(&own).await;
    let before = bench.finished().await.len() - already;
    eprintln!("bob's pod ended after {:?}, when {before} had", begun.elapsed());
    assert!(before < 60, "{before} pods came before");
    for one in &crowd {
        alice.delete(&RawPod(one.clone())).await.expect("deleted");
    }
}
