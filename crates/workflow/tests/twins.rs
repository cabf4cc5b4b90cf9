//! The service through its public API, in a world of small stand-ins.

#![allow(clippy::unwrap_used)]

mod world;

use dte_identity::NewBan;
use http::{Method, StatusCode};
use serde_json::Value;
use world::{DOCUMENT, World, month_file};

#[tokio::test(flavor = "multi_thread")]
async fn a_document_becomes_the_world_and_again_nothing() {
    let world = World::new().await;
    world.begin().await;
    {
        let facts = world.facts.lock().unwrap();
        assert!(facts.scopes.contains("enso"));
        assert_eq!(facts.dids["enso:nino12"], "CONTAINER");
        assert_eq!(facts.dids["enso:forecast"], "CONTAINER");
        assert_eq!(facts.rules.len(), 3, "observations, forecasts, programs");
        assert_eq!(facts.watches["twin.enso.nino12"]["pattern"], "nino12-*.csv");
        let folder = world.folder.join("observations");
        assert_eq!(facts.watches["twin.enso.nino12"]["path"], folder.to_str().unwrap());
        let program = facts.dids.keys().find(|did| did.starts_with("enso:regression-")).unwrap();
        assert_eq!(facts.metadata[program]["sha256"].as_str().unwrap().len(), 64);
    }
    let (status, body) = world.apply(DOCUMENT).await;
    assert_eq!((status, &body["version"]), (StatusCode::OK, &1.into()));
    let (status, body) = world.apply(&DOCUMENT.replace("timeout: 60s", "timeout: 90s")).await;
    assert_eq!((status, &body["version"], &body["state"]), (StatusCode::OK, &2.into(), &"active".into()));
    std::fs::write(world.folder.join("enso-model"), b"another program").unwrap();
    let (_, body) = world.apply(&DOCUMENT.replace("timeout: 60s", "timeout: 90s")).await;
    assert_eq!(body["version"], 3, "a changed program is a new version: {body}");
    assert_eq!(world.get("").await["items"][0]["twin"], "enso");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_place_and_change_nothing() {
    let world = World::new().await;
    let (status, body) =
        world.apply(&DOCUMENT.replace("    folder: observations  ", "    foldr: observations  ")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert!(body["line"].as_u64().unwrap() > 10 && body["column"] == 5, "{body}");
    let (status, body) = world.call(Method::PUT, "/enso", Some(DOCUMENT)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["detail"].as_str().unwrap().contains("is relative"), "{body}");
    let (status, body) = world.apply(&DOCUMENT.replace("program: enso-model", "program: missing")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["detail"].as_str().unwrap().contains("missing: No such file"), "{body}");
    let (status, _) = world.call(Method::PUT, "/other?base=/tmp", Some(DOCUMENT)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.call(Method::GET, "/enso", None).await.0, StatusCode::NOT_FOUND);
    assert!(world.facts.lock().unwrap().scopes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_owner_and_administrators() {
    let world = World::new().await;
    world.begin().await;
    let alice = world.engine.token_for("alice", &[]).await;
    for path in ["/enso", "/enso/status", "/enso/runs", "/enso/observations", "/enso/logs"] {
        assert_eq!(world.call_as(&alice, Method::GET, path, None).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(world.call_as(&alice, Method::DELETE, "/enso", None).await.0, StatusCode::FORBIDDEN);
    let own = DOCUMENT.replace("twin: enso", "twin: own");
    let path = format!("/own?base={}", world.folder.display());
    let (status, body) = world.call_as(&alice, Method::PUT, &path, Some(&own)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert_eq!(world.call_as(&alice, Method::GET, "", None).await.1["items"], serde_json::json!([]));
    for (what, token) in world.engine.hostile_tokens().into_iter().take(8) {
        assert_eq!(world.call_as(&token, Method::GET, "/enso", None).await.0, StatusCode::UNAUTHORIZED, "{what}");
    }
}

/// The pods in the order in which they were handed over, with their issue months and numbers of inputs.
fn runs_of(world: &World) -> Vec<(String, usize)> {
    let facts = world.facts.lock().unwrap();
    let of = |uid: &String| {
        let annotations = &facts.pods[uid]["metadata"]["annotations"];
        let inputs: Vec<Value> = serde_json::from_str(annotations["dte.io/inputs"].as_str().unwrap()).unwrap();
        (annotations["dte.io/issue-month"].as_str().unwrap().to_owned(), inputs.len())
    };
    facts.order.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_arrival_is_one_run_in_order_on_what_was_known() {
    let world = World::new().await;
    world.begin().await;
    world.history_arrives().await;
    world.months_arrive(0..24).await;
    let status = world.until_runs("succeeded", 24).await;
    let runs = runs_of(&world);
    assert_eq!(runs.len(), 24);
    assert_eq!(runs[0], ("1980-01".to_owned(), 2));
    assert_eq!(runs[23], ("1981-12".to_owned(), 25));
    assert!(runs.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1));
    assert_eq!(status["freshness"]["state"], "fresh", "{status:#}");
    assert_eq!(status["freshness"]["newest_forecast"], "1981-12");
    assert_eq!(status["observes"][0]["accepted"], 25);
    assert_eq!(status["produces"][0]["published"], 24);
    assert_eq!(status["cost"]["cpu_seconds"], 12.0);
    let leads = status["skill"][0]["leads"].as_array().unwrap();
    assert_eq!(leads.iter().map(|lead| lead["n"].as_u64().unwrap()).collect::<Vec<_>>(), [23, 22, 21, 20, 19, 18]);
    assert!(leads[0]["persistence"].as_f64().unwrap() > 0.1);
    assert_eq!(world.told("org.dte.workflow.run.finished").await.len(), 24);
    assert_eq!(world.told("org.dte.workflow.observation.accepted").await.len(), 25);
    let facts = world.facts.lock().unwrap();
    assert!(facts.handed_over.values().all(|times| *times == 1));
    assert!(facts.contents["enso:nino12"].contains("enso:nino12.1981-12"));
    assert!(facts.contents["enso:nino12.history"].contains("enso:nino12-history.csv"));
    assert!(facts.contents["enso:forecast.1981-12"].contains("enso:nino12-forecast-1981-12.csv"));
    assert!(!facts.open.contains("enso:forecast.1981-12"), "the product's dataset is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn series_runs_and_logs_can_be_read() {
    let world = World::new().await;
    world.begin().await;
    world.history_arrives().await;
    world.months_arrive(0..5).await;
    world.until_runs("succeeded", 5).await;
    let observed = world.get("/enso/observations?from=1979-12&to=1980-01").await;
    assert_eq!(observed["values"].as_array().unwrap().len(), 2);
    assert_eq!(observed["values"][1]["value"], 24.35);
    assert!(observed["values"][1]["climatology"].as_f64().unwrap() > 20.0);
    let all = world.get("/enso/forecasts").await;
    assert_eq!(all["forecasts"].as_array().unwrap().len(), 30);
    let latest = world.get("/enso/forecasts?issue=latest&lead=2").await;
    assert_eq!(latest["forecasts"][0]["target_month"], "1980-07");
    let first = world.get("/enso/runs?limit=2").await;
    assert_eq!(first["items"][0]["issue_month"], "1980-05");
    let next = format!("/enso/runs?limit=10&after={}", first["next"].as_str().unwrap());
    let rest = world.get(&next).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 3);
    assert!(rest["next"].is_null());
    let run = world.get(&format!("/enso/runs/{}", first["items"][0]["id"].as_str().unwrap())).await;
    assert_eq!(run["products"][0]["did"], "enso:nino12-forecast-1980-05.csv");
    assert_eq!(world.get("/enso/logs").await, "the model said something\n");
    assert_eq!(world.call(Method::GET, "/enso/runs?state=odd", None).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.call(Method::GET, "/enso/runs/none", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_future_changes_nothing_earlier() {
    let mut seen = Vec::new();
    for changed in [None, Some("31.5")] {
        let world = World::new().await;
        world.begin().await;
        world.history_arrives().await;
        world.months_arrive(0..6).await;
        for index in 6..9 {
            let (name, text) = month_file(index, changed);
            world.arrive(&name, &text).await;
        }
        world.until_runs("succeeded", 9).await;
        let facts = world.facts.lock().unwrap();
        let pods: Vec<Value> = facts.order.iter().map(|uid| facts.pods[uid].clone()).collect();
        let forecasts: Vec<Vec<u8>> =
            facts.files.iter().filter(|(path, _)| path.contains("forecast")).map(|(_, bytes)| bytes.clone()).collect();
        let mut by_month: Vec<String> =
            forecasts.iter().map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect();
        by_month.sort();
        seen.push((pods, by_month));
    }
    let [(pods, forecasts), (changed_pods, changed_forecasts)] = &seen[..] else { panic!("two worlds") };
    assert_eq!(pods[..6], changed_pods[..6], "the same pods with the same inputs");
    assert_eq!(forecasts[..6], changed_forecasts[..6], "the same forecasts");
    assert!((6..9).all(|n| pods[n] != changed_pods[n] && forecasts[n] != changed_forecasts[n]), "later ones differ");
    for (n, pod) in pods.iter().enumerate() {
        let inputs = pod["metadata"]["annotations"]["dte.io/inputs"].as_str().unwrap();
        assert!(inputs.contains(&month_file(n, None).0) && !inputs.contains(&month_file(n + 1, None).0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_are_refused_and_early_ones_wait() {
    let world = World::new().await;
    world.begin().await;
    world.months_arrive(0..1).await;
    let held = world.until("a held file", |status| status["observes"][0]["held"]["count"] == 1).await;
    assert_eq!(held["observes"][0]["held"]["newest"][0]["reason"], "waits for the history nino12-history.csv");
    world.history_arrives().await;
    world.until_runs("succeeded", 1).await;
    world.months_arrive(2..4).await;
    let held = world.until("held files", |status| status["observes"][0]["held"]["count"] == 2).await;
    assert_eq!(held["observes"][0]["held"]["newest"][0]["reason"], "waits for 1980-02");
    assert_eq!(held["observes"][0]["next"], "1980-02");
    for (name, text, reason) in [
        ("nino12-1980-02.csv", "month,sst_c\n1980-02,warm\n", "line 2, column 9: \"warm\" is not a number"),
        ("nino12-1980-02.csv", "month,sst_c\n1980-02,99\n", "outside the valid range"),
        ("nino12-1980-02.csv", "month,sst_c\n1980-02,24\n1980-02,25\n", "is there twice"),
        ("nino12-1980-02.csv", "month,sst_c\n", "month 1980-02 is missing"),
        ("nino12-1980-01.csv", "month,sst_c\n1980-01,24\n", "is known already"),
        ("nino12-notes.csv", "x", "does not follow"),
    ] {
        world.arrive(name, text).await;
        let shown = |status: &Value| {
            let refused = status["observes"][0]["refused"]["newest"].as_array().unwrap();
            refused.iter().any(|one| one["file"] == name && one["reason"].as_str().unwrap().contains(reason))
        };
        world.until(reason, shown).await;
    }
    assert_eq!(world.told("org.dte.workflow.observation.refused").await.len(), 6);
    assert_eq!(runs_of(&world).len(), 1, "refused files start nothing");
    world.months_arrive(1..2).await;
    world.until_runs("succeeded", 4).await;
    let months: Vec<String> = runs_of(&world).into_iter().map(|(month, _)| month).collect();
    assert_eq!(months, ["1980-01", "1980-02", "1980-03", "1980-04"]);
    // One that was announced but is not there is shown, and found when it is announced again.
    let (name, text) = month_file(4, None);
    world.announce(&name, &text).await;
    let missing = world.until("a missing file", |status| status["observes"][0]["missing"]["count"] == 1).await;
    assert!(missing["observes"][0]["missing"]["newest"][0]["reason"].as_str().unwrap().contains("cannot be read"));
    // The same content again is no news.
    let (name, text) = month_file(1, None);
    world.announce(&name, &text).await;
    world.months_arrive(4..5).await;
    world.until_runs("succeeded", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_told_and_the_twin_goes_on() {
    let world = World::new().await;
    world.begin().await;
    {
        let mut facts = world.facts.lock().unwrap();
        facts.failing.insert("1980-02".into(), "exit 1");
        facts.failing.insert("1980-03".into(), "writes nothing");
        facts.failing.insert("1980-04".into(), "writes rubbish");
    }
    world.history_arrives().await;
    world.months_arrive(0..5).await;
    world.until_runs("succeeded", 2).await;
    let status = world.until_runs("failed", 3).await;
    assert_eq!(status["freshness"]["behind"], 0);
    assert_eq!(status["produces"][0]["published"], 2);
    let failed = world.get("/enso/runs?state=failed").await;
    let reasons: Vec<&str> =
        failed["items"].as_array().unwrap().iter().map(|run| run["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].contains("cannot be used: line 1: there is no column"), "{reasons:?}");
    assert_eq!(reasons[1], "the model wrote no forecast.csv");
    assert_eq!(reasons[2], "the program ended with exit code 1");
    let run = world.get(&format!("/enso/runs/{}", failed["items"][2]["id"].as_str().unwrap())).await;
    assert_eq!((&run["exit_code"], run["log"].as_str().unwrap()), (&1.into(), "the model said something\n"));
    assert_eq!(world.told("org.dte.workflow.run.finished").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_tried_again_where_the_document_says_so() {
    let world = World::new().await;
    let (_, body) = world.apply(&DOCUMENT.replace("    timeout: 60s", "    timeout: 60s\n    retries: 2")).await;
    assert_eq!(body["state"], "active", "{body}");
    world.facts.lock().unwrap().failing.insert("1980-01".into(), "exit 1");
    world.history_arrives().await;
    world.months_arrive(0..1).await;
    world.until_runs("failed", 1).await;
    assert_eq!(runs_of(&world).len(), 3, "three pods, one run");
    assert_eq!(world.told("org.dte.workflow.run.finished").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_shown_and_waited_out() {
    let world = World::new().await;
    world.begin().await;
    world.history_arrives().await;
    world.until("the history", |status| status["observes"][0]["accepted"] == 1).await;
    world.facts.lock().unwrap().full = true;
    world.months_arrive(0..1).await;
    let status = world.until("trouble", |status| status["troubles"][0]["part"] == "observes nino12").await;
    assert!(status["troubles"][0]["trouble"].as_str().unwrap().contains("507"), "{status:#}");
    assert_eq!(status["observes"][0]["accepted"], 1, "nothing was changed");
    world.facts.lock().unwrap().full = false;
    let status = world.until_runs("succeeded", 1).await;
    let status = if status["troubles"] == serde_json::json!([]) {
        status
    } else {
        world.until("peace", |status| status["troubles"] == serde_json::json!([])).await
    };
    assert_eq!(status["observes"][0]["accepted"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_raised_once_an_episode() {
    let world = World::new().await;
    world.begin().await;
    world.history_arrives().await;
    // Calm, hot for three months, calm, hot: the stand-in model says that it stays as it is.
    for (index, value) in [None, Some("30"), Some("30"), Some("30"), Some("18"), Some("30")].into_iter().enumerate() {
        let (name, text) = month_file(index, value);
        world.arrive(&name, &text).await;
    }
    let status = world.until_runs("succeeded", 6).await;
    let alerts = world.get("/enso/alerts").await;
    let months: Vec<(&str, Option<&str>)> = alerts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["issue_month"].as_str().unwrap(), one["ended_issue_month"].as_str()))
        .collect();
    assert_eq!(months, [("1980-02", Some("1980-05")), ("1980-06", None)]);
    assert_eq!(status["alerts"]["raised"], 2);
    assert_eq!(status["alerts"]["open"][0]["issue_month"], "1980-06");
    assert_eq!(world.told("org.dte.workflow.alert.raised").await.len(), 2);
    assert_eq!(world.told("org.dte.workflow.alert.ended").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_until_it_hears() {
    let world = World::new().await;
    let hook = format!("severity: critical\n    webhook: {}", world.engine.url_of("/hook"));
    let (_, body) = world.apply(&DOCUMENT.replace("severity: warning", &hook)).await;
    assert_eq!(body["state"], "active", "{body}");
    world.history_arrives().await;
    let (name, text) = month_file(0, Some("35"));
    world.arrive(&name, &text).await;
    for _ in 0..500 {
        if world.facts.lock().unwrap().hooked.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let facts = world.facts.lock().unwrap();
    let [first, second] = &facts.hooked[..] else { panic!("{:?}", facts.hooked) };
    assert_eq!(first, second);
    assert_eq!(first["type"], "org.dte.workflow.alert.raised");
    assert_eq!((&first["data"]["severity"], &first["data"]["issue_month"]), (&"critical".into(), &"1980-01".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_can_run_on_what_another_produced() {
    let world = World::new().await;
    let chained = DOCUMENT
        .replace(
            "# What comes of it.",
            "  - name: summary
    on:
      dataset-ready: forecast
    container: { image: host, program: enso-model }
",
        )
        .replace(
            "# Gates.",
            "  - name: summary
    model: summary
    output: summary.txt
    format: opaque
    filename: \"summary-{issue_month}.txt\"
",
        );
    let (_, body) = world.apply(&chained).await;
    assert_eq!(body["state"], "active", "{body}");
    world.facts.lock().unwrap().failing.insert("1980-02".into(), "writes nothing");
    world.history_arrives().await;
    world.months_arrive(0..4).await;
    let status = world
        .until("four ends", |status| {
            status["models"][1]["last_run"]["issue_month"] == "1980-04" && status["models"][1]["behind"] == 0
        })
        .await;
    assert_eq!(status["models"][1]["runs"], serde_json::json!({ "skipped": 1, "succeeded": 3 }), "{status:#}");
    let runs = world.get("/enso/runs?state=skipped").await;
    assert_eq!(runs["items"][0]["reason"], "forecast gave nothing for 1980-02");
    let facts = world.facts.lock().unwrap();
    let last = facts.pods.values().find(|pod| pod["metadata"]["name"] == "enso-summary-1980-04").unwrap();
    let inputs = last["metadata"]["annotations"]["dte.io/inputs"].as_str().unwrap();
    assert!(inputs.contains("forecast/nino12-forecast-1980-04.csv") && inputs.contains("1980-01.csv"), "{inputs}");
    assert!(!inputs.contains("1980-02.csv"), "{inputs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_budget_stops_new_runs_and_says_so() {
    let world = World::new().await;
    world.apply(&DOCUMENT.replace("cpu: 2h ", "cpu: 1s ")).await;
    world.history_arrives().await;
    world.months_arrive(0..5).await;
    let status =
        world.until("the end of the budget", |status| status["troubles"][0]["part"] == "model regression").await;
    assert!(status["troubles"][0]["trouble"].as_str().unwrap().contains("budget"), "{status:#}");
    assert_eq!(status["models"][0]["runs"]["succeeded"], 2);
    assert_eq!(status["freshness"]["state"], "stale");
    world.apply(DOCUMENT).await;
    world.until_runs("succeeded", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_twin_leaves_its_data_and_goes_on_when_applied_again() {
    let world = World::new().await;
    world.begin().await;
    world.history_arrives().await;
    world.months_arrive(0..2).await;
    world.until_runs("succeeded", 2).await;
    assert_eq!(world.call(Method::DELETE, "/enso", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.call(Method::GET, "/enso/status", None).await.0, StatusCode::NOT_FOUND);
    for _ in 0..500 {
        if world.facts.lock().unwrap().watches.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(world.facts.lock().unwrap().watches.is_empty());
    assert!(world.facts.lock().unwrap().dids.contains_key("enso:nino12.1980-01"));
    world.months_arrive(2..3).await;
    let changed = DOCUMENT.replace("start: 1980-01 ", "start: 1981-01 ").replace("to: 1979-12", "to: 1980-12");
    assert_eq!(world.apply(&changed).await.0, StatusCode::CONFLICT);
    let (status, body) = world.apply(DOCUMENT).await;
    assert_eq!((status, &body["version"]), (StatusCode::OK, &2.into()));
    world.until_runs("succeeded", 3).await;
    assert_eq!(runs_of(&world).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_rests_while_its_owner_is_suspended() {
    let world = World::new().await;
    world.begin().await;
    world.history_arrives().await;
    world.months_arrive(0..2).await;
    world.until_runs("succeeded", 2).await;
    // The last administrator is not suspended.
    world.engine.identity.add_user("deputy", true, "test").await.unwrap();
    let who = NewBan { subject: Some("admin".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    let ban = world.engine.identity.ban(who, "test").await.unwrap();
    world.months_arrive(2..6).await;
    let rests = async || {
        let sql = "SELECT COUNT(*) FROM workflow_troubles WHERE trouble LIKE '%is suspended%'";
        let read = world.engine.store.read(move |tx| tx.query_one(sql, &[], |row| row.get::<i64>(0)));
        read.await.map_err(|error: dte_store::Error| error).unwrap() > 0
    };
    let begun = std::time::Instant::now();
    while !rests().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "nothing says why it rests");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(world.facts.lock().unwrap().order.len(), 2, "no run starts");
    // A pod that a site ended because of a suspension says nothing about the model, however often that happens.
    world.facts.lock().unwrap().failing.insert("1980-03".to_owned(), "suspended");
    world.engine.identity.lift_ban(&ban.id, "test").await.unwrap();
    let begun = std::time::Instant::now();
    world.until("several tries", |_| world.facts.lock().unwrap().order.len() > 6).await;
    println!("on again after {:?}", begun.elapsed());
    world.facts.lock().unwrap().failing.clear();
    world.until_runs("succeeded", 6).await;
    assert!(!rests().await);
}
