//! The whole way of an observation under `kill -9`, on SQLite and on PostgreSQL, alone and with two processes: the end state
//! is that of an undisturbed run.
//!
//! `DTE_TEST_MONTHS`, `DTE_TEST_KILLS` and `DTE_TEST_KILL_SPAN_MS` make it longer; `make kill-test` uses all 372 months and twenty kills.

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use harness::{Engine, assert_same, model};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(900);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn demo(data_dir: &Path, months: usize, env: &[(&str, &str)]) -> Engine {
    let (months, model) = (months.to_string(), model().display().to_string());
    Engine::start(data_dir, &["demo", "--months", &months, "--model", &model], env)
}

async fn state(data_dir: &Path, env: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let engine = Engine::start(data_dir, &["up"], env);
    let state = engine.api().end_state().await;
    engine.stop();
    state
}

/// A small generator with a seed that the failure message shows: a failed run can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn counts(state: &BTreeMap<String, Value>, months: usize) {
    let of = |prefix: &str| state.keys().filter(|key| key.starts_with(prefix)).count();
    assert_eq!(of("run "), months, "runs");
    assert_eq!(of("file nino12-forecast"), months, "forecasts");
    assert_eq!(of("file nino12-") - months, months + 1, "observations and the history");
    assert_eq!(state["charged compute"]["count"], months, "usage records");
    for (key, file) in state.iter().filter(|(key, _)| key.starts_with("file ")) {
        assert_eq!(file["rses"], serde_json::json!(["ARCHIVE", "LOCAL"]), "{key} is not where its rule wants it");
    }
}

#[tokio::test]
async fn the_end_state_survives_kills() {
    let months = setting("DTE_TEST_MONTHS", 30);
    let kills = setting("DTE_TEST_KILLS", 5);
    let span = setting("DTE_TEST_KILL_SPAN_MS", 1_200) as u64;
    let folder = tempfile::tempdir().expect("folder");
    let calm = folder.path().join("calm");
    demo(&calm, months, &[]).wait(LIMIT);
    let wanted = state(&calm, &[]).await;
    counts(&wanted, months);

    let seed = setting("DTE_TEST_SEED", std::process::id() as usize) as u64;
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let shaken = folder.path().join("shaken");
    for _ in 0..kills {
        let mut engine = demo(&shaken, months, &[]);
        tokio::time::sleep(Duration::from_millis(50 + dice.below(span))).await;
        if engine.ended().is_some() {
            break;
        }
        engine.kill();
    }
    demo(&shaken, months, &[]).wait(LIMIT);
    assert_same(&wanted, &state(&shaken, &[]).await, &format!("after {kills} kills, seed {seed}"));
}

#[tokio::test]
async fn the_end_state_is_the_same_on_postgresql_and_with_two_processes() {
    let Ok(url) = std::env::var("DTE_TEST_POSTGRES") else {
        eprintln!("SKIPPED: DTE_TEST_POSTGRES is not set");
        return;
    };
    let months = setting("DTE_TEST_MONTHS", 30).min(40);
    let folder = tempfile::tempdir().expect("folder");
    let calm = folder.path().join("calm");
    demo(&calm, months, &[]).wait(LIMIT);
    let wanted = state(&calm, &[]).await;

    let schema = format!("demo_{}", dte_base::id::new_id().simple());
    let env = [("DTE_STORE", url.as_str()), ("DTE_STORE__SCHEMA", schema.as_str())];
    let alone = folder.path().join("alone");
    demo(&alone, months, &env).wait(LIMIT);
    assert_same(&wanted, &state(&alone, &env).await, "on PostgreSQL");

    let schema = format!("demo_{}", dte_base::id::new_id().simple());
    let first = folder.path().join("first");
    let key = first.join("secret.key").display().to_string();
    let shared = [
        ("DTE_STORE", url.as_str()),
        ("DTE_STORE__SCHEMA", schema.as_str()),
        ("DTE_IDENTITY__SECRET_KEY_FILE", key.as_str()),
    ];
    let leader = demo(&first, months, &shared);
    let second = folder.path().join("second");
    std::fs::create_dir_all(&second).expect("folder");
    // Both write the same areas: the archive of the demo, and the folder of LOCAL.
    let areas = std::fs::read_to_string(first.join("dte.toml")).expect("reads");
    let local = first.join("storage/local");
    let text = format!("{areas}\n[[edge.areas]]\nname = \"local\"\npath = {:?}\n", local.display().to_string());
    std::fs::write(second.join("dte.toml"), text).expect("writes");
    let services = ["serve", "edge", "transfer", "lake", "events", "offload", "workflow", "provenance", "accounting"];
    let helper = Engine::start(&second, &services, &shared);
    leader.wait(LIMIT);
    let seen = helper.api().end_state().await;
    helper.stop();
    assert_same(&wanted, &seen, "with two processes on one PostgreSQL");
}
