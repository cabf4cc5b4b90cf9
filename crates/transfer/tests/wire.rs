//! The wire: shapes, refusals and rights, as clients of FTS see them.

mod fixture;

use dte_identity::testing::TestSetup;
use dte_protocol_fts::{FileState, JobState, Submission};
use fixture::{FakeStorage, Fault, World, status_and_json};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const CONTENT: &[u8] = b"content";

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(|job| job["job_id"].as_str()).collect()
}

#[tokio::test]
async fn versions_and_spellings_of_paths() {
    for world in World::all().await {
        for path in ["/fts", "/fts/", "/fts//"] {
            let (status, body) = status_and_json(world.get(path).await).await;
            assert_eq!((status, body["api"]["major"].as_i64()), (200, Some(3)), "{path}");
        }
        for path in ["/fts/jobs", "/fts/jobs/", "/fts//jobs", "/fts//jobs/"] {
            let (status, body) = status_and_json(world.get(path).await).await;
            assert_eq!((status, body), (200, json!([])), "{path}");
        }
        let request = world.engine.client.request(Method::OPTIONS, world.engine.url_of("/fts/jobs"));
        let reply = request.send().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (200, Some("OPTIONS, POST, HEAD, PUT, GET")));
        let (status, body) = status_and_json(world.get("/fts/nothing").await).await;
        assert_eq!((status, &body["status"]), (404, &json!("404 Not Found")));
    }
}

#[tokio::test]
async fn who_is_asking() {
    for world in World::all().await {
        let me = world.admin().whoami().await.expect("whoami");
        assert_eq!((me.user_dn.as_deref(), me.method.as_str(), me.is_root), (Some("admin"), "oauth2", true));
        assert_eq!(me.dn[0], "admin");
        assert_eq!(me.vos_id, [dte_protocol_fts::identifier::vo_id(&me.vos[0])]);
        assert_eq!(me.delegation_id.map(|id| id.len()), Some(16));
        let stranger = world.engine.client.get(world.engine.url_of("/fts/whoami")).send().await.expect("an answer");
        let (status, body) = status_and_json(stranger).await;
        assert_eq!((status, &body["user_dn"], &body["level"]), (200, &json!("anon"), &json!([])));
    }
}

#[tokio::test]
async fn strangers_and_bad_tokens_change_nothing() {
    for world in World::all().await {
        let body = serde_json::to_value(world.copy("/local/a", "/local/b")).expect("json");
        let send = |token: Option<dte_base::secret::Secret>| {
            let request = world.engine.client.post(world.engine.url_of("/fts/jobs")).json(&body);
            let request = match &token {
                Some(token) if !token.expose().is_empty() => request.bearer(token),
                _ => request,
            };
            async move { status_and_json(request.send().await.expect("an answer")).await }
        };
        let (status, answer) = send(None).await;
        assert_eq!((status, &answer["status"]), (401, &json!("401 Unauthorized")));
        assert!(answer["message"].is_string());
        for (what, token) in world.engine.hostile_tokens() {
            // Some do not even fit into a header.
            assert!(matches!(send(Some(token)).await.0, 401 | 431), "{what}");
        }
        assert_eq!(
            status_and_json(world.get("/fts/jobs?limit=500&state_in=SUBMITTED,FAILED").await).await.1,
            json!([])
        );
    }
}

#[tokio::test]
async fn submissions_that_are_refused() {
    for world in World::all().await {
        let (from, to) = (world.url("/local/a"), world.url("/local/b"));
        let file = json!({"sources": [from], "destinations": [to]});
        let cases = [
            (json!([]), 400, "Expecting a dictionary"),
            (json!({"files": []}), 400, "No transfers operations specified"),
            (json!({"files": [{"sources": [from]}]}), 400, "Missing parameter: 'destinations'"),
            (json!({"files": [{"sources": [], "destinations": []}]}), 400, "No valid pairs available"),
            (json!({"files": [file], "delete": ["https://h/x"]}), 405, "Deletion jobs are no longer supported by FTS"),
            (
                json!({"files": [file], "params": {"overwrite_hop": true}}),
                400,
                "'overwrite-hop' requires multihop job submission",
            ),
            (
                json!({"files": [file], "params": {"bring_online": 60}}),
                400,
                "bring_online is not supported for token submissions",
            ),
            (
                json!({"files": [{"sources": ["file:///etc/passwd"], "destinations": [to]}]}),
                400,
                "Invalid value within the request: Can not transfer local files (file:///etc/passwd)",
            ),
            (
                json!({"files": [{"sources": [world.engine.url_of("/fts/jobs")], "destinations": [to]}]}),
                400,
                &format!(
                    "Invalid value within the request: Not a storage of this engine ({})",
                    world.engine.url_of("/fts/jobs")
                ),
            ),
        ];
        for (body, status, message) in cases {
            let (got, answer) = world.post("/fts/jobs", &body).await;
            assert_eq!((got, answer["message"].as_str()), (status, Some(message)));
        }
        let request = world.engine.client.put(world.engine.url_of("/fts/jobs")).bearer(&world.engine.admin_token());
        let (status, answer) = status_and_json(request.bytes("{").send().await.expect("an answer")).await;
        assert_eq!((status, &answer["message"]), (400, &json!("Badly formatted JSON request")));
        let every = world.get("/fts/jobs?limit=500&state_in=SUBMITTED,ACTIVE,FAILED,FINISHED").await;
        assert_eq!(status_and_json(every).await.1, json!([]));
    }
}

