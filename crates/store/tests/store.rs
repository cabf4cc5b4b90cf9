//! The store through its public face, on every engine at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_store::{Consumer, Error, Event, Migration, NewWork, Outcome, Store, Worker, params, testing, values};

const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, sql: "CREATE TABLE t_things (name TEXT PRIMARY KEY, size BIGINT NOT NULL, body BYTES)" }];

async fn stores() -> Vec<testing::TemporaryStore> {
    let stores = testing::stores().await.expect("stores open");
    for store in &stores {
        store.migrate("test", MIGRATIONS).await.expect("migrates");
    }
    stores
}

async fn count(store: &Store) -> i64 {
    store
        .read(|tx| tx.query_one("SELECT COUNT(*) FROM t_things", &[], |row| row.get(0)))
        .await
        .map_err(|e: Error| e)
        .expect("counts")
}

/// Waits for a condition without guessing how long it takes.
async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..12_000 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

#[tokio::test]
async fn a_failing_closure_leaves_nothing_and_its_neighbours_alone() {
    for store in stores().await {
        let writers = (0..50).map(|n| {
            store.write(move |tx| {
                tx.execute("INSERT INTO t_things (name, size) VALUES (?1, ?2)", &params![format!("n{n}"), n])?;
                match n % 5 {
                    0 => Err(Error::Invalid("refused".into())),
                    1 => panic!("on purpose"),
                    _ => Ok(()),
                }
            })
        });
        let answers = futures(writers).await;
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 30);
        assert!(answers.iter().any(|a| matches!(a, Err(Error::Panicked(_)))));
        assert_eq!(count(&store).await, 30);
    }
}

async fn futures<T: Send + 'static>(all: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let handles: Vec<_> = all.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for handle in handles {
        answers.push(handle.await.expect("task ends"));
    }
    answers
}

#[tokio::test]
async fn bulk_operations() {
    for store in stores().await {
        let done = store.write(|tx| {
            let rows: Vec<_> = (0..2_500).map(|n| values![format!("n{n:04}"), n, vec![7u8, 8]]).collect();
            assert_eq!(tx.insert_many("t_things", &["name", "size", "body"], &rows)?, 2_500);
            assert_eq!(tx.insert_new_many("t_things", &["name", "size", "body"], &rows)?, 0);
            let changed = [values!["n0001", 100, None::<Vec<u8>>], values!["new", 1, None::<Vec<u8>>]];
            tx.upsert_many("t_things", &["name", "size", "body"], &["name"], &changed)?;
            tx.update_many("t_things", &["name"], &["size"], &[values!["n0002", 200], values!["absent", 1]])?;
            let sum = tx.query_one(
                "SELECT SUM(size) FROM t_things WHERE name IN (?1, ?2, ?3)",
                &params!["n0001", "n0002", "new"],
                |row| row.get::<i64>(0),
            )?;
            let duplicate =
                tx.query_one("SELECT body FROM t_things WHERE name = 'n0003'", &[], |row| row.get::<Vec<u8>>(0))?;
            Ok::<_, Error>((sum, duplicate))
        });
        assert_eq!(done.await.expect("bulk"), (301, vec![7, 8]));
        let again: Result<u64, Error> =
            store.write(|tx| tx.insert_many("t_things", &["name", "size"], &[values!["new", 1]])).await;
        assert!(matches!(again, Err(Error::Duplicate(_))), "{again:?}");
    }
}

#[tokio::test]
async fn events_are_in_one_gap_free_order_and_consumed_once() {
    for store in stores().await {
        let tasks = Tasks::new();
        Consumer::new(&store, "counter").types(&["org.test.kept"]).run(&tasks, |tx, event| {
            tx.execute("INSERT INTO t_things (name, size) VALUES (?1, ?2)", &params![event.id, event.seq])?;
            Ok(())
        });
        let writers = (0..300).map(|n| {
            store.write(move |tx| {
                let kind = if n % 3 == 0 { "org.test.other" } else { "org.test.kept" };
                tx.emit(Event::new(kind, "/test", format!("s{n}"), serde_json::json!({ "n": n })))?;
                if n % 10 == 9 { Err(Error::Invalid("no".into())) } else { Ok(()) }
            })
        });
        let kept = futures(writers).await.iter().filter(|a| a.is_ok()).count();
        assert_eq!(kept, 270);
        until("all are numbered", async || store.latest_seq().await.expect("seq") == 270).await;
        let events = store.events_after(0, 1_000, &[]).await.expect("events");
        assert!(events.iter().map(|e| e.seq).eq(1..=270));
        until("all are consumed", async || count(&store).await == 180).await;
        assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
        let removed = store.remove_events_before(dte_base::time::Timestamp::now()).await.expect("removes");
        assert!(removed > 200 && removed < 270, "{removed}");
    }
}

