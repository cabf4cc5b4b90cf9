//! Copies that succeed, and copies of which the storages make something else.

mod fixture;

use std::time::Duration;

use dte_protocol_fts::{File, FileState, JobState, Submission};
use fixture::{Fault, World};
use http::Method;
use serde_json::json;

const CONTENT: &[u8] = b"month,sst\n1980-01,24.31\n1980-02,25.97\n";

fn checksum() -> String {
    format!("{:08x}", dte_storage::checksum::adler32(CONTENT))
}

#[tokio::test]
async fn a_job_and_what_is_told_of_it() {
    for world in World::all().await {
        for name in ["a", "b", "c"] {
            world.storage.put(&format!("/local/{name}"), CONTENT);
        }
        let files = ["a", "b", "c"].map(|name| {
            let pair = world.pair(&format!("/local/{name}"), &format!("/other/deep/{name}"));
            pair.expecting(CONTENT.len() as u64, &checksum()).with_metadata(json!({"name": name}))
        });
        let mut submission = Submission::of(files.to_vec()).verified();
        submission.params.job_metadata = Some(json!({"rule": 7}));
        let job_id = world.submit(&submission).await;
        let (job, files) = world.ended(job_id).await;
        assert_eq!((job.job_state, job.reason), (JobState::Finished, None));
        for (file, name) in files.iter().zip(["a", "b", "c"]) {
            assert_eq!((file.file_state, file.retry), (FileState::Finished, Some(0)));
            assert_eq!(file.filesize, Some(CONTENT.len() as i64));
            assert_eq!(world.storage.ever_seen(&format!("/other/deep/{name}")), [CONTENT]);
        }

        let told = world.events("org.dte.transfer.file.").await;
        assert_eq!(told.len(), 3);
        for (kind, data) in &told {
            assert_eq!(kind, "org.dte.transfer.file.finished");
            assert_eq!((&data["job_id"], &data["adler32"]), (&json!(job_id), &json!(checksum())));
            assert_eq!(data["bytes"], CONTENT.len());
            assert_eq!((&data["user"]["subject"], &data["user"]["name"]), (&json!("admin"), &json!("admin")));
            assert!(
                data["metadata"]["name"].is_string() && data["started"].is_string() && data["finished"].is_string()
            );
            assert!(data["error"].is_null() && data["source"].as_str().is_some_and(|url| url.contains("/dav/local/")));
        }
        let told = world.events("org.dte.transfer.job.").await;
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0].1["state"], &told[0].1["files"]["finished"]), (&json!("FINISHED"), &json!(3)));
        assert_eq!(told[0].1["metadata"]["rule"], 7);
    }
}

/// How a copy with one fault must end.
struct Case {
    name: &'static str,
    plan: fn(&fixture::FakeStorage),
    state: FileState,
    reason: &'static str,
    retries: i64,
}

const CASES: &[Case] = &[
    Case {
        name: "no source",
        plan: |s| s.always(Method::GET, "/local/a", Fault::Status(404)),
        state: FileState::Failed,
        reason: "SOURCE [2] No such file or directory",
        retries: 0,
    },
    Case {
        name: "source forbidden",
        plan: |s| s.always(Method::GET, "/local/a", Fault::Status(403)),
        state: FileState::Failed,
        reason: "SOURCE [13] Permission denied",
        retries: 0,
    },
    Case {
        name: "source away for a while",
        plan: |s| s.next(Method::GET, "/local/a", [Fault::Status(503), Fault::Status(503)]),
        state: FileState::Finished,
        reason: "",
        retries: 2,
    },
    Case {
        name: "source away for good",
        plan: |s| s.always(Method::GET, "/local/a", Fault::Status(503)),
        state: FileState::Failed,
        reason: "SOURCE [112]",
        retries: 2,
    },
    Case {
        name: "source breaks off once",
        plan: |s| s.next(Method::GET, "/local/a", [Fault::Truncate]),
        state: FileState::Finished,
        reason: "",
        retries: 1,
    },
    Case {
        name: "source stalls before the first byte",
        plan: |s| s.next(Method::GET, "/local/a", [Fault::StallAtStart]),
        state: FileState::Finished,
        reason: "",
        retries: 1,
    },
    Case {
        name: "source always stalls midway",
        plan: |s| s.always(Method::GET, "/local/a", Fault::StallMidway),
        state: FileState::Failed,
        reason: "[110]",
        retries: 2,
    },
    Case {
        name: "source sends other bytes than it says",
        plan: |s| s.always(Method::GET, "/local/a", Fault::Corrupt),
        state: FileState::Failed,
        reason: "SOURCE [5] CHECKSUM MISMATCH",
        retries: 0,
    },
    Case {
        name: "source has other bytes than the submitter says",
        plan: |s| s.always(Method::GET, "/local/a", Fault::CorruptUnnoticed),
        state: FileState::Failed,
        reason: "SOURCE [5] CHECKSUM MISMATCH",
        retries: 0,
    },
    Case {
        name: "destination full",
        plan: |s| s.always(Method::PUT, "/local/b", Fault::Full),
        state: FileState::Failed,
        reason: "DESTINATION [28] No space left on device",
        retries: 2,
    },
    Case {
        name: "destination full once",
        plan: |s| s.next(Method::PUT, "/local/b", [Fault::Full]),
        state: FileState::Finished,
        reason: "",
        retries: 1,
    },
    Case {
        name: "destination stalls",
        plan: |s| s.next(Method::PUT, "/local/b", [Fault::StallMidway]),
        state: FileState::Finished,
        reason: "",
        retries: 1,
    },
    Case {
        name: "destination forbidden",
        plan: |s| s.always(Method::PUT, "/local/b", Fault::Status(403)),
        state: FileState::Failed,
        reason: "DESTINATION [13] Permission denied",
        retries: 0,
    },
    Case {
        name: "destination keeps the file and its answer is lost",
        plan: |s| s.next(Method::PUT, "/local/b", [Fault::LoseAnswer]),
        state: FileState::Finished,
        reason: "",
        retries: 1,
    },
];

