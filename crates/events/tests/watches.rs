//! Folder watches through the public routes: complete files once, in order, over restarts.

mod support;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use dte_identity::testing::{TestEngine, TestSetup};
use http::StatusCode;
use serde_json::{Value, json};
use support::{Sink, call, engines, get, post, start, until};

const CREATED: &str = "org.dte.events.file.created";

async fn files(engine: &TestEngine) -> Vec<Value> {
    let (status, body) = get(engine, "admin", &format!("/events?types={CREATED}&limit=1000")).await;
    assert_eq!(status, StatusCode::OK);
    body.as_array().expect("a batch").clone()
}

fn names(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["data"]["name"].as_str().expect("a name").to_owned()).collect()
}

async fn published(engine: &TestEngine, count: usize) -> Vec<Value> {
    until(&format!("{count} files"), async || files(engine).await.len() >= count).await;
    let found = files(engine).await;
    assert_eq!(found.len(), count, "{:?}", names(&found));
    found
}

async fn state(engine: &TestEngine, name: &str) -> String {
    let (_, body) = get(engine, "admin", &format!("/watches/{name}")).await;
    body["status"]["state"].as_str().unwrap_or_default().to_owned()
}

async fn watch(engine: &TestEngine, path: &Path, more: Value) {
    let mut spec = json!({"name": "in", "path": path, "pattern": "*.csv", "settle": "150ms", "interval": "50ms"});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let (status, body) = post(engine, "admin", "/watches", spec).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    until("watching", async || ["watching", "polling"].contains(&state(engine, "in").await.as_str())).await;
}