#[tokio::test]
async fn work_is_done_once_retried_and_buried() {
    for store in stores().await {
        let tasks = Tasks::new();
        let declare = |id: &'static str| {
            store.write(move |tx| tx.enqueue(NewWork::new("test", id, serde_json::json!({})).lane("one")))
        };
        for id in ["ok", "flaky", "hopeless", "panics"] {
            let first: Result<bool, Error> = declare(id).await;
            assert!(first.expect("declares"));
            let second: Result<bool, Error> = declare(id).await;
            assert!(!second.expect("knows it"));
        }
        let at_once = Arc::new(AtomicUsize::new(0));
        let worker_store = Store::clone(&store);
        let backoff = dte_base::backoff::Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
        Worker::new(&store, "test").concurrency(8).per_lane(1).max_attempts(3).backoff(backoff).run(
            &tasks,
            move |claim| {
                let (store, at_once) = (worker_store.clone(), Arc::clone(&at_once));
                async move {
                    assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "a lane runs one at a time");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    match (claim.id.as_str(), claim.attempt) {
                        ("hopeless", _) => Outcome::Dead { error: "never".into() },
                        ("panics", _) => panic!("on purpose"),
                        ("flaky", 1 | 2) => Outcome::Retry { error: "not yet".into() },
                        _ => {
                            let noted = store.write(move |tx| {
                                tx.execute("INSERT INTO t_things (name, size) VALUES (?1, 1)", &params![&claim.id])?;
                                tx.finished(&claim)
                            });
                            Outcome::from(noted.await)
                        }
                    }
                }
            },
        );
        until("two are dead, two done", async || {
            let dead = store.dead_letters((String::new(), String::new()), 10).await.expect("reads");
            dead.len() == 2 && count(&store).await == 2
        })
        .await;
        let dead = store.dead_letters((String::new(), String::new()), 10).await.expect("reads");
        assert_eq!(dead[0].error.as_deref(), Some("never"));
        assert!(dead[1].error.as_deref().is_some_and(|e| e.contains("panicked")));
        assert!(tasks.stop_and_wait(Duration::from_secs(10)).await);
    }
}

