//! PostgreSQL only: an older transaction that commits after a newer event was consumed is still delivered, in order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_store::{Consumer, Error, Event, Store, testing};

const INSERT: &str = "INSERT INTO event_outbox (id, type, source, subject, time, data)
    VALUES ('00000000-0000-7000-8000-000000000001', 'org.test.late', '/t', $1, 0, '{}')";

#[tokio::test]
async fn a_late_committer_is_not_passed_over() {
    let Some(options) = testing::postgres_options() else {
        eprintln!("SKIPPED: {} is not set", testing::POSTGRES_VARIABLE);
        return;
    };
    let store = Store::open(&options).await.expect("opens");
    let tasks = Tasks::new();
    let seen: Arc<Mutex<Vec<(i64, String)>>> = Arc::default();
    let noted = Arc::clone(&seen);
    Consumer::new(&store, "witness").run(&tasks, move |_, event| {
        noted.lock().map_err(|_| Error::Closed)?.push((event.seq, event.subject.clone()));
        Ok(())
    });
    let wait_for = |count: usize| {
        let seen = Arc::clone(&seen);
        async move {
            for _ in 0..1_000 {
                if seen.lock().expect("lock").len() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("only {:?} of {count} arrived", seen.lock().expect("lock"));
        }
    };
    // The old transaction draws its place in the outbox first and stays open.
    let url = std::env::var(testing::POSTGRES_VARIABLE).expect("set");
    let schema = options.schema.clone().expect("schema");
    let (open, opened) = std::sync::mpsc::channel();
    let (commit, may_commit) = std::sync::mpsc::channel::<()>();
    let old = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).expect("connects");
        client.batch_execute(&format!("SET search_path = {schema}; BEGIN")).expect("begins");
        client.execute(INSERT, &[&"old"]).expect("inserts");
        open.send(()).expect("heard");
        may_commit.recv().expect("told");
        client.batch_execute("COMMIT").expect("commits");
    });
    opened.recv().expect("opened");
    let newer: Result<(), Error> =
        store.write(|tx| tx.emit(Event::new("org.test.new", "/t", "new", serde_json::json!({})))).await;
    newer.expect("emits");
    wait_for(1).await;
    commit.send(()).expect("told");
    tokio::task::spawn_blocking(move || old.join()).await.expect("joins").expect("ends");
    // No notice was sent for the old transaction, as if its process had been killed right after the commit.
    wait_for(2).await;
    assert_eq!(*seen.lock().expect("lock"), [(1, "new".to_owned()), (2, "old".to_owned())]);
    assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
}

/// Two processes share the log: numbers stay gap-free and every event is consumed by exactly one of them.
#[tokio::test]
async fn two_processes_share_one_log() {
    let Some(options) = testing::postgres_options() else {
        eprintln!("SKIPPED: {} is not set", testing::POSTGRES_VARIABLE);
        return;
    };
    let stores = [Store::open(&options).await.expect("opens"), Store::open(&options).await.expect("opens")];
    let tasks = Tasks::new();
    let counts: Arc<Mutex<Vec<i64>>> = Arc::default();
    for store in &stores {
        Consumer::new(store, "shared").run(&tasks, |tx, event| {
            tx.enqueue(dte_store::NewWork::new("seen", event.seq.to_string(), serde_json::json!({})))?;
            Ok(())
        });
        let counts = Arc::clone(&counts);
        dte_store::Worker::new(store, "seen").concurrency(8).run(&tasks, move |claim| {
            let counts = Arc::clone(&counts);
            async move {
                counts.lock().expect("lock").push(claim.id.parse().expect("number"));
                dte_store::Outcome::Done
            }
        });
    }
    let mut writes = Vec::new();
    for n in 0..200 {
        let store = stores[n % 2].clone();
        writes.push(tokio::spawn(async move {
            store.write(|tx| tx.emit(Event::new("org.test.e", "/t", "s", serde_json::json!({})))).await
        }));
    }
    for write in writes {
        let done: Result<(), Error> = write.await.expect("task ends");
        done.expect("emits");
    }
    for _ in 0..2_000 {
        if counts.lock().expect("lock").len() >= 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(tasks.stop_and_wait(Duration::from_secs(10)).await);
    let mut seen = counts.lock().expect("lock").clone();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(1..=200), "{seen:?}");
}
