//! Cancelling, suspending, dying, coming back, and submitting twice.

mod fixture;

use std::time::{Duration, Instant};

use dte_identity::NewBan;
use dte_identity::testing::TestSetup;
use dte_protocol_fts::identifier::deterministic_job_id;
use dte_protocol_fts::{FileState, FtsError, JobState, Submission};
use fixture::{FakeStorage, Fault, World};
use http::Method;
use serde_json::json;

const CONTENT: &[u8] = b"some bytes that are to be somewhere else";

/// A storage from which nothing comes, patiently.
async fn patient(config: &str) -> Vec<World> {
    let mut worlds = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(store, config).await;
        world.storage.put("/local/a", CONTENT);
        worlds.push(world);
    }
    worlds
}

const PATIENT: &str = "[transfer]\nretry = 2\nretry_delay = \"10ms\"\nstall = \"60s\"\n";

#[tokio::test]
async fn cancelling_stops_what_is_under_way_and_what_waits() {
    for world in patient(&format!("{PATIENT}per_link = 1\n")).await {
        world.storage.always(Method::PUT, "/local/x", Fault::StallMidway);
        let files = vec![world.pair("/local/a", "/local/x"), world.pair("/local/a", "/local/y")];
        let job_id = world.submit(&Submission::of(files)).await;
        world.reaches(job_id, FileState::Active).await;

        let job = world.admin().cancel(job_id).await.expect("cancelled");
        assert_eq!((job.job_state, job.cancel_job), (JobState::Canceled, Some(true)));
        assert_eq!(job.reason.as_deref(), Some("Job canceled by the user"));
        let (_, files) = world.ended(job_id).await;
        assert!(files.iter().all(|file| file.file_state == FileState::Canceled));
        let events = world.events("org.dte.transfer.").await;
        let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
        let (file, job) = ("org.dte.transfer.file.failed", "org.dte.transfer.job.finished");
        assert_eq!(kinds, [file, file, job]);
        assert_eq!(events[0].1["state"], "CANCELED");

        // The link is free again soon, and what was cancelled stays away.
        world.storage.heal();
        let since = Instant::now();
        let next = world.submit(&world.copy("/local/a", "/local/z")).await;
        assert_eq!(world.ended(next).await.0.job_state, JobState::Finished);
        assert!(since.elapsed() < Duration::from_secs(3), "the cancelled copy kept its place");
        assert_eq!(world.storage.content("/local/x"), None);
        assert_eq!(world.storage.content("/local/y"), None);

        let again = world.delete(&format!("/fts/jobs/{job_id}")).await;
        let (status, body) = fixture::status_and_json(again).await;
        assert_eq!((status, &body["http_status"]), (200, &json!("304 Not Modified")));
        assert_eq!(body["http_message"], "The job is in a terminal state");
        assert_eq!(world.events("org.dte.transfer.").await.len(), 5);
    }
}

#[tokio::test]
async fn cancelling_single_files() {
    for world in patient(&format!("{PATIENT}per_link = 1\n")).await {
        world.storage.always(Method::GET, "/local/a", Fault::StallAtStart);
        let files = vec![world.pair("/local/a", "/local/x"), world.pair("/local/a", "/local/y")];
        let job_id = world.submit(&Submission::of(files)).await;
        let files = world.admin().files(job_id).await.expect("files");
        let path = format!("/fts/jobs/{job_id}/files/{}", files[1].file_id);
        let (status, body) = fixture::status_and_json(world.delete(&path).await).await;
        assert_eq!((status, body), (200, json!("CANCELED")));
        assert!(!world.admin().job(job_id).await.expect("a job").job_state.is_terminal());
        let path = format!("/fts/jobs/{job_id}/files/{},999999", files[0].file_id);
        let (_, body) = fixture::status_and_json(world.delete(&path).await).await;
        assert_eq!(body, json!(["CANCELED", "File does not belong to the job"]));
        assert_eq!(world.ended(job_id).await.0.job_state, JobState::Canceled);
    }
}