#[tokio::test]
async fn tokens_do_not_grow_by_way_of_a_transfer() {
    for world in World::all().await {
        world.storage.put("/local/a", CONTENT);
        world.storage.put("/home/alice/a", CONTENT);
        let alice = world.fts(&world.engine.token_for("alice", &[]).await);
        assert!(alice.submit(&world.copy("/home/alice/a", "/home/alice/b")).await.is_ok());
        for (from, to) in
            [("/local/a", "/home/alice/x"), ("/home/alice/a", "/local/x"), ("/home/bob/a", "/home/alice/x")]
        {
            let refused = alice.submit(&world.copy(from, to)).await.expect_err("refused").to_string();
            assert!(refused.contains("this needs storage."), "{refused}");
        }
        let reader = world.fts(&world.engine.token_for("alice", &["storage.read:/local", "dte.transfer"]).await);
        assert!(reader.submit(&world.copy("/local/a", "/local/x")).await.is_err());
        // Without a scope for transfers there are none, and none of one's own can be seen or cancelled.
        let storage = ["storage.read:/local", "storage.create:/local/out"];
        let mute = world.fts(&world.engine.token_for("alice", &storage).await);
        let refused = mute.submit(&world.copy("/local/a", "/local/out/x")).await.expect_err("refused").to_string();
        assert!(refused.contains("dte.transfer"), "{refused}");
        let own = alice.submit(&world.copy("/home/alice/a", "/home/alice/c")).await.expect("submitted");
        assert!(mute.job(own).await.is_err() && mute.cancel(own).await.is_err());
        let stranger = world.fts(&world.engine.token_for("bob", &[]).await);
        assert!(stranger.cancel(own).await.is_err(), "jobs of others are not cancelled");
        let both = world.engine.token_for("alice", &["fts", storage[0], storage[1]]).await;
        let job_id = world.fts(&both).submit(&world.copy("/local/a", "/local/out/x")).await.expect("submitted");
        assert_eq!(world.ended(job_id).await.0.job_state, JobState::Finished);
    }
}

#[tokio::test]
async fn tokens_inside_a_submission_are_the_submitters() {
    for world in World::all().await {
        world.storage.put("/local/a", CONTENT);
        let body = |token: &str| {
            json!({"files": [{"sources": [world.url("/local/a")], "destinations": [world.url("/local/b")],
                "source_tokens": [token], "destination_tokens": [token]}]})
        };
        let own = world.engine.admin_token();
        assert_eq!(world.post("/fts/jobs", &body(own.expose())).await.0, 200);
        let foreign = "x.eyJpc3MiOiJodHRwczovL290aGVyIiwibmJmIjowLCJleHAiOjEsInNjb3BlIjoiIiwiYXVkIjoiIn0.y";
        let (status, answer) = world.post("/fts/jobs", &body(foreign)).await;
        assert_eq!(
            (status, answer["message"].as_str()),
            (400, Some("Transfer access-token has unknown issuer: issuer=https://other"))
        );
        let (status, answer) = world.post("/fts/jobs", &body("nonsense")).await;
        assert_eq!((status, answer["message"].as_str()), (400, Some("Failed to validate access-token")));
    }
}