async fn run(world: &World, case: &Case) -> File {
    world.storage.put("/local/a", CONTENT);
    (case.plan)(&world.storage);
    let pair = world.pair("/local/a", "/local/b").expecting(CONTENT.len() as u64, &checksum());
    world.run(&Submission::of(vec![pair]).verified()).await
}

#[tokio::test]
async fn faults_of_storages() {
    let faults = CASES.iter().map(|case| async move {
        for world in World::all().await {
            let file = run(&world, case).await;
            let reason = file.reason.clone().unwrap_or_default();
            assert_eq!((file.file_state, file.retry), (case.state, Some(case.retries)), "{}: {reason}", case.name);
            assert!(reason.contains(case.reason), "{}: {reason}", case.name);
            for shown in world.storage.ever_seen("/local/b") {
                assert_eq!(shown, CONTENT, "{}: something else was to be seen", case.name);
            }
            let there = case.state == FileState::Finished;
            assert_eq!(world.storage.content("/local/b").is_some(), there, "{}", case.name);
            assert_eq!(world.events("org.dte.transfer.file.").await.len(), 1, "{}", case.name);
            let path = format!("/fts/jobs/{}/files/{}/retries", file.job_id, file.file_id);
            let (_, tries) = fixture::status_and_json(world.get(&path).await).await;
            assert_eq!(tries.as_array().map(Vec::len), Some(case.retries as usize), "{}", case.name);
            if case.state == FileState::Failed {
                let (kind, data) = world.events("org.dte.transfer.file.").await.remove(0);
                assert_eq!((kind.as_str(), &data["error"]), ("org.dte.transfer.file.failed", &json!(reason)));
                assert_eq!(world.admin().job(file.job_id).await.expect("a job").job_state, JobState::Failed);
            }
        }
    });
    futures_util::future::join_all(faults).await;
}

#[tokio::test]
async fn a_lost_answer_costs_no_second_upload() {
    for world in World::all().await {
        let case = CASES.iter().find(|case| case.name.ends_with("answer is lost")).expect("the case");
        assert_eq!(run(&world, case).await.file_state, FileState::Finished);
        assert_eq!(world.storage.count(&Method::PUT, "/local/b"), 1);
    }
}

#[tokio::test]
async fn a_storage_that_keeps_something_else_is_found_out() {
    for world in World::all().await {
        world.storage.put("/local/a", CONTENT);
        world.storage.always(Method::PUT, "/local/b", Fault::KeepDamaged);
        let file = world.run(&world.copy("/local/a", "/local/b")).await;
        assert_eq!(file.file_state, FileState::Failed);
        assert!(file.reason.is_some_and(|reason| reason.starts_with("DESTINATION [5] CHECKSUM MISMATCH")));
    }
}

#[tokio::test]
async fn existing_destinations() {
    for world in World::all().await {
        world.storage.put("/local/a", CONTENT);
        world.storage.put("/local/b", b"older");
        let file = world.run(&world.copy("/local/a", "/local/b")).await;
        let reason = file.reason.unwrap_or_default();
        assert_eq!(reason, "DESTINATION [17] Destination file exists and overwrite is not enabled");
        assert_eq!(file.recoverable, Some(false));
        assert_eq!(world.storage.content("/local/b").as_deref(), Some(&b"older"[..]));

        let file = world.run(&world.copy("/local/a", "/local/b").overwriting()).await;
        assert_eq!(file.file_state, FileState::Finished);
        assert_eq!(world.storage.content("/local/b").as_deref(), Some(CONTENT));
    }
}