#[tokio::test]
async fn what_only_waits_takes_no_place() {
    for store in stores().await {
        let tasks = Tasks::new();
        let go_on = Arc::new(tokio::sync::Notify::new());
        let (waiting, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let declared = store.write(|tx| {
            for number in 0..20 {
                tx.enqueue(NewWork::new("parked", format!("{number}"), serde_json::json!({})))?;
            }
            Ok::<_, Error>(())
        });
        declared.await.expect("declares");
        let (own_go_on, own_waiting, own_done) = (Arc::clone(&go_on), Arc::clone(&waiting), Arc::clone(&done));
        Worker::new(&store, "parked").concurrency(2).run(&tasks, move |claim| {
            let (go_on, waiting, done) = (Arc::clone(&own_go_on), Arc::clone(&own_waiting), Arc::clone(&own_done));
            async move {
                let parked = claim.park();
                waiting.fetch_add(1, Ordering::SeqCst);
                go_on.notified().await;
                drop(parked);
                done.fetch_add(1, Ordering::SeqCst);
                Outcome::Done
            }
        });
        until("all wait at once", async || waiting.load(Ordering::SeqCst) == 20).await;
        go_on.notify_waiters();
        until("all are done", async || done.load(Ordering::SeqCst) == 20).await;
        until("none is left", async || store.queue_depths().await.expect("depths").is_empty()).await;
        assert!(tasks.stop_and_wait(Duration::from_secs(10)).await);
    }
}

#[tokio::test]
async fn a_request_while_it_runs_means_once_more() {
    for store in stores().await {
        let tasks = Tasks::new();
        let request = || store.write(|tx| tx.request(NewWork::new("reconcile", "it", serde_json::json!({}))));
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        request().await.map_err(|e: Error| e).expect("requests");
        Worker::new(&store, "reconcile").run(&tasks, move |_| {
            let counted = Arc::clone(&counted);
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                Outcome::Done
            }
        });
        until("it runs", async || runs.load(Ordering::SeqCst) == 1).await;
        request().await.map_err(|e: Error| e).expect("requests");
        until("it ran again", async || runs.load(Ordering::SeqCst) == 2).await;
        assert!(tasks.stop_and_wait(Duration::from_secs(10)).await);
        let depths = store.queue_depths().await.expect("depths");
        assert!(depths.is_empty(), "{depths:?}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening_and_leases_are_freed() {
    let folder = tempfile::tempdir().expect("folder");
    let options = dte_store::Options::sqlite(&folder.path().join("a.sqlite"));
    let store = Store::open(&options).await.expect("opens");
    store.migrate("test", MIGRATIONS).await.expect("migrates");
    assert!(matches!(Store::open(&options).await, Err(Error::Open(_))), "one process holds the file");
    let done: Result<(), Error> = store
        .write(|tx| {
            tx.enqueue(NewWork::new("test", "a", serde_json::json!({})))?;
            tx.execute("INSERT INTO t_things (name, size) VALUES ('a', 1)", &[])?;
            Ok(())
        })
        .await;
    done.expect("writes");
    drop(store);
    let store = Store::open(&options).await.expect("opens again");
    assert_eq!(count(&store).await, 1);
    assert_eq!(store.queue_depths().await.expect("depths")[0].ready, 1);
}

#[tokio::test]
async fn a_plan_says_what_comes_next() {
    for store in stores().await {
        let later = dte_base::time::Timestamp::now() + Duration::from_secs(3_600);
        let declared = store.write(move |tx| {
            let work =
                |lane: &str, n: usize| NewWork::new("planned", format!("{lane}{n}"), serde_json::json!({})).lane(lane);
            let mut all: Vec<NewWork> = (0..50).flat_map(|n| ["a", "b", "c"].map(|lane| work(lane, n))).collect();
            all.push(work("d", 0).at(later));
            tx.enqueue_many(&all)?;
            // What is there already stays as it is.
            tx.enqueue_many(&all[..3])
        });
        declared.await.expect("declares");
        let lanes = store.read(|tx| tx.lanes("planned", 7)).await.expect("lanes");
        let seen: Vec<(&str, usize, usize)> = lanes.iter().map(|l| (l.name.as_str(), l.running, l.due)).collect();
        assert_eq!(seen, [("a", 0, 7), ("b", 0, 7), ("c", 0, 7), ("d", 0, 0)]);
        assert_eq!(lanes[3].first, Some(later));
        let tasks = Tasks::new();
        let ran: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&ran);
        let plan = |_: &mut dte_store::Tx<'_>, lanes: &[dte_store::Lane], free: usize| {
            // Two at once of `a`, all of `c`, nothing of `b`.
            let count = |lane: &dte_store::Lane| match lane.name.as_str() {
                "a" => 2_usize.saturating_sub(lane.running).min(lane.due),
                "c" => lane.due.min(free),
                _ => 0,
            };
            Ok(lanes.iter().map(count).collect())
        };
        let at_once = Arc::new(AtomicUsize::new(0));
        Worker::new(&store, "planned").concurrency(8).planned(plan).run(&tasks, move |claim| {
            let (notes, at_once) = (Arc::clone(&notes), Arc::clone(&at_once));
            async move {
                if claim.lane == "a" {
                    assert!(at_once.fetch_add(1, Ordering::SeqCst) < 2, "two at once");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                }
                notes.lock().expect("not poisoned").push(claim.id);
                Outcome::Done
            }
        });
        until("a and c are done", async || ran.lock().expect("not poisoned").len() == 100).await;
        assert!(tasks.stop_and_wait(Duration::from_secs(10)).await);
        assert!(ran.lock().expect("not poisoned").iter().all(|id| id.starts_with(['a', 'c'])));
        let lanes = store.read(|tx| tx.lanes("planned", 100)).await.expect("lanes");
        assert_eq!(lanes.iter().map(|lane| lane.due).collect::<Vec<_>>(), [50, 0]);
    }
}

