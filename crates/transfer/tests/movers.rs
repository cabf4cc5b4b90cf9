//! Movers of two engines that share one PostgreSQL: every file is moved, and none twice.

mod fixture;

use std::time::{Duration, Instant};

use dte_identity::testing::TestSetup;
use dte_protocol_fts::{JobState, Submission};
use dte_store::Store;
use fixture::{FakeStorage, World};
use http::Method;

const CONTENT: &[u8] = b"some bytes that are to be somewhere else";
/// `DTE_TEST_FILES` asks for another number.
const FILES: usize = 600;
/// As many as one job may have.
const JOB: usize = 10_000;

/// How many transactions of this process were undone because of others.
fn conflicts() -> u64 {
    let text = dte_base::telemetry::render();
    let lines = text.lines().filter(|line| line.starts_with("dte_store_conflicts_total{"));
    let counts =
        lines.inspect(|line| eprintln!("{line}")).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_movers_move_every_file_once() {
    let Some(options) = dte_store::testing::postgres_options() else {
        eprintln!("SKIPPED: two movers ({} names no PostgreSQL)", dte_store::testing::POSTGRES_VARIABLE);
        return;
    };
    let count = std::env::var("DTE_TEST_FILES").ok().and_then(|text| text.parse().ok()).unwrap_or(FILES);
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[http]\npublic_url = 'https://twin.example'\n[identity]\nsecret_key_file = '{}'\n[transfer]\nper_link = 32\n",
        folder.path().join("shared.key").display()
    );
    let mut worlds = Vec::new();
    for _ in 0..2 {
        let store = Store::open(&options).await.expect("opens");
        let storage = FakeStorage::new();
        storage.put("/local/a", CONTENT);
        let setup = TestSetup { shared_store: Some(store), ..TestSetup::config(&config) };
        worlds.push(World::with(setup, storage).await);
    }
    let path = |n: usize| format!("/out/{n}");
    let since = Instant::now();
    let mut jobs = Vec::new();
    for start in (0..count).step_by(JOB) {
        let files = (start..count.min(start + JOB)).map(|n| worlds[0].pair("/local/a", &path(n))).collect();
        jobs.push(worlds[0].submit(&Submission::of(files)).await);
    }
    eprintln!("{count} files are queued after {:.1} s", since.elapsed().as_secs_f64());
    let fts = worlds[0].admin();
    for job_id in jobs {
        loop {
            let job = fts.job(job_id).await.expect("a job");
            if job.job_state.is_terminal() {
                assert_eq!(job.job_state, JobState::Finished);
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let seconds = since.elapsed().as_secs_f64();
    let mut moved = [0; 2];
    for n in 0..count {
        let times = [0, 1].map(|engine| worlds[engine].storage.ever_seen(&path(n)).len());
        assert_eq!(times[0] + times[1], 1, "{} was moved {times:?} times", path(n));
        moved[0] += times[0];
        moved[1] += times[1];
    }
    let opened: usize = worlds.iter().map(|world| world.storage.count(&Method::GET, "/local/a")).sum();
    assert_eq!(opened, count, "the source was opened more often than there are files");
    let conflicts = conflicts();
    eprintln!("{conflicts} transactions were run again because of others");
    assert!(conflicts * 10 <= count as u64, "the movers are in each other's way");
    eprintln!("{count} files in {seconds:.1} s, {:.0} a second; {moved:?} by each engine", count as f64 / seconds);
    assert!(moved.iter().all(|files| *files > 0), "one engine did all of it: {moved:?}");
    let told = worlds[0].events("org.dte.transfer.file.finished").await.len();
    assert_eq!(told, count.min(100_000));
}