#[tokio::test]
async fn one_job_several_jobs_and_those_of_others() {
    for world in World::all().await {
        world.storage.put("/local/a", CONTENT);
        let (first, second) = (
            world.submit(&world.copy("/local/a", "/local/x")).await,
            world.submit(&world.copy("/local/a", "/local/y")).await,
        );
        world.ended(first).await;
        world.ended(second).await;

        let (status, one) = status_and_json(world.get(&format!("/fts//jobs/{first}")).await).await;
        assert_eq!((status, &one["http_status"], &one["job_state"]), (200, &json!("200 Ok"), &json!("FINISHED")));
        assert_eq!(
            (&one["job_type"], &one["reason"], &one["source_spacetoken"]),
            (&json!("N"), &Value::Null, &Value::Null)
        );
        assert_eq!(one["submit_time"].as_str().map(str::len), Some("2026-01-01T00:00:00".len()));
        assert_eq!(
            (&one["priority"], &one["verify_checksum"], &one["overwrite_flag"]),
            (&json!(3), &json!("n"), &Value::Null)
        );

        let path = format!("/fts/jobs/{first},{second}?files=file_state,dest_surl,no_such_field");
        let (status, both) = status_and_json(world.get(&path).await).await;
        assert_eq!((status, ids(&both)), (200, vec![first.to_string().as_str(), second.to_string().as_str()]));
        assert_eq!(both[1]["files"], json!([{"file_state": "FINISHED", "dest_surl": world.url("/local/y")}]));
        assert!(status_and_json(world.get(&format!("/fts/jobs/{first},")).await).await.1.is_array());

        let nobody = Uuid::nil();
        let (status, answer) = status_and_json(world.get(&format!("/fts/jobs/{nobody}")).await).await;
        let message = format!("No job with the id \"{nobody}\" has been found");
        let expected = json!({"job_id": nobody, "http_status": "404 Not Found", "http_message": message});
        assert_eq!((status, answer), (404, expected));
        let (status, answer) = status_and_json(world.get(&format!("/fts/jobs/{first},{nobody},nonsense")).await).await;
        assert_eq!(
            (status, &answer[1]["http_status"], &answer[2]["job_id"]),
            (207, &json!("404 Not Found"), &json!("nonsense"))
        );

        let state = status_and_json(world.get(&format!("/fts/jobs/{first}/job_state")).await).await;
        assert_eq!(state, (200, json!("FINISHED")));
        let (status, answer) = status_and_json(world.get(&format!("/fts/jobs/{first}/shoe_size")).await).await;
        assert_eq!((status, &answer["message"]), (404, &json!("No such field")));
        assert_eq!(status_and_json(world.get(&format!("/fts/jobs/{first}/dm")).await).await, (200, json!([])));

        let other = world.engine.token_for("bob", &[]).await;
        let (status, _) = status_and_json(world.get_as(&format!("/fts/jobs/{first}"), &other).await).await;
        assert_eq!(status, 403);
        let (status, _) = status_and_json(world.get_as(&format!("/fts/jobs/{first}/files"), &other).await).await;
        assert_eq!(status, 403);
        let cancel = world.fts(&other).cancel(first).await;
        assert!(cancel.is_err());
        let listed = status_and_json(world.get_as("/fts/jobs?limit=10&state_in=FINISHED", &other).await).await;
        assert_eq!(listed, (200, json!([])));
    }
}

#[tokio::test]
async fn lists_and_their_filters() {
    // What hangs here must hang until the end.
    let patient = fixture::QUICK.replace("300ms", "5m");
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(store, &patient).await;
        world.storage.put("/local/a", CONTENT);
        world.storage.always(Method::PUT, "/local/slow", Fault::Slow(60_000));
        world.storage.always(Method::GET, "/local/stuck", Fault::Slow(60_000));
        world.storage.put("/local/stuck", CONTENT);
        let done = world.submit(&world.copy("/local/a", "/local/x")).await;
        world.ended(done).await;
        let open = world.submit(&world.copy("/local/stuck", "/local/y")).await;
        world.reaches(open, FileState::Active).await;
        let (done, open) = (done.to_string(), open.to_string());

        let listed = |query: &str| {
            let path = format!("/fts/jobs?{query}");
            let world = &world;
            async move { status_and_json(world.get(&path).await).await }
        };
        assert_eq!(ids(&listed("").await.1), [open.as_str()]);
        assert_eq!(ids(&listed("state_in=FINISHED&time_window=1").await.1), [done.as_str()]);
        assert_eq!(ids(&listed("state_in=FINISHED,ACTIVE&limit=10").await.1), [open.as_str(), done.as_str()]);
        assert_eq!(ids(&listed("state_in=FINISHED,ACTIVE&limit=1").await.1), [open.as_str()]);
        assert_eq!(ids(&listed("vo_name=127.0.0.1&user_dn=admin&source_se=http://127.0.0.1").await.1), [open.as_str()]);
        assert_eq!(ids(&listed("dest_se=http://elsewhere").await.1), [""; 0]);
        assert_eq!(listed("fields=job_id,vo_name").await.1, json!([{"job_id": open, "vo_name": "127.0.0.1"}]));
        for limit in ["501", "-1", "x"] {
            let (status, answer) = listed(&format!("limit={limit}")).await;
            assert_eq!(
                (status, &answer["message"]),
                (400, &json!("The limit must be positive and less or equal than 500"))
            );
        }
        let (status, files) = status_and_json(world.get("/fts/files").await).await;
        assert_eq!((status, ids(&files)), (200, vec![open.as_str()]));
        assert_eq!(ids(&status_and_json(world.get("/fts/files?time_window=1").await).await.1), [done.as_str()]);
        let (_, hosts) = status_and_json(world.get("/fts/status/hosts").await).await;
        assert_eq!(hosts, json!({"127.0.0.1": {"active": 1, "staging": 0}}));

        let (status, changed) = world.post(&format!("/fts/jobs/{open}"), &json!({"params": {"priority": 9}})).await;
        assert_eq!(
            (status, &changed["priority"], changed["files"].as_array().map(Vec::len)),
            (200, &json!(5), Some(1))
        );
        let (_, over) = world.post(&format!("/fts/jobs/{done}"), &json!({"params": {"priority": 4}})).await;
        assert_eq!((&over["http_status"], &over["priority"]), (&json!("304 Not Modified"), &json!(3)));
        let (status, answer) = world.post(&format!("/fts/jobs/{open}"), &json!({"params": {"priority": "high"}})).await;
        assert_eq!((status, &answer["message"]), (400, &json!("Invalid priority value")));
    }
}