#[tokio::test]
async fn very_many_and_very_long_lanes() {
    for store in stores().await {
        const LANES: usize = 1_100;
        let declared = store.write(|tx| {
            let work =
                |n: usize| NewWork::new("many", format!("{n:04}"), serde_json::json!({})).lane(format!("lane {n:04}"));
            tx.enqueue_many(&(0..LANES).map(work).collect::<Vec<_>>())?;
            // No two alike, and nothing that could be packed.
            let letters = |n: u128| {
                (0..200_u128).map(|k| dte_base::id::derived_id(&[&format!("{n} {k}")]).to_string()).collect::<String>()
            };
            let long = |n: u128| NewWork::new("long", format!("{n}"), serde_json::json!({})).lane(letters(n) + "end");
            tx.enqueue_many(&[long(0), long(1)])?;
            tx.lanes("long", 1)
        });
        let long = declared.await.expect("declares");
        assert!(long.len() == 2 && long.iter().all(|lane| lane.name.len() <= 2_200), "{long:?}");
        let tasks = Tasks::new();
        let seen: Arc<std::sync::Mutex<(usize, Vec<String>)>> = Arc::default();
        let (planned, ran) = (Arc::clone(&seen), Arc::clone(&seen));
        // Only the last of the lanes may begin for a while: they are found although no look takes all.
        let plan = move |_: &mut dte_store::Tx<'_>, lanes: &[dte_store::Lane], _: usize| {
            assert!(lanes.iter().filter(|lane| lane.due > 0).count() <= 500, "one look takes too many");
            let mut seen = planned.lock().expect("not poisoned");
            seen.0 += 1;
            let late = |lane: &dte_store::Lane| seen.1.len() >= 150 || *lane.name >= *"lane 0900";
            Ok(lanes.iter().map(|lane| if late(lane) { lane.due } else { 0 }).collect())
        };
        let held: Arc<AtomicUsize> = Arc::default();
        let told = Arc::clone(&held);
        let told = move || {
            told.fetch_add(1, Ordering::SeqCst);
        };
        Worker::new(&store, "many").concurrency(64).planned(plan).when_claimed(told).run(&tasks, move |claim| {
            ran.lock().expect("not poisoned").1.push(claim.id);
            async { Outcome::Done }
        });
        until("all is done", async || seen.lock().expect("not poisoned").1.len() == LANES).await;
        assert!(tasks.stop_and_wait(Duration::from_secs(20)).await);
        let seen = seen.lock().expect("not poisoned");
        assert!(seen.1[..150].iter().all(|id| **id >= *"0900"), "{:?}", &seen.1[..150]);
        assert!((1..=seen.0).contains(&held.load(Ordering::SeqCst)));
    }
}

#[tokio::test]
async fn several_claims_end_together_and_lost_ones_are_told() {
    for store in stores().await {
        let tasks = Tasks::new();
        let declared = store.write(|tx| {
            let work = |n: usize| NewWork::new("ends", format!("{n}"), serde_json::json!({}));
            tx.enqueue_many(&(0..4).map(work).collect::<Vec<_>>())
        });
        declared.await.expect("declares");
        let (sender, mut claims) = tokio::sync::mpsc::channel(4);
        Worker::new(&store, "ends").concurrency(4).run(&tasks, move |claim| {
            let sender = sender.clone();
            async move {
                sender.send(claim).await.expect("is received");
                std::future::pending().await
            }
        });
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(claims.recv().await.expect("a claim"));
        }
        held.sort_by(|a, b| a.id.cmp(&b.id));
        let lost =
            store.write(|tx| tx.execute("UPDATE work SET lease = 'another' WHERE queue = 'ends' AND id = '1'", &[]));
        assert_eq!(lost.await.map_err(|error: Error| error).expect("writes"), 1);
        let asked = held.clone();
        let ended = store.claim(move |tx| {
            let all: Vec<&dte_store::Claim> = asked.iter().collect();
            Ok::<_, Error>((tx.still_ours(&all)?, tx.finished_many(&all)?))
        });
        let expected = vec![true, false, true, true];
        assert_eq!(ended.await.expect("ends"), (expected.clone(), expected));
        assert!(tasks.stop_and_wait(Duration::from_secs(20)).await);
    }
}

#[tokio::test]
async fn long_lanes_of_older_engines_do_not_stop_the_start() {
    let Some(options) = dte_store::testing::postgres_options() else {
        eprintln!("SKIPPED: long lanes ({} names no PostgreSQL)", dte_store::testing::POSTGRES_VARIABLE);
        return;
    };
    let store = Store::open(&options).await.expect("opens");
    let as_before = store.write(|tx| {
        tx.execute("DROP INDEX work_lane", &[])?;
        tx.execute("DELETE FROM store_migrations WHERE owner = 'store.work' AND version > 1", &[])?;
        tx.enqueue(NewWork::new("old", "1", serde_json::json!({})))?;
        let lane: String = (0..200).map(|k| dte_base::id::derived_id(&[&format!("{k}")]).to_string()).collect();
        tx.execute("UPDATE work SET lane = ?1", &params![lane])
    });
    assert_eq!(as_before.await.map_err(|error: Error| error).expect("writes"), 1);
    drop(store);
    let store = Store::open(&options).await.expect("opens again");
    let lanes = store.read(|tx| tx.lanes("old", 1)).await.map_err(|error: Error| error).expect("lanes");
    assert_eq!((lanes.len(), lanes[0].name.len()), (1, 550));
}
