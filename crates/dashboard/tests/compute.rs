//! The pages of sites and pods: from services that answer as the real one does, and with hostile texts.

use axum::extract::Path;
use dte_dashboard::Service;
use dte_dashboard::model::compute::{Considered, Container, Line, Pod, Pods, Site, Sites};
use dte_dashboard::page::frame::Viewer;
use dte_dashboard::page::{pod, pods, sites};
use dte_http::Problem;
use dte_identity::testing::TestEngine;
use dte_identity::{Mount, Require, Routes};
use http::StatusCode;
use serde_json::{Value, json};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='x'>&amp;\u{202e}";
const UID: &str = "0190b0a0-0000-7000-8000-000000000001";

fn line(phase: &str) -> Value {
    json!({"uid": UID, "name": "fit", "namespace": "default", "user": "alice", "site": "small", "phase": phase, "state": "running",
        "reason": null, "message": null, "exit_code": null, "created": "2026-01-02T03:04:05Z", "started": "2026-01-02T03:04:15Z",
        "finished": null, "usage": {"cpu_micros": 1_500_000, "max_rss_bytes": 1 << 20}})
}

async fn one(Path(uid): Path<String>) -> Result<axum::Json<Value>, Problem> {
    if uid != UID {
        return Err(Problem::not_found(format!("there is no pod {uid}")));
    }
    let mut about = line("Running");
    about["waits"] = Value::Null;
    about["timeline"] =
        json!([{"at": "2026-01-02T03:04:05Z", "what": "accepted from alice"}, {"at": null, "what": "placed at small"}]);
    about["containers"] = json!([{"name": "prepare", "image": "host", "state": "terminated", "exit_code": 0, "init": true},
        {"name": "work", "image": "host", "state": "running", "init": false}]);
    about["placement"] = json!({"site": "small", "reason": "small has 3 of its inputs, more than any other site",
        "considered": [{"site": "large", "verdict": "not-now", "reason": "it does not answer: refused"}]});
    Ok(axum::Json(about))
}

async fn engine() -> TestEngine {
    TestEngine::start(async |ctx| {
        let any = Require::Authenticated;
        let offload = Routes::new("offload")
            .get("/pods", any, async || axum::Json(json!({"items": [line("Running")], "next": null})))
            .get("/pods/{uid}", any, one)
            .any("/getLogs", any, async |axum::Json(asked): axum::Json<Value>| {
                format!("log of {}\nstep <2>\n", asked["ContainerName"].as_str().unwrap_or_default())
            })
            .get("/sites", any, async || {
                axum::Json(json!({"items": [
                    {"name": "small", "state": "up", "problem": null, "capabilities": {"images": ["host"], "suspend": true}, "sandbox": "user namespaces",
                     "capacity": {"cpu_millis": 4_000, "memory_bytes": 1u64 << 33, "pods": 4, "pods_running": 1}, "free_places": 3, "running": 1, "waiting": 2, "mean_run_seconds": 2.5},
                    {"name": "large", "state": "down", "problem": "connection refused", "capabilities": {"images": ["host"], "suspend": false}, "sandbox": "none",
                     "capacity": null, "free_places": null, "running": 0, "waiting": 0, "mean_run_seconds": null},
                ]}))
            });
        let mut mounts = vec![Mount { prefix: "/interlink", routes: offload }];
        mounts.extend(Service::open(ctx.for_service("dashboard")).await?.mounts());
        Ok(mounts)
    })
    .await
}

async fn get(engine: &TestEngine, path: &str) -> (StatusCode, String) {
    let reply = engine.client.get(engine.url_of(path)).bearer(&engine.admin_token()).send().await.expect("an answer");
    (reply.status, reply.text().await.expect("text"))
}