#[tokio::test]
async fn empty_files_and_large_files() {
    for world in World::all().await {
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        world.storage.put("/local/empty", b"");
        world.storage.put("/local/large", &large);
        for name in ["empty", "large"] {
            let from = format!("/local/{name}");
            let file = world.run(&world.copy(&from, &format!("/local/copy-{name}"))).await;
            assert_eq!(file.file_state, FileState::Finished, "{:?}", file.reason);
        }
        assert_eq!(world.storage.content("/local/copy-large"), Some(large));
        assert_eq!(world.storage.content("/local/copy-empty").as_deref(), Some(&b""[..]));
    }
}

#[tokio::test]
async fn one_failure_among_several_is_dirty() {
    for world in World::all().await {
        world.storage.put("/local/a", CONTENT);
        let files = vec![world.pair("/local/a", "/local/x"), world.pair("/local/none", "/local/y")];
        let job_id = world.submit(&Submission::of(files)).await;
        let (job, _) = world.ended(job_id).await;
        assert_eq!(job.job_state, JobState::FinishedDirty);
        let reason = "One or more files failed. Please have a look at the details for more information";
        assert_eq!(job.reason.as_deref(), Some(reason));
    }
}

#[tokio::test]
async fn replicas_and_hops() {
    for world in World::all().await {
        world.storage.put("/local/good", CONTENT);
        let mut replicas = world.pair("/local/none", "/local/b");
        replicas.sources.push(world.url("/local/good"));
        replicas.sources.push(world.url("/local/unused"));
        let job_id = world.submit(&Submission::of(vec![replicas])).await;
        let (job, files) = world.ended(job_id).await;
        assert_eq!(job.job_state, JobState::Finished);
        let states: Vec<FileState> = files.iter().map(|file| file.file_state).collect();
        assert_eq!(states, [FileState::Failed, FileState::Finished, FileState::NotUsed]);

        let mut hops = Submission::of(vec![world.pair("/local/good", "/hop/x"), world.pair("/hop/x", "/end/x")]);
        hops.params.multihop = true;
        let job_id = world.submit(&hops).await;
        assert_eq!(world.ended(job_id).await.0.job_state, JobState::Finished);
        assert_eq!(world.storage.content("/end/x").as_deref(), Some(CONTENT));

        let mut cut = Submission::of(vec![world.pair("/local/none", "/hop/y"), world.pair("/hop/y", "/end/y")]);
        cut.params.multihop = true;
        let job_id = world.submit(&cut).await;
        let (job, files) = world.ended(job_id).await;
        assert_eq!((job.job_state, files[1].file_state), (JobState::Failed, FileState::NotUsed));
    }
}

#[tokio::test]
async fn waiting_too_long_ends_a_file() {
    let config = format!("{}concurrency = 1\n", fixture::QUICK.replace("300ms", "5m"));
    let world = World::on(dte_store::testing::temporary().await.expect("a store"), &config).await;
    world.storage.put("/local/a", CONTENT);
    world.storage.always(Method::GET, "/local/a", Fault::Slow(5_000));
    let first = world.submit(&world.copy("/local/a", "/local/x")).await;
    world.reaches(first, FileState::Active).await;
    let mut body = serde_json::to_value(world.copy("/local/a", "/local/y")).expect("json");
    body["params"]["max_time_in_queue"] = json!("1s");
    let (status, answer) = world.post("/fts/jobs", &body).await;
    assert_eq!(status, 200, "{answer}");
    let job_id = answer["job_id"].as_str().expect("an id").parse().expect("a UUID");
    let (job, files) = world.ended(job_id).await;
    assert_eq!((job.job_state, files[0].file_state), (JobState::Canceled, FileState::Canceled));
    assert!(files[0].reason.as_deref().is_some_and(|reason| reason.contains("too long")));
}

#[tokio::test]
async fn old_jobs_are_forgotten() {
    let config = format!("{}retention = \"1s\"\n", fixture::QUICK);
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(store, &config).await;
        world.storage.put("/local/a", CONTENT);
        let job_id = world.submit(&world.copy("/local/a", "/local/b")).await;
        world.ended(job_id).await;
        let mut waited = Duration::ZERO;
        while world.admin().job(job_id).await.is_ok() {
            assert!(waited < Duration::from_secs(10), "the job stays");
            tokio::time::sleep(Duration::from_millis(100)).await;
            waited += Duration::from_millis(100);
        }
    }
}
