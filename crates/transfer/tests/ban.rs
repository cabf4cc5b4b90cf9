//! Storages and submitters that are kept out, and what becomes of their files.

mod fixture;

use dte_protocol_fts::{FileState, FileSubmission, FtsError, JobState, Submission};
use fixture::{Fault, QUICK, World, status_and_json};
use http::Method;
use serde_json::json;

const CONTENT: &[u8] = b"some bytes that are to be somewhere else";

async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(store, &QUICK.replace("300ms", "60s")).await;
        world.storage.put("/local/a", CONTENT);
        worlds.push(world);
    }
    worlds
}

/// The storage of the world, as a storage element.
fn storage(world: &World) -> String {
    let url: url::Url = world.url("/x").parse().expect("a URL");
    format!("{}://{}", url.scheme(), url.host_str().expect("a host"))
}

#[tokio::test]
async fn a_banned_storage_ends_its_files_and_takes_no_more() {
    for world in worlds().await {
        world.storage.always(Method::PUT, "/local/x", Fault::StallMidway);
        let files: Vec<_> = (0..450).map(|n| world.pair("/local/a", &format!("/local/{n}"))).collect();
        let active = world.submit(&world.copy("/local/a", "/local/x")).await;
        world.reaches(active, FileState::Active).await;
        world.storage.always(Method::GET, "/local/a", Fault::StallAtStart);
        let large = world.submit(&Submission::of(files)).await;
        let (status, jobs) = world.post("/fts/ban/se", &json!({"storage": storage(&world), "timeout": 0})).await;
        assert_eq!(status, 200, "{jobs}");
        let named: Vec<String> = jobs.as_array().expect("a list").iter().map(|id| id.to_string()).collect();
        assert!(named.contains(&format!("\"{active}\"")) && named.contains(&format!("\"{large}\"")), "{jobs}");
        for job_id in [active, large] {
            let (job, files) = world.ended(job_id).await;
            assert_eq!((job.job_state, job.reason.as_deref()), (JobState::Canceled, Some("Storage banned")));
            let ended = |file: &dte_protocol_fts::File| file.reason.as_deref() == Some("Storage banned");
            assert!(files.iter().all(|file| file.file_state == FileState::Canceled && ended(file)));
        }
        let refused = world.admin().submit(&world.copy("/local/a", "/local/y")).await.expect_err("banned");
        assert!(matches!(&refused, FtsError::Forbidden { .. }), "{refused}");
        assert!(refused.to_string().contains(&format!("{} is banned", storage(&world))), "{refused}");
        // Another word for the same storage opens no door.
        let other = |path: &str| world.url(path).replacen("http://", "dav://", 1);
        let by_another_name = FileSubmission::new(other("/local/a"), other("/local/z"));
        world.admin().submit(&Submission::of(vec![by_another_name.clone()])).await.expect_err("banned");
        let (_, listed) = status_and_json(world.get("/fts/ban/se").await).await;
        assert_eq!((&listed[0]["se"], &listed[0]["status"]), (&json!(storage(&world)), &json!("CANCEL")));
        assert_eq!((&listed[0]["admin_dn"], &listed[0]["vo"]), (&json!("admin"), &json!("*")));

        world.storage.heal();
        let lifted = world.delete(&format!("/fts/ban/se?storage={}", storage(&world).replacen("http", "DAV", 1))).await;
        assert_eq!(lifted.status, 204);
        let file = world.run(&Submission::of(vec![by_another_name])).await;
        assert_eq!((file.file_state, file.source_se.as_deref()), (FileState::Finished, Some("dav://127.0.0.1")));
        let file = world.run(&world.copy("/local/a", "/local/y")).await;
        assert_eq!(file.file_state, FileState::Finished);
        assert_eq!(world.storage.content("/local/x"), None);
    }
}

#[tokio::test]
async fn files_of_a_storage_that_is_to_wait_wait() {
    for world in worlds().await {
        let ban = json!({"storage": storage(&world), "status": "wait", "allow_submit": true, "message": "repair"});
        assert_eq!(world.post("/fts/ban/se", &ban).await, (200, json!([])));
        let held = world.submit(&world.copy("/local/a", "/local/b")).await;
        world.reaches(held, FileState::OnHold).await;
        assert_eq!(world.storage.content("/local/b"), None);
        // Whoever gives up waiting may.
        let given_up = world.submit(&world.copy("/local/a", "/local/c")).await;
        world.reaches(given_up, FileState::OnHold).await;
        assert_eq!(world.admin().cancel(given_up).await.expect("cancelled").job_state, JobState::Canceled);
        let strict = json!({"storage": storage(&world), "status": "wait"});
        world.post("/fts/ban/se", &strict).await;
        world.admin().submit(&world.copy("/local/a", "/local/d")).await.expect_err("banned");
        world.delete(&format!("/fts/ban/se?storage={}", storage(&world))).await;
        assert_eq!(world.ended(held).await.0.job_state, JobState::Finished);
        assert_eq!(world.storage.content("/local/b").as_deref(), Some(CONTENT));
        assert_eq!(world.storage.content("/local/c"), None);
    }
}

#[tokio::test]
async fn a_banned_submitter() {
    for world in worlds().await {
        world.storage.always(Method::PUT, "/home/alice/x", Fault::StallMidway);
        world.storage.put("/home/alice/a", CONTENT);
        let token = world
            .engine
            .token_for("alice", &["dte.transfer", "storage.read:/home/alice", "storage.modify:/home/alice"])
            .await;
        let alice = world.fts(&token);
        let job_id = alice.submit(&world.copy("/home/alice/a", "/home/alice/x")).await.expect("submitted");
        world.reaches(job_id, FileState::Active).await;
        let dn = world.admin().job(job_id).await.expect("a job").user_dn;
        assert_eq!(world.post("/fts/ban/dn", &json!({"user_dn": dn})).await, (200, json!([job_id])));
        let (job, _) = world.ended(job_id).await;
        assert_eq!((job.job_state, job.reason.as_deref()), (JobState::Canceled, Some("User banned")));
        alice.submit(&world.copy("/home/alice/a", "/home/alice/y")).await.expect_err("banned");
        let (_, listed) = status_and_json(world.get("/fts/ban/dn").await).await;
        assert_eq!(listed[0]["dn"], json!(dn));
        assert_eq!(world.delete(&format!("/fts/ban/dn?user_dn={}", dn.expect("a dn"))).await.status, 204);
        alice.submit(&world.copy("/home/alice/a", "/home/alice/y")).await.expect("submitted");
        // Nobody keeps out themselves, and only administrators keep out others.
        assert_eq!(world.post("/fts/ban/dn", &json!({"user_dn": "admin"})).await.0, 409);
        assert_eq!(world.get_as("/fts/ban/dn", &token).await.status, 403);
        for bad in [json!({}), json!({"storage": "nonsense"}), json!({"storage": "https://h", "status": "perhaps"})] {
            assert_eq!(world.post("/fts/ban/se", &bad).await.0, 400, "{bad}");
        }
    }
}
