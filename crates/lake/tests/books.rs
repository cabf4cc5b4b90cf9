//! Many at once: whatever the order in which things happen, the books are right in the end.

mod support;

use std::collections::BTreeMap;

use dte_protocol_rucio::{Attachment, Did, LakeClient, LockState, NewDid, NewReplica, NewRule, RuleState};
use serde_json::json;
use support::{Mood, World, worlds};

const TASKS: usize = 6;
const ROUNDS: usize = 8;

/// One arrival: a dataset of two files in a container with a rule, in one of several orders.
async fn arrival(lake: &LakeClient, task: usize, round: usize) {
    let name = |what: &str| Did::new("load", format!("{what}.{task}.{round}"));
    let (dataset, files) = (name("ds"), [name("a"), name("b")]);
    let container = Did::new("load", "all");
    let replicas: Vec<NewReplica> = files.iter().map(|did| NewReplica::new(did, 10, "0a1b2c3d")).collect();
    lake.add_replicas("LOCAL", &replicas).await.expect("replicas");
    lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
    let in_container = async || lake.attach(&[Attachment::new(&container, [dataset.clone()])]).await.expect("attach");
    let filled = async || {
        for file in &files {
            lake.attach(&[Attachment::new(&dataset, [file.clone()])]).await.expect("attach");
        }
    };
    let ruled = async || {
        lake.add_rule(&NewRule::new(dataset.clone(), 2, "LOCAL|FAR")).await.expect("rule");
    };
    match (task + round) % 3 {
        0 => {
            in_container().await;
            filled().await;
        }
        1 => {
            filled().await;
            in_container().await;
            ruled().await;
        }
        _ => {
            ruled().await;
            filled().await;
            in_container().await;
        }
    }
    lake.close(&dataset).await.expect("close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_books_are_right() {
    for world in worlds().await {
        world.rse("FAR").await;
        world.rse("MORE").await;
        let lake = world.lake();
        lake.ensure_scope("root", "load").await.expect("scope");
        let container = Did::new("load", "all");
        lake.ensure_dids(&[NewDid::container(&container)]).await.expect("container");
        lake.add_rule(&NewRule::new(container.clone(), 1, "MORE")).await.expect("rule");
        world.fts.set(Mood::Moody);
        let tasks = (0..TASKS).map(|task| {
            let lake = world.lake();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    arrival(&lake, task, round).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("an arrival");
        }
        world.until("all rules are OK", || async { open_rules(&world).await == 0 }).await;
        let ready = world.told("org.dte.lake.dataset.ready", TASKS * ROUNDS).await;
        let mut subjects: Vec<&str> = ready.iter().map(|event| event.subject.as_str()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        assert_eq!(subjects.len(), TASKS * ROUNDS, "each once");
        check_books(&world, &lake).await;
    }
}

async fn open_rules(world: &World) -> usize {
    world.get("/rules/").await.lines().iter().filter(|rule| rule["state"] != "OK").count()
}

async fn check_books(world: &World, lake: &LakeClient) {
    let mut locked: BTreeMap<String, i64> = BTreeMap::new();
    for rule in world.get("/rules/").await.lines() {
        let id = rule["id"].as_str().expect("id");
        let locks = lake.list_locks(id).await.expect("locks");
        assert!(locks.iter().all(|lock| lock.state == LockState::Ok));
        let info = lake.get_rule(id).await.expect("rule");
        assert_eq!(info.state, RuleState::Ok);
        assert_eq!((info.locks_ok_cnt, info.locks_replicating_cnt, info.locks_stuck_cnt), (locks.len() as u64, 0, 0));
        for lock in locks {
            *locked.entry(lock.rse).or_default() += 1;
        }
    }
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    for row in world.get("/accounts/root/usage").await.lines() {
        assert_eq!(row["bytes"].as_i64(), row["files"].as_i64().map(|files| files * 10));
        told.insert(row["rse"].as_str().expect("rse").to_owned(), row["files"].as_i64().expect("files"));
    }
    assert_eq!(told, locked, "what the account is charged with is what is locked");
    let body = json!({"dids": [{"scope": "load", "name": "all"}], "all_states": true});
    let mut copies: BTreeMap<String, i64> = BTreeMap::new();
    for file in world.post("/replicas/list", body).await.lines() {
        for (rse, state) in file["states"].as_object().expect("states") {
            assert_eq!(state, "AVAILABLE");
            *copies.entry(rse.clone()).or_default() += 1;
        }
    }
    for (rse, files) in copies {
        let usage = world.get(&format!("/rses/{rse}/usage")).await.lines();
        assert_eq!(usage[0]["files"].as_i64(), Some(files), "{rse}");
        assert_eq!(usage[0]["used"].as_i64(), Some(files * 10), "{rse}");
    }
}