#[tokio::test]
async fn complete_files_are_told_once_and_in_order() {
    for (engine, _) in engines().await {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        for name in ["b.csv", "a.csv", "c.csv", "a.txt", ".hidden.csv", "x.csv.part", "y.csv.tmp"] {
            std::fs::write(at(name), name).expect("written");
        }
        std::os::unix::fs::symlink(at("a.csv"), at("link.csv")).expect("linked");
        std::fs::create_dir(at("folder.csv")).expect("made");
        // Old enough when the watch begins: younger files come in the order in which they settle.
        tokio::time::sleep(Duration::from_millis(300)).await;
        watch(&engine, place.path(), json!({})).await;
        let found = published(&engine, 3).await;
        assert_eq!(names(&found), ["a.csv", "b.csv", "c.csv"], "what was there comes in the order of names");
        let first = &found[0];
        assert_eq!(first["subject"], at("a.csv").to_str().expect("a path"));
        assert_eq!((&first["data"]["size"], &first["data"]["watch"]), (&json!(5), &json!("in")));
        assert_eq!(first["data"]["adler32"], "052701dc");
        assert_eq!(first["data"]["owner"], "admin");

        // Half-written for longer than it takes to settle: not complete before it is closed.
        let mut slow = std::fs::File::create(at("slow.csv")).expect("made");
        slow.write_all(b"half").expect("written");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(files(&engine).await.len(), 3, "half a file");
        slow.write_all(b" and half").expect("written");
        drop(slow);
        let found = published(&engine, 4).await;
        assert_eq!(found[3]["data"]["size"], 13);

        // Moved in whole; linked in whole; from a name that does not count.
        std::fs::write(at("moved.csv.part"), "moved").expect("written");
        std::fs::rename(at("moved.csv.part"), at("moved.csv")).expect("moved");
        published(&engine, 5).await;
        std::fs::hard_link(at(".hidden.csv"), at("linked.csv")).expect("linked");
        published(&engine, 6).await;

        // The same content again is no news; another content is, and names what it replaces.
        std::fs::write(at("a.csv"), "a.csv").expect("written");
        std::fs::write(at("b.csv"), "another").expect("written");
        let found = published(&engine, 7).await;
        assert_eq!(names(&found)[6], "b.csv");
        assert_eq!(found[6]["data"]["replaces"]["event"], found[1]["id"]);
        assert_ne!(found[6]["data"]["identity"], found[1]["data"]["identity"]);

        let (_, status) = get(&engine, "admin", "/watches/in").await;
        assert_eq!((&status["status"]["published"], &status["status"]["error"]), (&json!(7), &Value::Null));
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn nothing_is_told_twice_nor_missed_over_a_restart() {
    for store in dte_store::testing::stores().await.expect("stores") {
        let place = tempfile::tempdir().expect("a folder");
        let keys = tempfile::tempdir().expect("a folder");
        let setup = || TestSetup {
            shared_store: Some(dte_store::Store::clone(&store)),
            data_dir: Some(keys.path().to_owned()),
            ..TestSetup::default()
        };
        let write =
            |n: usize| std::fs::write(place.path().join(format!("{n:04}.csv")), format!("{n}")).expect("written");
        let mut total = 0;
        for round in 0..4 {
            let engine = start(setup(), &Sink::default()).await;
            if round == 0 {
                watch(&engine, place.path(), json!({"settle": "20ms"})).await;
            }
            (total..total + 60).for_each(write);
            total += 60;
            // Ended in the middle of it.
            tokio::time::sleep(Duration::from_millis(10 * round)).await;
            assert!(engine.stop().await);
            (total..total + 40).for_each(write);
            total += 40;
        }
        let engine = start(setup(), &Sink::default()).await;
        let found = published(&engine, total).await;
        let mut all = names(&found);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), total);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(files(&engine).await.len(), total);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn polling_waits_until_a_file_stands_still() {
    for (engine, _) in engines().await {
        let place = tempfile::tempdir().expect("a folder");
        watch(&engine, place.path(), json!({"mode": "poll", "settle": "1500ms"})).await;
        assert_eq!(state(&engine, "in").await, "polling");
        let mut slow = std::fs::File::create(place.path().join("slow.csv")).expect("made");
        for _ in 0..6 {
            slow.write_all(b"more ").expect("written");
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(files(&engine).await.is_empty(), "it still grows");
        }
        let found = published(&engine, 1).await;
        assert_eq!(found[0]["data"]["size"], 30);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_back() {
    let (engine, _) = engines().await.remove(0);
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("in");
    let spec = json!({"name": "in", "path": folder, "settle": "10ms", "interval": "50ms"});
    assert_eq!(post(&engine, "admin", "/watches", spec).await.0, StatusCode::CREATED);
    until("missing", async || state(&engine, "in").await == "missing").await;
    std::fs::create_dir(&folder).expect("made");
    until("watching", async || state(&engine, "in").await == "watching").await;
    std::fs::write(folder.join("a"), "a").expect("written");
    published(&engine, 1).await;
    std::fs::rename(&folder, place.path().join("away")).expect("moved");
    until("missing", async || state(&engine, "in").await == "missing").await;
    std::fs::write(place.path().join("away/not-here"), "x").expect("written");
    std::fs::create_dir(&folder).expect("made");
    std::fs::write(folder.join("a"), "a").expect("written");
    std::fs::write(folder.join("b"), "b").expect("written");
    let found = published(&engine, 2).await;
    assert_eq!(names(&found), ["a", "b"]);
}

#[tokio::test]
async fn several_hundred_files_a_second() {
    for (engine, _) in engines().await {
        let place = tempfile::tempdir().expect("a folder");
        watch(&engine, place.path(), json!({})).await;
        let begin = Instant::now();
        for n in 0..800 {
            std::fs::write(place.path().join(format!("{n:04}.csv")), format!("observation {n}")).expect("written");
        }
        let found = published(&engine, 800).await;
        let took = begin.elapsed();
        let expected: Vec<String> = (0..800).map(|n| format!("{n:04}.csv")).collect();
        assert_eq!(names(&found), expected, "in the order in which they were closed");
        eprintln!("800 files in {took:?}");
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn declarations() {
    let (engine, _) = engines().await.remove(0);
    let place = tempfile::tempdir().expect("a folder");
    let spec = json!({"name": "in", "path": place.path(), "pattern": "*.csv", "settle": "10ms"});
    assert_eq!(post(&engine, "alice", "/watches", spec.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(post(&engine, "admin", "/watches", spec.clone()).await.0, StatusCode::CREATED);
    assert_eq!(post(&engine, "admin", "/watches", spec.clone()).await.0, StatusCode::OK, "the same again");
    let mut other = spec.clone();
    other["pattern"] = json!("*.txt");
    assert_eq!(post(&engine, "admin", "/watches", other.clone()).await.0, StatusCode::CONFLICT);
    for bad in [
        json!({"name": "x", "path": "relative"}),
        json!({"name": "x", "path": "/a/../b"}),
        json!({"name": "../x", "path": "/a"}),
        json!({"name": "x", "path": "/a", "pattern": "a/b"}),
    ] {
        assert_eq!(post(&engine, "admin", "/watches", bad.clone()).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    let unknown = json!({"name": "x", "path": "/a", "patern": "*"});
    assert_eq!(post(&engine, "admin", "/watches", unknown).await.0, StatusCode::BAD_REQUEST);

    std::fs::write(place.path().join("a.csv"), "a").expect("written");
    std::fs::write(place.path().join("a.txt"), "a").expect("written");
    assert_eq!(names(&published(&engine, 1).await), ["a.csv"]);
    assert_eq!(call(&engine, "admin", "PUT", "/watches/in", Some(other)).await.0, StatusCode::OK);
    assert_eq!(names(&published(&engine, 2).await)[1], "a.txt");
    let (_, list) = get(&engine, "admin", "/watches").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(call(&engine, "admin", "DELETE", "/watches/in", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&engine, "admin", "DELETE", "/watches/in", None).await.0, StatusCode::NOT_FOUND);
    std::fs::write(place.path().join("b.txt"), "b").expect("written");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(files(&engine).await.len(), 2, "nobody watches");
    assert_eq!(post(&engine, "admin", "/watches", spec).await.0, StatusCode::CREATED);
    published(&engine, 3).await;
}

#[tokio::test]
async fn engines_that_share_a_store_watch_once() {
    let Some(options) = dte_store::testing::postgres_options() else {
        eprintln!("SKIPPED: no PostgreSQL at hand");
        return;
    };
    let keys = tempfile::tempdir().expect("a folder");
    let place = tempfile::tempdir().expect("a folder");
    let mut both = Vec::new();
    for _ in 0..2 {
        let store = dte_store::Store::open(&options).await.expect("opens");
        let setup = TestSetup {
            shared_store: Some(store),
            data_dir: Some(keys.path().to_owned()),
            ..TestSetup::config("[http]\npublic_url = \"http://127.0.0.1:9\"\n")
        };
        both.push(start(setup, &Sink::default()).await);
    }
    watch(&both[0], place.path(), json!({"settle": "20ms"})).await;
    let write = |range: std::ops::Range<usize>| {
        for n in range {
            std::fs::write(place.path().join(format!("{n:04}.csv")), format!("{n}")).expect("written");
        }
    };
    write(0..100);
    published(&both[1], 100).await;
    // Whichever watched: the other goes on.
    assert!(both.remove(0).stop().await);
    write(100..200);
    published(&both[0], 200).await;
    assert!(both.remove(0).stop().await);
}
