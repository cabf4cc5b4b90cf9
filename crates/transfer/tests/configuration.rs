//! What administrators say of links, storages and shares; that the movers obey it; and that files say why they wait.

mod fixture;

use std::time::{Duration, Instant};

use dte_protocol_fts::{FileState, JobState, Submission};
use fixture::{FakeStorage, Fault, QUICK, World, status_and_json};
use http::Method;
use serde_json::{Value, json};

const CONTENT: &[u8] = b"some bytes that are to be somewhere else";

async fn worlds(more: &str) -> Vec<World> {
    let mut worlds = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let config = format!("{}{more}", QUICK.replace("300ms", "60s"));
        let world = World::on(store, &config).await;
        world.storage.put("/local/a", CONTENT);
        worlds.push(world);
    }
    worlds
}

async fn get(world: &World, path: &str) -> Value {
    let (status, body) = status_and_json(world.get(path).await).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !check().await {
        assert!(since.elapsed() < Duration::from_secs(60), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn uploads(storage: &FakeStorage, count: usize) -> usize {
    (0..count).filter(|n| storage.count(&Method::PUT, &format!("/local/{n}")) > 0).count()
}

#[tokio::test]
async fn what_is_said_is_kept_and_told() {
    for world in worlds("").await {
        let link = json!({"symbolicname": "slow", "source": "https://a.example", "min_active": 1, "max_active": 4});
        let (status, said) = world.post("/fts/config/links", &link).await;
        assert_eq!(status, 201, "{said}");
        assert_eq!(
            (&said["destination"], &said["optimizer_mode"], &said["nostreams"]),
            (&json!("*"), &json!(2), &json!(0))
        );
        assert_eq!(get(&world, "/fts/config/links/slow").await, said);
        assert_eq!(get(&world, "/fts/config/links").await, json!([said]));
        let (status, _) = status_and_json(world.get("/fts/config/links/none").await).await;
        assert_eq!(status, 404);
        let bad = [
            (json!({"source": "*"}), "Missing symbolicname"),
            (json!({"symbolicname": "x", "min_active": 5, "max_active": 4}), "max_active is lower than min_active"),
            (json!({"symbolicname": "x", "min_active": "many"}), "Field min_active is expected to be int"),
            (json!({"symbolicname": "x", "speed": 4}), "Field speed unknown"),
            (json!({"symbolicname": "x", "nostreams": 4}), "Field nostreams is not supported here"),
            (json!({"symbolicname": "x", "optimizer_mode": 4}), "optimizer_mode must be 0 to 3"),
            (json!({"symbolicname": "x", "source": "nonsense"}), "Invalid storage"),
        ];
        for (body, text) in bad {
            let (status, said) = world.post("/fts/config/links", &body).await;
            assert!(
                status == 400 && said["message"].as_str().is_some_and(|said| said.contains(text)),
                "{body}: {said}"
            );
        }
        let share = json!({"source": "https://a.example", "destination": "*", "vo": "atlas", "share": 30});
        assert_eq!(world.post("/fts/config/shares", &share).await, (200, share.clone()));
        assert_eq!(get(&world, "/fts/config/shares").await, json!([share]));
        let elsewhere = json!({"source": "https://b.example", "destination": "*", "vo": "atlas", "share": 30});
        assert_eq!(world.post("/fts/config/shares", &elsewhere).await.0, 400);
        let (status, said) = world.post("/fts/config/shares", &json!({"vo": "atlas", "share": "much"})).await;
        assert_eq!((status, &said["message"]), (400, &json!("Bad share value")));
        let weights = json!({"vo": "atlas", "active": true, "share": [{"A": 0.7}, {"B": 0.3}]});
        assert_eq!(world.post("/fts/config/activity_shares", &weights).await.0, 200);
        let expected = json!({"vo": "atlas", "active": true, "share": {"A": 0.7, "B": 0.3}});
        assert_eq!(get(&world, "/fts/config/activity_shares/atlas").await, expected);
        assert_eq!(get(&world, "/fts/config/activity_shares").await["atlas"]["share"]["B"], 0.3);
        let limits = json!({"https://a.example": {"se_info": {"inbound_max_active": 7, "tpc_support": "PULL"}}});
        assert_eq!(world.post("/fts/config/se", &limits).await.0, 200);
        let more = json!({"https://a.example": {"se_info": {"outbound_max_throughput": 100}}});
        let (_, said) = world.post("/fts/config/se", &more).await;
        let info = &said["https://a.example"]["se_info"];
        assert_eq!((&info["inbound_max_active"], &info["outbound_max_throughput"]), (&json!(7), &json!(100)));
        assert_eq!(info["tpc_support"], "PULL", "what is not named stays");
        let told = get(&world, "/fts/config/audit").await;
        assert_eq!((&told[0]["action"], &told[0]["dn"]), (&json!("se-config"), &json!("admin")));
        for path in ["links/slow", "activity_shares/atlas", "se?se=https://a.example"] {
            assert_eq!(world.delete(&format!("/fts/config/{path}")).await.status, 204, "{path}");
        }
        let told = get(&world, "/fts/config/audit").await;
        assert_eq!(told[0]["config"], "delete https://a.example");
        for path in ["links", "shares"] {
            assert_eq!(get(&world, &format!("/fts/config/{path}")).await, json!([]));
        }
        let token = world.engine.token_for("alice", &["dte.transfer"]).await;
        for path in ["config/links", "config/shares", "config/activity_shares", "optimizer", "autocomplete/vo?term="] {
            assert_eq!(world.get_as(&format!("/fts/{path}"), &token).await.status, 403, "{path}");
        }
    }
}

#[tokio::test]
async fn a_link_runs_as_many_as_its_rule_says_and_files_say_why_they_wait() {
    for world in worlds("").await {
        const FILES: usize = 12;
        let rule = |most: u32| json!({"symbolicname": "all", "min_active": 1, "max_active": most, "optimizer_mode": 0});
        assert_eq!(world.post("/fts/config/links", &rule(3)).await.0, 201);
        for n in 0..FILES {
            world.storage.always(Method::PUT, &format!("/local/{n}"), Fault::StallMidway);
        }
        let files: Vec<_> = (0..FILES).map(|n| world.pair("/local/a", &format!("/local/{n}"))).collect();
        let job_id = world.submit(&Submission::of(files)).await;
        until("three are on their way", async || uploads(&world.storage, FILES) == 3).await;
        let explained = get(&world, &format!("/fts/jobs/{job_id}/explain")).await;
        let of = |explained: &Value, word: &str| {
            let files = explained["files"].as_array().expect("files");
            files.iter().filter(|file| file["code"] == word).count()
        };
        assert_eq!((of(&explained, "active"), of(&explained, "link-limit")), (3, 9), "{explained}");
        let files = explained["files"].as_array().expect("files");
        let waiting = files.iter().find(|file| file["code"] == "link-limit").expect("one");
        let because = waiting["because"].as_str().expect("a text");
        assert!(because.contains("3 of 3 copies run") && because.contains("\"all\""), "{because}");
        let one = get(&world, &format!("/fts/jobs/{job_id}/files/{}/explain", waiting["file_id"])).await;
        assert_eq!(one["code"], "link-limit");
        assert_eq!(world.get(&format!("/fts/jobs/{job_id}/files/999999/explain")).await.status, 404);
        // More are begun as soon as that is allowed; then the storage's own limit is the next.
        let storage = json!({"*": {"se_info": {"outbound_max_active": 5}}});
        assert_eq!(world.post("/fts/config/se", &storage).await.0, 200);
        assert_eq!(world.post("/fts/config/links", &rule(50)).await.0, 201);
        until("five are on their way", async || uploads(&world.storage, FILES) == 5).await;
        let explained = get(&world, &format!("/fts/jobs/{job_id}/explain")).await;
        assert_eq!((of(&explained, "active"), of(&explained, "source-limit")), (5, 7), "{explained}");
        world.admin().cancel(job_id).await.expect("cancelled");
        let (job, _) = world.ended(job_id).await;
        assert_eq!(job.job_state, JobState::Canceled);
        let explained = get(&world, &format!("/fts/jobs/{job_id}/explain")).await;
        assert_eq!((of(&explained, "canceled"), &explained["open"]), (FILES, &json!(0)));
        let names = get(&world, "/fts/autocomplete/storage?term=http").await;
        assert_eq!(names.as_array().map(Vec::len), Some(1), "{names}");
        assert_eq!(get(&world, "/fts/autocomplete/dn?term=adm").await, json!(["admin"]));
    }
}

#[tokio::test]
async fn the_optimiser_decides_and_says_why() {
    for world in worlds("optimise_every = \"50ms\"\n").await {
        assert_eq!(get(&world, "/fts/optimizer").await, json!(false));
        let rule = json!({"symbolicname": "all", "min_active": 1, "max_active": 9, "optimizer_mode": 2});
        world.post("/fts/config/links", &rule).await;
        assert_eq!(get(&world, "/fts/optimizer").await, json!(true));
        for n in 0..4 {
            world.storage.always(Method::PUT, &format!("/local/{n}"), Fault::StallMidway);
        }
        let files: Vec<_> = (0..4).map(|n| world.pair("/local/a", &format!("/local/{n}"))).collect();
        let job_id = world.submit(&Submission::of(files)).await;
        until("a decision", async || get(&world, "/fts/optimizer/evolution").await[0]["rationale"].is_string()).await;
        until("the least is kept", async || uploads(&world.storage, 4) >= 1).await;
        let url: url::Url = world.url("/x").parse().expect("a URL");
        let storage = format!("{}://{}", url.scheme(), url.host_str().expect("a host"));
        let current = get(&world, &format!("/fts/optimizer/current?source_se={storage}&dest_se={storage}")).await;
        assert!(current[0]["active"].as_u64().is_some_and(|active| (1..=9).contains(&active)), "{current}");
        let wanted = json!({"source_se": storage, "dest_se": storage, "active": 4, "nostreams": 1});
        let (status, said) = world.post("/fts/optimizer/current", &wanted).await;
        assert_eq!((status, said.as_array().map(Vec::len)), (200, Some(2)), "{said}");
        for bad in [json!(-1), json!("many"), json!(0)] {
            let mut body = wanted.clone();
            body["active"] = bad;
            assert_eq!(world.post("/fts/optimizer/current", &body).await.0, 400, "{body}");
        }
        world.admin().cancel(job_id).await.expect("cancelled");
        assert_eq!(world.ended(job_id).await.0.job_state, JobState::Canceled);
    }
}

#[tokio::test]
async fn activities_share_a_link_by_their_weights() {
    for world in worlds("concurrency = 1\n").await {
        let vo = {
            let job_id = world.submit(&world.copy("/local/a", "/local/first")).await;
            world.ended(job_id).await.0.vo_name.expect("a VO")
        };
        let weights = json!({"vo": vo, "active": true, "share": {"heavy": 3, "light": 1}});
        assert_eq!(world.post("/fts/config/activity_shares", &weights).await.0, 200);
        // Nothing begins before all is queued.
        let hold = json!({"symbolicname": "all", "min_active": 0, "max_active": 0, "optimizer_mode": 0});
        world.post("/fts/config/links", &hold).await;
        let submit = async |activity: &str| {
            let file = |n: usize| {
                let mut file = world.pair("/local/a", &format!("/local/{activity}{n}"));
                file.activity = Some(activity.to_owned());
                file
            };
            world.submit(&Submission::of((0..40).map(file).collect())).await
        };
        let (light, heavy) = (submit("light").await, submit("heavy").await);
        world.delete("/fts/config/links/all").await;
        for job_id in [light, heavy] {
            assert_eq!(world.ended(job_id).await.0.job_state, JobState::Finished);
        }
        let told = world.events("org.dte.transfer.file.finished").await;
        let activities = told.iter().map(|(_, data)| data["activity"].as_str().unwrap_or_default().to_owned());
        let first: Vec<String> = activities.filter(|activity| activity != "default").take(40).collect();
        let heavy = first.iter().filter(|activity| *activity == "heavy").count();
        assert!((29..=31).contains(&heavy), "{heavy} of the first forty: {first:?}");
        assert_eq!(world.admin().files(light).await.expect("files")[0].file_state, FileState::Finished);
    }
}