#[tokio::test]
async fn urls_may_not_lead_into_the_private_network() {
    for world in World::all().await {
        let inside = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = inside.local_addr().expect("an address").port();
        for host in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            "169.254.169.254".to_owned(),
            "10.0.0.1".to_owned(),
        ] {
            let mut submission = world.copy("/local/a", "/local/b");
            submission.files[0].sources = vec![format!("http://{host}/latest/meta-data")];
            let file = world.run(&submission).await;
            assert_eq!((file.file_state, file.retry), (FileState::Failed, Some(0)), "{host}: {:?}", file.reason);
            assert!(
                file.reason.as_deref().is_some_and(|reason| reason.starts_with("SOURCE [13]")),
                "{:?}",
                file.reason
            );
        }
        inside.set_nonblocking(true).expect("it can be asked");
        assert!(inside.accept().is_err(), "somebody called");
        assert!(world.storage.names().is_empty());
    }
}

#[tokio::test]
async fn a_plain_server_elsewhere_never_shows_a_part() {
    let elsewhere = World::with(TestSetup::default(), FakeStorage::plain()).await;
    let _listening = elsewhere.engine.listen();
    let config = format!("{}\n[http.outbound]\nallow = [\"127.0.0.1\"]\n", fixture::QUICK);
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(store, &config).await;
        let content: Vec<u8> = (0..200_000_u32).map(|n| (n / 3) as u8).collect();
        world.storage.put("/local/a", &content);
        world.storage.next(Method::GET, "/local/a", [Fault::Truncate]);
        let name = format!("/there/{}", Uuid::now_v7());
        let mut submission = world.copy("/local/a", "/local/unused");
        submission.files[0].destinations = vec![elsewhere.url(&name)];
        let file = world.run(&submission).await;
        assert_eq!((file.file_state, file.retry), (FileState::Finished, Some(1)), "{:?}", file.reason);
        assert_eq!(elsewhere.storage.ever_seen(&name), [content]);
        let left: Vec<String> =
            elsewhere.storage.names().into_iter().filter(|name| name.contains(".dte-part")).collect();
        assert_eq!(left, [""; 0]);
    }
}

#[tokio::test]
async fn thousands_of_files_are_one_submission() {
    const FILES: usize = 3_000;
    let config = format!("{}max_files = {FILES}\n", fixture::QUICK);
    for store in dte_store::testing::stores().await.expect("stores") {
        let world = World::on(store, &config).await;
        let mut files: Vec<_> = (0..FILES).map(|n| world.pair("/local/none", &format!("/out/{n}"))).collect();
        let since = std::time::Instant::now();
        let job_id = world.submit(&Submission::of(files.clone())).await;
        let submitted = since.elapsed();
        let since = std::time::Instant::now();
        world.admin().cancel(job_id).await.expect("cancelled");
        eprintln!("{FILES} files: submitted in {submitted:?}, cancelled in {:?}", since.elapsed());
        let (job, then) = world.ended(job_id).await;
        assert_eq!(then.len(), FILES);
        assert!(job.job_state.is_terminal() && then.iter().all(|file| file.file_state.is_terminal()));
        assert_eq!(world.events("org.dte.transfer.file.").await.len(), FILES);
        assert_eq!(world.events("org.dte.transfer.job.").await.len(), 1);
        files.push(world.pair("/local/none", "/out/more"));
        let refused = world.admin().submit(&Submission::of(files)).await.expect_err("refused");
        assert!(refused.to_string().contains("the limit is 3000"), "{refused}");
    }
}