#[tokio::test]
async fn sites_and_pods_from_their_service() {
    let engine = engine().await;
    let (status, html) = get(&engine, "/ui/sites").await;
    assert_eq!(status, StatusCode::OK);
    for text in
        ["small", "connection refused", "8.0 GiB", "2.5 s", "can suspend", "data-fragment=\"/ui/sites/fragment\""]
    {
        assert!(html.contains(text), "{text}: {html}");
    }
    let (status, html) = get(&engine, "/ui/pods").await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains(&format!("href=\"/ui/pods/{UID}\"")) && html.contains("Running"), "{html}");

    let (status, html) = get(&engine, &format!("/ui/pods/{UID}")).await;
    assert_eq!(status, StatusCode::OK, "{html}");
    for text in [
        "log of work",
        "step &lt;2&gt;",
        "accepted from alice",
        "more than any other site",
        "it does not answer",
        "Waited",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    let (_, html) = get(&engine, &format!("/ui/pods/{UID}/fragment?container=prepare")).await;
    assert!(html.starts_with("<section") && html.contains("log of prepare"), "{html}");
    let (_, html) = get(&engine, &format!("/ui/pods/{UID}?container=%3Cscript%3E")).await;
    assert!(html.contains("log of work") && !html.contains("<script>"), "an unknown container is the first one");
    assert_eq!(get(&engine, "/ui/pods/%3Cscript%3E").await.0, StatusCode::NOT_FOUND);
    let (_, html) = get(&engine, "/ui").await;
    assert!(html.contains("/ui/pods") && html.contains("/ui/sites"));
}

#[tokio::test]
async fn a_console_is_for_our_own_pages() {
    let engine = engine().await;
    let (_, html) = get(&engine, &format!("/ui/pods/{UID}")).await;
    let place = format!("data-exec=\"/ui/pods/{UID}/exec\"");
    assert!(
        html.contains(&place)
            && html.contains("name=\"container\" value=\"work\"")
            && !html.contains("value=\"prepare\""),
        "{html}"
    );
    let url = engine.url_of(&format!("/ui/pods/{UID}/exec?command=true&stdout=1"));
    let ask = async |from: &str| {
        let asked = engine.client.get(&url).bearer(&engine.admin_token()).header("sec-fetch-site", from).send();
        asked.await.expect("an answer").status
    };
    for stranger in ["cross-site", "same-site", "none"] {
        assert_eq!(ask(stranger).await, StatusCode::FORBIDDEN, "{stranger}");
    }
    assert_eq!(ask("same-origin").await, StatusCode::BAD_REQUEST, "no WebSocket is asked for");
    let (status, _) = get(&engine, &format!("/ui/pods/{UID}/exec?command=true&stdout=1")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "nobody says where it comes from");
}

#[tokio::test]
async fn what_changes_all_the_time_is_told_all_the_time() {
    use futures_util::StreamExt;
    let engine = engine().await;
    let token = engine.admin_token();
    let reply = engine.client.get(engine.url_of("/ui/compute/live")).bearer(&token).send().await.expect("an answer");
    let mut body = reply.body.into_data_stream();
    for _ in 0..2 {
        let part = tokio::time::timeout(std::time::Duration::from_secs(5), body.next()).await.expect("in time");
        let part = part.expect("a part").expect("bytes");
        assert!(String::from_utf8_lossy(&part).contains("event: changed"), "{part:?}");
    }
    engine.tasks.stop();
    while let Some(part) = tokio::time::timeout(std::time::Duration::from_secs(5), body.next()).await.expect("it ends")
    {
        part.expect("bytes");
    }
}

#[test]
fn hostile_texts_are_only_texts() {
    let viewer = Viewer { name: HOSTILE.to_owned(), csrf: "token".to_owned() };
    let text = || HOSTILE.to_owned();
    let line = || Line {
        uid: text(),
        name: text(),
        phase: text(),
        site: Some(text()),
        user: text(),
        reason: Some(text()),
        ..Line::default()
    };
    let site = Site { name: text(), problem: Some(text()), sandbox: text(), images: vec![text()], ..Site::default() };
    let missing = vec![("pods", text()), ("sites", text()), ("log", text())];
    let container = Container { name: text(), image: text(), state: text(), exit_code: None, is_init: true };
    let about = Pod {
        line: line(),
        message: Some(text()),
        waits: Some(text()),
        why_there: text(),
        considered: vec![Considered { site: text(), verdict: text(), reason: text() }],
        timeline: vec![(None, text())],
        containers: vec![container, Container::default()],
        shown: text(),
        log: text(),
        missing: missing.clone(),
        ..Pod::default()
    };
    for page in [
        sites::whole(&Sites { sites: vec![site], missing: missing.clone() }, &viewer),
        pods::whole(&Pods { pods: vec![line()], missing }, &viewer),
        pod::whole(&about, &viewer),
    ] {
        let html = page.into_string();
        assert!(!html.contains("<script>") && !html.contains("<img"), "something is not escaped: {html}");
        assert!(!html.contains(" style=") && !html.contains("<style") && !html.contains(" onerror=x"), "{html}");
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/ui/assets/").count());
    }
}
