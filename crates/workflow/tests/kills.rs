//! The engine is killed again and again; the end is as if it had not been.

#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dte_identity::testing::TestSetup;
use dte_store::{Options, Store};
use serde_json::Value;
use tokio::runtime::Runtime;
use world::{Facts, World};

const MONTHS: usize = 30;
const KILLS: u64 = 15;

fn setup(store: Store, data_dir: &Path) -> TestSetup {
    // The owner's issuer is the public URL, so it must outlive the engine.
    TestSetup {
        shared_store: Some(store),
        data_dir: Some(data_dir.to_owned()),
        ..TestSetup::config("[http]\npublic_url = \"http://127.0.0.1:18990\"\n")
    }
}

/// What must be the same at the end, however it came about.
#[derive(Debug, PartialEq)]
struct End {
    dids: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    pods: Vec<Value>,
    order: Vec<String>,
    skill: Value,
    alerts: Vec<(Value, Value)>,
    finished: Vec<Value>,
}

async fn end(world: &World) -> End {
    let count = u64::try_from(MONTHS).unwrap();
    let status = world.until_runs("succeeded", count).await;
    let alerts = world.get("/enso/alerts").await;
    let alerts = alerts["items"].as_array().unwrap();
    let mut finished = world.told("org.dte.workflow.run.finished").await;
    // On PostgreSQL an event is numbered a moment after its transaction.
    while finished.len() < MONTHS {
        tokio::time::sleep(Duration::from_millis(10)).await;
        finished = world.told("org.dte.workflow.run.finished").await;
    }
    assert_eq!(world.told("org.dte.workflow.observation.accepted").await.len(), MONTHS + 1);
    assert_eq!(world.told("org.dte.workflow.alert.raised").await.len(), alerts.len());
    let facts = world.facts.lock().unwrap();
    End {
        dids: facts.dids.keys().cloned().collect(),
        files: facts.files.iter().map(|(path, bytes)| (path.clone(), bytes.clone())).collect(),
        pods: facts.pods.values().cloned().collect(),
        order: facts.order.clone(),
        skill: status["skill"].clone(),
        alerts: alerts.iter().map(|one| (one["issue_month"].clone(), one["ended_issue_month"].clone())).collect(),
        finished: finished.iter().map(|event| event.data["issue_month"].clone()).collect(),
    }
}

fn open(runtime: &Runtime, path: &Path) -> Store {
    runtime.block_on(async {
        // The one before may still be letting go of the file.
        for _ in 0..200 {
            if let Ok(store) = Store::open(&Options::sqlite(path)).await {
                return store;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Store::open(&Options::sqlite(path)).await.unwrap()
    })
}

fn undisturbed() -> End {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Options::sqlite(&folder.path().join("s.sqlite"))).await.unwrap();
        let world =
            World::with(setup(store, folder.path()), Arc::default(), Arc::new(tempfile::tempdir().unwrap())).await;
        world.begin().await;
        world.history_arrives().await;
        world.months_arrive(0..MONTHS).await;
        end(&world).await
    })
}

#[test]
fn a_killed_engine_ends_as_an_undisturbed_one() {
    let calm = undisturbed();
    assert_eq!(calm.finished.len(), MONTHS);
    let data_dir = tempfile::tempdir().unwrap();
    let path = data_dir.path().join("s.sqlite");
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let facts: Arc<Mutex<Facts>> = Arc::default();
    let mut cut_short = 0;
    for kill in 0..KILLS {
        let runtime = Runtime::new().unwrap();
        let store = open(&runtime, &path);
        let world =
            runtime.block_on(World::with(setup(store, data_dir.path()), Arc::clone(&facts), Arc::clone(&folder)));
        runtime.block_on(async {
            if kill == 0 {
                world.begin().await;
                world.history_arrives().await;
                world.months_arrive(0..MONTHS).await;
            }
            tokio::time::sleep(Duration::from_millis(17 + kill * 37 % 110)).await;
        });
        let runs = facts.lock().unwrap().order.len();
        cut_short += u64::from(runs < MONTHS);
        eprintln!("kill {kill} after {runs} runs");
        // All tasks end wherever they are; only what was committed stays.
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(world);
    }
    assert!(cut_short >= 3, "the kills came too late to hurt: {cut_short}");
    let runtime = Runtime::new().unwrap();
    let store = open(&runtime, &path);
    let stormy = runtime.block_on(async {
        let world = World::with(setup(store, data_dir.path()), Arc::clone(&facts), Arc::clone(&folder)).await;
        end(&world).await
    });
    assert_eq!(stormy, calm);
}

#[test]
fn two_processes_on_one_postgresql_share_the_work() {
    let Some(options) = dte_store::testing::postgres_options() else {
        eprintln!("SKIPPED: {} is not set", dte_store::testing::POSTGRES_VARIABLE);
        return;
    };
    let calm = undisturbed();
    let runtime = Runtime::new().unwrap();
    let shared = runtime.block_on(async {
        let data_dir = tempfile::tempdir().unwrap();
        let first = Store::open(&options).await.unwrap();
        let second = Store::open(&options).await.unwrap();
        let one =
            World::with(setup(first, data_dir.path()), Arc::default(), Arc::new(tempfile::tempdir().unwrap())).await;
        let other = one.again(setup(second, data_dir.path())).await;
        one.begin().await;
        one.history_arrives().await;
        other.months_arrive(0..MONTHS).await;
        let end = end(&one).await;
        drop(other);
        end
    });
    assert_eq!(shared, calm);
}