#[tokio::test]
async fn a_suspended_user_moves_nothing_more() {
    for world in patient(PATIENT).await {
        let token = world.engine.token_for("mallory", &[]).await;
        world.storage.put("/home/mallory/a", CONTENT);
        world.storage.always(Method::PUT, "/home/mallory/b", Fault::StallMidway);
        let fts = world.fts(&token);
        let running = fts.submit(&world.copy("/home/mallory/a", "/home/mallory/b")).await.expect("submitted");
        world.reaches(running, FileState::Active).await;

        let ban = NewBan {
            issuer: Some(world.engine.identity.issuer().to_owned()),
            subject: Some("mallory".to_owned()),
            reason: "test".to_owned(),
            ..NewBan::default()
        };
        let since = Instant::now();
        world.engine.identity.ban(ban, "test").await.expect("banned");
        let (job, files) = world.ended(running).await;
        assert!(since.elapsed() < Duration::from_secs(2));
        assert_eq!(job.job_state, JobState::Failed);
        let reason = files[0].reason.clone().unwrap_or_default();
        assert!(reason.starts_with("AGENT [13] The transfer cannot act for its user"), "{reason}");
        assert_eq!(world.storage.content("/home/mallory/b"), None);
        assert!(matches!(fts.whoami().await, Ok(me) if me.method == "unauthenticated"));
        assert!(fts.submit(&world.copy("/home/mallory/a", "/home/mallory/c")).await.is_err());
    }
}

#[tokio::test]
async fn an_engine_that_died_between_copy_and_note() {
    for store in dte_store::testing::stores().await.expect("stores") {
        let storage = FakeStorage::new();
        storage.put("/local/a", CONTENT);
        // The file is there, and the engine never hears of it.
        storage.next(Method::PUT, "/local/b", [Fault::NeverAnswer]);
        let config = format!("[http]\npublic_url = \"http://engine.test:8990\"\n{PATIENT}");
        let setup = || TestSetup { shared_store: Some((*store).clone()), ..TestSetup::config(&config) };
        let folder = tempfile::tempdir().expect("a folder");
        let kept = |setup: TestSetup| TestSetup { data_dir: Some(folder.path().to_owned()), ..setup };

        let world = World::with(kept(setup()), storage.clone()).await;
        let job_id = world.submit(&world.copy("/local/a", "/local/b")).await;
        world.reaches(job_id, FileState::Active).await;
        while storage.content("/local/b").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.engine.stop().await;
        drop(world);

        let world = World::with(kept(setup()), storage.clone()).await;
        let (job, files) = world.ended(job_id).await;
        assert_eq!(job.job_state, JobState::Finished, "{:?}", files[0].reason);
        assert_eq!(files[0].retry, Some(0));
        assert_eq!(storage.ever_seen("/local/b"), [CONTENT]);
        assert_eq!(storage.count(&Method::PUT, "/local/b"), 1);
        assert_eq!(world.events("org.dte.transfer.file.finished").await.len(), 1);
    }
}

#[tokio::test]
async fn submitting_twice_is_submitting_once() {
    for world in patient(PATIENT).await {
        let submission = world.copy("/local/a", "/local/b").deterministic("rule 1, file a");
        let first = world.submit(&submission).await;
        assert_eq!(first, deterministic_job_id("127.0.0.1", "rule 1, file a"));
        assert_eq!(world.ended(first).await.0.job_state, JobState::Finished);
        assert_eq!(world.submit(&submission).await, first);
        assert_eq!(world.events("org.dte.transfer.file.").await.len(), 1);

        let body = serde_json::to_value(&submission).expect("json");
        let (status, answer) = world.post("/fts/jobs", &body).await;
        assert_eq!((status, &answer["message"]), (409, &json!("The sid provided by the user is duplicated")));

        let other =
            world.fts(&world.engine.token_for("eve", &["storage.read:/", "storage.modify:/", "dte.transfer"]).await);
        assert!(matches!(other.submit(&submission).await, Err(FtsError::SidTaken { .. })));
    }
}

#[tokio::test]
async fn many_small_files() {
    // More than one piece of dispatch.
    const FILES: usize = 230;
    for world in patient(fixture::QUICK).await {
        let files = (0..FILES).map(|n| world.pair("/local/a", &format!("/out/{n}"))).collect();
        let since = Instant::now();
        let job_id = world.submit(&Submission::of(files)).await;
        let (job, files) = world.ended(job_id).await;
        let seconds = since.elapsed().as_secs_f64();
        eprintln!("{FILES} files in {seconds:.2} s, {:.0} a second", FILES as f64 / seconds);
        assert_eq!((job.job_state, files.len()), (JobState::Finished, FILES));
        assert_eq!(world.events("org.dte.transfer.file.finished").await.len(), FILES);
        assert_eq!(world.events("org.dte.transfer.job.finished").await.len(), 1);
    }
}
